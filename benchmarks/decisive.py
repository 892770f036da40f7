"""Are whole studies decisive, and are their answers right? Simulated studies in a world of known truth.

    python benchmarks/decisive.py                    every row, 200 studies each; resumes an interrupted run
    python benchmarks/decisive.py --quick            a look: the first rows, 20 studies each, within half an hour
    python benchmarks/decisive.py --first 7000       fresh studies: seeds from 7000; what is chosen by them is not fresh
    python benchmarks/decisive.py --sampler study    with the study's own sampler, many seconds a study

The policy, the pruning, the rounds and the looks are the product's; trainings, people and truth are drawn
(decisive_world.py). Each row is one kind of study. ``found``: planted differences that have the right verdict at the
end. ``false``: studies with any verdict that is wrong, at whatever time somebody looked: a difference where the best
recipes of the levels are equally good, the wrong one, or "no difference that matters" where there is one that does.
``cover``: intervals of the last look that hold the difference of the levels' best recipes. ``elsewhere``: studies that
name a level whose own best setting is not that of the rounds. In the rows "at own best" the verdicts are those of six
more rounds with each level at its own best setting (search.confirm --own-best).
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna
from decisive_world import AUGMENTATIONS, EVALUATIONS, LR, Lab, Trained, World
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import norm

from maskcls.scoring.judges import Judges, Training
from maskcls.scoring.rounds import BETTER, NO_DIFFERENCE, OPEN, WORSE, Look
from search.policy.own_best import levels_elsewhere
from search.policy.policy import Policy
from search.policy.rounds import size_of_round
from search.policy.stopping import StoppingCriteria
from search.storage.looks import is_look_due, next_look
from search.study.attributes import JUDGE_ROUND, LEVEL, OWN_BEST, ROUND
from search.study.space import factors
from search.study.study import Choice, Float, Study, Subset

MATTERS = 0.05
RESAMPLES = 400
NOW = datetime(2026, 11, 27)

LEVELS = (0.0, 0.2, 0.4, 0.7)
WARM = [{"params": {"lr": lr}, "from": "known to work"} for lr in (3e-4, 1e-4, 2e-3)]
"""As a stored study of dropout has them."""


@dataclass(frozen=True)
class Row:
    """One kind of study."""

    name: str
    gap: float
    """Levels are in turn as good as the reference, better and worse by this much."""
    n_trials: int
    """--n-trials; what that costs is in the table."""
    levels: int = 4
    world: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 1
    own_rounds: int = 0
    """Rounds with each level at its own best setting, added at the end (search.confirm --own-best)."""
    quick: bool = False

    @property
    def gaps(self) -> tuple[float, ...]:
        """Of the levels, the reference first."""
        return (0.0, self.gap, 0.0, -self.gap)[: self.levels]


SHORT, LONG = 31, 69
"""Trials that cost about 22 and 45 full trainings: what a study of 50 trials cost before there were rounds, and what it
cost with a confirmation."""

OWN_ROUNDS = 6

STRONG = {"shift": 0.15, "interact": 1.0}
"""A level gains .03 by its own best setting (median of the most of four levels), and .05 in one study of six."""

STRONGER = {"shift": 0.3, "interact": 1.0}
"""The levels' best learning rates differ by a fifth of the range, as they are cut at its end."""

NO_INTERACTION = {"shift": 0.0, "interact": 0.0}

ROWS = (
    Row("none", 0.0, LONG, quick=True),
    Row("none", 0.0, SHORT, quick=True),
    Row("+-.03", 0.03, LONG),
    Row("+-.05", 0.05, LONG, quick=True),
    Row("+-.05", 0.05, SHORT),
    Row("+-.1", 0.1, LONG),
    Row("+-.1", 0.1, SHORT, quick=True),
    Row("none, 4 workers", 0.0, LONG, workers=4),
    Row("none, seeds .045", 0.0, LONG, world={"seeds": 0.045}),
    Row("none, seeds .045", 0.0, SHORT, world={"seeds": 0.045}),
    Row("none, 120 people", 0.0, LONG, world={"people": 120}),
    Row("none, 120 people", 0.0, SHORT, world={"people": 120}),
    Row("none, recipe's share .4", 0.0, LONG, world={"recipe_share": 0.4}),
    Row("none, recipe's share .4", 0.0, SHORT, world={"recipe_share": 0.4}),
    Row("none, heavy tails", 0.0, LONG, world={"heavy": True}),
    Row("none, heavy tails", 0.0, SHORT, world={"heavy": True}),
    Row("none, two levels", 0.0, LONG, levels=2),
    Row("none, two levels", 0.0, SHORT, levels=2),
    Row("+.05, two levels", 0.05, LONG, levels=2),
    Row("+.25, quickstart", 0.25, 8, levels=2, world={"people": 24, "seeds": 0.035}),
    Row("none, quickstart", 0.0, 8, levels=2, world={"people": 24, "seeds": 0.035}),
    Row("none, strong interactions", 0.0, LONG, world=STRONG),
    Row("none, stronger interactions", 0.0, LONG, world=STRONGER),
    Row("none, no interactions", 0.0, LONG, world=NO_INTERACTION),
    Row("none, at own best", 0.0, LONG, own_rounds=OWN_ROUNDS),
    Row("+-.05, at own best", 0.05, LONG, own_rounds=OWN_ROUNDS),
    Row("none, strong interactions, at own best", 0.0, LONG, world=STRONG, own_rounds=OWN_ROUNDS),
    Row("none, stronger interactions, at own best", 0.0, LONG, world=STRONGER, own_rounds=OWN_ROUNDS),
)


