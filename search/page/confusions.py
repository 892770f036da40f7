"""What gets confused with what, read out: by mask state, which ages, which genders, in which direction.

A difference (behind a mask or not, one direction or the other, before or after) is called real only when an interval
over people leaves out 0; the intervals are so wide that all comparisons made here hold at once.
"""

from dataclasses import dataclass, replace

from maskcls.labels import MASKS, PARTS
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
from search.answer.format import clipped, has_interval, percent
from search.page.blocks import Facts, Section, Table, Text
from search.page.data import Material

WHERE = ("mask worn", "mask incorrect", "no mask")
"""The mask states in a word or two."""

WORN, NOT_WORN, YOUNG, OLD = 0, 2, 0, 2

COMPARISONS = 3 * 2 + 2 + 3
"""Each mask state's two directions of age and of gender; masked against unmasked; before against after by part."""

Said = tuple[str, str]
"""What it is about, and what is said."""


@dataclass(frozen=True)
class Reader:
    """One model's mistakes, and how to compare them."""

    predictions: Predictions
    resamples: Resamples

    def rate(self, confusion: Confusion) -> Rate:
        """How often it happens."""
        return rate_of(confusion, self.predictions)

    def told(self, confusion: Confusion) -> str:
        """``12 of 240 photos (5.0 %, 7 of 48 people)``."""
        rate = self.rate(confusion)
        people = f"{rate.affected} of {count_of(rate.people, 'person', 'people')}"
        return f"{rate.wrong:,} of {count_of(rate.photos, 'photo')} ({percent(rate.value)}, {people})"

    def compare(self, ours: Confusion, theirs: Confusion, before: Predictions | None = None) -> str:
        """Whether our rate differs from theirs (of the model before), as a sentence."""
        other = before or self.predictions
        rates = self.rate(ours), rate_of(theirs, other)
        if min(rate.people for rate in rates) < MIN_PEOPLE:
            return "Too few people to tell the two apart."
        counts = count_confusion(ours, self.predictions), count_confusion(theirs, other)
        found = clipped(compare_rates(*counts, self.resamples, COMPARISONS), -1.0)
        if not has_interval(found):
            return "The two are not distinguishable."
        span = f"{points(found.value)} points, interval {points(found.low)} to {points(found.high)}"
        verdict = "A difference beyond noise" if is_distinguishable(found, *rates) else "Not distinguishable"
        return f"{verdict}: {span}."


def points(share: float) -> str:
    """A difference of shares in percentage points: ``+3.1``."""
    return f"{100 * share:+.1f}"


def confusions_section(material: Material) -> Section:
    """Sentences first, then the numbers that they were read from."""
    title = "What gets confused with what"
    if material.after is None or material.resamples is None:
        return Section(title, (Text(material.missing()),))
    if material.task != "all":
        text = f"The models of this study predict {material.task} alone, so nothing can be said by mask state."
        return Section(title, (Text(text),))
    reader = Reader(material.after.predictions, material.resamples)
    before = material.pair[0].predictions if material.pair else None
    chance = f" {material.same_configuration}" if before and material.same_configuration else ""
    intro = Text(
        f"Read off the predictions of {material.after.name}. A difference counts as one only where an interval over"
        f" people leaves out 0; {COMPARISONS} are looked at together, and the intervals are widened for that."
        f"{chance}"
    )
    said = (*sentences_of(reader), *(changes_since(reader, before, bool(chance)) if before else ()))
    tables = [_table(reader.predictions, before, mask) for mask in range(len(MASKS))]
    return Section(title, (intro, Facts(said), *tables, _mask_table(reader.predictions, before)))


def sentences_of(reader: Reader) -> tuple[Said, ...]:
    """What one would say of the confusion matrix, chosen by rule."""
    states = range(len(MASKS))
    return (
        ("in all", _by_part(reader)),
        *((f"ages, {WHERE[mask]}", _ages(reader, mask)) for mask in states),
        ("ages, two bands off", _far(reader)),
        *((f"genders, {WHERE[mask]}", _genders(reader, mask)) for mask in states),
        *((f"{part} behind a mask", _masked(reader, part)) for part in ("age", "gender")),
        ("mask states", _masks(reader)),
    )


