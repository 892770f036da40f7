"""What search.compare shows: the difference, its evidence, and the parts and classes that it comes from."""

from collections.abc import Iterator

from maskcls.labels import CLASS_NAMES, PARTS
from maskcls.scoring.counts import Counts, Floats, f1_of
from maskcls.scoring.intervals import Estimate, compare, compare_recipes, interval
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples, resample
from maskcls.system.console import say
from maskcls.system.errors import UserError
from search.answer.format import (
    NOT_DISTINCT,
    as_score,
    capital,
    difference_words,
    has_interval,
    power_words,
    score_words,
    verdict_on,
)
from search.answer.models import ComparedModel, check_comparable, digest, same_people
from search.system.shell import quoted


def show_comparison(ours: ComparedModel, theirs: ComparedModel, prior: str | None) -> None:
    """Print scores, difference and verdict, as a whole and by part and class; with ``prior`` (--prior) re-weighted too.

    Raises UserError when the two cannot be compared.
    """
    check_comparable(ours, theirs)
    weight_P = None if prior is None else _weights(ours, prior)
    resamples = resample(ours.counts())
    for letter, model in (("A", ours), ("B", theirs)):
        say(f"{letter}  macro F1 {score_words(interval(model.counts(), resamples))}  {model.name}")
    difference = compare((ours.counts(),), (theirs.counts(),), resamples)
    people, photos = len(resamples.person_P), len(ours.predictions.label_N)
    say()
    say(f"A - B  {difference_words(difference)}, {people} people, {photos} photos")
    say(f"{_verdict_sentence(difference)} This is about these two trained models, judged by the same {people} people.")
    if has_interval(difference):
        say(f"{capital(power_words(difference.minimum_detectable_effect))}.")
    _show_recipes(ours, theirs, resamples, difference)
    _show_parts(ours, theirs, resamples)
    _show_classes(ours, theirs, resamples)
    if prior is not None and weight_P is not None:
        _show_prior(ours, theirs, resamples, prior, weight_P)


def _verdict_sentence(difference: Estimate) -> str:
    verdict = verdict_on(difference)
    return f"A and B are {verdict}." if verdict == NOT_DISTINCT else f"A is {verdict} than B."


def _show_recipes(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples, models: Estimate) -> None:
    """The comparison of the recipes, where the studies repeated a configuration. ``models``: that of the two models."""
    unfinished = [f"{letter} {model.unfinished}" for letter, model in (("A", ours), ("B", theirs)) if model.unfinished]
    confirms = ours.confirms or theirs.confirms
    if unfinished:
        say(f"{' and '.join(unfinished)}; this says nothing about the recipes.")
        return
    if confirms:
        say(
            "In a confirmation every repeat has its own judges, so its trials are compared as models only."
            f" search.confirm compares the recipes (python -m search.confirm --study {quoted(confirms)})."
        )
        return
    all_runs = {**ours.runs, **theirs.runs}
    judged = {key: runs for key, runs in all_runs.items() if same_people(runs, resamples)}
    sides = [judged.pop(model.configuration, (model.predictions,)) for model in (ours, theirs)]
    if ours.configuration == theirs.configuration or not set(map(digest, sides[0])).isdisjoint(map(digest, sides[1])):
        say("Both are runs of one recipe: the difference between them is chance.")
        return
    our_runs, their_runs, *others = _each_once([*sides, *judged.values()], ours)
    if max(map(len, [our_runs, their_runs, *others])) < 2:
        say("How the recipes compare with other seeds is unknown: no configuration has run twice (search.confirm).")
        return
    recipes = compare_recipes(our_runs, their_runs, resamples, others=[runs for runs in others if len(runs) > 1])
    runs = f"{len(our_runs)} and {len(their_runs)} runs"
    if min(len(our_runs), len(their_runs)) == 1:
        runs += "; the spread between seeds is from the study's repeated runs"
    may_be_chance = verdict_on(recipes) == NOT_DISTINCT != verdict_on(models)
    why = " Other seeds alone could make such a difference between two trained models." if may_be_chance else ""
    say(f"The recipes: {difference_words(recipes)}: {verdict_on(recipes)} ({runs}).{why}")


def _each_once(groups: list[tuple[Predictions, ...]], model: ComparedModel) -> Iterator[list[Counts]]:
    """The counts of every run, in the first group that has it: a study and its copy (--from) share runs."""
    seen: set[str] = set()
    for runs in groups:
        new = {key: run for run in runs if (key := digest(run)) not in seen}
        seen |= new.keys()
        yield [model.count_run(run) for run in new.values()]


def _show_parts(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples) -> None:
    if ours.task != "all":
        return
    say()
    say(f"By part, with intervals widened so that all {len(PARTS)} hold at once in 95 of 100 studies:")
    for part in PARTS:
        difference = compare((ours.counts(part),), (theirs.counts(part),), resamples, comparisons=len(PARTS))
        say(f"  {part:32s} {difference_words(difference)}  {verdict_on(difference)}")


def _show_classes(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples) -> None:
    """The classes that differ beyond noise, by intervals that hold for all classes at once."""
    names = CLASS_NAMES[ours.task]
    our_counts, their_counts = (ours.counts(),), (theirs.counts(),)
    differences = [
        (name, compare(our_counts, their_counts, resamples, f1_of(index), comparisons=len(names)))
        for index, name in enumerate(names)
    ]
    say()
    say(f"By class, with intervals widened so that all {len(names)} hold at once in 95 of 100 studies:")
    beyond = [(name, difference) for name, difference in differences if verdict_on(difference) != NOT_DISTINCT]
    for name, difference in sorted(beyond, key=lambda row: row[1].value):
        say(f"  {name:32s} {difference_words(difference)}  {verdict_on(difference)}")
    rest = f"The other {len(names) - len(beyond)} of {len(names)} classes do not differ"
    say(f"{rest if beyond else 'No class differs'} beyond noise.")


def _weights(ours: ComparedModel, prior: str) -> Floats:
    """Weights of the people by --prior. Raises UserError for an invalid one, and for a task without gender and age."""
    from maskcls.scoring.reweighting import groups_of, parse_prior, weights_of

    shares = parse_prior(prior)
    if ours.task != "all":
        raise UserError(f"--prior needs gender and age of the people, which a model of {ours.task} does not know.")
    return weights_of(shares, *groups_of(ours.predictions.person_N, ours.predictions.label_N))


def _show_prior(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples, prior: str, weight_P: Floats) -> None:
    difference = compare((ours.counts(),), (theirs.counts(),), resamples, weight_P=weight_P)
    a, b = (as_score(compare((model.counts(),), (), resamples, weight_P=weight_P).value) for model in (ours, theirs))
    say()
    say(f"With {prior}: A {a}, B {b}, A - B {difference_words(difference)}: {verdict_on(difference)}.")
