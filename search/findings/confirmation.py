"""The outcome of a confirmation, of a study or of a team, in words."""

from collections.abc import Iterable

import optuna

from maskcls.scoring.intervals import Estimate
from maskcls.scoring.rounds import NO_VERDICT
from maskcls.system.errors import count_of, some
from maskcls.tasks.task import Unit
from search.answer.answer import Confirmation, Finalist
from search.answer.format import NOT_DISTINCT, capital, difference_words, power_words
from search.findings.sides import called, one_side, too_few_judged
from search.policy.confirmation import TEAM, Plan
from search.storage.looks import read_looks
from search.study.record import Stored


def confirmed_sentences(confirmation: Confirmation, unit: Unit) -> tuple[str, ...]:
    """The outcome of a confirmation in two sentences; ``unit``: what judged."""
    pair = confirmed_pair(confirmation)
    if pair is None:
        return unconfirmed(confirmation), "More repeats will not change that."
    ours, theirs, difference = pair
    others = (
        (finalist.name, finalist.level_difference.verdict)
        for finalist in confirmation.finalists
        if finalist.level_difference is not None and finalist is not ours
    )
    first = (
        f"{capital(difference.verdict)}: over {confirmation.repeats} fresh trainings each, {ours.name} scores"
        f" {_mean(ours):.3f} and {called(theirs.name)} {_mean(theirs):.3f}, a difference of"
        f" {difference_words(difference)}{_also(others)}."
    )
    settings = ", and the choice of settings" if theirs.level else ""
    judges = f"{confirmation.judges} {unit.noun(confirmation.judges)}"
    second = (
        f"The interval covers {unit.many}, training seeds{settings}: {judges} judged, none of {unit.whom} had"
        f" chosen a finalist; {power_words(difference.minimum_detectable_effect)}."
    )
    return first, second


def unconfirmed(confirmation: Confirmation) -> str:
    """Why a confirmation has no verdict, where ``confirmed_pair`` finds none."""
    diverged = [called(finalist.name) for finalist in confirmation.finalists if finalist.diverged]
    if diverged:
        return f"No verdict: trainings of {some(diverged)} diverged, so the confirmation has nothing to compare."
    return "No verdict: all finalists of the confirmation are of one level, so there are no two levels to compare."


def confirmed_pair(confirmation: Confirmation) -> tuple[Finalist, Finalist, Estimate] | None:
    """(ours, theirs, ours less theirs), which answers the question: the best other level and the reference level.

    Without levels, the best finalist and the baseline. None when a side is missing or diverged: a tuned level is never
    compared with the untuned baseline instead.
    """
    finalists = confirmation.finalists
    reference = next((finalist for finalist in finalists if finalist.level == "reference"), None)
    others = [finalist for finalist in finalists if finalist.level_difference is not None]
    if reference is not None and others:
        best = max(others, key=_mean)
        assert best.level_difference is not None
        return best, reference, best.level_difference
    others = [finalist for finalist in finalists if finalist.against is not None]
    if any(finalist.level for finalist in finalists) or not others:
        return None
    best = max(others, key=_mean)
    assert best.against is not None
    return best, finalists[0], best.against


def _mean(finalist: Finalist) -> float:
    return sum(finalist.scores) / len(finalist.scores)


def _also(verdicts: Iterable[tuple[str, str]]) -> str:
    """``; drop_rate = 0.7 is worse`` for every (name, verdict) that differs from the reference."""
    return "".join(f"; {name} is {verdict}" for name, verdict in verdicts if verdict != NOT_DISTINCT)


def team_sentence(study: optuna.Study, stored: Stored) -> str | None:
    """The verdict on a team, from the database alone, in the confirmation that trains it; None before the first look.

    ``Better: over 5 repeats, the team scores 0.031 above trial 7 (95 % interval +0.010 to +0.052).``
    """
    looks = read_looks(study)
    if not looks:
        return None
    team, single = looks[-1].levels[TEAM], Plan.of_document(stored).finalists[0].name
    if team.verdict == NO_VERDICT:
        return f"{capital(team.verdict)}: {too_few_judged(stored.task.unit, 'a repeat')}"
    repeats = count_of(looks[-1].trainings // 2, "repeat")  # each has a training of the team and one of the single
    return f"{capital(team.verdict)}: over {repeats}, {one_side('the team', team, single)}."
