"""The tasks that policies are replayed on: our own trainer's curves, LCBench and TaskSet.

Shapes: N configurations, S evaluations, D parameters.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record_curves import SPACE as OUR_SPACE
from replay import Curve, Params

from search.policy.portfolio import to_point
from search.policy.samplers import value_at
from search.study.space import distributions
from search.study.study import Domain, Float, Int

Floats = NDArray[np.float64]

ACCEPTANCE = ("3945", "7593", "126026", "167104", "167149", "168330", "168868", "189354", "189862", "189906")
"""LCBench tasks that are neither used to choose rules nor learnt from."""

LCBENCH_SPACE: dict[str, Domain] = {
    "batch_size": Int(16, 512, log=True),
    "learning_rate": Float(1e-4, 1e-1, log=True),
    "momentum": Float(0.1, 0.99),
    "weight_decay": Float(1e-5, 1e-1),
    "num_layers": Int(1, 5),
    "max_units": Int(64, 1024, log=True),
    "max_dropout": Float(0.0, 1.0),
}
LCBENCH_EPOCHS = 52
LCBENCH_SAMPLE = 2000
"""Random configurations of a task: the best and the worst of them span its regret."""
SECONDS, VAL_ACCURACY = 0, 1
"""The surrogate's output columns; the first counts from the begin of the training."""

LOG10_RANGES = {
    "learning_rate": (-8, 1),
    "epsilon": (-10, 3),
    "l1": (-8, 1),
    "l2": (-8, 1),
    "linear_decay": (-7, -4),
    "exponential_decay": (-6, -3),
}
"""TaskSet's optimizer, Adam with eight parameters (https://arxiv.org/abs/2002.11887). The two others are betas."""


class Surrogate:
    """LCBench's surrogate: parameters -> validation accuracy after each epoch."""

    def __init__(self, folder: Path) -> None:
        try:
            import onnxruntime  # only this suite needs it
        except ImportError:
            raise SystemExit("--lcbench needs onnxruntime, which is not installed: pip install onnxruntime.") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self.codes: dict[str, int] = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]

    def curves(self, task: str, params_N: Sequence[Params], column: int = VAL_ACCURACY) -> Floats:
        """Accuracy, or another output, of each configuration after each epoch, (N, S), in one call."""
        steps = range(1, LCBENCH_EPOCHS + 1)
        rows = [[step, *(params[name] for name in LCBENCH_SPACE)] for params in params_N for step in steps]
        cat = np.full((len(rows), 1), self.codes[task], np.int32)
        out = self.session.run(None, {"x_cat": cat, "x_cont": np.array(rows, np.float32)})[0]
        score: Floats = out[:, column].astype(float).reshape(len(params_N), LCBENCH_EPOCHS)
        return score


class LcbenchTask:
    """A task of LCBench, with a curve for any configuration."""

    space: Mapping[str, Domain] = LCBENCH_SPACE
    planned_evaluations = LCBENCH_EPOCHS

    def __init__(self, name: str, surrogate: Surrogate) -> None:
        self.name, self.surrogate = name, surrogate
        self.baseline: Params = at(self.space, [0.5] * len(self.space))
        point_ND = np.random.default_rng(0).random((LCBENCH_SAMPLE, len(self.space)))
        sample = [at(self.space, point_D.tolist()) for point_D in point_ND]
        parts = [surrogate.curves(name, sample[i : i + 100]).max(1) for i in range(0, LCBENCH_SAMPLE, 100)]
        self.value_N = np.concatenate(parts)
        """The best score of each random configuration."""
        self.best = float(self.value_N.max())
        self.scale = self.best - float(self.value_N.min())
        self.known: dict[tuple[Any, ...], Curve] = {}

    def curve(self, params: Params) -> Curve:
        """The curve, cached: several policies try the same first configurations."""
        key = tuple(params[name] for name in self.space)
        if key not in self.known:
            self.known[key] = _until_nan(self.surrogate.curves(self.name, [params])[0])
        return self.known[key]

    def seconds(self, params: Params) -> list[float]:
        """How long each epoch takes."""
        ends_S = np.maximum.accumulate(self.surrogate.curves(self.name, [params], SECONDS)[0])
        return np.diff(ends_S, prepend=0.0).tolist()

    def nearest(self, params: Params, tried: Sequence[Params]) -> Params:
        """The configuration itself."""
        return params


