"""Does averaging take noise from seed to seed away: of weights within a run, or of its last evaluations' predictions?

    python benchmarks/averaging.py --data DIR --weights DIR -o runs/averaging      # the same command goes on
    python benchmarks/averaging.py -o runs/averaging --table                       # the table of what is there
    python benchmarks/averaging.py --data DIR --cost                               # what ema_decay costs a step

Trains one setting with ``--seeds`` seeds in each of ``--rounds`` judge rounds. Beside every training, timm's ModelEmaV3
keeps averages of its weights, so that the plain weights and all averages are of one training. A file a training holds
what is predicted of the judges: at every evaluation by the plain weights and the average with decay .99, at the last
one by the other averages.

The table says what a way of taking the score does to its mean, and to its variance from seed to seed within the same
training people and judges. Intervals: 95 % of 10,000 draws of trainings, within their rounds, the same ones for both
of a ratio or difference.

``--cost``: CPU time of a step, of ``ema_decay``'s update and of ModelEmaV3's, in turn, on one thread.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from timm.utils import ModelEmaV3

from maskcls.config import ResolvedConfig, TrainConfig, change, make_config, parse_assignment
from maskcls.data.dataset import load_dataset, read_table
from maskcls.model.inference import log_probs, validation_batch_size
from maskcls.model.weights import resolve_weights
from maskcls.scoring.metrics import score
from maskcls.training.averaging import WeightAverage
from maskcls.training.loop import Run
from maskcls.training.numerics import pick_device, resolve

SETTING = TrainConfig(
    backbone="tf_efficientnet_lite0",
    image_size=(64, 64),
    epochs=3,
    evaluations_per_epoch=4,
    augment=(),
    lr=3e-3,
    people=300,
    valid_share=1 / 3,
    threads=1,
)
"""The setting that studies/LOG.md's rounds on dropout were asked at, with more evaluations and fewer people."""

FOLLOWED = "ema .99"
"""The average that is evaluated as often as the plain weights."""

AVERAGES = {
    "ema .9": (0.9, 2 / 3, 0.0),
    FOLLOWED: (0.99, 2 / 3, 0.0),  # .999 is the same for the first 1,000 steps
    "ema .99, power 3/4": (0.99, 3 / 4, 0.0),
    "ema .99, power 1": (0.99, 1.0, 0.0),
    "mean of the last third's weights": (0.9999, 1.0, 2 / 3),
    "mean of the last sixth's weights": (0.9999, 1.0, 5 / 6),
}
"""Name -> (decay, power of its warm-up, share of the steps before it begins). Power 1 is an equally weighted mean until
the decay is reached."""

RESAMPLES, LEVEL = 10_000, 0.95

FEWEST = 4
"""Trainings of a round: of fewer, a draw may well hold a single one only, which has no variance."""

COST_ROUNDS = 40


