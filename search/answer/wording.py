"""The answer in words: a verdict for a badge, two sentences, and what a careful reader must know."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from maskcls.config import canonical_or_same
from maskcls.scoring.intervals import Estimate
from maskcls.system.errors import some
from search.answer.answer import Answer, Comparison, Confirmation, FactorAnswer, Finalist, Level, Winner
from search.study.record import Stored

OPEN, SAME = "no answer yet", "not distinguishable"


def put_in_words(answer: Answer, stored: Stored) -> Answer:
    """The answer with its verdict, sentences and caveats."""
    pair = confirmed_pair(answer.confirmation) if answer.confirmation is not None else None
    if answer.confirmation is not None and pair is not None:
        verdict, sentences = pair[2].verdict, confirmed_sentences(answer.confirmation)
    elif answer.winner is None:
        verdict, sentences = OPEN, _nothing(answer)
    elif not answer.factors:
        verdict, sentences = _best_found(answer)
    elif len(answer.factors) == 1:
        verdict, sentences = _of_one_factor(answer.factors[0], answer.people)
    else:
        verdict, sentences = _of_many(answer)
    return replace(answer, verdict=verdict, sentences=sentences, caveats=tuple(_caveats(answer, stored)))


def span(estimate: Estimate) -> str:
    """``95 % interval -0.060 to +0.016`` of a difference of two scores, which none can be further apart than 1."""
    return f"95 % interval {max(-1.0, estimate.low):+.3f} to {min(1.0, estimate.high):+.3f}"


def difference(estimate: Estimate) -> str:
    """``-0.022 (95 % interval -0.060 to +0.016)``."""
    return f"{estimate.value:+.3f} ({span(estimate)})"


def decisive(comparison: Comparison) -> Estimate:
    """What the verdict goes by: the recipes' interval where anything is known of seeds, else that of the models."""
    return comparison.estimate if comparison.with_seeds is None else comparison.with_seeds


def verdict_of(comparison: Comparison) -> str:
    """About the recipes where anything is known of seeds, else about the models at hand, and it says so."""
    found = decisive(comparison).verdict
    speaks_of_models = comparison.about == "models" and comparison.with_seeds is None
    return f"{found} (these two trained models)" if speaks_of_models and found != SAME else found


def headline(factor: FactorAnswer) -> Level | None:
    """The best level beside the reference: what the answer is about. None while there is none to compare."""
    compared = [level for level in factor.levels if level.against is not None and level.score is not None]
    return max(compared, key=lambda level: level.score.value if level.score else 0.0, default=None)


def _of_one_factor(factor: FactorAnswer, people: int) -> tuple[str, tuple[str, ...]]:
    level, reference = headline(factor), factor.levels[factor.reference]
    if level is None or level.against is None or level.score is None or reference.score is None:
        return OPEN, _why_open(factor)
    verdict, compared = verdict_of(level.against), level.against
    first = (
        f"{_capital(verdict)}: {level.text} at its best scores {level.score.value:.3f} and {reference.text} at its best"
        f" {reference.score.value:.3f}, a difference of {difference(decisive(compared))} on {people} validation people"
        f"{_also(_levels_told(factor, level))}."
    )
    return verdict, (first, _what_it_is_about(compared))


def _why_open(factor: FactorAnswer) -> tuple[str, str]:
    """Why there are no two levels to compare: trials that are yet to come, or predictions that are gone."""
    waiting = [level.text for level in factor.levels if not level.trials and not level.left_out]
    unread = _left_out_words(factor.levels)
    if not unread:
        return f"No trial is complete yet at {some(waiting)}.", "Levels are compared once two of them have one."
    first = f"Nothing can be compared, since predictions are left out: {some(unread)}."
    if waiting:
        return first, f"No trial is complete yet at {some(waiting)}."
    return first, "The trials are complete; give the --runs folder where the study ran."


def _left_out_words(levels: Iterable[Level]) -> list[str]:
    """``drop_rate = 0.5 (its best: trial 6)``, of levels whose best setting has no predictions."""
    return [
        f"{level.text} (its best: trial{'s' if len(level.left_out) > 1 else ''} {some(level.left_out)})"
        for level in levels
        if level.left_out
    ]


