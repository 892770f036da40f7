"""What gets confused with what, in sentences: the mistakes in each factor of the label, in which direction.

Where the task declares a context, such as the state of a mask, the mistakes are listed for each class of it. A
difference (between contexts, directions, before and after) counts only when its interval over groups excludes 0; the
intervals are widened so that all comparisons made here hold at once.
"""

from dataclasses import dataclass, replace

from maskcls.labels import ALL, Factor, LabelSpace
from maskcls.scoring.confusions import (
    MIN_PEOPLE,
    Confusion,
    Rate,
    compare_rates,
    count_confusion,
    directions,
    is_distinguishable,
    most_frequent,
    rate_of,
)
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples
from maskcls.system.errors import count_of
from maskcls.tasks.task import ContextWords, Task
from search.answer.format import capital, clipped, has_interval, percent
from search.page.blocks import Facts, Section, Table, Text
from search.page.data import Material

MAX_ROWS = 20
"""Most rows of a table: the confusions of 200 classes are 39,800."""

CUT = f", the {MAX_ROWS} most frequent"
"""What the caption of a table says that leaves others out."""

MAX_PAIRS = 3
"""Most pairs of classes that sentences tell of in a factor without a context."""

ORDINALS = ("1st", "2nd", "3rd")

Pairs = list[Confusion]
"""The more frequent direction of some pairs of classes."""


@dataclass(frozen=True)
class Mistakes:
    """One model's mistakes: how often each confusion happens, and comparisons of these rates."""

    predictions: Predictions
    resamples: Resamples
    space: LabelSpace
    """What the model predicts."""
    task: Task
    comparisons: int
    """Number of comparisons that hold at once."""

    @property
    def parts(self) -> dict[str, Factor]:
        """The factors by the name of their part; that of a single factor is ALL."""
        return parts_of(self.space)

    def rate(self, confusion: Confusion) -> Rate:
        """How often the confusion happens."""
        return rate_of(confusion, self.predictions)

    def describe(self, confusion: Confusion) -> str:
        """``12 of 240 photos (5.0 %, 7 of 48 people)``."""
        rate, unit = self.rate(confusion), self.task.unit
        affected = f", {rate.affected} of {unit.count(rate.people)}" if self.task.has_groups else ""
        return f"{rate.wrong:,} of {count_of(rate.photos, 'photo')} ({percent(rate.value)}{affected})"

    def compare(self, ours: Confusion, theirs: Confusion, before: Predictions | None = None) -> str:
        """A sentence on whether our rate differs from theirs, which is that of the model ``before`` if given."""
        other = before or self.predictions
        rates = self.rate(ours), rate_of(theirs, other)
        if min(rate.people for rate in rates) < MIN_PEOPLE:
            return f"Too few {self.task.unit.many} to tell the two apart."
        counts = count_confusion(ours, self.predictions), count_confusion(theirs, other)
        difference = clipped(compare_rates(*counts, self.resamples, self.comparisons), -1.0)
        if not has_interval(difference):
            return "The two are not distinguishable."
        value, low, high = (f"{100 * share:+.1f}" for share in (difference.value, difference.low, difference.high))
        verdict = "A difference beyond noise" if is_distinguishable(difference, *rates) else "Not distinguishable"
        return f"{verdict}: {value} points, interval {low} to {high}."


def parts_of(space: LabelSpace) -> dict[str, Factor]:
    """The factors of a space by the name of their part; that of a single factor is ALL."""
    return {factor.name if space.parts else ALL: factor for factor in space.factors}


def confusions_section(material: Material) -> Section:
    """Sentences on the confusions, then the tables behind them."""
    title = "What gets confused with what"
    if material.after is None or material.resamples is None:
        return Section(title, (Text(material.missing()),))
    task, predictions = material.stored.task, material.after.predictions
    if task.context and material.task != ALL:
        by = task.space.factor(task.context).noun
        text = f"The models of this study predict {material.task} alone, so nothing can be said by {by}."
        return Section(title, (Text(text),))
    parts = () if task.context else parts_of(material.space)
    pairs = {part: pairs_of(material.space, part, predictions) for part in parts}
    number = num_comparisons(task, material.space, pairs)
    mistakes = Mistakes(predictions, material.resamples, material.space, task, number)
    before = material.pair[0].predictions if material.pair else None
    chance = material.same_configuration if before else ""
    intro = (
        f"From the predictions of {material.after.name}. A difference counts only where its interval over"
        f" {task.unit.many} excludes 0; the intervals are widened so that all {number} comparisons hold at once."
        f" {chance}"
    )
    sentences = _in_context(mistakes) if task.context else _by_factor(mistakes, pairs)
    changes = [] if before is None else _changes(mistakes, before, bool(chance))
    tables = _context_tables(mistakes, before) if task.context else _factor_tables(mistakes, before)
    return Section(title, (Text(intro.strip()), Facts((*sentences, *changes)), *tables))