def _by_part(reader: Reader) -> str:
    rates = {part: reader.rate(Confusion(part)) for part in PARTS}
    wrong = int((reader.predictions.label_N != reader.predictions.log_prob_NK.argmax(1)).sum())
    shares = ", ".join(f"{part} on {rate.wrong:,} ({percent(rate.value)})" for part, rate in rates.items())
    photos = count_of(rates["age"].photos, "photo")
    return f"Of {photos}, {wrong:,} are in the wrong class: {shares}; one photo may be wrong in several."


def _ages(reader: Reader, mask: int) -> str:
    """The largest confusion of ages at this mask state, and the same the other way round."""
    most = max(directions("age", mask), key=lambda way: (reader.rate(way).wrong, reader.rate(way).value))
    return _both_ways(reader, most)


def _genders(reader: Reader, mask: int) -> str:
    """The gender with the higher rate first."""
    return _both_ways(reader, max(directions("gender", mask), key=lambda confusion: reader.rate(confusion).value))


def _both_ways(reader: Reader, confusion: Confusion) -> str:
    if not reader.rate(confusion).wrong:
        return "None is wrong."
    back = replace(confusion, true=confusion.predicted, predicted=confusion.true)
    first = f"{_capital(confusion.text)} on {reader.told(confusion)}; the other way round on {reader.told(back)}."
    return f"{first} {reader.compare(confusion, back)}"


def _far(reader: Reader) -> str:
    confusions = Confusion("age", YOUNG, OLD), Confusion("age", OLD, YOUNG)
    return f"{'; '.join(f'{_capital(confusion.text)} on {reader.told(confusion)}' for confusion in confusions)}."


def _masked(reader: Reader, part: str) -> str:
    """Does a mask hide it? Wrong at all, with and without."""
    worn, bare = Confusion(part, mask=WORN), Confusion(part, mask=NOT_WORN)
    first = f"Wrong on {reader.told(worn)} with the mask worn and on {reader.told(bare)} without one."
    return f"{first} {reader.compare(worn, bare)}"


def _masks(reader: Reader) -> str:
    most = max(directions("mask"), key=lambda confusion: reader.rate(confusion).wrong)
    return f"Most often {most.text}, on {reader.told(most)}." if reader.rate(most).wrong else "None is wrong."


def changes_since(reader: Reader, before: Predictions, is_chance: bool) -> tuple[Said, ...]:
    """What the best trial does otherwise than the baseline, part by part; ``is_chance``: they are of one recipe."""
    return tuple((f"{part}, before and after", _change(reader, Confusion(part), before, is_chance)) for part in PARTS)


def _change(reader: Reader, confusion: Confusion, before: Predictions, is_chance: bool) -> str:
    was, now = rate_of(confusion, before), reader.rate(confusion)
    first = f"Wrong on {percent(was.value)} of the photos before and on {percent(now.value)} after."
    if is_chance:
        return first
    return f"{first} {reader.compare(confusion, confusion, before)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(now: Predictions, before: Predictions | None, mask: int) -> Table:
    confusions = [*directions("gender", mask), *directions("age", mask)]
    return _rates_table(confusions, now, before, f"{MASKS[mask].capitalize()}: photos of this true mask state")


def _mask_table(now: Predictions, before: Predictions | None) -> Table:
    return _rates_table(directions("mask"), now, before, "Mask states: all photos")


def _rates_table(confusions: list[Confusion], now: Predictions, before: Predictions | None, caption: str) -> Table:
    titles = ("true taken for", "photos", "wrong", "share", "people affected", "of people")
    rows = []
    for confusion in confusions:
        rate = rate_of(confusion, now)
        cells = (f"{rate.photos:,}", f"{rate.wrong:,}", percent(rate.value), str(rate.affected), str(rate.people))
        was = () if before is None else _before(confusion, before)
        rows.append((confusion.text, *cells, *was))
    more = () if before is None else ("wrong before", "share before")
    return Table((*titles, *more), tuple(rows), (*titles[1:], *more), caption)


def _before(confusion: Confusion, before: Predictions) -> tuple[str, str]:
    rate = rate_of(confusion, before)
    return f"{rate.wrong:,}", percent(rate.value)