def study_of(levels: int) -> Study:
    """studies/dropout.py with so many levels."""
    return Study(
        question="Does dropout before the head raise macro F1?",
        scientific={"drop_rate": Choice(*LEVELS[:levels])},
        nuisance={"lr": Float(*LR, log=True), "augment": Subset(*AUGMENTATIONS)},
        fixed={"backbone": "efficientnet_b3", "image_size": 300, "epochs": 8, "evaluations_per_epoch": 2},
        baseline={"drop_rate": 0.0, "lr": 1e-3, "augment": ()},
    )


# --- a study in a lab -------------------------------------------------------------------------------------------------


class Simulated:
    """A study, trial by trial, with the product's policy and looks; should_continue takes it for Optuna's."""

    def __init__(self, lab: Lab, n_trials: int, workers: int = 1) -> None:
        self.lab, self.workers = lab, workers
        self.study = study_of(len(lab.world.gaps))
        (self.factor,) = factors(self.study.scientific)
        self.policy = Policy(self.study, lab.seed, WARM)
        self.limits = StoppingCriteria(n_trials)
        self.trials: list[FrozenTrial] = []
        self.trained: dict[int, Trained] = {}
        self.judged: dict[bool, dict[int, Training]] = {False: {}, True: {}}
        self.looks_of: dict[bool, list[Look]] = {False: [], True: []}
        """At the rounds at the common setting (False), and at those with each level at its own best."""
        self.judges = {False: Judges(RESAMPLES), True: Judges(RESAMPLES)}

    @property
    def looks(self) -> list[Look]:
        """At the rounds at the common setting."""
        return self.looks_of[False]

    def get_trials(self, deepcopy: bool = False) -> list[FrozenTrial]:
        """As optuna.Study has it."""
        return self.trials

    def run(self) -> None:
        """Until the limit; the workers take their evaluations in turn."""
        running: list[int] = []
        while True:
            places = self.limits.n_trials - len(self.trials)
            if self.policy.is_decided(self.trials, self._closed()):
                places = 0
            while len(running) < self.workers and places > 0:
                running.append(self._begin())
                places -= 1
            if not running:
                return
            for number in list(running):
                if self._evaluate(number):
                    running.remove(number)

    def compare_at_own_best(self, rounds: int) -> None:
        """Add so many rounds with each level at its own best setting."""
        trainings = rounds * size_of_round(len(self.policy.arms) - 1)
        self.limits = StoppingCriteria(len(self.trials) + trainings, own_best=True)
        self.run()

    def _closed(self) -> frozenset[str]:
        return frozenset(name for look in self.looks_of[self.limits.own_best] for name in look.decided)

    def _begin(self) -> int:
        proposal = self.policy.propose(self.trials, self.limits, self._closed())
        number, params = len(self.trials), dict(proposal.params)
        augment = tuple(name for name in AUGMENTATIONS if params[f"augment.{name}"])
        judges = proposal.attributes.get(JUDGE_ROUND, 0)
        self.trained[number] = self.lab.train(self.factor.level(params), params["lr"], augment, judges)
        # not by create_trial, whose checks take longer than all else here
        facts = (params, self.policy.distributions, dict(proposal.attributes), {}, {}, number)
        self.trials.append(FrozenTrial(number, TrialState.RUNNING, None, NOW, None, *facts))
        return number

    def _evaluate(self, number: int) -> bool:
        """One more evaluation of a trial; returns whether it has ended."""
        trial, trained = self.trials[number], self.trained[number]
        step = len(trial.intermediate_values) + 1
        trial.intermediate_values[step] = trained.curve[step]
        if step == EVALUATIONS:
            self._end(trial, TrialState.COMPLETE)
        elif not self.policy.should_continue(self, trial, EVALUATIONS):  # type: ignore[arg-type]
            self._end(trial, TrialState.PRUNED)
        return trial.state != TrialState.RUNNING

    def _end(self, trial: FrozenTrial, state: TrialState) -> None:
        trial.values, trial.state, trial.datetime_complete = [max(trial.intermediate_values.values())], state, NOW
        trained = self.trained.pop(trial.number)
        if ROUND not in trial.user_attrs:
            return
        level, number, own = trial.user_attrs[LEVEL], trial.user_attrs[ROUND], OWN_BEST in trial.user_attrs
        self.judged[own][trial.number] = Training(level, number, trained.counts)
        looks = self.looks_of[own]
        if is_look_due(self.policy, self.trials, looks, own):
            complete = set(self.policy.rounds(self.trials).complete(own))
            trainings = [training for _, training in sorted(self.judged[own].items()) if training.round in complete]
            facts = (self.policy, self.trials, trainings, self.limits, looks, MATTERS, self.judges[own], own)
            looks.append(next_look(*facts))

    @property
    def spent(self) -> float:
        """In full trainings."""
        return sum(len(trial.intermediate_values) for trial in self.trials) / EVALUATIONS

    def spent_for_answer(self) -> float:
        """What was spent when the last level was decided, in full trainings; all of it if any is open."""
        if not self.looks or any(level.verdict == OPEN for level in self.looks[-1].levels.values()):
            return self.spent
        last = max(level.round for level in self.looks[-1].levels.values())
        before = [trial for trial in self.trials if trial.user_attrs.get(ROUND, 0) <= last]
        return sum(len(trial.intermediate_values) for trial in before) / EVALUATIONS


