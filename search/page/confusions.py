"""What gets confused with what, in sentences: which ages and genders, by mask state, in which direction.

A difference (between mask states, directions, before and after) counts only when its interval over people excludes 0;
the intervals are widened so that all comparisons made here hold at once.
"""

from dataclasses import dataclass, replace

from maskcls.labels import LabelSpace
from maskcls.scoring.confusions import (
    MIN_PEOPLE,
    Confusion,
    Rate,
    compare_rates,
    count_confusion,
    directions,
    is_distinguishable,
    rate_of,
)
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples
from maskcls.system.errors import count_of
from maskcls.tasks.mask import MASK
from search.answer.format import capital, clipped, has_interval, percent
from search.page.blocks import Facts, Section, Table, Text
from search.page.data import Material

WHERE = ("mask worn", "mask incorrect", "no mask")
"""The mask states in the terms of the list."""

WORN, NOT_WORN, YOUNG, OLD = 0, 2, 0, 2

COMPARISONS = 3 * 2 + 2 + 3
"""Both directions of age and of gender in each mask state; mask worn or not; before and after, for each part."""


@dataclass(frozen=True)
class Mistakes:
    """One model's mistakes: how often each confusion happens, and comparisons of these rates."""

    predictions: Predictions
    resamples: Resamples
    space: LabelSpace

    def rate(self, confusion: Confusion) -> Rate:
        """How often the confusion happens."""
        return rate_of(confusion, self.predictions)

    def ways(self, part: str, mask: int) -> list[Confusion]:
        """The confusions of the part's classes in this mask state."""
        return directions(self.space, part, ("mask", mask))

    def describe(self, confusion: Confusion) -> str:
        """``12 of 240 photos (5.0 %, 7 of 48 people)``."""
        rate = self.rate(confusion)
        people = f"{rate.affected} of {count_of(rate.people, 'person', 'people')}"
        return f"{rate.wrong:,} of {count_of(rate.photos, 'photo')} ({percent(rate.value)}, {people})"

    def compare(self, ours: Confusion, theirs: Confusion, before: Predictions | None = None) -> str:
        """A sentence on whether our rate differs from theirs, which is that of the model ``before`` if given."""
        other = before or self.predictions
        rates = self.rate(ours), rate_of(theirs, other)
        if min(rate.people for rate in rates) < MIN_PEOPLE:
            return "Too few people to tell the two apart."
        counts = count_confusion(ours, self.predictions), count_confusion(theirs, other)
        difference = clipped(compare_rates(*counts, self.resamples, COMPARISONS), -1.0)
        if not has_interval(difference):
            return "The two are not distinguishable."
        value, low, high = (f"{100 * share:+.1f}" for share in (difference.value, difference.low, difference.high))
        verdict = "A difference beyond noise" if is_distinguishable(difference, *rates) else "Not distinguishable"
        return f"{verdict}: {value} points, interval {low} to {high}."


def confusions_section(material: Material) -> Section:
    """Sentences on the confusions, then the tables behind them."""
    title = "What gets confused with what"
    if material.after is None or material.resamples is None:
        return Section(title, (Text(material.missing()),))
    if material.task != "all":
        text = f"The models of this study predict {material.task} alone, so nothing can be said by mask state."
        return Section(title, (Text(text),))
    mistakes = Mistakes(material.after.predictions, material.resamples, material.space)
    before = material.pair[0].predictions if material.pair else None
    chance = material.same_configuration if before else ""
    intro = (
        f"From the predictions of {material.after.name}. A difference counts only where its interval over people"
        f" excludes 0; the intervals are widened so that all {COMPARISONS} comparisons hold at once. {chance}"
    )
    changes = [] if before is None else _changes(mistakes, before, bool(chance))
    tables = [
        _table(
            [*directions(material.space, "gender", ("mask", mask)), *directions(material.space, "age", ("mask", mask))],
            mistakes,
            before,
            f"True mask state: {name}",
        )
        for mask, name in enumerate(MASK.classes)
    ]
    tables.append(_table(directions(material.space, "mask"), mistakes, before, "All photos"))
    return Section(title, (Text(intro.strip()), Facts((*_sentences(mistakes), *changes)), *tables))