@dataclass(frozen=True, eq=False)
class Training:
    """A training's stored evaluations."""

    judge_round: int
    seed: int
    label_N: np.ndarray
    log_prob: Mapping[str, np.ndarray]
    """By name: "plain" and FOLLOWED log_prob_ENK of all evaluations, the other averages log_prob_NK of the last."""

    def f1(self, log_prob_NK: np.ndarray) -> float:
        """Macro F1 of some of its predictions."""
        return round(score(log_prob_NK, self.label_N, "all").macro_f1, 5)

    @cached_property
    def values(self) -> dict[str, float]:
        """Way of taking the score -> macro F1."""
        found = {}
        for name in ("plain", FOLLOWED):
            log_prob_ENK = self.log_prob[name]
            of_each = [self.f1(log_prob_NK) for log_prob_NK in log_prob_ENK]
            found |= {f"{name}: last evaluation": of_each[-1], f"{name}: best evaluation": max(of_each)}
            for count in (2, 3, 4, 6):
                mean_NK = np.logaddexp.reduce(log_prob_ENK[-count:]) - np.log(count)
                found[f"{name}: mean probabilities of the last {count}"] = self.f1(mean_NK)
        others = {name: self.f1(self.log_prob[name]) for name in AVERAGES if name != FOLLOWED}
        return found | {f"{name}: last evaluation": value for name, value in others.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/averaging"))
    parser.add_argument("--weights", default="scratch")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0, help="the first seed, to share the work")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the training config")
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--json", type=Path, help="write every training's scores to this file as well")
    parser.add_argument("--cost", action="store_true", help="only time some steps")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.data is None and not asked.table:
        parser.error("--data is needed to train; --table shows what is there")
    base = make_config({**SETTING.model_dump(), **dict(parse_assignment(text) for text in asked.set)})
    if asked.cost:
        for line in cost(base, asked.data, asked.out / "cache"):
            print(line)
        return
    if not asked.table:
        for seed in range(asked.first, asked.first + asked.seeds):
            for judge_round in range(1, asked.rounds + 1):
                path = asked.out / f"round-{judge_round}-seed-{seed:02d}.npz"
                if not path.exists():
                    train(change(base, seed=seed, judge_round=judge_round), asked.data, asked.weights, path)
                    print(path.name, flush=True)
    trainings = [read(path) for path in sorted(asked.out.glob("round-*.npz"))]
    for line in table(trainings):
        print(line)
    if asked.json is not None:
        rows = [{"round": each.judge_round, "seed": each.seed, **each.values} for each in trainings]
        asked.json.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def train(config: TrainConfig, data: Path, weights_option: str, path: Path) -> None:
    """Train and store the predictions of the judges."""
    device = pick_device("cpu")
    resolved = resolve(config, device)
    torch.set_num_threads(resolved.threads)
    dataset = load_dataset(read_table(data, resolved), resolved, path.parent / "cache")
    weight_file = resolve_weights(weights_option, [resolved.backbone]).file(resolved.backbone)
    run = Run(resolved, dataset, device, weight_file)
    averages = {
        name: ModelEmaV3(
            run.model, decay, use_warmup=True, warmup_power=power, update_after_step=round(begin * run.stops[-1])
        )
        for name, (decay, power, begin) in AVERAGES.items()
    }
    found: dict[str, list[np.ndarray]] = {"plain": [], **{name: [] for name in AVERAGES}}
    for stop in run.stops:
        run.model.train()
        while run.steps_done < stop:
            run.step(run.steps_done)
            run.steps_done += 1
            for average in averages.values():
                average.update(run.model, run.steps_done)
        found["plain"].append(predict(run, run.model, resolved))
        for name, average in averages.items():
            if name == FOLLOWED or stop == run.stops[-1]:
                found[name].append(predict(run, average.module, resolved))
    arrays = {name: np.stack(each) if len(each) > 1 else each[0] for name, each in found.items()}
    part = path.with_name(f"part-{path.name}")  # not taken for a training if it stays
    np.savez(part, label_N=run.valid_label_N, judge_round=config.judge_round, **arrays)
    part.rename(path)


