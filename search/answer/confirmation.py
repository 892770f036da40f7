"""The outcome of a confirmation: the finalists' scores over the repeats, and their differences with intervals.

It is computed from stored predictions and kept with the study that it confirms.

Shape suffixes: C finalists, R repeats, P people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.scoring.counts import Counts, align
from maskcls.scoring.intervals import Estimate, compare_repeats
from maskcls.scoring.resampling import resample
from maskcls.system.errors import UserError
from search.answer.answer import Confirmation, Finalist
from search.policy.confirmation import Plan, PlannedFinalist, training_of
from search.storage.folder import study_folder
from search.storage.predictions import StudyPredictions, predictions_of
from search.study.record import Stored
from search.study.space import values_of

KEY = "confirmation"
"""The attribute of the confirmed study that holds the outcome."""

ESTIMATE = ("value", "low", "high", "error", "freedom", "critical")
"""Stored names of an Estimate's fields, in their order."""

MIN_REPEATS = 2
"""One repeat says nothing about the spread between repeats."""


def read_confirmation(study: optuna.Study) -> Confirmation | None:
    """The outcome stored with a study; None while there is none."""
    values = study.user_attrs.get(KEY)
    if values is None:
        return None
    finalists = tuple(
        Finalist(
            name=finalist["name"],
            values=finalist["values"],
            trials=tuple(finalist["trials"]),
            scores=tuple(finalist["scores"]),
            against=_estimate(finalist["against"]),
            level=finalist["level"],
            against_reference=_estimate(finalist["against_reference"]),
            diverged=tuple(finalist["diverged"]),
        )
        for finalist in values["finalists"]
    )
    return Confirmation(**{**values, "finalists": finalists})


def _estimate(values: Mapping[str, float] | None) -> Estimate | None:
    return None if values is None else Estimate(*(values[name] for name in ESTIMATE))


def store_confirmation(study: optuna.Study, outcome: Confirmation | None) -> None:
    """Store the outcome with the study that it confirms; None removes it."""
    study.set_user_attr(KEY, None if outcome is None else _to_json(outcome))


def _to_json(outcome: Confirmation) -> dict[str, Any]:
    finalists = [
        {
            **asdict(finalist),
            "against": _estimate_to_json(finalist.against),
            "against_reference": _estimate_to_json(finalist.against_reference),
        }
        for finalist in outcome.finalists
    ]
    return {**asdict(outcome), "finalists": finalists}


