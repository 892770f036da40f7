"""What search.compare shows: the difference, what it rests on, and where it comes from."""

from collections.abc import Iterator

from maskcls.labels import CLASS_NAMES, PARTS
from maskcls.scoring.counts import Counts, Floats, f1_of
from maskcls.scoring.intervals import Estimate, compare, compare_recipes, interval
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples, resample
from maskcls.system.console import say
from maskcls.system.errors import UserError
from search.answer import wording
from search.answer.models import ComparedModel, check_comparable, digest, same_people
from search.answer.wording import SAME
from search.system.shell import quoted

NO_ERROR = 1e-12
"""A standard error below it is none: nobody differs from anybody, and there is no interval."""


def show_comparison(ours: ComparedModel, theirs: ComparedModel, prior: str | None) -> None:
    """Print it. Raises UserError when the two cannot be compared."""
    check_comparable(ours, theirs)
    weight_P = None if prior is None else _weights(ours, prior)
    resamples = resample(ours.counts())
    for letter, side in (("A", ours), ("B", theirs)):
        score = interval(side.counts(), resamples)
        span = "-" if score.error < NO_ERROR else f"95 % interval {score.low:.3f} to {score.high:.3f}"
        say(f"{letter}  macro F1 {score.value:.4f}  ({span})  {side.name}")
    found = compare((ours.counts(),), (theirs.counts(),), resamples)
    people, photos = len(resamples.person_P), len(ours.predictions.label_N)
    say()
    say(f"A - B  {describe_difference(found)}, {people} people, {photos} photos")
    say(f"{_sentence(found)} These two trained models; the same {people} people judged both.")
    if found.error >= NO_ERROR:
        say(f"This many people would show a difference of {found.minimum_detectable_effect:.3f} four times in five.")
    _show_recipes(ours, theirs, resamples, found)
    _show_parts(ours, theirs, resamples)
    _show_classes(ours, theirs, resamples)
    if prior is not None and weight_P is not None:
        _show_prior(ours, theirs, resamples, prior, weight_P)


def describe_difference(found: Estimate) -> str:
    """With its interval, where there is one."""
    return f"{found.value:+.3f} (-)" if found.error < NO_ERROR else wording.difference(found)


def verdict(found: Estimate) -> str:
    """Of a difference; without an interval nothing can be told."""
    return SAME if found.error < NO_ERROR else found.verdict


def _sentence(found: Estimate) -> str:
    return "A and B are not distinguishable." if verdict(found) == SAME else f"A is {verdict(found)} than B."


def _show_recipes(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples, models: Estimate) -> None:
    """Where the studies repeated a setting: the recipes, mean against mean. ``models``: what was said of the two."""
    unfinished = [f"{letter} {side.unfinished}" for letter, side in (("A", ours), ("B", theirs)) if side.unfinished]
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
    sides = [judged.pop(side.setting, (side.predictions,)) for side in (ours, theirs)]
    if ours.setting == theirs.setting or not set(map(digest, sides[0])).isdisjoint(map(digest, sides[1])):
        say("Both are runs of one recipe: what lies between them is chance.")
        return
    mine, other, *others = _each_once([*sides, *judged.values()], ours)
    if max(map(len, [mine, other, *others])) < 2:
        say("Of the recipes, trained with other seeds, nothing is known: no setting has run twice (search.confirm).")
        return
    found = compare_recipes(mine, other, resamples, others=[runs for runs in others if len(runs) > 1])
    source = "" if min(len(mine), len(other)) > 1 else "; the spread between seeds from the study's repeated runs"
    runs = f"{len(mine)} and {len(other)} runs{source}"
    chance = verdict(found) == SAME != verdict(models)
    why = " Other seeds alone could make such a difference between two trained models." if chance else ""
    say(f"The recipes: {describe_difference(found)}: {verdict(found)} ({runs}).{why}")


def _each_once(groups: list[tuple[Predictions, ...]], side: ComparedModel) -> Iterator[list[Counts]]:
    """The counts of every run, in the first group that has it: a study and its copy (--from) share theirs."""
    seen: set[str] = set()
    for runs in groups:
        fresh = {mark: run for run in runs if (mark := digest(run)) not in seen}
        seen |= fresh.keys()
        yield [side.count(run) for run in fresh.values()]


def _show_parts(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples) -> None:
    if ours.task != "all":
        return
    say()
    say(f"By part; the intervals are widened, so that all {len(PARTS)} hold at once in 95 of 100 studies:")
    for part in PARTS:
        found = compare((ours.counts(part),), (theirs.counts(part),), resamples, comparisons=len(PARTS))
        say(f"  {part:32s} {describe_difference(found)}  {verdict(found)}")


def _show_classes(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples) -> None:
    """Those that differ beyond noise, all of them looked at together."""
    names = CLASS_NAMES[ours.task]
    mine, other = ours.counts(), theirs.counts()
    every = [
        (name, compare((mine,), (other,), resamples, f1_of(number), comparisons=len(names)))
        for number, name in enumerate(names)
    ]
    say()
    say(f"By class; the intervals are widened, so that all {len(names)} hold at once in 95 of 100 studies:")
    beyond = [(name, found) for name, found in every if verdict(found) != SAME]
    for name, found in sorted(beyond, key=lambda row: row[1].value):
        say(f"  {name:32s} {describe_difference(found)}  {verdict(found)}")
    rest = (
        "No class differs"
        if not beyond
        else f"The other {len(names) - len(beyond)} of {len(names)} classes do not differ"
    )
    say(f"{rest} beyond noise.")


def _weights(ours: ComparedModel, prior: str) -> Floats:
    """Of the people, by --prior; raises UserError for one that cannot be had."""
    from maskcls.scoring.reweighting import groups_of, parse_prior, weights_of

    shares = parse_prior(prior)
    if ours.task != "all":
        raise UserError(f"--prior needs gender and age of the people, and {ours.task} alone does not tell them.")
    return weights_of(shares, *groups_of(ours.predictions.person_N, ours.predictions.label_N))


def _show_prior(ours: ComparedModel, theirs: ComparedModel, resamples: Resamples, prior: str, weight_P: Floats) -> None:
    found = compare((ours.counts(),), (theirs.counts(),), resamples, weight_P=weight_P)
    scores = [compare((side.counts(),), (), resamples, weight_P=weight_P).value for side in (ours, theirs)]
    say()
    say(f"With {prior}: A {scores[0]:.4f}, B {scores[1]:.4f}, A - B {describe_difference(found)}: {verdict(found)}.")
