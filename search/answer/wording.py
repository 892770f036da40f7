"""The answer in words: a verdict for a badge, a few sentences, and what a careful reader must know."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna

from maskcls.config import canonical_or_same
from maskcls.scoring.counts import MIN_JUDGES
from maskcls.scoring.intervals import Estimate
from maskcls.scoring.rounds import BETTER, NO_DIFFERENCE, NO_VERDICT, OPEN, WORSE, LevelLook, with_tuning
from maskcls.system.errors import count_of, listed, some
from maskcls.tasks.task import METRICS, Task, Unit
from search.answer.answer import (
    Answer,
    Confirmation,
    Finalist,
    Level,
    MoreTrainings,
    Round,
    RoundsAnswer,
    Side,
    Winner,
)
from search.answer.format import (
    NOT_DISTINCT,
    as_score,
    capital,
    difference_words,
    duration,
    power_words,
    short_value,
    signed_spread,
    trials_named,
)
from search.answer.rounds import both_answers
from search.policy.confirmation import TEAM, Plan
from search.policy.own_best import Elsewhere
from search.policy.stopping import FINISHED
from search.storage.final_test import FinalTest
from search.storage.looks import read_looks
from search.study.record import Stored

NO_ANSWER, BEST_FOUND = "no answer yet", "best found"

ORDER = (BETTER, NO_DIFFERENCE, OPEN, WORSE, NO_VERDICT)
"""Verdicts in the order in which they are told."""

MAX_ELSEWHERE = 2
"""Of more levels whose own best setting lies elsewhere, a sentence names those that gain most."""

MAX_TOLD = 6
"""Of more sides than so many, a sentence names only those that are better or worse."""


def put_in_words(answer: Answer, stored: Stored) -> Answer:
    """The answer with its verdict, sentences and caveats."""
    verdict, sentences = _said(answer)
    return replace(answer, verdict=verdict, sentences=sentences, caveats=tuple(_caveats(answer, stored)))


def _said(answer: Answer) -> tuple[str, tuple[str, ...]]:
    if answer.rounds is not None and answer.rounds.looks:
        return _of_rounds(answer.rounds, answer.own, answer.elsewhere, answer.task.unit)
    pair = confirmed_pair(answer.confirmation) if answer.confirmation is not None else None
    if answer.confirmation is not None and pair is not None:
        return pair[2].verdict, confirmed_sentences(answer.confirmation, answer.task.unit)
    if answer.winner is None:
        return NO_ANSWER, _without_winner(answer)
    if not answer.factors:
        return BEST_FOUND, (_best_found(answer, answer.winner),)
    if answer.rounds is not None and any(0 < each.judges < MIN_JUDGES for each in answer.rounds.rounds):
        return NO_VERDICT, (f"{capital(NO_VERDICT)}: {_too_few_judged(answer.task.unit)}",)
    return NO_ANSWER, _of_search(answer)


# --- rounds ---------------------------------------------------------------------------------------------------------


AT_COMMON, AT_OWN_BEST = "at one common setting", "with each at its own best"
"""Where the rounds asked, in a sentence that has both."""


def _of_rounds(
    rounds: RoundsAnswer, own: RoundsAnswer | None, elsewhere: Sequence[Elsewhere], unit: Unit
) -> tuple[str, tuple[str, ...]]:
    """The verdict, and the sentences: what the rounds say, what they rest on, and what would say more.

    Of the rounds with each level at its own best (``own``) the verdict stands in the first sentence too.
    """
    verdict = verdict_of_rounds(rounds)
    if own is not None and own.looks:
        owns = verdict_of_rounds(own)
        first = f"{_verdict_sentence(rounds, verdict, AT_COMMON)} {_verdict_sentence(own, owns, AT_OWN_BEST)}"
        badge = verdict if verdict == owns else f"{verdict} {AT_COMMON}, {owns} {AT_OWN_BEST}"
        more = own.more or rounds.more
        return badge, (
            first,
            f"{_basis(rounds, unit, AT_COMMON)} {_basis(own, unit, AT_OWN_BEST)}",
            *_more_sentence(more),
        )
    sentences = (_verdict_sentence(rounds, verdict), _basis(rounds, unit))
    if elsewhere:
        return verdict, (*sentences, elsewhere_sentence(elsewhere))
    return verdict, (*sentences, *_more_sentence(rounds.more))


def _more_sentence(more: MoreTrainings | None) -> Iterator[str]:
    if more is not None:
        yield f"{capital(more_words(more))}."


def elsewhere_sentence(elsewhere: Sequence[Elsewhere]) -> str:
    """``drop_rate = 0.7 did best at another lr (0.0003 rather than 0.001: +0.030 expected); ...``."""
    told = [_one_elsewhere(each) for each in elsewhere[:MAX_ELSEWHERE]]
    others = len(elsewhere) - len(told)
    more = f", and {count_of(others, 'other level')} elsewhere too" if others else ""
    return f"{listed(told)}{more}; search.confirm --own-best compares each level at its own best."


def _one_elsewhere(found: Elsewhere) -> str:
    names = listed(list(found.values))
    settings = [
        f"{'' if len(found.values) == 1 else f'{name} '}{short_value(value)} rather than"
        f" {some(map(short_value, found.asked[name]), 3)}"
        for name, value in found.values.items()
    ]
    return f"{called(found.level)} did best at another {names} ({', '.join(settings)}: {found.gain:+.3f} expected)"


def rounds_sentence(study: optuna.Study, stored: Stored) -> str | None:
    """The verdict of a study's rounds as a sentence, from the database alone; None before the first look."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    rounds, own = both_answers(study, stored, trials)
    return _of_rounds(rounds, own, (), stored.task.unit)[1][0] if rounds is not None and rounds.looks else None


