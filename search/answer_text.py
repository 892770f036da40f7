"""The answer in words: a verdict for a badge, two sentences, and what a careful reader must know."""

from collections.abc import Iterator
from dataclasses import replace

from maskcls.errors import some
from maskcls.evidence import Estimate
from search.answer import Answer, Comparison, Confirmation, FactorAnswer, Finalist, Level
from search.stored import Stored

OPEN, SAME, CONFIRMED = "no answer yet", "not distinguishable", "confirmed"


def put_in_words(answer: Answer, stored: Stored) -> Answer:
    """The answer with its verdict, sentences and caveats."""
    confirmation = answer.confirmation
    if confirmation is not None and any(finalist.against is not None for finalist in confirmation.finalists):
        verdict, sentences = _confirmed(confirmation)
    elif answer.winner is None:
        verdict, sentences = OPEN, ("No complete trial has stored predictions yet.", "Nothing can be compared.")
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
        missing = some(found.text for found in factor.levels if not found.trials)
        return OPEN, (f"No trial is complete yet at {missing}.", "Levels are compared once two of them have one.")
    verdict, compared = verdict_of(level.against), level.against
    first = (
        f"{_capital(verdict)}: {level.text} at its best scores {level.score.value:.3f} and {reference.text} at its best"
        f" {reference.score.value:.3f}, a difference of {difference(decisive(compared))} on {people} validation people."
    )
    return verdict, (first, _what_it_is_about(compared))


def _what_it_is_about(compared: Comparison) -> str:
    """Models or recipes, and what could have been seen."""
    could = f"a difference of {decisive(compared).detectable:.3f} would be found four times in five"
    ours, theirs = compared.runs
    if compared.about == "recipes":
        return f"The interval covers people and training seeds both ({ours} and {theirs} runs); {could}."
    runs = "one run each" if max(compared.runs) == 1 else f"{ours} and {theirs} runs"
    if compared.with_seeds is None:
        return f"That is of these two trained models, {runs}; of the recipes it says nothing. {_capital(could)}."
    models = compared.estimate
    return (
        f"The interval covers people and training seeds, whose spread the study's repeated runs show ({runs} here);"
        f" of these trained models alone it is {models.low:+.3f} to {models.high:+.3f}. {_capital(could)}."
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
    widest = max(decisive(against).detectable for _, against in compared if against is not None)
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
        f"The best of {winner.candidates} complete trials, trial {winner.trial}, scores {winner.score.value:.3f} macro"
        f" F1; on people who did not choose it, {winner.corrected:.3f} is to be expected."
    )
    if winner.against_baseline is None:
        return "best found", (first, "It is the baseline's own setting.")
    against = winner.against_baseline
    second = f"Against the baseline it is {verdict_of(against)}: {difference(decisive(against))}."
    return "best found", (first, second)


def _confirmed(confirmation: Confirmation) -> tuple[str, tuple[str, ...]]:
    """Recipes, trained again and judged by others: the answer that stands before all others."""
    shown = confirmed_pair(confirmation)
    if shown is None:
        return OPEN, ("The confirmation has nothing to compare: its baseline diverged.", "It has to be chosen anew.")
    ours, theirs, found = shown
    first = (
        f"{_capital(found.verdict)}: over {confirmation.repeats} fresh trainings each, {ours.name} scores"
        f" {_mean(ours):.3f} and {_called(theirs)} {_mean(theirs):.3f}, a difference of {difference(found)}."
    )
    second = (
        f"The interval covers people and training seeds: {confirmation.judges} people judged, none of whom had chosen a"
        f" finalist; a difference of {found.detectable:.3f} would be found four times in five."
    )
    return found.verdict, (first, second)


def confirmed_sentences(confirmation: Confirmation) -> tuple[str, ...]:
    """The answer of a confirmation in two sentences."""
    return _confirmed(confirmation)[1]


def confirmed_pair(confirmation: Confirmation) -> tuple[Finalist, Finalist, Estimate] | None:
    """What a confirmation answers: the best of the other levels less the reference, both the best of their levels.

    Without levels the best finalist less the baseline. None where what they are compared with diverged.
    """
    finalists = confirmation.finalists
    levels = [one for one in finalists if one.against_reference is not None]
    if levels:
        reference = next(one for one in finalists if one.level == "reference")
        best = max(levels, key=_mean)
        assert best.against_reference is not None
        return best, reference, best.against_reference
    others = [one for one in finalists if one.against is not None]
    if not others:
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
    if any(found.about == "models" for found in compared) and answer.confirmation is None:
        yield (
            "Where a side has run once, the comparison is between two trained models. Recipes are compared by training"
            " them again: search.confirm."
        )
    if len(compared) > 1:
        yield (
            f"The intervals of the {len(compared)} comparisons are widened so that all of them hold at once in 95 of"
            " 100 studies."
        )
    missing = [level.text for factor in answer.factors for level in factor.levels if not level.trials]
    if missing and answer.winner is not None:
        yield f"No trial is complete at {some(missing)}."
    if answer.winner is not None:
        yield (
            "A trial's score is that of its best evaluation, chosen by the people who judge it; that flatters all"
            " trials about alike."
        )
    if answer.noise is None and answer.winner is not None:
        yield "No setting has run twice yet, so nothing is known of the spread from training seed to training seed."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