def _sentences(mistakes: Mistakes) -> list[tuple[str, str]]:
    """(term, sentence) pairs on the most telling confusions."""
    states = range(len(MASK.classes))
    return [
        ("overall", _by_part(mistakes)),
        *((f"ages, {WHERE[mask]}", _ages(mistakes, mask)) for mask in states),
        ("ages, two bands off", _two_bands_off(mistakes)),
        *((f"genders, {WHERE[mask]}", _genders(mistakes, mask)) for mask in states),
        *((f"{part} behind a mask", _behind_a_mask(mistakes, part)) for part in ("age", "gender")),
        ("mask states", _masks(mistakes)),
    ]


def _by_part(mistakes: Mistakes) -> str:
    rates = {part: mistakes.rate(Confusion(mistakes.space, part)) for part in mistakes.space.parts}
    wrong = int((mistakes.predictions.label_N != mistakes.predictions.log_prob_NK.argmax(1)).sum())
    shares = ", ".join(f"{part} on {rate.wrong:,} ({percent(rate.value)})" for part, rate in rates.items())
    photos = count_of(rates["age"].photos, "photo")
    return f"Of {photos}, {wrong:,} are in the wrong class: {shares}; one photo may be wrong in several."


def _ages(mistakes: Mistakes, mask: int) -> str:
    """The most frequent confusion of ages in this mask state, in both directions."""
    most = max(
        mistakes.ways("age", mask),
        key=lambda way: (mistakes.rate(way).wrong, mistakes.rate(way).value),
    )
    return _both_ways(mistakes, most)


def _genders(mistakes: Mistakes, mask: int) -> str:
    """The confusion of genders in this mask state, the direction with the higher rate first."""
    return _both_ways(mistakes, max(mistakes.ways("gender", mask), key=lambda way: mistakes.rate(way).value))


def _both_ways(mistakes: Mistakes, way: Confusion) -> str:
    if not mistakes.rate(way).wrong:
        return "None is wrong."
    back = replace(way, true=way.predicted, predicted=way.true)
    first = f"{capital(way.text)} on {mistakes.describe(way)}; the other way round on {mistakes.describe(back)}."
    return f"{first} {mistakes.compare(way, back)}"


def _two_bands_off(mistakes: Mistakes) -> str:
    ways = Confusion(mistakes.space, "age", YOUNG, OLD), Confusion(mistakes.space, "age", OLD, YOUNG)
    return f"{'; '.join(f'{capital(way.text)} on {mistakes.describe(way)}' for way in ways)}."


def _behind_a_mask(mistakes: Mistakes, part: str) -> str:
    worn, bare = (Confusion(mistakes.space, part, context=("mask", state)) for state in (WORN, NOT_WORN))
    first = f"Wrong on {mistakes.describe(worn)} with the mask worn and on {mistakes.describe(bare)} without one."
    return f"{first} {mistakes.compare(worn, bare)}"


def _masks(mistakes: Mistakes) -> str:
    most = max(directions(mistakes.space, "mask"), key=lambda way: mistakes.rate(way).wrong)
    return f"Most often {most.text}, on {mistakes.describe(most)}." if mistakes.rate(most).wrong else "None is wrong."


def _changes(mistakes: Mistakes, before: Predictions, is_chance: bool) -> list[tuple[str, str]]:
    """(term, sentence) pairs on the mistakes in each part before and after; ``is_chance``: of one configuration."""
    changes = []
    for part in mistakes.space.parts:
        wrong = Confusion(mistakes.space, part)
        was, now = rate_of(wrong, before), mistakes.rate(wrong)
        text = f"Wrong on {percent(was.value)} of the photos before and on {percent(now.value)} after."
        if not is_chance:
            text += f" {mistakes.compare(wrong, wrong, before)}"
        changes.append((f"{part}, before and after", text))
    return changes


def _table(confusions: list[Confusion], mistakes: Mistakes, before: Predictions | None, caption: str) -> Table:
    titles: tuple[str, ...] = ("confusion", "photos", "wrong", "share", "people affected", "of people")
    rows = []
    for confusion in confusions:
        rate = mistakes.rate(confusion)
        cells = [f"{rate.photos:,}", f"{rate.wrong:,}", percent(rate.value), str(rate.affected), str(rate.people)]
        if before is not None:
            was = rate_of(confusion, before)
            cells += [f"{was.wrong:,}", percent(was.value)]
        rows.append((confusion.text, *cells))
    if before is not None:
        titles += ("wrong before", "share before")
    return Table(titles, tuple(rows), titles[1:], caption)