def verdict_of_rounds(rounds: RoundsAnswer) -> str:
    """The verdict on the question: better if any side is; none where too few judge; open while any may be; else that of
    the best side.

    A side without a look, as all its trainings diverged, may be anything.
    """
    looks = [side.look for side in rounds.sides if side.look is not None]
    if not any(map(says_something, looks)):
        return NO_ANSWER
    verdicts = {look.verdict for look in looks} | ({OPEN} if len(looks) < len(rounds.sides) - 1 else set())
    for verdict in (BETTER, NO_VERDICT, OPEN):
        if verdict in verdicts:
            return verdict
    return max(looks, key=lambda look: look.value).verdict


def says_something(look: LevelLook) -> bool:
    """Whether it is a verdict, or its interval excludes any difference that scores can have."""
    return look.verdict != OPEN or look.bound < 1


def _verdict_sentence(rounds: RoundsAnswer, verdict: str, where: str = "") -> str:
    """``Worse: augment = flip scores 0.270 below augment = none (95 % interval -0.470 to -0.070).``

    ``where``: what follows the verdict, in a study that has both kinds of rounds.
    """
    verdict = f"{verdict} {where}".strip()
    looked = [(side, side.look) for side in rounds.sides if side.look is not None]
    reference = called(rounds.reference.name)
    if not looked:
        return f"{capital(verdict)}: no trainings could be compared with those of {reference}."
    if all(look.verdict == NO_VERDICT for _, look in looked):
        return f"{capital(verdict)}: {_too_few_judged(rounds.unit)}"
    if len(rounds.sides) == 2:
        ((side, look),) = looked
        return f"{capital(verdict)}: {_one_side(side.name, look, reference)}."
    told = [f"{side.name} {_beside_others(look)}" for word in ORDER for side, look in looked if look.verdict == word]
    if len(told) > MAX_TOLD:
        closed = [f"{side.name} {_beside_others(look)}" for side, look in looked if look.verdict in (BETTER, WORSE)]
        told = [*closed, f"for {len(looked) - len(closed)} others nothing is beyond noise"]
    told += [f"{side.name} was not compared" for side in rounds.sides[1:] if side.look is None]
    return f"{capital(verdict)}: compared with {reference}, {listed(told)}."


def _too_few_judged(unit: Unit, what: str = "a round") -> str:
    """Why there is no verdict, and what would help. ``what``: they judged."""
    return (
        f"fewer than {MIN_JUDGES} {unit.many} judged {what}, too few to tell a difference from chance."
        f" Add {unit.many}, or begin a new study where more of them judge (a larger valid_share)."
    )


def _one_side(name: str, look: LevelLook, reference: str) -> str:
    if not says_something(look):
        return f"the trainings are too few to say how {name} and {reference} differ"
    interval = f"95 % interval {signed_spread(look.estimate, 3)}"
    if look.verdict == OPEN:
        return f"{name} lies between {-look.low:.3f} worse and {look.high:.3f} better than {reference}"
    if look.verdict == NO_DIFFERENCE:
        return f"between {name} and {reference} it is below {look.bound:.3f} either way"
    place = "above" if look.verdict == BETTER else "below"
    return f"{name} scores {abs(look.value):.3f} {place} {reference} ({interval})"