def num_comparisons(task: Task, space: LabelSpace, pairs: dict[str, Pairs]) -> int:
    """Number of comparisons of the section, the changes from before to after included.

    With a context: both directions of each other factor in each class of it, and its first class against its last.
    Without: both directions of each of ``pairs``.
    """
    before_and_after = len(space.factors)
    if not task.context:
        return sum(map(len, pairs.values())) + before_and_after
    others = len(space.factors) - 1
    return others * len(space.factor(task.context).classes) + others + before_and_after


def _overall(mistakes: Mistakes) -> tuple[str, str]:
    rates = {factor.name: mistakes.rate(Confusion(mistakes.space, part)) for part, factor in mistakes.parts.items()}
    wrong = int((mistakes.predictions.label_N != mistakes.predictions.log_prob_NK.argmax(1)).sum())
    num_photos = len(mistakes.predictions.label_N)
    first = f"Of {count_of(num_photos, 'photo')}, {wrong:,} are in the wrong class"
    if len(rates) == 1:
        return "overall", f"{first} ({percent(wrong / num_photos)})."
    shares = ", ".join(f"{part} on {rate.wrong:,} ({percent(rate.value)})" for part, rate in rates.items())
    return "overall", f"{first}: {shares}; one photo may be wrong in several."


# --- with a context -------------------------------------------------------------------------------------------------


def _in_context(mistakes: Mistakes) -> list[tuple[str, str]]:
    """(term, sentence) pairs on the most telling confusions of every factor in each class of the context."""
    context = mistakes.space.factor(mistakes.task.context)
    words = mistakes.task.context_words or ContextWords.of(context)
    others = [factor for factor in mistakes.space.factors if factor is not context]
    said = [_overall(mistakes)]
    for factor in sorted(others, key=lambda factor: not factor.ordered):
        for number, term in enumerate(words.terms):
            way = _most_telling(mistakes, factor.name, factor, (context.name, number))
            said.append((f"{factor.nouns}, {term}", _both_ways(mistakes, way)))
        said += _far_off(mistakes, factor.name, factor)
    for factor in sorted(others, key=lambda factor: not factor.ordered):
        said.append((f"{factor.noun} {words.apart}", _between_ends(mistakes, factor.name, context, words)))
    return [*said, (context.nouns, _most_often(mistakes, context.name))]


def _most_telling(mistakes: Mistakes, part: str, factor: Factor, context: tuple[str, int] | None) -> Confusion:
    """The most frequent confusion; of two classes alone, the direction with the higher rate."""
    if len(factor.classes) == 2:
        return max(directions(mistakes.space, part, context), key=lambda way: mistakes.rate(way).value)
    most = most_frequent(mistakes.space, part, mistakes.predictions, 1, context)
    return most[0] if most else Confusion(mistakes.space, part, 0, 1, context)


def _both_ways(mistakes: Mistakes, way: Confusion) -> str:
    if not mistakes.rate(way).wrong:
        return "None is wrong."
    back = replace(way, true=way.predicted, predicted=way.true)
    first = f"{capital(way.text)} on {mistakes.describe(way)}; the other way round on {mistakes.describe(back)}."
    return f"{first} {mistakes.compare(way, back)}"


def _far_off(mistakes: Mistakes, part: str, factor: Factor) -> list[tuple[str, str]]:
    """The confusions of the first class of an ordered factor with its last; none for fewer than three classes."""
    last = len(factor.classes) - 1
    if not factor.ordered or last < 2:
        return []
    ways = (Confusion(mistakes.space, part, *way) for way in ((0, last), (last, 0)))
    text = "; ".join(f"{capital(way.text)} on {mistakes.describe(way)}" for way in ways)
    return [(f"{factor.nouns}, {'two' if last == 2 else last} bands off", f"{text}.")]


def _between_ends(mistakes: Mistakes, part: str, context: Factor, words: ContextWords) -> str:
    """The mistakes of a part in the first class of the context and in its last."""
    ends = 0, len(context.classes) - 1
    first, last = (Confusion(mistakes.space, part, context=(context.name, number)) for number in ends)
    in_first, in_last = (
        f"{mistakes.describe(wrong)} {end}" for wrong, end in zip((first, last), words.ends, strict=True)
    )
    return f"Wrong on {in_first} and on {in_last}. {mistakes.compare(first, last)}"


def _most_often(mistakes: Mistakes, part: str) -> str:
    most = max(directions(mistakes.space, part), key=lambda way: mistakes.rate(way).wrong)
    return f"Most often {most.text}, on {mistakes.describe(most)}." if mistakes.rate(most).wrong else "None is wrong."


