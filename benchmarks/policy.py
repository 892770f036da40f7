"""Replay search policies on recorded and surrogate learning curves: what they find, and what that costs.

    python benchmarks/policy.py --curves benchmarks/curves.jsonl --lcbench DIR --taskset FILE

Three suites: ``ours``, learning curves of our own trainer (64 configurations, which decides where they disagree);
``lcbench``, a surrogate of 34 tabular tasks; ``taskset``, real curves of six text models. In the last two the earlier
studies that a warm start learns from are the other tasks. Every policy meets the same tasks and seeds.

Shapes: N configurations, S steps, D parameters.
"""

import argparse
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from pruning import Pruning
from scipy.stats import qmc
from warm import to_unit, warm_settings

Params = dict[str, Any]
Space = Mapping[str, BaseDistribution]
Curve = dict[int, float]
"""Evaluation, from 1 -> score, higher is better."""
Floats = NDArray[np.float64]

NUM_TRIALS = 50
NUM_WARM = 11
"""With the baseline before them not more than a quarter of the trials."""
STARTUP_TRIALS = 10
REPLICATE_EVERY = 8
EARLIER_SEED = 1000
"""Earlier studies are other draws than the replays."""
ACCEPTANCE = ["3945", "7593", "126026", "167104", "167149", "168330", "168868", "189354", "189862", "189906"]
"""LCBench tasks that are not looked at while rules are chosen."""


@dataclass
class Run:
    """One trial of a replay."""

    params: Params
    role: str
    """baseline, warm, sobol, model or replicate."""
    full: Curve
    """What it would have scored to its end; policies see ``curve``."""
    num_evaluations: int
    curve: Curve = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether it ran to the study's last evaluation; a diverged one never does."""
        return self.num_evaluations in self.curve

    @property
    def value(self) -> float:
        """Its best score so far."""
        return max(self.curve.values(), default=-math.inf)

    @property
    def would_be(self) -> float:
        """Its value had it not been stopped; diverged trials are no results."""
        return max(self.full.values()) if self.num_evaluations in self.full else -math.inf


class Policy(Protocol):
    """What a replay asks."""

    def propose(self, trials: Sequence[Run]) -> tuple[Params, str]:
        """The next trial's parameters and its role."""

    def goes_on(self, curve: Curve, peers: Sequence[Curve]) -> bool:
        """Whether the trial goes on after its latest evaluation."""


class Task(Protocol):
    """A study to be replayed."""

    name: str
    space: Space
    num_evaluations: int
    best: float
    """The best value known."""
    scale: float
    """What a regret of 1 is, in the value's unit."""

    def curve(self, params: Params) -> Curve:
        """The learning curve of a configuration to its end; it ends early when the training diverged."""

    def nearest(self, params: Params, tried: Sequence[Params]) -> Params:
        """The configuration that is run when these parameters are proposed."""


def replay(task: Task, policy: Policy, num_trials: int = NUM_TRIALS) -> list[Run]:
    """The trials of one study, one after the other."""
    trials: list[Run] = []
    for _ in range(num_trials):
        proposed, role = policy.propose(trials)
        params = proposed
        if role != "replicate":
            params = task.nearest(proposed, [run.params for run in trials if run.role != "replicate"])
        run = Run(params, role, task.curve(params), task.num_evaluations)
        peers = [other.curve for other in trials]
        for step, score in run.full.items():
            run.curve[step] = score
            if role != "replicate" and not policy.goes_on(run.curve, peers):
                break
        trials.append(run)
    return trials


@dataclass(frozen=True)
class Outcome:
    """What came of one replay."""

    regret: float
    share: float
    """Of the evaluations of all trials."""
    share_without_replicates: float
    """The same of the trials that are no replicates: what pruning can save."""
    lost_winner: bool
    """Whether no trial was finished that is as good as the best would have been."""


def judge(task: Task, trials: Sequence[Run]) -> Outcome:
    """Regret, cost and whether the winner was pruned."""
    found = max(run.value for run in trials if run.is_complete)
    once = [run for run in trials if run.role != "replicate"]
    return Outcome(
        regret=(task.best - found) / task.scale,
        share=_share(task, trials),
        share_without_replicates=_share(task, once),
        lost_winner=found < max(run.would_be for run in trials),
    )