def _beside_others(look: LevelLook) -> str:
    if not says_something(look):
        return "has too few trainings to say"
    if look.verdict == NO_VERDICT:
        return f"has no verdict, as fewer than {MIN_JUDGES} judged a round"
    if look.verdict == OPEN:
        return f"is open ({-look.low:.3f} worse to {look.high:.3f} better)"
    if look.verdict == NO_DIFFERENCE:
        return f"makes no difference that matters (below {look.bound:.3f} either way)"
    return f"is {look.verdict} (by {abs(look.value):.3f}, 95 % interval {signed_spread(look.estimate, 3)})"


def _basis(rounds: RoundsAnswer, unit: Unit, where: str = "") -> str:
    """How many trainings, rounds and judges the looks rest on."""
    last = rounds.looks[-1]
    looked = [each for each in rounds.rounds if each.number <= last.round]
    trainings = sum(len(scores) for each in looked for scores in each.scores.values())
    judges = sorted({each.judges for each in looked if each.judges})
    judged = f", judged by {_range(judges)} {unit.many} each" if judges else ""
    return (
        f"{f'{capital(where)} this' if where else 'This'} rests on {count_of(trainings, 'training')} in"
        f" {count_of(len(looked), 'round')}{judged}; the intervals allow for a look after every round."
    )