def cost(config: TrainConfig, data: Path, cache_dir: Path) -> Iterator[str]:
    """CPU time of a step without average, of our update after it and of timm's; medians of COST_ROUNDS."""
    device = pick_device("cpu")
    resolved = resolve(config, device)
    torch.set_num_threads(resolved.threads)
    run = Run(resolved, load_dataset(read_table(data, resolved), resolved, cache_dir), device, None)
    run.model.train()
    ours, timms = WeightAverage(run.model, 0.99), ModelEmaV3(run.model, 0.99, use_warmup=True)
    parts: dict[str, Callable[[int], object]] = {
        "a step without average": run.step,
        "ema_decay's update": ours.update,
        "ModelEmaV3's update": lambda step: timms.update(run.model, step + 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for step in range(min(COST_ROUNDS, run.stops[-1])):
        for name, part in parts.items():
            began = time.process_time()
            part(step)
            seconds[name].append(time.process_time() - began)
    without = statistics.median(seconds["a step without average"])
    yield f"{run.sampler.batch_size / without:.0f} photos/s without average"
    for name, each in seconds.items():
        median = statistics.median(each)
        yield f"{name}: {1000 * median:.2f} ms of CPU time, {median / without:.2%} of a step"


def predict(run: Run, model: torch.nn.Module, config: ResolvedConfig) -> np.ndarray:
    """log_prob_NK of the judges."""
    batch_size = validation_batch_size(config, run.device, len(run.valid))
    return log_probs(model, (image for image, _ in run.valid.in_order(batch_size)), config)


def read(path: Path) -> Training:
    """A stored training."""
    with np.load(path) as stored:
        names = ("plain", *AVERAGES)
        seed = int(path.stem.rpartition("-")[2])
        return Training(int(stored["judge_round"]), seed, stored["label_N"], {name: stored[name] for name in names})


def table(trainings: list[Training]) -> Iterator[str]:
    """The table, as Markdown; without one where a round has too few trainings to be resampled."""
    ways = list(trainings[0].values)
    value_NW = np.array([[training.values[way] for way in ways] for training in trainings])
    round_N = np.array([training.judge_round for training in trainings])
    fewest = min(np.unique(round_N, return_counts=True)[1])
    if fewest < FEWEST:
        yield f"A round has {fewest} trainings; the table needs {FEWEST} in each."
        return
    reference = ways.index("plain: last evaluation")
    variance_W = pooled_variance(value_NW, round_N)
    rows = list(resampled(round_N))
    drawn_SW = np.array([pooled_variance(value_NW[row_N], round_N[row_N]) for row_N in rows])
    ratio_SW = drawn_SW / drawn_SW[:, [reference]]
    less_SW = np.array([value_NW[row_N].mean(0) - value_NW[row_N, reference].mean() for row_N in rows])
    tails = (50 * (1 - LEVEL), 50 * (1 + LEVEL))
    low_W, high_W = np.percentile(ratio_SW, tails, axis=0)
    lower_W, higher_W = np.percentile(less_SW, tails, axis=0)
    yield f"{len(trainings)} trainings in {len(set(round_N))} rounds"
    yield ""
    yield "| score | mean macro F1 | less the last | sd from seed to seed | variance / the last's |"
    yield "|---|---|---|---|---|"
    for index, way in enumerate(ways):
        if index == reference:
            yield f"| {way} | {value_NW[:, index].mean():.4f} | | {variance_W[index] ** 0.5:.4f} | |"
            continue
        less = value_NW[:, index].mean() - value_NW[:, reference].mean()
        yield (
            f"| {way} | {value_NW[:, index].mean():.4f} | {less:+.4f} ({lower_W[index]:+.4f} to {higher_W[index]:+.4f})"
            f" | {variance_W[index] ** 0.5:.4f} | {variance_W[index] / variance_W[reference]:.2f}"
            f" ({low_W[index]:.2f} to {high_W[index]:.2f}) |"
        )


def pooled_variance(value_NW: np.ndarray, round_N: np.ndarray) -> np.ndarray:
    """Variance of each way over seeds, within rounds."""
    left_NW = np.concatenate([value_NW[round_N == one] - value_NW[round_N == one].mean(0) for one in set(round_N)])
    return np.asarray((left_NW**2).sum(0) / (len(value_NW) - len(set(round_N))))


def resampled(round_N: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of as many trainings of each round, drawn with replacement."""
    rng = np.random.default_rng(0)
    of_rounds = [np.flatnonzero(round_N == one) for one in sorted(set(round_N))]
    for _ in range(RESAMPLES):
        yield np.concatenate([rng.choice(row_N, len(row_N)) for row_N in of_rounds])


if __name__ == "__main__":
    main()