def _share(task: Task, trials: Sequence[Run]) -> float:
    return sum(len(run.curve) for run in trials) / (len(trials) * task.num_evaluations)


# --------------------------------------------------------------------------------------------------- policies


def tpe_sampler(seed: int) -> BaseSampler:
    """TPE as the service sets it up; its first trials are the service's."""
    return TPESampler(seed=seed, n_startup_trials=0, multivariate=True, group=True, constant_liar=True)


def gp_sampler(seed: int) -> BaseSampler:
    """Optuna's Gaussian process: finds more with few trials, costs some tenths of a second for each proposal."""
    return GPSampler(seed=seed, n_startup_trials=0)


def ask(sampler: BaseSampler, space: Space, trials: Sequence[FrozenTrial]) -> Params:
    """What a sampler proposes after these trials."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(trials)
    return study.ask(dict(space)).params


def as_it_ended(run: Run, space: Space) -> FrozenTrial:
    """A trial as it stands in the study. TPE orders the pruned ones by how far they got, then by score."""
    return create_trial(
        state=TrialState.COMPLETE if run.is_complete else TrialState.PRUNED,
        value=run.value if run.is_complete else None,
        params=run.params,
        distributions=dict(space),
        intermediate_values={step: max(list(run.curve.values())[:step]) for step in run.curve},
    )


def as_finished(run: Run, space: Space) -> FrozenTrial:
    """A trial with its best score as its value, wherever it ended: the Gaussian process ignores pruned trials."""
    return create_trial(value=run.value, params=run.params, distributions=dict(space))


@dataclass(frozen=True)
class Never:
    """Prunes nothing."""

    def goes_on(self, curve: Mapping[int, float], peers: Sequence[Mapping[int, float]], num_evaluations: int) -> bool:
        """Always."""
        return True


@dataclass(frozen=True)
class Recipe:
    """What a policy of the service is made of."""

    pruning: Pruning | Never = field(default_factory=Pruning)
    has_replicates: bool = True
    has_model: bool = True
    """Without, all trials but the first ones are Sobol points: they do not depend on what is pruned."""
    make_sampler: Callable[[int], BaseSampler] = gp_sampler
    told: Callable[[Run, Space], FrozenTrial] = as_finished
    """How the sampler sees a trial."""


TPE: dict[str, Any] = {"make_sampler": tpe_sampler, "told": as_it_ended}
"""A recipe's words for TPE in the place of the Gaussian process."""


