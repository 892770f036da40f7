"""What pruning saved: training that was planned and did not have to be done."""

from collections.abc import Iterable
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState


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
    counted = [trial.user_attrs for trial in trials if "evaluations_planned" in trial.user_attrs]
    planned = sum(facts["evaluations_planned"] for facts in counted)
    made = sum(facts["evaluations"] for facts in counted)
    return Savings(
        pruned=sum(trial.state == TrialState.PRUNED for trial in trials),
        finished=len(trials),
        evaluations=planned - made,
        share=1 - made / planned if planned else 0.0,
        seconds=sum(facts["seconds"] * (facts["evaluations_planned"] / facts["evaluations"] - 1) for facts in counted),
    )