def _levels_told(factor: FactorAnswer, shown: Level) -> list[tuple[str, str]]:
    """(level, verdict) of every other level that differs from the reference."""
    others = [
        (one.text, verdict_of(one.against)) for one in factor.levels if one.against is not None and one is not shown
    ]
    return [(text, verdict) for text, verdict in others if verdict != SAME]


def _others_told(confirmation: Confirmation, shown: Finalist) -> list[tuple[str, str]]:
    """The same of a confirmation's finalists."""
    pairs = [(one, one.against_reference) for one in confirmation.finalists if one is not shown]
    return [(one.name, found.verdict) for one, found in pairs if found is not None and found.verdict != SAME]


def _also(told: list[tuple[str, str]]) -> str:
    return "".join(f"; {text} is {verdict}" for text, verdict in told)


def _what_it_is_about(compared: Comparison) -> str:
    """Models or recipes, and what could have been seen."""
    could = f"a difference of {decisive(compared).minimum_detectable_effect:.3f} would be found four times in five"
    ours, theirs = compared.runs
    if compared.about == "recipes":
        return f"The interval covers people and training seeds both ({ours} and {theirs} runs); {could}."
    runs = "one run each" if max(compared.runs) == 1 else f"{ours} and {theirs} runs"
    if compared.with_seeds is None:
        return f"That is of these two trained models, {runs}; of the recipes it says nothing. {_capital(could)}."
    models, these = compared.estimate, "these two" if max(compared.runs) == 1 else "these"
    return (
        f"The interval covers people and training seeds, whose spread the study's repeated runs show ({runs} here);"
        f" of {these} trained models alone it is {models.low:+.3f} to {models.high:+.3f}. {_capital(could)}."
    )


def _of_many(answer: Answer) -> tuple[str, tuple[str, ...]]:
    """A verdict for each factor, those of a kind together."""
    compared = [(level, level.against) for factor in answer.factors if (level := headline(factor)) is not None]
    if not compared:
        return OPEN, ("No two levels have a complete trial yet.", "There is nothing to compare.")
    groups: dict[str, list[str]] = {}
    for level, against in compared:
        if against is not None:
            groups.setdefault(verdict_of(against), []).append(f"{level.text} ({against.estimate.value:+.3f})")
    first = "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in groups.items())
    widest = max(decisive(against).minimum_detectable_effect for _, against in compared if against is not None)
    second = (
        f"Each is compared with the baseline's level, both at their best, on {answer.people} validation people; a"
        f" difference of {widest:.3f} would be found four times in five."
    )
    verdict = next(iter(groups)) if len(groups) == 1 else "it depends"
    return verdict, (f"{_capital(first)}.", second)


def _best_found(answer: Answer) -> tuple[str, tuple[str, ...]]:
    winner = answer.winner
    assert winner is not None
    first = (
        f"The best of {chosen_from(answer, winner)}, trial {winner.trial}, scores {winner.score.value:.3f} macro"
        f" F1; on people who did not choose it, {winner.corrected:.3f} is to be expected."
    )
    if winner.against_baseline is None:
        return "best found", (first, "It is the baseline's own setting.")
    against = winner.against_baseline
    second = f"Against the baseline it is {verdict_of(against)}: {difference(decisive(against))}."
    return "best found", (first, second)


def chosen_from(answer: Answer, winner: Winner) -> str:
    """``8 complete trials``; said to be fewer than there are where predictions are missing."""
    whose = " whose predictions are here" if answer.left_out else ""
    return f"{winner.candidates} complete trials{whose}"


def left_out_sentences(answer: Answer) -> Iterator[str]:
    """Which complete trials nothing rests on, and why."""
    missing = [number for number in answer.left_out if number not in answer.foreign]
    if missing:
        trials = "trial" if len(missing) == 1 else "trials"
        yield f"Left out, as their stored predictions are missing or broken: {trials} {some(missing)}."
    if answer.foreign:
        trials = "trial" if len(answer.foreign) == 1 else "trials"
        yield (
            "Left out, as their stored predictions are not those that they were judged by (they score something else):"
            f" {trials} {some(answer.foreign)}."
        )


