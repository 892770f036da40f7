"""What a careful reader of an answer must know, in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maskcls.config import canonical_or_same
from maskcls.system.errors import some
from search.answer.answer import Answer, Confirmation, Round, RoundsAnswer
from search.answer.format import capital, short_value, trials_named
from search.findings.confirmation import confirmed_pair, unconfirmed
from search.findings.rounds import AT_COMMON, AT_OWN_BEST
from search.findings.search import left_out_sentences, waiting_sentences
from search.study.record import Stored


def caveats(answer: Answer, stored: Stored) -> Iterator[str]:
    """What limits the answer, one sentence each."""
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
        yield unconfirmed(answer.confirmation)
    if answer.confirmation is not None and _is_overtaken(answer, answer.confirmation):
        yield "The study has continued since its finalists were chosen, and its best trial now is not among them."
    yield from left_out_sentences(answer)
    yield from waiting_sentences(answer)
    if answer.winner is not None and answer.confirmation is None:
        yield (
            f"A trial's score in the search is that of its best evaluation, chosen by the {unit.many} {unit.who} judge"
            " it, so it is optimistic; only rounds answer the question."
        )


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


def settings_words(rounds: Sequence[Round]) -> str:
    """The settings of the rounds: ``lr = 0.007, 0.01``; empty where nothing is tuned, or each side had its own."""
    names = list(dict.fromkeys(name for each in rounds for name in each.values))
    told = []
    for name in names:
        values = list(dict.fromkeys(short_value(each.values[name]) for each in rounds if name in each.values))
        told.append(f"{name} = {some(values, 4)}")
    return "; ".join(told)


def _caveats_of_own(own: RoundsAnswer) -> Iterator[str]:
    yield (
        f"{capital(AT_OWN_BEST)}: {own_settings_words(own.rounds)}. How well the search tuned each level is a matter of"
        " luck, which these intervals include."
    )
    yield from _diverged_sentences(own)


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


def _diverged_sentences(rounds: RoundsAnswer) -> Iterator[str]:
    for side in rounds.sides:
        if side.diverged:
            yield f"{side.name} diverged in {trials_named(side.diverged)}, which count for nothing here."


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
