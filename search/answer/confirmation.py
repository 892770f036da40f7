"""What a confirmation came to: the finalists' scores over the repeats, their differences from the baseline, a verdict.

It is computed from the stored predictions, and kept with the study that it confirms.

Shape suffixes: C finalists, R repeats, P people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.scoring.counts import Counts, align, macro_f1
from maskcls.scoring.intervals import Estimate, compare_repeats
from maskcls.scoring.resampling import resample
from maskcls.system.errors import UserError
from search.answer.answer import Confirmation, Finalist
from search.policy.confirmation import Plan, place_of
from search.storage.folder import study_folder
from search.storage.predictions import Shelf
from search.study.attributes import repeat_of
from search.study.record import Stored
from search.study.space import values_of

KEY = "confirmation"
"""The attribute of the confirmed study that holds the outcome."""

LEAST_REPEATS = 2
"""One says nothing of the spread from repeat to repeat."""


def read_confirmation(study: optuna.Study) -> Confirmation | None:
    """The outcome that is stored with a study; None while there is none."""
    values = study.user_attrs.get(KEY)
    if values is None:
        return None
    finalists = tuple(
        Finalist(
            name=found["name"],
            values=found["values"],
            trials=tuple(found["trials"]),
            scores=tuple(found["scores"]),
            against=_estimate(found["against"]),
            level=found["level"],
            against_reference=_estimate(found["against_reference"]),
            diverged=tuple(found["diverged"]),
        )
        for found in values["finalists"]
    )
    return Confirmation(**{**values, "finalists": finalists})


def _estimate(values: Mapping[str, float] | None) -> Estimate | None:
    return None if values is None else Estimate(**values)


def store_confirmation(study: optuna.Study, outcome: Confirmation | None) -> None:
    """Keep the outcome with the study that it confirms; None forgets it."""
    study.set_user_attr(KEY, None if outcome is None else asdict(outcome))


def outcome_of(study: optuna.Study, stored: Stored, runs: Path) -> Confirmation | None:
    """The outcome of a confirmation so far, from its trials' files; None before two repeats are whole.

    A repeat is whole when every finalist has finished it. One that diverged in any of them is judged no further: what
    is left of it would be its lucky repeats.
    Raises UserError when a trial's predictions are not in ``runs``.
    """
    plan = Plan.of_document(stored)
    trials = study.get_trials(deepcopy=False)
    done = {place_of(trial): trial for trial in trials if trial.state == TrialState.COMPLETE}
    diverged_C = [_diverged(trials, index) for index in range(len(plan.finalists))]
    judged = [index for index, diverged in enumerate(diverged_C) if not diverged]
    last = max((repeat_of(trial) or 0 for trial in trials), default=0)
    whole = [repeat for repeat in range(1, last + 1) if judged and all((repeat, index) in done for index in judged)]
    if len(whole) < LEAST_REPEATS:
        return None
    shelf = Shelf(study_folder(study, runs), stored.config(dict(stored.study.baseline)).task)
    counts_CR = [[_counts(shelf, done[repeat, index]) for repeat in whole] for index in judged]
    judges = Judges(counts_CR)
    against = dict(zip(judged, judges.against(0) if judged[0] == 0 else [None] * len(judged), strict=True))
    levels = _against_reference(judges, judged, plan)
    finalists = tuple(
        Finalist(
            name=found.name,
            values=_plain(values_of(stored.study.space, found.params)),
            trials=found.trials,
            scores=tuple(_value(done[repeat, index]) for repeat in whole if (repeat, index) in done),
            against=against.get(index),
            level=found.level,
            against_reference=levels.get(index),
            diverged=diverged_C[index],
        )
        for index, found in enumerate(plan.finalists)
    )
    winner = max(judged, key=lambda index: fmean(finalists[index].scores))
    return Confirmation(study.study_name, finalists, len(whole), plan.repeats, judges.number, winner)


def _diverged(trials: Sequence[FrozenTrial], index: int) -> tuple[int, ...]:
    """Repeats in which a finalist diverged: nothing else ends its trials early."""
    places = [place_of(trial) for trial in trials if trial.state == TrialState.PRUNED]
    return tuple(sorted(place[0] for place in places if place is not None and place[1] == index))


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has them."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _counts(shelf: Shelf, trial: FrozenTrial) -> Counts:
    if shelf.predictions(trial) is None:
        raise UserError(f"{shelf.why_not(trial)}. Give the --runs folder that the confirmation's workers wrote into.")
    return shelf.counts(trial)


class Judges:
    """Everybody who judged, and what each of C finalists got from them in R repeats."""

    def __init__(self, counts_CR: Sequence[Sequence[Counts]]) -> None:
        repeats = len(counts_CR[0])
        # one finalist after the other: the first run in which somebody judged is then that person's first repeat
        aligned, first_P = align([counts for counts_R in counts_CR for counts in counts_R])
        self.runs_CR = [aligned[start : start + repeats] for start in range(0, len(aligned), repeats)]
        self.number = len(first_P)
        self.resamples = resample(aligned[0], group_P=first_P)

    def against(self, reference: int, only: Sequence[int] | None = None) -> list[Estimate | None]:
        """Each one's difference from one of them, None for that one itself and for those not asked for."""
        asked = [index for index in only or range(len(self.runs_CR)) if index != reference]
        return [
            compare_repeats(self.runs_CR, index, reference, self.resamples, macro_f1, len(asked))
            if index in asked
            else None
            for index in range(len(self.runs_CR))
        ]


def _against_reference(judges: Judges, judged: Sequence[int], plan: Plan) -> dict[int, Estimate | None]:
    """Every other level's difference from the reference; empty where nobody speaks for the baseline's level."""
    roles = [plan.finalists[index].level for index in judged]
    others = [place for place, role in enumerate(roles) if role == "other"]
    if "reference" not in roles or not others:
        return {}
    return dict(zip(judged, judges.against(roles.index("reference"), others), strict=True))
