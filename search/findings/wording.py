"""The answer in words: a verdict for a badge, a few sentences, and what a careful reader must know."""

from dataclasses import replace

from maskcls.scoring.counts import MIN_JUDGES
from maskcls.scoring.rounds import NO_VERDICT
from search.answer.answer import Answer
from search.answer.format import capital
from search.findings.caveats import caveats
from search.findings.confirmation import confirmed_pair, confirmed_sentences
from search.findings.rounds import said_by_rounds
from search.findings.search import best_found, said_by_search, said_without_winner
from search.findings.sides import NO_ANSWER, too_few_judged
from search.study.record import Stored

BEST_FOUND = "best found"
"""The verdict of a study that compares no levels."""


def put_in_words(answer: Answer, stored: Stored) -> Answer:
    """The answer with its verdict, sentences and caveats."""
    verdict, sentences = _said(answer)
    return replace(answer, verdict=verdict, sentences=sentences, caveats=tuple(caveats(answer, stored)))


def _said(answer: Answer) -> tuple[str, tuple[str, ...]]:
    if answer.rounds is not None and answer.rounds.looks:
        return said_by_rounds(answer.rounds, answer.own, answer.elsewhere, answer.task.unit)
    pair = confirmed_pair(answer.confirmation) if answer.confirmation is not None else None
    if answer.confirmation is not None and pair is not None:
        return pair[2].verdict, confirmed_sentences(answer.confirmation, answer.task.unit)
    if answer.winner is None:
        return NO_ANSWER, said_without_winner(answer)
    if not answer.factors:
        return BEST_FOUND, (best_found(answer, answer.winner),)
    if answer.rounds is not None and any(0 < each.judges < MIN_JUDGES for each in answer.rounds.rounds):
        return NO_VERDICT, (f"{capital(NO_VERDICT)}: {too_few_judged(answer.task.unit)}",)
    return NO_ANSWER, said_by_search(answer)
