"""What search.compare shows: the difference, what it rests on, and where it comes from."""

from maskcls.cli import say
from maskcls.counts import f1_of
from maskcls.errors import UserError
from maskcls.evidence import Estimate, compare, compare_recipes, interval
from maskcls.labels import CLASS_NAMES, PARTS
from maskcls.resampling import Resamples, resample
from search.answer_text import SAME, difference
from search.sides import Side, check_comparable, same_people


def show_comparison(ours: Side, theirs: Side, prior: str | None) -> None:
    """Print it. Raises UserError when the two cannot be compared."""
    check_comparable(ours, theirs)
    resamples = resample(ours.counts())
    for letter, side in (("A", ours), ("B", theirs)):
        score = interval(side.counts(), resamples)
        say(f"{letter}  macro F1 {score.value:.4f}  (95 % interval {score.low:.3f} to {score.high:.3f})  {side.name}")
    found = compare((ours.counts(),), (theirs.counts(),), resamples)
    people, photos = len(resamples.person_P), len(ours.predictions.label_N)
    say()
    say(f"A - B  {difference(found)}, {people} people, {photos} photos")
    say(f"{_sentence(found)} These two trained models; the same {people} people judged both.")
    say(f"This many people would show a difference of {found.detectable:.3f} four times in five.")
    _show_recipes(ours, theirs, resamples)
    _show_parts(ours, theirs, resamples)
    _show_classes(ours, theirs, resamples)
    if prior is not None:
        _show_prior(ours, theirs, resamples, prior)


def _sentence(found: Estimate) -> str:
    return "A and B are not distinguishable." if found.verdict == SAME else f"A is {found.verdict} than B."


def _show_recipes(ours: Side, theirs: Side, resamples: Resamples) -> None:
    """Where the studies repeated a setting: the recipes, mean against mean."""
    if ours.setting == theirs.setting:
        say("Both are runs of one recipe: what lies between them is chance.")
        return
    every = {**ours.runs, **theirs.runs}
    judged = {key: [ours.count(run) for run in runs] for key, runs in every.items() if same_people(runs, resamples)}
    sides = [judged.pop(side.setting, [side.counts()]) for side in (ours, theirs)]
    others = [runs for runs in judged.values() if len(runs) > 1]
    if max(map(len, [*sides, *others])) < 2:
        say("Of the recipes, trained with other seeds, nothing is known: no setting has run twice (search.confirm).")
        return
    found = compare_recipes(sides[0], sides[1], resamples, others=others)
    source = "" if min(map(len, sides)) > 1 else "; the spread between seeds from the study's repeated runs"
    runs = f"{len(sides[0])} and {len(sides[1])} runs{source}"
    say(f"The recipes: {difference(found)}: {found.verdict} ({runs}).")


def _show_parts(ours: Side, theirs: Side, resamples: Resamples) -> None:
    if ours.task != "all":
        return
    say()
    for part in PARTS:
        found = compare((ours.counts(part),), (theirs.counts(part),), resamples, comparisons=len(PARTS))
        say(f"  {part:32s} {difference(found)}  {found.verdict}")


def _show_classes(ours: Side, theirs: Side, resamples: Resamples) -> None:
    """Those that differ beyond noise, all of them looked at together."""
    names = CLASS_NAMES[ours.task]
    mine, other = ours.counts(), theirs.counts()
    every = [
        (name, compare((mine,), (other,), resamples, f1_of(number), comparisons=len(names)))
        for number, name in enumerate(names)
    ]
    say()
    beyond = [(name, found) for name, found in every if found.verdict != SAME]
    for name, found in sorted(beyond, key=lambda row: row[1].value):
        say(f"  {name:32s} {difference(found)}  {found.verdict}")
    rest = (
        "No class differs"
        if not beyond
        else f"The other {len(names) - len(beyond)} of {len(names)} classes do not differ"
    )
    say(f"{rest} beyond noise.")


def _show_prior(ours: Side, theirs: Side, resamples: Resamples, prior: str) -> None:
    from maskcls.prior import groups_of, parse_prior, weights_of

    shares = parse_prior(prior)
    if ours.task != "all":
        raise UserError(f"--prior needs gender and age of the people, and {ours.task} alone does not tell them.")
    gender_P, age_P = groups_of(ours.predictions.person_N, ours.predictions.label_N)
    weight_P = weights_of(shares, gender_P, age_P)
    found = compare((ours.counts(),), (theirs.counts(),), resamples, weight_P=weight_P)
    scores = [compare((side.counts(),), (), resamples, weight_P=weight_P).value for side in (ours, theirs)]
    say()
    say(f"With {prior}: A {scores[0]:.4f}, B {scores[1]:.4f}, A - B {difference(found)}: {found.verdict}.")