class TableTask:
    """A table of recorded curves, (N, S), with NaN from where a training diverged."""

    def __init__(
        self,
        name: str,
        space: Mapping[str, Domain],
        params_N: Sequence[Params],
        score_NS: Floats,
        scale: float | None = None,
    ) -> None:
        """``scale``: a regret of 1, in the score's unit; by default the median configuration's regret."""
        self.name, self.space, self.params_N = name, space, params_N
        self.distributions = distributions(space)
        self.planned_evaluations = score_NS.shape[1]
        self.curves = [_until_nan(score_S) for score_S in score_NS]
        self.value_N = np.where(np.isnan(score_NS).any(1), np.nan, np.fmax.reduce(score_NS, axis=1))
        self.best = float(np.nanmax(self.value_N))
        self.scale = scale or self.best - float(np.nanmedian(self.value_N))
        self.index = {self._key(params): i for i, params in enumerate(params_N)}
        self.point_ND = np.array([self._point(params) for params in params_N])
        self.baseline: Params = self.nearest(at(space, [0.5] * len(self.distributions)), [])

    def curve(self, params: Params) -> Curve:
        """The recorded curve."""
        return self.curves[self.index[self._key(params)]]

    def nearest(self, params: Params, tried: Sequence[Params]) -> Params:
        """The nearest configuration that has not been tried."""
        distance_N = np.minimum(np.abs(self.point_ND - self._point(params)), 1.0).sum(1)
        distance_N[[self.index[self._key(other)] for other in tried]] = np.inf
        return self.params_N[int(distance_N.argmin())]

    def _key(self, params: Params) -> tuple[Any, ...]:
        return tuple(params[name] for name in self.distributions)

    def _point(self, params: Params) -> list[float]:
        return to_point(params, self.distributions)


def at(space: Mapping[str, Domain], share_D: Sequence[float]) -> dict[str, Any]:
    """The parameters at these shares of their ranges."""
    domains = distributions(space)
    return {name: value_at(domain, share) for (name, domain), share in zip(domains.items(), share_D, strict=True)}


def _until_nan(score_S: Floats) -> Curve:
    end = int(np.isnan(score_S).argmax()) if np.isnan(score_S).any() else len(score_S)
    return dict(enumerate(score_S[:end].tolist(), start=1))


def our_task(file: Path) -> TableTask:
    """The curves of our own trainer, first training seed. Regret is in macro F1, as its noise is known in that."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line["seed"] == 0]
    num = max(len(line["curve"]) for line in lines)
    score_NS = np.array([[*line["curve"], *[math.nan] * (num - len(line["curve"]))] for line in lines])
    return TableTask("ours", OUR_SPACE, [line["params"] for line in lines], score_NS, scale=1.0)


def lcbench_tasks(folder: Path, names: Sequence[str] = ()) -> list[LcbenchTask]:
    """The tasks of these names; by default all but those for acceptance. Raises SystemExit for an unknown name."""
    surrogate = Surrogate(folder)
    hyperparameters = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
    all_names = next(entry["choices"] for entry in hyperparameters if entry["name"] == "OpenML_task_id")
    unknown = sorted(set(names) - set(all_names))
    if unknown:
        raise SystemExit(f"No LCBench task {', '.join(unknown)}. There are: {', '.join(all_names)}.")
    return [LcbenchTask(name, surrogate) for name in names or all_names if names or name not in ACCEPTANCE]


def taskset_tasks(file: Path) -> list[TableTask]:
    """The six tasks of TaskSet; scores are negative losses."""
    archive = np.load(file)
    names = [str(name) for name in archive["config_names"]]
    tasks = []
    for key in sorted(key for key in archive if key.endswith("/valid_loss")):
        space: dict[str, Domain] = {}
        columns: dict[str, list[float]] = {}
        for name, value_N in zip(names, archive[key.replace("valid_loss", "config")].astype(float).T, strict=True):
            is_beta = name.startswith("beta")  # drawn on the scale of their distance from 1
            low, high = (1e-6, 1.0) if is_beta else (10.0**power for power in LOG10_RANGES[name])
            column = f"one_minus_{name}" if is_beta else name
            space[column] = Float(low, high, log=True)
            columns[column] = np.clip(1 - value_N if is_beta else value_N, low, high).tolist()
        params_N = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        tasks.append(TableTask(key.split("/")[0], space, params_N, -archive[key].astype(float)))
    return tasks
