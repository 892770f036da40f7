"""What search.compare shows: the difference, what it rests on, and where it comes from."""

from collections.abc import Iterator

from maskcls.labels import CLASS_NAMES, PARTS
from maskcls.scoring.counts import Counts, Floats, f1_of
from maskcls.scoring.intervals import Estimate, compare, compare_recipes, interval
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples, resample
from maskcls.system.console import say
from maskcls.system.errors import UserError
from search.answer.format import (
    SAME,
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
    """Scores, difference, verdict, and where it comes from. Raises UserError when the two cannot be compared.

    ``prior``: shares of the people as --prior has them, for one more difference at the end.
    """
    check_comparable(ours, theirs)
    weight_P = None if prior is None else _weights(ours, prior)
    resamples = resample(ours.counts())
    for letter, model in (("A", ours), ("B", theirs)):
        say(f"{letter}  macro F1 {score_words(interval(model.counts(), resamples))}  {model.name}")
    found = compare((ours.counts(),), (theirs.counts(),), resamples)
    people, photos = len(resamples.person_P), len(ours.predictions.label_N)
    say()
    say(f"A - B  {difference_words(found)}, {people} people, {photos} photos")
    say(f"{_verdict_sentence(found)} These two trained models; the same {people} people judged both.")
    if has_interval(found):
        say(f"{capital(power_words(found.minimum_detectable_effect))}.")
    _show_recipes(ours, theirs, resamples, found)
    _show_parts(ours, theirs, resamples)
    _show_classes(ours, theirs, resamples)
    if prior is not None and weight_P is not None:
        _show_prior(ours, theirs, resamples, prior, weight_P)


def _verdict_sentence(found: Estimate) -> str:
    return f"A and B are {SAME}." if verdict_on(found) == SAME else f"A is {verdict_on(found)} than B."


def _show_recipes(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples, models: Estimate) -> None:
    """Where the studies repeated a setting: the recipes, mean against mean. ``models``: what was said of the two."""
    unfinished = [f"{letter} {model.unfinished}" for letter, model in (("A", ours), ("B", theirs)) if model.unfinished]
    confirms = ours.confirms or theirs.confirms
    if unfinished:
        say(f"{' and '.join(unfinished)}; of the recipes that says nothing.")
        return
    if confirms:
        say(
            "In a confirmation every repeat has other judges, so two of its trials are compared as models; the recipes"
            f" are compared by search.confirm itself (python -m search.confirm --study {quoted(confirms)})."
        )
        return
    every = {**ours.runs, **theirs.runs}
    judged = {key: runs for key, runs in every.items() if same_people(runs, resamples)}
    sides = [judged.pop(model.configuration, (model.predictions,)) for model in (ours, theirs)]
    if ours.configuration == theirs.configuration or not set(map(digest, sides[0])).isdisjoint(map(digest, sides[1])):
        say("Both are runs of one recipe: what lies between them is chance.")
        return
    our_runs, their_runs, *others = _each_once([*sides, *judged.values()], ours)
    if max(map(len, [our_runs, their_runs, *others])) < 2:
        say("Of the recipes, trained with other seeds, nothing is known: no setting has run twice (search.confirm).")
        return
    found = compare_recipes(our_runs, their_runs, resamples, others=[runs for runs in others if len(runs) > 1])
    runs = f"{len(our_runs)} and {len(their_runs)} runs"
    if min(len(our_runs), len(their_runs)) == 1:
        runs += "; the spread between seeds from the study's repeated runs"
    chance = verdict_on(found) == SAME != verdict_on(models)
    why = " Other seeds alone could make such a difference between two trained models." if chance else ""
    say(f"The recipes: {difference_words(found)}: {verdict_on(found)} ({runs}).{why}")


def _each_once(groups: list[tuple[Predictions, ...]], model: ComparedModel) -> Iterator[list[Counts]]:
    """The counts of every run, in the first group that has it: a study and its copy (--from) share theirs."""
    seen: set[str] = set()
    for runs in groups:
        fresh = {mark: run for run in runs if (mark := digest(run)) not in seen}
        seen |= fresh.keys()
        yield [model.count_run(run) for run in fresh.values()]


def _show_parts(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples) -> None:
    if ours.task != "all":
        return
    say()
    say(f"By part; the intervals are widened, so that all {len(PARTS)} hold at once in 95 of 100 studies:")
    for part in PARTS:
        found = compare((ours.counts(part),), (theirs.counts(part),), resamples, comparisons=len(PARTS))
        say(f"  {part:32s} {difference_words(found)}  {verdict_on(found)}")


def _show_classes(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples) -> None:
    """Those that differ beyond noise, all of them looked at together."""
    names = CLASS_NAMES[ours.task]
    our_counts, their_counts = (ours.counts(),), (theirs.counts(),)
    every = [
        (name, compare(our_counts, their_counts, resamples, f1_of(index), comparisons=len(names)))
        for index, name in enumerate(names)
    ]
    say()
    say(f"By class; the intervals are widened, so that all {len(names)} hold at once in 95 of 100 studies:")
    beyond = [(name, found) for name, found in every if verdict_on(found) != SAME]
    for name, found in sorted(beyond, key=lambda row: row[1].value):
        say(f"  {name:32s} {difference_words(found)}  {verdict_on(found)}")
    rest = (
        "No class differs"
        if not beyond
        else f"The other {len(names) - len(beyond)} of {len(names)} classes do not differ"
    )
    say(f"{rest} beyond noise.")


def _weights(ours: ComparedModel, prior: str) -> Floats:
    """Weights of the people, by --prior; raises UserError for one that cannot be had."""
    from maskcls.scoring.reweighting import groups_of, parse_prior, weights_of

    shares = parse_prior(prior)
    if ours.task != "all":
        raise UserError(f"--prior needs gender and age of the people, and {ours.task} alone does not tell them.")
    return weights_of(shares, *groups_of(ours.predictions.person_N, ours.predictions.label_N))


def _show_prior(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples, prior: str, weight_P: Floats) -> None:
    found = compare((ours.counts(),), (theirs.counts(),), resamples, weight_P=weight_P)
    scores = [compare((model.counts(),), (), resamples, weight_P=weight_P).value for model in (ours, theirs)]
    say()
    difference = f"{difference_words(found)}: {verdict_on(found)}"
    say(f"With {prior}: A {as_score(scores[0])}, B {as_score(scores[1])}, A - B {difference}.")
