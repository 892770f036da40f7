"""The answer in words: a verdict for a badge, two sentences, and what a careful reader must know."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from maskcls.config import canonical_or_same
from maskcls.scoring.intervals import Estimate
from maskcls.system.errors import count_of, some
from search.answer.answer import Answer, Comparison, Confirmation, FactorAnswer, Finalist, Level, Winner
from search.answer.format import NOT_DISTINCT, capital, difference_words, power_words, signed_spread, trials_named
from search.study.record import Stored

NO_ANSWER = "no answer yet"


def put_in_words(answer: Answer, stored: Stored) -> Answer:
    """The answer with its verdict, sentences and caveats."""
    pair = confirmed_pair(answer.confirmation) if answer.confirmation is not None else None
    if answer.confirmation is not None and pair is not None:
        verdict, sentences = pair[2].verdict, confirmed_sentences(answer.confirmation)
    elif answer.winner is None:
        verdict, sentences = NO_ANSWER, _without_winner(answer)
    elif not answer.factors:
        verdict, sentences = _best_found(answer, answer.winner)
    elif len(answer.factors) == 1:
        verdict, sentences = _of_one_factor(answer.factors[0], answer.people)
    else:
        verdict, sentences = _of_many_factors(answer)
    return replace(answer, verdict=verdict, sentences=sentences, caveats=tuple(_caveats(answer, stored)))


def decisive(comparison: Comparison) -> Estimate:
    """The estimate behind the verdict: that of the recipes if anything is known about seeds, else of the models."""
    return comparison.estimate if comparison.with_seeds is None else comparison.with_seeds


def verdict_of(comparison: Comparison) -> str:
    """The verdict on the recipes if anything is known about seeds, else on the models, which it then says."""
    verdict = decisive(comparison).verdict
    is_about_models = comparison.about == "models" and comparison.with_seeds is None
    return f"{verdict} (these two trained models)" if is_about_models and verdict != NOT_DISTINCT else verdict


def _challenger(factor: FactorAnswer) -> Level | None:
    """The best level other than the reference, which the answer is about; None while there is none to compare."""
    compared = [level for level in factor.levels if level.against is not None and level.score is not None]
    return max(compared, key=lambda level: level.score.value if level.score else 0.0, default=None)


def _of_one_factor(factor: FactorAnswer, people: int) -> tuple[str, tuple[str, ...]]:
    level, reference = _challenger(factor), factor.levels[factor.reference]
    if level is None or level.against is None or level.score is None or reference.score is None:
        return NO_ANSWER, _why_open(factor)
    verdict = verdict_of(level.against)
    others = [other for other in factor.levels if other is not level]
    verdicts = ((other.text, verdict_of(other.against)) for other in others if other.against is not None)
    first = (
        f"{capital(verdict)}: at their best, {level.text} scores {level.score.value:.3f} and {reference.text} scores"
        f" {reference.score.value:.3f}, a difference of {difference_words(decisive(level.against))} on {people}"
        f" validation people{_also(verdicts)}."
    )
    return verdict, (first, _basis(level.against))


def _why_open(factor: FactorAnswer) -> tuple[str, str]:
    """Why no two levels can be compared: trials are not complete yet, or predictions are missing."""
    waiting = [level.text for level in factor.levels if not level.trials and not level.left_out]
    left_out = _left_out_levels(factor.levels)
    if not left_out:
        return f"No trial is complete yet at {some(waiting)}.", "Two levels are needed for a comparison."
    first = f"The levels cannot be compared, for lack of usable predictions: {some(left_out)}."
    if waiting:
        return first, f"No trial is complete yet at {some(waiting)}."
    return first, "The trials are complete; give the --runs folder where the study ran."


def _left_out_levels(levels: Iterable[Level]) -> list[str]:
    """``drop_rate = 0.5 (its best: trial 6)`` for every level whose best configuration has no usable predictions."""
    return [f"{level.text} (its best: {trials_named(level.left_out)})" for level in levels if level.left_out]


def _also(verdicts: Iterable[tuple[str, str]]) -> str:
    """``; drop_rate = 0.7 is worse`` for every (name, verdict) that differs from the reference."""
    return "".join(f"; {name} is {verdict}" for name, verdict in verdicts if verdict != NOT_DISTINCT)


def _basis(comparison: Comparison) -> str:
    """What the interval covers, and the smallest difference that would have been found."""
    power = power_words(decisive(comparison).minimum_detectable_effect)
    ours, theirs = comparison.runs
    if comparison.about == "recipes":
        return f"The interval covers both people and training seeds ({ours} and {theirs} runs); {power}."
    runs, models = ("one run each", "these two") if ours == theirs == 1 else (f"{ours} and {theirs} runs", "these")
    if comparison.with_seeds is None:
        return f"This is about {models} trained models, {runs}; it says nothing about the recipes. {capital(power)}."
    alone = signed_spread(comparison.estimate, 3, "none")
    return (
        f"The interval covers both people and training seeds ({runs}; the spread between seeds is from the study's"
        f" repeated runs); for {models} trained models alone it is {alone}. {capital(power)}."
    )


def _of_many_factors(answer: Answer) -> tuple[str, tuple[str, ...]]:
    """The verdict on each factor, equal verdicts together."""
    levels = [level for factor in answer.factors if (level := _challenger(factor)) is not None]
    compared = [(level, level.against) for level in levels if level.against is not None]
    if not compared:
        return NO_ANSWER, ("No two levels have a complete trial yet.", "There is nothing to compare.")
    names: dict[str, list[str]] = {}
    for level, against in compared:
        names.setdefault(verdict_of(against), []).append(f"{level.text} ({against.estimate.value:+.3f})")
    first = "; ".join(f"{verdict}: {', '.join(group)}" for verdict, group in names.items())
    effect = max(decisive(against).minimum_detectable_effect for _, against in compared)
    second = (
        f"Each is compared with the baseline's level, both at their best, on {answer.people} validation people;"
        f" {power_words(effect)}."
    )
    verdict = next(iter(names)) if len(names) == 1 else "it depends"
    return verdict, (f"{capital(first)}.", second)


def _best_found(answer: Answer, winner: Winner) -> tuple[str, tuple[str, ...]]:
    first = (
        f"The best of {chosen_from(answer, winner)}, trial {winner.trial}, scores {winner.score.value:.3f} macro"
        f" F1; expect {winner.corrected:.3f} on people who did not choose it."
    )
    against = winner.against_baseline
    if against is None:
        return "best found", (first, "It has the baseline's own configuration.")
    second = f"Compared with the baseline it is {verdict_of(against)}: {difference_words(decisive(against))}."
    return "best found", (first, second)


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


def _without_winner(answer: Answer) -> tuple[str, ...]:
    if answer.left_out:
        return "Trials are complete, but none of their stored predictions can be used.", "Nothing can be compared."
    return "No trial is complete yet.", "There is nothing to compare."


def confirmed_sentences(confirmation: Confirmation) -> tuple[str, ...]:
    """The outcome of a confirmation in two sentences."""
    pair = confirmed_pair(confirmation)
    if pair is None:
        return _unconfirmed(confirmation), "More repeats will not change that."
    ours, theirs, difference = pair
    others = (
        (finalist.name, finalist.against_reference.verdict)
        for finalist in confirmation.finalists
        if finalist.against_reference is not None and finalist is not ours
    )
    first = (
        f"{capital(difference.verdict)}: over {confirmation.repeats} fresh trainings each, {ours.name} scores"
        f" {_mean(ours):.3f} and {_called(theirs)} {_mean(theirs):.3f}, a difference of {difference_words(difference)}"
        f"{_also(others)}."
    )
    second = (
        f"The interval covers both people and training seeds: {confirmation.judges} people judged, none of whom had"
        f" chosen a finalist; {power_words(difference.minimum_detectable_effect)}."
    )
    return first, second


def _unconfirmed(confirmation: Confirmation) -> str:
    diverged = [_called(finalist) for finalist in confirmation.finalists if finalist.diverged]
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
    others = [finalist for finalist in finalists if finalist.against_reference is not None]
    if reference is not None and others:
        best = max(others, key=_mean)
        assert best.against_reference is not None
        return best, reference, best.against_reference
    others = [finalist for finalist in finalists if finalist.against is not None]
    if any(finalist.level for finalist in finalists) or not others:
        return None
    best = max(others, key=_mean)
    assert best.against is not None
    return best, finalists[0], best.against


def _called(finalist: Finalist) -> str:
    return "the baseline" if finalist.name == "baseline" else finalist.name


def _mean(finalist: Finalist) -> float:
    return sum(finalist.scores) / len(finalist.scores)


def _caveats(answer: Answer, stored: Stored) -> Iterator[str]:
    if stored.study.synthetic:
        yield "The photos are synthetic: nothing here says anything about faces."
    compared = [level.against for factor in answer.factors for level in factor.levels if level.against is not None]
    if answer.confirmation is None and any(comparison.about == "models" for comparison in compared):
        yield (
            "A side that ran only once is one trained model: how its recipe varies between seeds is taken from the"
            " study's repeated runs, or unknown. search.confirm trains the recipes again."
        )
    if answer.confirmation is not None and confirmed_pair(answer.confirmation) is None:
        yield _unconfirmed(answer.confirmation)
    if answer.confirmation is not None and _is_overtaken(answer, answer.confirmation):
        yield "The study has continued since its finalists were chosen, and its best trial now is not among them."
    yield from left_out_sentences(answer)
    if len(compared) > 1:
        yield (
            f"The intervals of the {len(compared)} comparisons are widened so that all of them hold at once in 95 of"
            " 100 studies."
        )
    levels = [level for factor in answer.factors for level in factor.levels]
    waiting = [level.text for level in levels if not level.trials and not level.left_out]
    if waiting and answer.winner is not None:
        yield f"No trial is complete at {some(waiting)}."
    left_out = _left_out_levels(levels)
    if left_out and answer.winner is not None:
        yield f"Not compared, for lack of usable predictions: {some(left_out)}."
    if answer.winner is not None and answer.confirmation is None:
        yield (
            "A trial's score is that of its best evaluation, chosen by the people who judge it, so all scores are"
            " optimistic by about as much."
        )
    if answer.noise is None and answer.winner is not None:
        yield "No configuration has run twice yet, so the spread between training seeds is unknown."


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
