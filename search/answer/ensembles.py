"""The best ensemble of stored trials, by their predictions of the validation photos; no training.

Its members are chosen by maskcls.scoring.greedy among the trials whose weights are kept. The score is corrected for the
whole choice: in each resample the trials that would have kept their weights are found anew among all, then the members.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from optuna.storages import RDBStorage

from maskcls.model.ensemble import mean_log_prob
from maskcls.scoring.counts import Counts, count
from maskcls.scoring.greedy import GreedyProcedure, Library, affordable_resamples, choose_ensemble
from maskcls.scoring.intervals import Selected, correct, interval, select
from maskcls.scoring.resampling import Resamples, resample
from maskcls.system.errors import UserError, count_of
from search.answer.candidates import Candidate, check_same_photos, each_once, find_trained
from search.answer.gains import Best, Gain, gain_of
from search.database.connect import load_study
from search.study.attributes import CONFIG, PHOTOS_PER_SECOND


@dataclass(frozen=True)
class Member:
    """A model of an ensemble."""

    model: Candidate
    weight: int
    """Only the ratios count; they have no common divisor."""


@dataclass(frozen=True)
class Ensemble:
    """The best ensemble, and what it gains over the best single model."""

    members: tuple[Member, ...]
    """The heaviest first."""
    best: Best
    """The ensemble's score; its candidates are the models that it was chosen from."""
    model: Candidate
    """The best single model, whether its weights are kept or not."""
    single: Best
    gain: Gain
    without_weights: int
    """Complete trials that could not join."""
    resamples: Resamples

    @property
    def cost(self) -> float | None:
        """How many times as long as the best single model it computes for a photo, by the speeds at which its models
        were trained; None where one is unknown."""
        times = [time for model in (self.model, *self.models) if (time := _time_of(model)) is not None]
        return sum(times[1:]) / times[0] if len(times) == 1 + len(self.models) else None

    @property
    def cost_words(self) -> str:
        """What it costs to predict by all members instead of the best single model."""
        if len(self.members) == 1:
            return "that of one model"
        models, cost = count_of(len(self.members), "model"), self.cost
        if cost is None:
            return f"{models} have to predict every photo"
        return f"{models} take {cost:.1f} times the best single one's time for a photo, by training speed"

    @property
    def models(self) -> tuple[Candidate, ...]:
        """The members without their weights."""
        return tuple(member.model for member in self.members)


def _time_of(model: Candidate) -> float | None:
    """Time for a photo, in units that all models share; None where the speed of its training does not say."""
    config, speed = model.trial.user_attrs.get(CONFIG, {}), model.trial.user_attrs.get(PHOTOS_PER_SECOND)
    if not isinstance(speed, int | float) or speed <= 0 or config.get("frozen_share", 0) > 0:
        return None  # steps of the head alone are quick
    return (2 if config.get("tta", "none") == "flip" else 1) / float(speed)


def find_ensemble(
    names: Sequence[str], size: int, storage: RDBStorage, runs: Path, needs_weights: bool = True
) -> Ensemble:
    """The best ensemble of at most ``size`` models of the trials of these stored studies.

    ``needs_weights``: whether only trials whose weights are kept may join, as is needed to predict.
    Raises UserError unless all predict the same classes of the same photos, and each study has a complete trial, with
    weights if they are needed.
    """
    studies = [load_study(storage, name) for name in dict.fromkeys(names)]
    trained = [model for study in studies for model in find_trained(study, runs, needs_weights=needs_weights)]
    return choose_members(trained, size, needs_weights)


def choose_members(
    trained: Sequence[Candidate], size: int, needs_weights: bool = True, seconds: float = 60.0
) -> Ensemble:
    """The best ensemble of at most ``size`` of these models, as find_ensemble. ``seconds``: for the correction.

    A copy of a model would take a place, and predict every photo once more, for a weight that the model may have alone.
    """
    trained = each_once(trained)
    first, *others = trained
    for other in others:
        check_joinable(first, other)
    counts = [model.counts() for model in trained]
    resamples = resample(counts[0])
    library = Library.of([model.predictions for model in trained], first.stored.space, first.stored.task.metric)
    may_join_T = np.array([model.has_weights or not needs_weights for model in trained])
    times = Counter(choose_ensemble(library, size, may_join_T))
    divisor = gcd(*times.values())
    members = [Member(trained[number], often // divisor) for number, often in times.items()]
    members.sort(key=lambda member: -member.weight)
    joined = joined_counts(members)
    raw = float(joined.score(*joined.sums()))
    procedure = GreedyProcedure(library, size, int(may_join_T.sum()))
    affordable = affordable_resamples(library, size, procedure.at_hand, seconds)
    corrected = correct(raw, procedure, counts, resamples, max_resamples=affordable)
    best = Best(joined, Selected(0, raw, corrected), interval(joined, resamples), len(trained))
    selected = select(counts, resamples)
    chosen = counts[selected.index]
    single = Best(chosen, selected, interval(chosen, resamples), len(trained))
    return Ensemble(
        members=tuple(members),
        best=best,
        model=trained[selected.index],
        single=single,
        gain=gain_of(best, single, resamples),
        without_weights=int((~may_join_T).sum()),
        resamples=resamples,
    )


def check_joinable(ours: Candidate, theirs: Candidate) -> None:
    """Raise UserError unless both predict the same classes and were judged alike on the same photos."""
    if (ours.stored.task.space, ours.part) != (theirs.stored.task.space, theirs.part):
        raise UserError(
            f"Studies {ours.study!r} and {theirs.study!r} predict different classes"
            f" ({ours.part} of {_labels(ours)}, and {theirs.part} of {_labels(theirs)}); join models of one task."
        )
    our_task, their_task = ours.stored.task, theirs.stored.task
    if our_task.metric != their_task.metric:
        raise UserError(
            f"Study {ours.study!r} is judged by {our_task.metric_words} and study {theirs.study!r} by"
            f" {their_task.metric_words}; join models that are judged alike."
        )
    check_same_photos(ours, theirs)


def _labels(model: Candidate) -> str:
    return " x ".join(f"{factor.name} ({len(factor.classes)})" for factor in model.stored.task.space.factors)


def joined_counts(members: Sequence[Member]) -> Counts:
    """The counts of the ensemble, as maskcls.predict computes it."""
    first = members[0].model
    said = first.predictions
    log_prob_NK = said.log_prob_NK
    if len(members) > 1:
        log_probs = [member.model.predictions.log_prob_NK for member in members]
        log_prob_NK = mean_log_prob(log_probs, [member.weight for member in members])
    predicted_N = log_prob_NK.argmax(1)
    return count(said.person_N, said.label_N, predicted_N, first.stored.space, metric=first.stored.task.metric)
