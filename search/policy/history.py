"""Trials that ran one setting again with another training seed: what they say of noise, and which setting leads."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.study.attributes import EVALUATIONS, EVALUATIONS_PLANNED, SECONDS, seed_of

Setting = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Noise:
    """How far apart the values of one setting lie from training seed to training seed."""

    deviation: float
    """Standard deviation, pooled over all settings that ran more than once."""
    freedom: int
    """Runs beyond the first of each setting: how many the deviation rests on."""

    def describe(self) -> str:
        """For people."""
        runs = "1 repeated run" if self.freedom == 1 else f"{self.freedom} repeated runs"
        return f"{self.deviation:.4f} from training seed to training seed (standard deviation, {runs})"


def setting(params: Mapping[str, Any]) -> Setting:
    """The parameters as something to compare and to count by."""
    return tuple(sorted(params.items()))


def runs_by_setting(trials: Iterable[FrozenTrial]) -> dict[Setting, list[FrozenTrial]]:
    """The complete trials of every setting, in the order of their numbers; one of each training seed.

    A setting that runs again with the same seed gives the same value, which says nothing of noise.
    """
    found: dict[Setting, dict[Any, FrozenTrial]] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            found.setdefault(setting(trial.params), {}).setdefault(seed_of(trial), trial)
    return {params: list(runs.values()) for params, runs in found.items()}


def seed_noise(trials: Iterable[FrozenTrial]) -> Noise | None:
    """What the study knows of its own noise; None while no setting ran twice to its end."""
    squares, freedom = 0.0, 0
    for runs in runs_by_setting(trials).values():
        values = values_of_runs(runs)
        centre = fmean(values)
        squares += sum((value - centre) ** 2 for value in values)
        freedom += len(values) - 1
    return Noise(math.sqrt(squares / freedom), freedom) if freedom else None


def values_of_runs(runs: Sequence[FrozenTrial]) -> list[float]:
    """Values of complete trials."""
    return [run.value for run in runs if run.value is not None]


def incumbent(trials: Iterable[FrozenTrial], apart: Setting | None = None) -> list[FrozenTrial]:
    """The runs of the setting with the best mean, the earliest of equals; ``apart`` from one. Empty without any."""
    candidates = [runs for found, runs in runs_by_setting(trials).items() if found != apart]
    return max(candidates, key=lambda runs: (fmean(values_of_runs(runs)), -runs[0].number), default=[])


@dataclass(frozen=True)
class Savings:
    """Over some finished trials."""

    pruned: int
    finished: int
    evaluations: int
    """That were not made."""
    share: float
    """Of the evaluations planned."""
    seconds: float
    """That they would have taken, at the speed of each trial."""


def savings(trials: Iterable[FrozenTrial]) -> Savings:
    """Of finished trials; one that diverged has no record and saves nothing."""
    trials = list(trials)
    counted = [trial.user_attrs for trial in trials if EVALUATIONS_PLANNED in trial.user_attrs]
    planned = sum(facts[EVALUATIONS_PLANNED] for facts in counted)
    made = sum(facts[EVALUATIONS] for facts in counted)
    return Savings(
        pruned=sum(trial.state == TrialState.PRUNED for trial in trials),
        finished=len(trials),
        evaluations=planned - made,
        share=1 - made / planned if planned else 0.0,
        seconds=sum(facts[SECONDS] * (facts[EVALUATIONS_PLANNED] / facts[EVALUATIONS] - 1) for facts in counted),
    )


def best_trials(trials: Sequence[FrozenTrial], count: int) -> list[FrozenTrial]:
    """The complete trials with the highest values, the earliest among equals first."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))[:count]