def _estimate_to_json(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else dict(zip(ESTIMATE, astuple(estimate), strict=True))


def outcome_of(study: optuna.Study, stored: Stored, runs: Path) -> Confirmation | None:
    """The outcome of a confirmation so far, from its trials' files; None before two repeats are complete.

    A repeat is complete when every finalist has finished it. A finalist that diverged in any repeat is no longer
    judged, since its other repeats are the lucky ones. Raises UserError when a trial's predictions are not in ``runs``.
    """
    plan = Plan.of_document(stored)
    finalists = _trained_finalists(plan, study.get_trials(deepcopy=False))
    judged = [finalist for finalist in finalists if not finalist.diverged]
    repeats = _complete_repeats(judged)
    if len(repeats) < MIN_REPEATS:
        return None
    shelf = predictions_of(study, stored, study_folder(study, runs))
    shelf.with_predictions(trial for each in judged for trial in each.trial_by_repeat.values())  # read together
    runs_of = {
        finalist: [_counts(shelf, finalist.trial_by_repeat[repeat]) for repeat in repeats] for finalist in judged
    }
    judges = Judges(runs_of)
    reference = next((finalist for finalist in judged if finalist.planned.level == "reference"), None)
    others = [finalist for finalist in judged if finalist.planned.level == "other"]
    from_baseline = judges.differences(judged, finalists[0])
    from_reference = judges.differences(others, reference)
    return Confirmation(
        study=study.study_name,
        finalists=tuple(
            Finalist(
                name=finalist.planned.name,
                values=_plain(values_of(stored.study.space, finalist.planned.params)),
                trials=finalist.planned.trials,
                scores=finalist.scores(repeats),
                against=from_baseline.get(finalist),
                level=finalist.planned.level,
                against_reference=from_reference.get(finalist),
                diverged=finalist.diverged,
            )
            for finalist in finalists
        ),
        repeats=len(repeats),
        planned=plan.repeats,
        judges=judges.num_people,
        winner=finalists.index(max(judged, key=lambda finalist: fmean(finalist.scores(repeats)))),
    )


@dataclass(frozen=True, eq=False)
class TrainedFinalist:
    """A finalist of the plan with its trainings so far; hashed by identity."""

    planned: PlannedFinalist
    trial_by_repeat: Mapping[int, FrozenTrial]
    """Repeat -> its complete training."""
    diverged: tuple[int, ...]
    """Repeats in which its training diverged, in order."""

    def scores(self, repeats: Sequence[int]) -> tuple[float, ...]:
        """The score in each of ``repeats`` that it has finished."""
        trials = [self.trial_by_repeat[repeat] for repeat in repeats if repeat in self.trial_by_repeat]
        return tuple(trial.value for trial in trials if trial.value is not None)


def _trained_finalists(plan: Plan, trials: Sequence[FrozenTrial]) -> list[TrainedFinalist]:
    """The finalists in the plan's order, the baseline first."""
    placed = [(*place, trial) for trial in trials if (place := training_of(trial)) is not None]
    finalists = []
    for number, planned in enumerate(plan.finalists):
        own = [(repeat, trial) for repeat, finalist, trial in placed if finalist == number]
        complete = {repeat: trial for repeat, trial in own if trial.state == TrialState.COMPLETE}
        # nothing but divergence ends a trial of a confirmation early
        diverged = sorted(repeat for repeat, trial in own if trial.state == TrialState.PRUNED)
        finalists.append(TrainedFinalist(planned, complete, tuple(diverged)))
    return finalists


def _complete_repeats(finalists: Sequence[TrainedFinalist]) -> list[int]:
    """The repeats that every finalist has finished; empty without finalists."""
    return sorted(set.intersection(*(set(finalist.trial_by_repeat) for finalist in finalists))) if finalists else []


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with lists for tuples, as they come back from the database."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _counts(shelf: StudyPredictions, trial: FrozenTrial) -> Counts:
    if shelf.predictions(trial) is None:
        raise UserError(f"{shelf.why_missing(trial)}. Give the --runs folder that the confirmation's workers wrote to.")
    return shelf.counts(trial)


class Judges:
    """All people who judged in any repeat, and every finalist's counts over them."""

    def __init__(self, counts: Mapping[TrainedFinalist, Sequence[Counts]]) -> None:
        """``counts``: for each finalist, the counts of its runs in the repeats' order."""
        repeats = len(next(iter(counts.values())))
        # finalist by finalist, so that the first run that a person judged is of that person's first repeat
        aligned, first_P = align([run for counts_R in counts.values() for run in counts_R])
        self.finalists = list(counts)
        self.runs_CR = [aligned[start : start + repeats] for start in range(0, len(aligned), repeats)]
        self.num_people = len(first_P)
        self.resamples = resample(aligned[0], group_P=first_P)

    def differences(
        self, finalists: Sequence[TrainedFinalist], reference: TrainedFinalist | None
    ) -> dict[TrainedFinalist, Estimate]:
        """The difference of every other finalist from the reference; empty when the reference was not judged."""
        if reference not in self.finalists:
            return {}
        compared = [finalist for finalist in finalists if finalist is not reference]
        row, number = self.finalists.index, len(compared)
        return {
            finalist: compare_repeats(self.runs_CR, row(finalist), row(reference), self.resamples, comparisons=number)
            for finalist in compared
        }