class ServicePolicy:
    """Baseline, warm settings, Sobol points, then a model; replicates between them; one pruning rule."""

    def __init__(self, task: Task, seed: int, recipe: Recipe, warm: Sequence[Params] = ()) -> None:
        self.task, self.seed, self.recipe = task, seed, recipe
        baseline = {name: value_at(found, 0.5) for name, found in task.space.items()}
        self.queue = [(baseline, "baseline"), *((baseline | params, "warm") for params in warm)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # balance is lost when not 2^n points are drawn; no matter
            self.sobol_ND = qmc.Sobol(len(task.space), rng=seed).random(NUM_TRIALS)

    def propose(self, trials: Sequence[Run]) -> tuple[Params, str]:
        """See the class."""
        number = len(trials)
        once = [run for run in trials if run.role != "replicate"]
        if self.recipe.has_replicates and number % REPLICATE_EVERY == REPLICATE_EVERY - 1:
            return self._again(number, once), "replicate"
        if len(once) < len(self.queue):
            return self.queue[len(once)]
        if len(once) < STARTUP_TRIALS or not self.recipe.has_model:
            point_D = self.sobol_ND[len(once)]
            return {
                name: value_at(found, u) for (name, found), u in zip(self.task.space.items(), point_D, strict=True)
            }, "sobol"
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        seen = [self.recipe.told(run, self.task.space) for run in once]
        return ask(self.recipe.make_sampler(seed), self.task.space, seen), "model"

    def _again(self, number: int, once: Sequence[Run]) -> Params:
        """The baseline and the incumbent in turn."""
        if number // REPLICATE_EVERY % 2 == 0:
            return once[0].params
        return max((run for run in once if run.is_complete), key=lambda run: run.value).params

    def goes_on(self, curve: Curve, peers: Sequence[Curve]) -> bool:
        """The pruning rule's verdict."""
        return self.recipe.pruning.goes_on(curve, peers, self.task.num_evaluations)


class OptunaPolicy:
    """Optuna's own sampler and pruner, with settings enqueued first or none: what the service is measured against."""

    def __init__(self, task: Task, seed: int, pruner: BasePruner, warm: Sequence[Params] = ()) -> None:
        self.task, self.queue = task, list(warm)
        self.study = optuna.create_study(direction="maximize", sampler=TPESampler(seed=seed), pruner=pruner)
        self.trial: optuna.Trial | None = None

    def propose(self, trials: Sequence[Run]) -> tuple[Params, str]:
        """Tells the last trial first."""
        if trials:
            self._tell(trials[-1])
        if len(trials) < len(self.queue):
            self.study.enqueue_trial(self.queue[len(trials)])
        self.trial = self.study.ask(dict(self.task.space))
        return dict(self.trial.params), "warm" if len(trials) < len(self.queue) else "model"

    def _tell(self, run: Run) -> None:
        assert self.trial is not None
        if run.is_complete:
            self.study.tell(self.trial, run.value)
        else:
            self.study.tell(self.trial, state=TrialState.PRUNED)

    def goes_on(self, curve: Curve, peers: Sequence[Curve]) -> bool:
        """The pruner's verdict."""
        assert self.trial is not None
        step = max(curve)
        self.trial.report(curve[step], step)
        return not self.trial.should_prune()


def value_at(distribution: BaseDistribution, share: float) -> Any:
    """The value that lies at this share, in [0, 1), of the distribution."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return choices[int(share * len(choices))]
        case IntDistribution(low=low, high=high, log=log):
            value = round(_between(max(low - 0.5, 0.5) if log else low - 0.5, high + 0.5, log, share))
            return min(max(value, low), high)
        case FloatDistribution(low=low, high=high, log=log):
            return min(max(_between(low, high, log, share), low), high)
    raise AssertionError(distribution)


def _between(low: float, high: float, log: bool, share: float) -> float:
    if log:
        return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return low + share * (high - low)


# ------------------------------------------------------------------------------------------------------ tasks


LCBENCH_SPACE: dict[str, BaseDistribution] = {
    "batch_size": IntDistribution(16, 512, log=True),
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "momentum": FloatDistribution(0.1, 0.99),
    "weight_decay": FloatDistribution(1e-5, 1e-1),
    "num_layers": IntDistribution(1, 5),
    "max_units": IntDistribution(64, 1024, log=True),
    "max_dropout": FloatDistribution(0.0, 1.0),
}
LCBENCH_EPOCHS = 52
LCBENCH_SAMPLE = 2000
"""Random configurations of a task, the same for all: the best and the worst of them span its regret."""
VAL_ACCURACY = 1
"""The surrogate's output column."""


class Surrogate:
    """LCBench's surrogate: parameters -> validation accuracy after each epoch."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime  # only this suite needs it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self.codes: dict[str, int] = json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]

    def curves(self, task: str, params_N: Sequence[Params]) -> Floats:
        """Accuracy of each configuration after each epoch, in one call."""
        rows = [[step, *(one[name] for name in LCBENCH_SPACE)] for one in params_N for step in EPOCHS]
        cat = np.full((len(rows), 1), self.codes[task], np.int32)
        out = self.session.run(None, {"x_cat": cat, "x_cont": np.array(rows, np.float32)})[0]
        score: Floats = out[:, VAL_ACCURACY].astype(float).reshape(len(params_N), LCBENCH_EPOCHS)
        return score


EPOCHS = range(1, LCBENCH_EPOCHS + 1)


class LcbenchTask:
    """One task of LCBench."""

    space: Space = LCBENCH_SPACE
    num_evaluations = LCBENCH_EPOCHS

    def __init__(self, name: str, surrogate: Surrogate) -> None:
        self.name, self.surrogate = name, surrogate
        points = np.random.default_rng(0).random((LCBENCH_SAMPLE, len(LCBENCH_SPACE)))
        self.pool = [{n: value_at(d, u) for (n, d), u in zip(LCBENCH_SPACE.items(), p, strict=True)} for p in points]
        self.value_N = np.concatenate(
            [surrogate.curves(name, self.pool[i : i + 100]).max(1) for i in range(0, LCBENCH_SAMPLE, 100)]
        )
        self.best = float(self.value_N.max())
        self.scale = float(self.value_N.max() - self.value_N.min())
        self.known: dict[tuple[Any, ...], Curve] = {}

    def curve(self, params: Params) -> Curve:
        """All epochs at once; replays of other policies meet many of the same configurations."""
        key = tuple(params[name] for name in LCBENCH_SPACE)
        if key not in self.known:
            score_S = self.surrogate.curves(self.name, [params])[0]
            self.known[key] = dict(zip(EPOCHS, score_S.tolist(), strict=True))
        return self.known[key]

    def nearest(self, params: Params, tried: Sequence[Params]) -> Params:
        """Any point can be had."""
        return params


class TableTask:
    """A table of recorded curves, (N, S) with NaN from where a training diverged.

    A regret of 1 is the median configuration's unless ``scale`` says otherwise.
    """

    def __init__(
        self, name: str, space: Space, params_N: list[Params], score_NS: Floats, scale: float | None = None
    ) -> None:
        self.name, self.space, self.params_N = name, space, params_N
        self.num_evaluations = score_NS.shape[1]
        self.curves = [_until_nan(score_S) for score_S in score_NS]
        self.unit_ND = np.array([[to_unit(d, one[n]) for n, d in space.items()] for one in params_N])
        value_N = np.where(np.isnan(score_NS).any(1), np.nan, np.fmax.reduce(score_NS, axis=1))
        self.value_N = value_N
        self.best = float(np.nanmax(value_N))
        self.scale = scale or self.best - float(np.nanmedian(value_N))
        self.index = {tuple(one.values()): i for i, one in enumerate(params_N)}

    def curve(self, params: Params) -> Curve:
        """From the table."""
        return self.curves[self.index[tuple(params[name] for name in self.space)]]

    def nearest(self, params: Params, tried: Sequence[Params]) -> Params:
        """The nearest configuration of the table that has not been tried."""
        unit_D = np.array([to_unit(d, params[n]) for n, d in self.space.items()])
        distance_N = np.abs(self.unit_ND - unit_D).sum(1)
        distance_N[[self.index[tuple(one[n] for n in self.space)] for one in tried]] = np.inf
        return self.params_N[int(distance_N.argmin())]


def _until_nan(score_S: Floats) -> Curve:
    curve: Curve = {}
    for step, score in enumerate(score_S.tolist(), start=1):
        if math.isnan(score):
            break
        curve[step] = score
    return curve


OUR_SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-4, 1e-2, log=True),
    "drop_rate": FloatDistribution(0.0, 0.7),
    "weight_decay": FloatDistribution(1e-4, 1.0, log=True),
    "label_smoothing": FloatDistribution(0.0, 0.3),
    "class_weights": CategoricalDistribution(["none", "sqrt", "balanced"]),
    **{
        f"augment.{name}": CategoricalDistribution([False, True])
        for name in ("flip", "gaussian", "cutmix", "sharpness", "contrast")
    },
}
"""As in benchmarks/record_curves.py."""

LOG10_LOW = {"learning_rate": -8, "epsilon": -10, "l1": -8, "l2": -8, "linear_decay": -7, "exponential_decay": -6}
LOG10_HIGH = {"learning_rate": 1, "epsilon": 3, "l1": 1, "l2": 1, "linear_decay": -4, "exponential_decay": -3}


def taskset_tasks(file: Path) -> list[TableTask]:
    """The six tasks of TaskSet; scores are negative losses."""
    archive = np.load(file)
    names = [str(name) for name in archive["config_names"]]
    tasks = []
    for key in sorted(key for key in archive if key.endswith("/valid_loss")):
        config_ND = archive[key.replace("valid_loss", "config")].astype(float)
        columns: dict[str, Floats] = {}
        space: dict[str, BaseDistribution] = {}
        for name, value_N in zip(names, config_ND.T, strict=True):
            if name.startswith("beta"):  # drawn on the scale of their distance from 1
                columns[f"one_minus_{name}"] = np.clip(1 - value_N, 1e-6, 1.0)
                space[f"one_minus_{name}"] = FloatDistribution(1e-6, 1.0, log=True)
            else:
                low, high = 10.0 ** LOG10_LOW[name], 10.0 ** LOG10_HIGH[name]
                columns[name] = np.clip(value_N, low, high)
                space[name] = FloatDistribution(low, high, log=True)
        rows = zip(*(value_N.tolist() for value_N in columns.values()), strict=True)
        params_N = [dict(zip(columns, values, strict=True)) for values in rows]
        tasks.append(TableTask(key.split("/")[0], space, params_N, -archive[key].astype(float)))
    return tasks


def our_task(file: Path) -> TableTask:
    """The curves of our own trainer, first training seed. Regret is in macro F1, as its noise is known in that."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines = [line for line in lines if line["seed"] == 0]
    params_N = [line["params"] for line in lines]
    num = max(len(line["curve"]) for line in lines)
    score_NS = np.array([[*line["curve"], *[math.nan] * (num - len(line["curve"]))] for line in lines])
    return TableTask("ours", OUR_SPACE, params_N, score_NS, scale=1.0)


# ------------------------------------------------------------------------------------------------------ table


@dataclass(frozen=True, eq=False)
class Suite:
    """Tasks to replay, and those that a warm start learns from."""

    name: str
    tasks: Sequence[Task]
    num_seeds: int
    teachers: Sequence[Task]
    """Tasks that earlier studies are about; a task never learns from itself."""

    @cache  # noqa: B019 - a suite lives as long as the process
    def earlier(self, index: int, seed: int) -> list[tuple[Params, float]]:
        """A cold, unpruned study of the service on a task, as an earlier study's trials."""
        task = self.teachers[index]
        policy = ServicePolicy(task, EARLIER_SEED + seed, Recipe(Never(), has_replicates=False, **TPE))
        return [(run.params, run.value) for run in replay(task, policy) if run.is_complete]

    def warm(self, task: Task, seed: int) -> list[Params]:
        """What the earlier studies of all other tasks say should be tried first."""
        others = [self.earlier(i, seed) for i, teacher in enumerate(self.teachers) if teacher.name != task.name]
        return warm_settings(others, task.space, NUM_WARM) if others else drawn(task, seed)


def drawn(task: Task, seed: int) -> list[Params]:
    """Four of a table's best twelve, as a good earlier study might have left them: for a suite without other tasks."""
    assert isinstance(task, TableTask)
    best_N = np.argsort(-np.nan_to_num(task.value_N, nan=-math.inf))[:12]
    return [task.params_N[i] for i in np.random.default_rng(seed).permutation(best_N)[:4]]


def outcomes(suite: Suite, make: Callable[[Task, int, Sequence[Params]], Policy], num_warm: int) -> list[Outcome]:
    """One replay for each task and seed."""
    found = []
    for task in suite.tasks:
        for seed in range(suite.num_seeds):
            warm = suite.warm(task, seed)[:num_warm] if num_warm else []
            found.append(judge(task, replay(task, make(task, seed, warm))))
    return found


def row(name: str, suite: Suite, found: Sequence[Outcome]) -> str:
    """One line of the table: mean and standard error over tasks and seeds."""
    regret_N = np.array([one.regret for one in found])
    error = regret_N.std(ddof=1) / math.sqrt(len(found))
    share = np.mean([one.share for one in found])
    lost = np.mean([one.lost_winner for one in found])
    trained = np.mean([one.share_without_replicates for one in found])
    return (
        f"| {name} | {suite.name} | {regret_N.mean():+.4f} ± {error:.4f} | {share:.1%} | {trained:.1%} | {lost:.0%} |"
    )


def optunas(make_pruner: Callable[[], BasePruner]) -> Callable[[Task, int, Sequence[Params]], Policy]:
    """Optuna's TPE with one of its pruners."""
    return lambda task, seed, warm: OptunaPolicy(task, seed, make_pruner(), warm)


def services(recipe: Recipe) -> Callable[[Task, int, Sequence[Params]], Policy]:
    """The service's policy."""
    return lambda task, seed, warm: ServicePolicy(task, seed, recipe, warm)


POLICIES: dict[str, tuple[Callable[[Task, int, Sequence[Params]], Policy], int]] = {
    "TPE, no pruning": (optunas(NopPruner), 0),
    "TPE + MedianPruner()": (optunas(MedianPruner), 0),
    "TPE + Hyperband(1, 52, 3)": (optunas(lambda: HyperbandPruner(1, 52, 3)), 0),
    "TPE + SuccessiveHalving(1, 3)": (optunas(lambda: SuccessiveHalvingPruner(1, 3)), 0),
    "TPE + SuccessiveHalving(4, 2)": (optunas(lambda: SuccessiveHalvingPruner(4, 2)), 0),
    "SuccessiveHalving(4, 2), 10 warm": (optunas(lambda: SuccessiveHalvingPruner(4, 2)), 10),
    "SuccessiveHalving(1, 3), 10 warm": (optunas(lambda: SuccessiveHalvingPruner(1, 3)), 10),
    "service with TPE, no pruning, cold": (services(Recipe(Never(), **TPE)), 0),
    "service with TPE, no pruning, warm": (services(Recipe(Never(), **TPE)), NUM_WARM),
    "service with TPE, cold": (services(Recipe(**TPE)), 0),
    "service with TPE, warm": (services(Recipe(**TPE)), NUM_WARM),
    "service with TPE, no replicates, warm": (services(Recipe(has_replicates=False, **TPE)), NUM_WARM),
    "service with GP, cold": (services(Recipe()), 0),
    "service with GP, warm": (services(Recipe()), NUM_WARM),
    "service with GP, no replicates, warm": (services(Recipe(has_replicates=False)), NUM_WARM),
    "service without a model, no pruning, cold": (services(Recipe(Never(), has_model=False)), 0),
    "service without a model, cold": (services(Recipe(has_model=False)), 0),
}
"""Name -> how it is made, and how many warm settings it may try."""


def main() -> None:
    """Print the table, a row as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, help="curves of our own trainer, by record_curves.py")
    parser.add_argument("--lcbench", type=Path, help="folder of the surrogate")
    parser.add_argument("--taskset", type=Path, help="curves.npz")
    parser.add_argument("--tasks", nargs="+", help="LCBench tasks to replay; by default all but those for acceptance")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=list(POLICIES), metavar="POLICY")
    parser.add_argument("--seeds", type=int, default=3, help="replays of a task; ten times as many of our own curves")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    print("| policy | suite | regret ± SE | evaluations | of them without replicates | winner pruned |")
    print("|---|---|---|---|---|---|")
    for suite in suites(asked):
        for name in asked.policies:
            make, num_warm = POLICIES[name]
            print(row(name, suite, outcomes(suite, make, num_warm)), flush=True)


def suites(asked: argparse.Namespace) -> Iterator[Suite]:
    """Those whose data is given."""
    if asked.curves:
        ours = [our_task(asked.curves)]
        yield Suite("ours", ours, 10 * asked.seeds, ours)
    if asked.lcbench:
        surrogate = Surrogate(asked.lcbench)
        teachers = [LcbenchTask(n, surrogate) for n in lcbench_tasks(asked.lcbench) if n not in ACCEPTANCE]
        others = [LcbenchTask(name, surrogate) for name in asked.tasks or []]
        yield Suite("lcbench", others or teachers, asked.seeds, teachers)
    if asked.taskset:
        tasks = taskset_tasks(asked.taskset)
        yield Suite("taskset", tasks, asked.seeds, tasks)


def lcbench_tasks(folder: Path) -> list[str]:
    """The names of all tasks."""
    space = json.loads((folder / "config_space.json").read_text())["hyperparameters"]
    return list(next(one["choices"] for one in space if one["name"] == "OpenML_task_id"))


if __name__ == "__main__":
    main()
