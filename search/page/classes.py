"""The report's sections on classes: which became better or worse beyond noise, and the confusion matrices.

Shape suffixes: K classes.
"""

from dataclasses import dataclass

import numpy as np

from maskcls.scoring.condensed import (
    EACH_END,
    NAME_COLUMNS,
    Condensed,
    condense,
    extremes,
    extremes_note,
    most_confused,
)
from maskcls.scoring.intervals import Estimate, compare, compare_classes
from maskcls.scoring.metrics import f1_per_class
from maskcls.system.printable import shortened
from search.answer.format import as_score, capital, signed, signed_spread, verdict_on, with_sign
from search.page.blocks import Block, Figure, Figures, Section, Table, Text
from search.page.data import Material, TrialPredictions
from search.page.figures import Dot, draw_dots, draw_matrix

TITLES = ("photos", "before", "after", "difference", "95 % interval", "verdict")


@dataclass(frozen=True)
class Change:
    """F1 of one class, or the study's metric over one part of the label, before and after."""

    name: str
    photos: int
    before: float
    after: float
    estimate: Estimate
    """The difference, after minus before."""

    @property
    def verdict(self) -> str:
        """Better, worse or not distinguishable."""
        return verdict_on(self.estimate)


def class_changes(material: Material) -> list[Change]:
    """The change of each class, with simultaneous intervals; empty without predictions before and after."""
    if material.pair is None or material.resamples is None:
        return []
    before, after = material.pair
    names = material.space.names
    f1_before_K, f1_after_K = f1_per_class(before.confusion_KK), f1_per_class(after.confusion_KK)
    differences = compare_classes((after.counts(),), (before.counts(),), material.resamples, comparisons=len(names))
    return [
        Change(
            name,
            int(after.confusion_KK[index].sum()),
            float(f1_before_K[index]),
            float(f1_after_K[index]),
            difference,
        )
        for index, (name, difference) in enumerate(zip(names, differences, strict=True))
    ]


def telling(changes: list[Change]) -> list[Change]:
    """All changes, or of many those of the classes that gained most and of those that lost most."""
    value_K = np.array([change.estimate.value for change in changes])
    return [changes[index] for index in extremes(value_K).tolist()]


def part_changes(material: Material) -> list[Change]:
    """The change of every part of the label, read off the predicted class; empty where there is only one."""
    if material.pair is None or material.resamples is None or not material.space.parts:
        return []
    before, after = material.pair
    changes = []
    parts = material.space.parts
    for part in parts:
        our_counts, their_counts = after.counts(part), before.counts(part)
        was, now = (float(counts.score(*counts.sums())) for counts in (their_counts, our_counts))
        estimate = compare((our_counts,), (their_counts,), material.resamples, comparisons=len(parts))
        changes.append(Change(part, len(after.predictions.label_N), was, now, estimate))
    return changes


def classes_section(material: Material) -> Section:
    """Which classes became better or worse beyond noise, from the baseline to the best trial."""
    title = "Classes that got better or worse"
    if material.pair is None or material.resamples is None:
        return Section(title, (Text(material.missing()),))
    before, after = material.pair
    changes = class_changes(material)
    task = material.stored.task
    judges = task.unit.count(len(material.resamples.person_P))
    intro = (
        f"From {before.name} to {after.name}, on the same {judges}. The intervals are over {task.unit.many}, widened so"
        f" that all {len(changes)} hold at once.{_optimism(material)}"
    )
    chance = material.same_configuration
    blocks: list[Block] = [Text(intro), Text(chance or _beyond_noise(changes))]
    if note := extremes_note(len(changes), "that gained most", "that lost most"):
        blocks.append(Text(f"{note} are shown."))
    shown = telling(changes)
    blocks += [_figure(shown, bool(chance)), _table("class", shown, bool(chance))]
    parts = part_changes(material)
    if parts:
        by = "" if task.metric == "macro_f1" else f" ({task.metric_words})"
        blocks.append(_table(f"part of the label{by}", parts, bool(chance)))
    return Section(title, tuple(blocks))


