"""What the search alone says, in words: in a study without rounds, and of the trials that are left out."""

from collections.abc import Iterable, Iterator

from maskcls.scoring.intervals import Estimate
from maskcls.scoring.rounds import with_tuning
from maskcls.system.errors import count_of, listed, some
from search.answer.answer import Answer, Level, Winner
from search.answer.format import capital, signed_spread, trials_named
from search.findings.rounds import MAX_TOLD, more_words


def said_by_search(answer: Answer) -> tuple[str, ...]:
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


def best_found(answer: Answer, winner: Winner) -> str:
    """The best trial, and the score to expect of it, of a study that compares no levels."""
    unit = answer.task.unit
    return (
        f"The best of {chosen_from(answer, winner)}, trial {winner.trial}, scores {winner.score.value:.3f}"
        f" {answer.task.metric_words}; expect {winner.expected:.3f} on {unit.many} {unit.who} did not choose it."
    )


def chosen_from(answer: Answer, winner: Winner) -> str:
    """``8 complete trials``, and that their predictions are usable if others' are not."""
    usable = " with usable predictions" if answer.left_out else ""
    return f"{count_of(winner.candidates, 'complete trial')}{usable}"


def said_without_winner(answer: Answer) -> tuple[str, ...]:
    """Why there is no best trial."""
    if answer.left_out:
        return "Trials are complete, but none of their stored predictions can be used.", "Nothing can be compared."
    return "No trial is complete yet.", "There is nothing to compare."


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


def _left_out_levels(levels: Iterable[Level]) -> list[str]:
    """``drop_rate = 0.5 (its best: trial 6)`` for every level whose best configuration has no usable predictions."""
    return [f"{level.text} (its best: {trials_named(level.left_out)})" for level in levels if level.left_out]