def _context_tables(mistakes: Mistakes, before: Predictions | None) -> list[Table]:
    """A table for each class of the context with the confusions of the other factors, and one of its own."""
    context = mistakes.space.factor(mistakes.task.context)
    others = [part for part in mistakes.space.parts if part != context.name]
    states = [(f"True {context.noun}: {name}", others, (context.name, n)) for n, name in enumerate(context.classes)]
    tables = []
    for caption, parts, state in (*states, ("All photos", [context.name], None)):
        ways, cut = _in_order(mistakes, parts, state)
        tables.append(_table(ways, mistakes, before, caption + cut))
    return tables


def _in_order(mistakes: Mistakes, parts: list[str], state: tuple[str, int] | None) -> tuple[list[Confusion], str]:
    """All confusions of the parts in the classes' order, or the most frequent of too many, and what to say of that."""
    sizes = (mistakes.space.predicted(part).num_classes for part in parts)
    if sum(size * (size - 1) for size in sizes) <= MAX_ROWS:
        return [way for part in parts for way in directions(mistakes.space, part, state)], ""
    most = [way for part in parts for way in most_frequent(mistakes.space, part, mistakes.predictions, MAX_ROWS, state)]
    return sorted(most, key=lambda way: -mistakes.rate(way).wrong)[:MAX_ROWS], CUT


# --- without ----------------------------------------------------------------------------------------------------------


def pairs_of(space: LabelSpace, part: str, predictions: Predictions) -> Pairs:
    """The pairs of classes that are confused most often, each in its more frequent direction; of two classes, the
    direction with the higher rate."""
    ways = most_frequent(space, part, predictions, 2 * MAX_PAIRS)
    if space.predicted(part).num_classes == 2:
        ways = sorted(ways, key=lambda way: -rate_of(way, predictions).value)
    pairs: dict[frozenset[int | None], Confusion] = {}
    for way in ways:
        pairs.setdefault(frozenset((way.true, way.predicted)), way)
    return list(pairs.values())[:MAX_PAIRS]


def _by_factor(mistakes: Mistakes, pairs: dict[str, Pairs]) -> list[tuple[str, str]]:
    """(term, sentence) pairs on the most frequent confusions of every factor."""
    said = [_overall(mistakes)]
    for part, factor in mistakes.parts.items():
        if not pairs[part]:
            said.append((factor.nouns, "None is wrong."))
        for place, way in zip(ORDINALS, pairs[part], strict=False):
            term = factor.nouns if len(pairs[part]) == 1 else f"{factor.nouns}, {place}"
            said.append((term, _both_ways(mistakes, way)))
        said += _far_off(mistakes, part, factor)
    return said


def _factor_tables(mistakes: Mistakes, before: Predictions | None) -> list[Table]:
    """A table for each factor of its most frequent confusions; none where nothing is wrong."""
    tables = []
    for part, factor in mistakes.parts.items():
        ways = most_frequent(mistakes.space, part, mistakes.predictions, MAX_ROWS + 1)
        if ways:
            cut = CUT if len(ways) > MAX_ROWS else ""
            tables.append(_table(ways[:MAX_ROWS], mistakes, before, f"{capital(factor.nouns)}{cut}"))
    return tables


# --- either way -------------------------------------------------------------------------------------------------------


def _changes(mistakes: Mistakes, before: Predictions, is_chance: bool) -> list[tuple[str, str]]:
    """(term, sentence) pairs on the mistakes in each factor before and after; ``is_chance``: of one configuration."""
    changes = []
    for part, factor in mistakes.parts.items():
        wrong = Confusion(mistakes.space, part)
        was, now = rate_of(wrong, before), mistakes.rate(wrong)
        text = f"Wrong on {percent(was.value)} of the photos before and on {percent(now.value)} after."
        if not is_chance:
            text += f" {mistakes.compare(wrong, wrong, before)}"
        changes.append((f"{factor.name}, before and after", text))
    return changes


def _table(confusions: list[Confusion], mistakes: Mistakes, before: Predictions | None, caption: str) -> Table:
    unit = mistakes.task.unit
    titles: tuple[str, ...] = ("confusion", "photos", "wrong", "share")
    titles += (f"{unit.many} affected", f"of {unit.many}") if mistakes.task.has_groups else ()
    rows = []
    for confusion in confusions:
        rate = mistakes.rate(confusion)
        cells = [f"{rate.photos:,}", f"{rate.wrong:,}", percent(rate.value)]
        cells += [str(rate.affected), str(rate.people)] if mistakes.task.has_groups else []
        if before is not None:
            was = rate_of(confusion, before)
            cells += [f"{was.wrong:,}", percent(was.value)]
        rows.append((confusion.text, *cells))
    if before is not None:
        titles += ("wrong before", "share before")
    return Table(titles, tuple(rows), titles[1:], caption)