def _optimism(material: Material) -> str:
    """How optimistic the best trial's score is, for having been chosen."""
    winner = material.answer.winner
    if winner is None or winner.candidates < 2:
        return ""
    task = material.stored.task
    return (
        f" Trial {winner.trial} was chosen by these {task.unit.many}: its {task.metric_words} is"
        f" {as_score(winner.score.value)} on them and"
        f" {as_score(winner.expected)} corrected for the choice."
    )


def _beyond_noise(changes: list[Change]) -> str:
    sentences = []
    for word in ("better", "worse"):
        beyond = [change for change in changes if change.verdict == word]
        if len(beyond) > EACH_END:
            beyond.sort(key=lambda change: -abs(change.estimate.value))
        names = [f"{shortened(change.name, NAME_COLUMNS)} ({signed(change.estimate.value)})" for change in beyond]
        more = f"; and {len(names) - EACH_END} more" if len(names) > EACH_END else ""
        sentences.append(f"{word.capitalize()} beyond noise: {'; '.join(names[:EACH_END]) or 'none'}{more}.")
    return " ".join(sentences)


def _figure(changes: list[Change], is_chance: bool) -> Figure:
    dots = [
        Dot(shortened(change.name, NAME_COLUMNS), change.estimate, "" if is_chance else change.verdict)
        for change in changes
    ]
    caption = "Change in F1 of each class with its interval."
    if not is_chance:
        caption += " Green triangle up: better beyond noise. Red triangle down: worse beyond noise. Blue dot: neither."
    return draw_dots("classes", dots, "change in F1", f"{caption} The table has the numbers.", caption, zero=True)


def _table(what: str, changes: list[Change], is_chance: bool) -> Table:
    """The table of changes; without verdicts for two trainings of one configuration."""
    titles = (what, *(TITLES[:-1] if is_chance else TITLES))
    rows = tuple(
        (
            shortened(change.name, NAME_COLUMNS),
            f"{change.photos:,}",
            as_score(change.before),
            as_score(change.after),
            signed(change.estimate.value),
            signed_spread(change.estimate),
            with_sign(change.verdict),
        )[: len(titles)]
        for change in changes
    )
    strong = tuple(row for row, change in enumerate(changes) if change.verdict in ("better", "worse"))
    return Table(titles, rows, TITLES[:-1], strong=() if is_chance else strong)


def matrices_section(material: Material) -> Section:
    """The confusion matrices before and after, with and without the diagonal."""
    title = "Confusion matrices"
    models = material.pair or ((material.after,) if material.after else ())
    if not models:
        return Section(title, (Text(material.missing()),))
    note = material.same_configuration if material.pair else material.missing()
    shown = most_confused(*(model.confusion_KK for model in models))
    named = [
        (name, model, condense(model.confusion_KK, model.space, shown))
        for name, model in zip(("before", "after"), models, strict=False)
    ]
    text = "Rows are the true class, columns the predicted one. Without the diagonal the mistakes show."
    text = " ".join(part for part in (text, named[0][2].note, note) if part)
    most = max(matrix.most for _, _, matrix in named)
    figures = [_with_diagonal(name, model, matrix) for name, model, matrix in named]
    figures += [_without_diagonal(name, model, matrix, most) for name, model, matrix in named]
    return Section(title, (Text(text), Figures(tuple(figures))))


def _with_diagonal(name: str, model: TrialPredictions, matrix: Condensed) -> Figure:
    title = f"{capital(model.name)}: percent of each true class"
    values = matrix.share_MM, matrix.percent_MM
    return draw_matrix(f"confusion-{name}", *values, matrix, model.space, title, 1.0, is_mistakes=False)


def _without_diagonal(name: str, model: TrialPredictions, matrix: Condensed, most: int) -> Figure:
    title = f"{capital(model.name)}: mistakes only, in photos"
    values = matrix.pairs_MM, matrix.mistakes_MM
    return draw_matrix(f"mistakes-{name}", *values, matrix, model.space, title, most, is_mistakes=True)
