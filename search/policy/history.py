"""What a study's trials tell: the noise between training seeds, the best trial, and the leading configuration."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.study.attributes import EVALUATIONS, EVALUATIONS_PLANNED, SECONDS, round_of, seed_of

Configuration = tuple[tuple[str, Any], ...]
"""A trial's parameters, sorted by name and hashable."""

Runs = list[FrozenTrial]
"""The complete trials of one configuration, the earliest first, no two with the same training seed."""


@dataclass(frozen=True)
class Noise:
    """The spread of a configuration's values over training seeds."""

    deviation: float
    """Standard deviation, pooled over all configurations that ran more than once."""
    dof: int
    """Degrees of freedom of the deviation: the runs beyond the first of each configuration."""

    def describe(self) -> str:
        """The text for users."""
        runs = "1 repeated run" if self.dof == 1 else f"{self.dof} repeated runs"
        return f"{self.deviation:.4f} from training seed to training seed (standard deviation, {runs})"


def configuration_of(params: Mapping[str, Any]) -> Configuration:
    """The configuration with these parameters."""
    return tuple(sorted(params.items()))


def runs_by_configuration(trials: Iterable[FrozenTrial]) -> dict[Configuration, Runs]:
    """The runs of every configuration, in the order of the trials.

    A second run with the same seed is left out: it has the same value, which tells nothing about noise.
    """
    runs_of: dict[Configuration, dict[int | None, FrozenTrial]] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            runs_of.setdefault(configuration_of(trial.params), {}).setdefault(seed_of(trial), trial)
    return {configuration: list(runs.values()) for configuration, runs in runs_of.items()}


def seed_noise(trials: Iterable[FrozenTrial]) -> Noise | None:
    """The noise between training seeds; None while no configuration has two complete runs.

    Without the rounds after the first, whose values differ by their judges too.
    """
    squares, dof = 0.0, 0
    for runs in runs_by_configuration(trial for trial in trials if not round_of(trial)).values():
        values = values_of_runs(runs)
        centre = fmean(values)
        squares += sum((value - centre) ** 2 for value in values)
        dof += len(values) - 1
    return Noise(math.sqrt(squares / dof), dof) if dof else None


def values_of_runs(runs: Sequence[FrozenTrial]) -> list[float]:
    """The values of complete trials."""
    return [run.value for run in runs if run.value is not None]


def ranked_configurations(trials: Iterable[FrozenTrial]) -> dict[Configuration, Runs]:
    """The runs of every configuration, the highest mean first, the earliest first among equals."""
    runs = runs_by_configuration(trials)
    order = sorted(runs, key=lambda configuration: _rank(runs[configuration]))
    return {configuration: runs[configuration] for configuration in order}


def _rank(runs: Runs) -> tuple[float, int]:
    return -fmean(values_of_runs(runs)), runs[0].number


def incumbent(trials: Iterable[FrozenTrial]) -> Runs:
    """The runs of the leading configuration. Empty while none is complete."""
    return next(iter(ranked_configurations(trials).values()), [])


@dataclass(frozen=True)
class Savings:
    """What pruning saved in some finished trials."""

    pruned: int
    finished: int
    evaluations: int
    """Evaluations that were not made."""
    share: float
    """Their share of the planned evaluations."""
    seconds: float
    """Time that they would have taken, at the speed of each trial."""


def savings(trials: Iterable[FrozenTrial]) -> Savings:
    """What pruning saved in these finished trials; one that diverged has no count of evaluations and saves nothing."""
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


def best_first(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The complete trials, the highest value first, the earliest first among equals."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def best_trial(trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial with the highest value, the earliest among equals; None while none is complete."""
    return next(iter(best_first(trials)), None)
