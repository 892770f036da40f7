"""What the trials so far say: the noise between training seeds, the best trial, and which configuration leads."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.study.attributes import EVALUATIONS, EVALUATIONS_PLANNED, SECONDS, seed_of

Configuration = tuple[tuple[str, Any], ...]
"""A trial's parameters by name, to compare and to count by."""

Runs = list[FrozenTrial]
"""The complete trials of one configuration, the earliest first, no two with the same training seed."""


@dataclass(frozen=True)
class Noise:
    """How far apart the values of one configuration lie from training seed to training seed."""

    deviation: float
    """Standard deviation, pooled over all configurations that ran more than once."""
    dof: int
    """Degrees of freedom that the deviation rests on: the runs beyond the first of each configuration."""

    def describe(self) -> str:
        """For people."""
        runs = "1 repeated run" if self.dof == 1 else f"{self.dof} repeated runs"
        return f"{self.deviation:.4f} from training seed to training seed (standard deviation, {runs})"


def configuration_of(params: Mapping[str, Any]) -> Configuration:
    """The configuration that these parameters are."""
    return tuple(sorted(params.items()))


def runs_by_configuration(trials: Iterable[FrozenTrial]) -> dict[Configuration, Runs]:
    """The runs of every configuration, in the order of the trials.

    One that runs again with the same seed gives the same value, which says nothing of noise.
    """
    found: dict[Configuration, dict[Any, FrozenTrial]] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            found.setdefault(configuration_of(trial.params), {}).setdefault(seed_of(trial), trial)
    return {configuration: list(runs.values()) for configuration, runs in found.items()}


def seed_noise(trials: Iterable[FrozenTrial]) -> Noise | None:
    """What the study knows of its own noise; None while no configuration ran twice to its end."""
    squares, dof = 0.0, 0
    for runs in runs_by_configuration(trials).values():
        values = values_of_runs(runs)
        centre = fmean(values)
        squares += sum((value - centre) ** 2 for value in values)
        dof += len(values) - 1
    return Noise(math.sqrt(squares / dof), dof) if dof else None


def values_of_runs(runs: Sequence[FrozenTrial]) -> list[float]:
    """Values of complete trials."""
    return [run.value for run in runs if run.value is not None]


def ranked_configurations(trials: Iterable[FrozenTrial]) -> dict[Configuration, Runs]:
    """The runs of every configuration, the highest mean first, the earliest first among equals."""
    runs = runs_by_configuration(trials)
    order = sorted(runs, key=lambda configuration: _rank(runs[configuration]))
    return {configuration: runs[configuration] for configuration in order}


def _rank(runs: Runs) -> tuple[float, int]:
    return -fmean(values_of_runs(runs)), runs[0].number


def incumbent(trials: Iterable[FrozenTrial], other_than: Configuration | None = None) -> Runs:
    """The runs of the leading configuration, or of the best ``other_than`` one. Empty while none is complete."""
    ranked = ranked_configurations(trials)
    return next((runs for configuration, runs in ranked.items() if configuration != other_than), [])


@dataclass(frozen=True)
class Savings:
    """Over some finished trials."""

    pruned: int
    finished: int
    evaluations: int
    """That were not made."""
    share: float
    """Of the planned evaluations."""
    seconds: float
    """That they would have taken, at the speed of each trial."""


def savings(trials: Iterable[FrozenTrial]) -> Savings:
    """Of finished trials; one that diverged has no record and saves nothing."""
    trials = list(trials)
    counted = [trial.user_attrs for trial in trials if EVALUATIONS_PLANNED in trial.user_attrs]
    planned_evaluations = sum(facts[EVALUATIONS_PLANNED] for facts in counted)
    made = sum(facts[EVALUATIONS] for facts in counted)
    return Savings(
        pruned=sum(trial.state == TrialState.PRUNED for trial in trials),
        finished=len(trials),
        evaluations=planned_evaluations - made,
        share=1 - made / planned_evaluations if planned_evaluations else 0.0,
        seconds=sum(facts[SECONDS] * (facts[EVALUATIONS_PLANNED] / facts[EVALUATIONS] - 1) for facts in counted),
    )


def best_first(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The complete trials, the highest value first, the earliest first among equals."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def best_trial(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial with the highest value, the earliest among equals; None while none is complete."""
    return next(iter(best_first(trials)), None)