def _nothing(answer: Answer) -> tuple[str, ...]:
    if answer.left_out:
        return "Trials are complete, but none of their stored predictions can be read.", "Nothing can be compared."
    return "No trial is complete yet.", "There is nothing to compare."


def confirmed_sentences(confirmation: Confirmation) -> tuple[str, ...]:
    """What a confirmation says, in two sentences: of recipes, trained again and judged by others."""
    pair = confirmed_pair(confirmation)
    if pair is None:
        return _unconfirmed(confirmation), "It answers nothing; more repeats do not change that."
    ours, theirs, found = pair
    first = (
        f"{_capital(found.verdict)}: over {confirmation.repeats} fresh trainings each, {ours.name} scores"
        f" {_mean(ours):.3f} and {_called(theirs)} {_mean(theirs):.3f}, a difference of {difference(found)}"
        f"{_also(_others_told(confirmation, ours))}."
    )
    second = (
        f"The interval covers people and training seeds: {confirmation.judges} people judged, none of whom had chosen a"
        f" finalist; a difference of {found.minimum_detectable_effect:.3f} would be found four times in five."
    )
    return first, second


def _unconfirmed(confirmation: Confirmation) -> str:
    diverged = [_called(one) for one in confirmation.finalists if one.diverged]
    if diverged:
        return f"No verdict: the confirmation has nothing to compare, since trainings of {some(diverged)} diverged."
    return "No verdict: the confirmation's finalists are of one level, so no two levels are compared."


def confirmed_pair(confirmation: Confirmation) -> tuple[Finalist, Finalist, Estimate] | None:
    """What a confirmation answers: the best of the other levels less the reference, both the best of their levels.

    Without levels the best finalist less the baseline. None where one side is missing or diverged: a tuned level is
    never compared with the untuned baseline in its place.
    """
    finalists = confirmation.finalists
    reference = next((one for one in finalists if one.level == "reference"), None)
    levels = [one for one in finalists if one.against_reference is not None]
    if reference is not None and levels:
        best = max(levels, key=_mean)
        assert best.against_reference is not None
        return best, reference, best.against_reference
    others = [one for one in finalists if one.against is not None]
    if any(one.level for one in finalists) or not others:
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
    if answer.confirmation is None and any(found.about == "models" for found in compared):
        yield (
            "Where a side has run once, it is a trained model; what its recipe gives with other seeds is borrowed from"
            " the study's repeated runs, or not known. search.confirm trains the recipes again."
        )
    if answer.confirmation is not None and confirmed_pair(answer.confirmation) is None:
        yield _unconfirmed(answer.confirmation)
    if answer.confirmation is not None and _has_gone_on(answer, answer.confirmation):
        yield "The study has gone on since its finalists were chosen, and its best trial by now is not among them."
    yield from left_out_sentences(answer)
    if len(compared) > 1:
        yield (
            f"The intervals of the {len(compared)} comparisons are widened so that all of them hold at once in 95 of"
            " 100 studies."
        )
    levels = [level for factor in answer.factors for level in factor.levels]
    missing = [level.text for level in levels if not level.trials and not level.left_out]
    if missing and answer.winner is not None:
        yield f"No trial is complete at {some(missing)}."
    unread = _left_out_words(levels)
    if unread and answer.winner is not None:
        yield f"Not compared, since the predictions of their best are left out: {some(unread)}."
    if answer.winner is not None and answer.confirmation is None:
        yield (
            "A trial's score is that of its best evaluation, chosen by the people who judge it; that flatters all"
            " trials about alike."
        )
    if answer.noise is None and answer.winner is not None:
        yield "No setting has run twice yet, so nothing is known of the spread from training seed to training seed."


def _has_gone_on(answer: Answer, confirmation: Confirmation) -> bool:
    """Whether the best trial came later than all that the finalists were chosen by, with a setting of its own."""
    if answer.winner is None:
        return False
    known = max((trial for one in confirmation.finalists for trial in one.trials), default=-1)
    return answer.winner.trial > known and all(
        _plain(answer.winner.values) != _plain(one.values) for one in confirmation.finalists
    )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """However an earlier version has written a value into the database."""
    return {name: canonical_or_same(name, value) for name, value in values.items()}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