def fast_sampler(
    sampler: Any,
    tuned: Mapping[str, BaseDistribution],
    trials: Sequence[FrozenTrial],
    offsets: Sequence[float],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """In the place of samplers.ask_sampler: the best expected improvement among 100 points, by a Gaussian process."""
    ended = [(trial, offset) for trial, offset in zip(trials, offsets, strict=True) if trial.value is not None]
    point_ND = np.array([_point(trial.params) for trial, _ in ended])
    value_N = np.array([(trial.value or 0.0) - offset for trial, offset in ended])
    scaled_N = np.maximum((value_N - value_N.mean()) / (value_N.std() + 1e-6), -2.0)

    def kernel(one_CD: np.ndarray, other_ND: np.ndarray) -> np.ndarray:
        gap_CND = (one_CD[:, None] - other_ND[None]) / np.array([0.3] + [2.0] * len(AUGMENTATIONS))
        return np.asarray(np.exp(-0.5 * (gap_CND**2).sum(-1)))

    factor = cho_factor(kernel(point_ND, point_ND) + 0.1 * np.eye(len(point_ND)))
    switches = rng.integers(2, size=(100, len(AUGMENTATIONS)))
    candidate_CD = np.concatenate([rng.random((100, 1)), switches], axis=1)
    cross_CN = kernel(candidate_CD, point_ND)
    mean_C = cross_CN @ cho_solve(factor, scaled_N)
    variance_C = 1 - np.einsum("ij,ji->i", cross_CN, cho_solve(factor, cross_CN.T))
    deviation_C = np.sqrt(np.maximum(1e-6, variance_C))
    best = (kernel(point_ND, point_ND) @ cho_solve(factor, scaled_N)).max()
    gain_C = (mean_C - best) / deviation_C
    chosen = candidate_CD[np.argmax(deviation_C * (gain_C * norm.cdf(gain_C) + norm.pdf(gain_C)))]
    lr = float(np.clip(LR[0] * (LR[1] / LR[0]) ** chosen[0], *LR))
    return {"lr": lr, **{f"augment.{name}": bool(on) for name, on in zip(AUGMENTATIONS, chosen[1:], strict=True)}}


def _point(params: Mapping[str, Any]) -> list[float]:
    place = np.log(params["lr"] / LR[0]) / np.log(LR[1] / LR[0])
    return [float(place), *(float(params[f"augment.{name}"]) for name in AUGMENTATIONS)]


# --- rates ------------------------------------------------------------------------------------------------------------


def is_false(verdict: str, gap: float) -> bool:
    """Whether a verdict is wrong where a level's best recipe is better by ``gap`` than the reference's."""
    return {BETTER: gap <= 0, WORSE: gap >= 0, NO_DIFFERENCE: abs(gap) > MATTERS + 1e-9, OPEN: False}[verdict]


def simulate(row: Row, seed: int, own_sampler: bool) -> dict[str, Any]:
    """One study: what it said of every level, and what it cost."""
    study = Simulated(Lab(World(row.gaps, **row.world), seed), row.n_trials, row.workers)
    with nullcontext() if own_sampler else patch("search.policy.policy.ask_sampler", fast_sampler):
        study.run()
        elsewhere = levels_elsewhere(study.study, study.trials)
        if row.own_rounds:
            study.compare_at_own_best(row.own_rounds)
    names = [arm.name for arm in study.policy.arms[1:]]
    said, false, all_looks = [], False, study.looks_of[row.own_rounds > 0]
    for name, gap in zip(names, row.gaps[1:], strict=True):
        looks = [look.levels[name] for look in all_looks if name in look.levels]
        false |= any(is_false(look.verdict, gap) for look in looks)
        if looks:
            last = looks[-1]
            said.append({"gap": gap, "value": last.value, "low": last.low, "high": last.high,
                         "error": last.error, "verdict": last.verdict})  # fmt: skip
    return {"seed": seed, "false": false, "spent": study.spent, "answered": study.spent_for_answer(),
            "trials": len(study.trials), "looks": len(all_looks), "said": said,
            "elsewhere": [each.level for each in elsewhere]}  # fmt: skip


def summary(row: Row, studies: Sequence[Mapping[str, Any]]) -> str:
    """A line of the table."""
    said = [each for study in studies for each in study["said"]]
    right = [each["verdict"] == (BETTER if each["gap"] > 0 else WORSE) for each in said if each["gap"]]
    same = [each["verdict"] == NO_DIFFERENCE for each in said if not each["gap"]]
    false = [study["false"] for study in studies]
    cover = [each["low"] <= each["gap"] <= each["high"] for each in said]
    width = [each["high"] - each["low"] for each in said]
    error = np.sqrt(np.mean([(each["value"] - each["gap"]) ** 2 for each in said])) if said else np.nan
    claimed = np.mean([each["error"] for each in said]) if said else np.nan
    cells = (
        row.name, str(row.n_trials), f"{np.mean([study['spent'] for study in studies]):.1f}", str(len(studies)),
        rate(right) if right else "", rate(same) if same else "", rate(false), rate(cover),
        f"{np.median(width):.3f}" if width else "", f"{error:.4f} / {claimed:.4f}",
        f"{np.mean([study['answered'] for study in studies]):.1f}",
        rate([bool(study["elsewhere"]) for study in studies if "elsewhere" in study]),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def rate(hits: Sequence[bool]) -> str:
    """``4.5 % ± 1.5``."""
    if not hits:
        return ""
    share = float(np.mean(hits))
    return f"{100 * share:.1f} % ± {100 * np.sqrt(share * (1 - share) / len(hits)):.1f}"


COLUMNS = (
    *("planted", "trials", "trainings", "n", "found", "no difference that matters", "false", "cover", "width"),
    *("error: real / claimed", "answered after", "elsewhere"),
)


class Studies:
    """The simulated studies so far, one JSON line each in a file."""

    def __init__(self, file: Path | None) -> None:
        self.file, self.known = file, dict[tuple[str, int, bool, int], dict[str, Any]]()
        for line in file.read_text().splitlines() if file and file.exists() else ():
            values = json.loads(line)
            self.known[values["row"], values["n_trials"], values["own_sampler"], values["seed"]] = values

    def of(self, row: Row, seeds: Sequence[int], own_sampler: bool) -> Iterator[dict[str, Any]]:
        """The row's studies of these seeds; simulated if they are not known."""
        for seed in seeds:
            key = (row.name, row.n_trials, own_sampler, seed)
            if key not in self.known:
                facts = {"row": row.name, "n_trials": row.n_trials, "own_sampler": own_sampler}
                self.known[key] = {**facts, **simulate(row, seed, own_sampler)}
                if self.file:
                    with self.file.open("a") as file:
                        file.write(json.dumps(self.known[key]) + "\n")
            yield self.known[key]


def main() -> None:
    """Print the table, each row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, help="studies a row; default: 200, or 20 with --quick")
    parser.add_argument("--first", type=int, default=10_000, help="seed of the first study")
    parser.add_argument("--quick", action="store_true", help="only the rows that matter most")
    parser.add_argument("--rows", default="", help="only the rows whose name contains this")
    parser.add_argument("--sampler", choices=("fast", "study"), default="fast", help="what proposes settings")
    parser.add_argument("-o", "--out", type=Path, help="file of the studies; a second run continues it")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    studies = Studies(options.out)
    seeds = range(options.first, options.first + (options.n or (20 if options.quick else 200)))
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for row in ROWS:
        if options.rows in row.name and (row.quick or not options.quick):
            print(summary(row, list(studies.of(row, seeds, options.sampler == "study"))), flush=True)


if __name__ == "__main__":
    main()
