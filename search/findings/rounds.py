"""What the rounds of a study say, in words: the verdict, what it rests on, and what would say more."""

from collections.abc import Iterator, Sequence

import optuna

from maskcls.scoring.rounds import BETTER, NO_DIFFERENCE, NO_VERDICT, OPEN, WORSE
from maskcls.system.errors import count_of, listed, some
from maskcls.tasks.task import Unit
from search.answer.answer import MoreTrainings, RoundsAnswer
from search.answer.format import capital, duration, short_value
from search.answer.rounds import both_answers
from search.findings.sides import NO_ANSWER, beside_others, called, one_side, says_something, too_few_judged
from search.policy.own_best import Elsewhere
from search.policy.stopping import FINISHED
from search.study.record import Stored

ORDER = (BETTER, NO_DIFFERENCE, OPEN, WORSE, NO_VERDICT)
"""Verdicts in the order in which they are told."""

MAX_ELSEWHERE = 2
"""Of more levels whose own best setting lies elsewhere, a sentence names those that gain most."""

MAX_TOLD = 6
"""Of more sides than so many, a sentence names only those that are better or worse."""

AT_COMMON, AT_OWN_BEST = "at one common setting", "with each at its own best"
"""Where the rounds asked, in a sentence that has both."""


def rounds_sentence(study: optuna.Study, stored: Stored) -> str | None:
    """The verdict of a study's rounds as a sentence, from the database alone; None before the first look."""
    trials = study.get_trials(deepcopy=False, states=FINISHED)
    rounds, own = both_answers(study, stored, trials)
    return said_by_rounds(rounds, own, (), stored.task.unit)[1][0] if rounds is not None and rounds.looks else None


def said_by_rounds(
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
        return f"{capital(verdict)}: {too_few_judged(rounds.unit)}"
    if len(rounds.sides) == 2:
        ((side, look),) = looked
        return f"{capital(verdict)}: {one_side(side.name, look, reference)}."
    told = [f"{side.name} {beside_others(look)}" for word in ORDER for side, look in looked if look.verdict == word]
    if len(told) > MAX_TOLD:
        closed = [f"{side.name} {beside_others(look)}" for side, look in looked if look.verdict in (BETTER, WORSE)]
        told = [*closed, f"for {len(looked) - len(closed)} others nothing is beyond noise"]
    told += [f"{side.name} was not compared" for side in rounds.sides[1:] if side.look is None]
    return f"{capital(verdict)}: compared with {reference}, {listed(told)}."


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


def _more_sentence(more: MoreTrainings | None) -> Iterator[str]:
    if more is not None:
        yield f"{capital(more_words(more))}."


def more_words(more: MoreTrainings) -> str:
    """``22 more trainings (2.0 h) would find a difference of 0.050 four times in five``."""
    time = f" ({duration(more.seconds)} of one worker)" if more.seconds else ""
    found = "find too little: many more are needed"
    if more.effect < 1:
        found = f"find a difference of {more.effect:.3f} four times in five"
    return f"{count_of(more.trainings, 'more training')}{time} would {found}"


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