def _range(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def more_words(more: MoreTrainings) -> str:
    """``22 more trainings (2.0 h) would find a difference of 0.050 four times in five``."""
    time = f" ({duration(more.seconds)} of one worker)" if more.seconds else ""
    found = "find too little: many more are needed"
    if more.effect < 1:
        found = f"find a difference of {more.effect:.3f} four times in five"
    return f"{count_of(more.trainings, 'more training')}{time} would {found}"


def settings_words(rounds: Sequence[Round]) -> str:
    """The settings of the rounds: ``lr = 0.007, 0.01``; empty where nothing is tuned, or each side had its own."""
    names = list(dict.fromkeys(name for each in rounds for name in each.values))
    told = []
    for name in names:
        values = list(dict.fromkeys(short_value(each.values[name]) for each in rounds if name in each.values))
        told.append(f"{name} = {some(values, 4)}")
    return "; ".join(told)


def own_settings_words(rounds: Sequence[Round]) -> str:
    """``drop_rate = 0.0 at lr = 0.01, 0.012; drop_rate = 0.7 at lr = 0.001``: where each side had its own setting."""
    sides = dict.fromkeys(name for each in rounds for name in each.own_values)
    told = []
    for side in sides:
        settings = [each.own_values[side] for each in rounds if side in each.own_values]
        values = [
            f"{name} = {some(dict.fromkeys(short_value(setting[name]) for setting in settings), 4)}"
            for name in settings[0]
        ]
        told.append(f"{side} at {', '.join(values)}")
    return "; ".join(told)


def called(name: str) -> str:
    """The side's name in a sentence."""
    return "the baseline" if name == "baseline" else name


def side_verdict(side: Side, is_reference: bool) -> str:
    """The verdict's cell in a table of sides."""
    if is_reference:
        return "reference"
    if side.look is None:
        return f"not compared: diverged in {trials_named(side.diverged)}" if side.diverged else NO_ANSWER
    return side.look.verdict if says_something(side.look) else NO_ANSWER


# --- a search without rounds ----------------------------------------------------------------------------------------


def _of_search(answer: Answer) -> tuple[str, ...]:
    """That there is no answer yet, what the search alone excludes, and what rounds would bring."""
    begun = answer.rounds is not None and len(answer.rounds.rounds) > 0
    first = "the rounds that answer the question have only begun" if begun else "no rounds of fresh trainings were run"
    sentences = [f"No answer yet: {first}."]
    bounds = [
        f"{level.text} lies between {signed_spread(estimate, 3)} of {factor.levels[factor.reference].text}"
        for factor in answer.factors
        for level in factor.levels
        for estimate in (bound_of(level),)
        if estimate is not None and max(abs(estimate.low), abs(estimate.high)) < 1
    ]
    if bounds:
        sentences.append(f"By the search alone {listed(bounds[:MAX_TOLD])}.")
    if answer.more is not None:
        sentences.append(f"{capital(more_words(answer.more))}.")
    return tuple(sentences)


def bound_of(level: Level) -> Estimate | None:
    """What the search alone says of a level less the reference; None while nothing is known of the seeds."""
    if level.against is None:
        return None
    estimate = level.against.estimate if level.against.about == "recipes" else level.against.with_seeds
    return None if estimate is None else with_tuning(estimate)


def _left_out_levels(levels: Iterable[Level]) -> list[str]:
    """``drop_rate = 0.5 (its best: trial 6)`` for every level whose best configuration has no usable predictions."""
    return [f"{level.text} (its best: {trials_named(level.left_out)})" for level in levels if level.left_out]


def _best_found(answer: Answer, winner: Winner) -> str:
    unit = answer.task.unit
    return (
        f"The best of {chosen_from(answer, winner)}, trial {winner.trial}, scores {winner.score.value:.3f}"
        f" {answer.task.metric_words}; expect {winner.expected:.3f} on {unit.many} {unit.who} did not choose it."
    )


def chosen_from(answer: Answer, winner: Winner) -> str:
    """``8 complete trials``, and that their predictions are usable if others' are not."""
    usable = " with usable predictions" if answer.left_out else ""
    return f"{count_of(winner.candidates, 'complete trial')}{usable}"


def left_out_sentences(answer: Answer) -> Iterator[str]:
    """Which complete trials the answer leaves out, and why."""
    missing = [number for number in answer.left_out if number not in answer.foreign]
    if missing:
        yield f"Left out, because their stored predictions are missing or broken: {trials_named(missing)}."
    if answer.foreign:
        yield (
            "Left out, because their stored predictions score something else than the stored value:"
            f" {trials_named(answer.foreign)}."
        )


def _also(verdicts: Iterable[tuple[str, str]]) -> str:
    """``; drop_rate = 0.7 is worse`` for every (name, verdict) that differs from the reference."""
    return "".join(f"; {name} is {verdict}" for name, verdict in verdicts if verdict != NOT_DISTINCT)


def waiting_sentences(answer: Answer) -> Iterator[str]:
    """Which levels of a search have no complete trial, or none that can be used; nothing once rounds answer."""
    if answer.winner is None or (answer.rounds is not None and answer.rounds.looks):
        return
    levels = [level for factor in answer.factors for level in factor.levels]
    waiting = [level.text for level in levels if not level.trials and not level.left_out]
    if waiting:
        yield f"No trial is complete at {some(waiting)}."
    left_out = _left_out_levels(levels)
    if left_out:
        yield f"Not compared, for lack of usable predictions: {some(left_out)}."


def _without_winner(answer: Answer) -> tuple[str, ...]:
    if answer.left_out:
        return "Trials are complete, but none of their stored predictions can be used.", "Nothing can be compared."
    return "No trial is complete yet.", "There is nothing to compare."


def confirmed_sentences(confirmation: Confirmation, unit: Unit) -> tuple[str, ...]:
    """The outcome of a confirmation in two sentences; ``unit``: what judged."""
    pair = confirmed_pair(confirmation)
    if pair is None:
        return _unconfirmed(confirmation), "More repeats will not change that."
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


def _unconfirmed(confirmation: Confirmation) -> str:
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


# --- a confirmation of a team ---------------------------------------------------------------------------------------


def team_sentence(study: optuna.Study, stored: Stored) -> str | None:
    """The verdict on a team, from the database alone, in the confirmation that trains it; None before the first look.

    ``Better: over 5 repeats, the team scores 0.031 above trial 7 (95 % interval +0.010 to +0.052).``
    """
    looks = read_looks(study)
    if not looks:
        return None
    team, single = looks[-1].levels[TEAM], Plan.of_document(stored).finalists[0].name
    if team.verdict == NO_VERDICT:
        return f"{capital(team.verdict)}: {_too_few_judged(stored.task.unit, 'a repeat')}"
    repeats = count_of(looks[-1].trainings // 2, "repeat")  # each has a training of the team and one of the single
    return f"{capital(team.verdict)}: over {repeats}, {_one_side('the team', team, single)}."


# --- the test -------------------------------------------------------------------------------------------------------


def words_of_test(found: FinalTest, task: Task) -> str:
    """``macro F1 0.8123 (95 % interval 0.742 to 0.871), accuracy 0.840, by trial 12 on 120 photos of 24 patients``."""
    of = f" of {task.unit.count(found.groups)}" if task.has_groups else ""
    over = "no interval"
    if found.low is not None and found.high is not None:
        over = f"95 % interval {found.low:.3f} to {found.high:.3f}"
    return (
        f"{METRICS[found.metric]} {as_score(found.value)} ({over}), accuracy {found.accuracy:.3f}, by trial"
        f" {found.trial} on {count_of(found.photos, 'photo')}{of}"
    )


def sentences_of_test(found: FinalTest | None, task: Task, now: int | None = None) -> str:
    """What came of the test, and that it is spent if another trial is recommended by ``now``; empty before."""
    if found is None:
        return ""
    spent = ""
    if now is not None and now != found.trial:
        spent = f" The test was spent on trial {found.trial}; a new test, of trial {now}, needs new photos."
    return f"Test, scored once: {words_of_test(found, task)}.{spent}"


# --- caveats --------------------------------------------------------------------------------------------------------


def _caveats(answer: Answer, stored: Stored) -> Iterator[str]:
    unit = answer.task.unit
    if answer.task.leak:
        yield f"The data names no groups: {answer.task.leak}, which would make all scores optimistic."
    if stored.study.synthetic:
        yield "The photos are synthetic: nothing here says anything about faces."
    if answer.rounds is not None and answer.rounds.looks:
        yield from _caveats_of_rounds(answer.rounds, answer.own)
        if answer.own is not None and answer.own.looks:
            yield from _caveats_of_own(answer.own)
        yield from left_out_sentences(answer)
        return
    if answer.confirmation is not None and confirmed_pair(answer.confirmation) is None:
        yield _unconfirmed(answer.confirmation)
    if answer.confirmation is not None and _is_overtaken(answer, answer.confirmation):
        yield "The study has continued since its finalists were chosen, and its best trial now is not among them."
    yield from left_out_sentences(answer)
    yield from waiting_sentences(answer)
    if answer.winner is not None and answer.confirmation is None:
        yield (
            f"A trial's score in the search is that of its best evaluation, chosen by the {unit.many} {unit.who} judge"
            " it, so it is optimistic; only rounds answer the question."
        )


def _caveats_of_own(own: RoundsAnswer) -> Iterator[str]:
    yield (
        f"{capital(AT_OWN_BEST)}: {own_settings_words(own.rounds)}. How well the search tuned each level is a matter of"
        " luck, which these intervals include."
    )
    yield from _diverged_sentences(own)


def _diverged_sentences(rounds: RoundsAnswer) -> Iterator[str]:
    for side in rounds.sides:
        if side.diverged:
            yield f"{side.name} diverged in {trials_named(side.diverged)}, which count for nothing here."


def _caveats_of_rounds(rounds: RoundsAnswer, own: RoundsAnswer | None) -> Iterator[str]:
    settings = settings_words(rounds.rounds)
    if settings and own is not None and own.looks:
        yield f"{capital(AT_COMMON)}: {settings}."
    elif settings:
        yield (
            f"Asked at the same settings for all: {settings}. What a level would do at quite another setting of its"
            " own was not asked."
        )
    looked = [side for side in rounds.sides if side.look is not None]
    if len(looked) > 1:
        yield (
            f"The intervals of the {len(looked)} differences are widened so that all hold at once in 95 of 100 studies."
        )
    yield from _diverged_sentences(rounds)
    last = rounds.looks[-1].round
    early = [side.name for side in looked if side.look and side.look.is_decided and side.look.round < last]
    if early:
        yield f"Decided early, and trained no more since: {some(early)}."


def _is_overtaken(answer: Answer, confirmation: Confirmation) -> bool:
    """Whether the best trial ran after the finalists were chosen, with a configuration that is none of theirs."""
    if answer.winner is None:
        return False
    latest = max((trial for finalist in confirmation.finalists for trial in finalist.trials), default=-1)
    configurations = [_canonical(finalist.values) for finalist in confirmation.finalists]
    return answer.winner.trial > latest and _canonical(answer.winner.values) not in configurations


def _canonical(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values in their one form, whichever form an earlier version stored."""
    return {name: canonical_or_same(name, value) for name, value in values.items()}
