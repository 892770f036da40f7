"""The report's part on classes: which got better and worse beyond noise, and the confusion matrices.

Shape suffixes: K classes.
"""

from dataclasses import dataclass

import numpy as np

from maskcls.labels import CLASS_NAMES, PARTS
from maskcls.scoring.counts import f1_of, macro_f1
from maskcls.scoring.intervals import Estimate, compare
from maskcls.scoring.metrics import f1_per_class, merge_confusion
from maskcls.system.errors import count_of
from search.answer.format import as_score, capital, signed, signed_spread, verdict_on, with_sign
from search.page.blocks import Block, Figure, Figures, Section, Table, Text
from search.page.data import Material, TrialPredictions
from search.page.figures import Dot, draw_dots, draw_matrix

TITLES = ("", "photos", "before", "after", "difference", "95 % interval", "verdict")


@dataclass(frozen=True)
class Change:
    """F1 of one class, or of one part of the label, before and after."""

    name: str
    photos: int
    before: float
    after: float
    estimate: Estimate

    @property
    def verdict(self) -> str:
        """Nothing is beyond noise where nothing tells of the noise: one person alone, or all alike."""
        return verdict_on(self.estimate)


def class_changes(material: Material) -> list[Change]:
    """A change a class, the intervals so wide that all hold at once; empty without before and after."""
    if material.pair is None or material.resamples is None:
        return []
    before, after = material.pair
    names = CLASS_NAMES[material.task]
    counts = (after.counts(),), (before.counts(),)
    f1_before_K, f1_after_K = f1_per_class(before.confusion_KK), f1_per_class(after.confusion_KK)
    return [
        Change(
            name,
            int(after.confusion_KK[index].sum()),
            float(f1_before_K[index]),
            float(f1_after_K[index]),
            compare(*counts, material.resamples, f1_of(index), comparisons=len(names)),
        )
        for index, name in enumerate(names)
    ]


def part_changes(material: Material) -> list[Change]:
    """Macro F1 of mask, gender and age alone, read off the predicted class; empty for a single task."""
    if material.pair is None or material.resamples is None or material.task != "all":
        return []
    before, after = material.pair
    found = []
    for part in PARTS:
        was, now = (f1_per_class(merge_confusion(side.confusion_KK, part)).mean() for side in (before, after))
        counts = (after.counts(part),), (before.counts(part),)
        estimate = compare(*counts, material.resamples, macro_f1, comparisons=len(PARTS))
        found.append(Change(part, len(after.predictions.label_N), float(was), float(now), estimate))
    return found


def classes_section(material: Material) -> Section:
    """Which classes got better and worse beyond noise."""
    title = "Classes that got better and worse"
    if material.pair is None or material.resamples is None:
        return Section(title, (Text(material.missing()),))
    before, after = material.pair
    changes = class_changes(material)
    people = count_of(len(material.resamples.person_P), "person", "people")
    intro = (
        f"From {before.name} to {after.name}, on the same {people}. The intervals are over people and so wide that all"
        f" {len(changes)} hold at once.{_optimism(material)}"
    )
    chance = material.same_configuration
    blocks: list[Block] = [Text(intro), Text(chance or _beyond_noise(changes)), _figure(changes, bool(chance))]
    blocks.append(_table("class", changes, bool(chance)))
    parts = part_changes(material)
    if parts:
        blocks.append(_table("part of the label", parts, bool(chance)))
    return Section(title, tuple(blocks))


def _optimism(material: Material) -> str:
    """By how much the choice makes the best trial's score optimistic."""
    winner = material.answer.winner
    if winner is None or winner.candidates < 2:
        return ""
    return (
        f" Trial {winner.trial} was chosen by these people: its macro F1 is {as_score(winner.score.value)} on them and"
        f" {as_score(winner.corrected)} corrected for the choice."
    )


def _beyond_noise(changes: list[Change]) -> str:
    """The list that a reader wants first."""
    said = []
    for word in ("better", "worse"):
        names = [f"{c.name} ({signed(c.estimate.value)})" for c in changes if c.verdict == word]
        said.append(f"{word.capitalize()} beyond noise: {'; '.join(names) or 'none'}.")
    return " ".join(said)


def _figure(changes: list[Change], is_chance: bool) -> Figure:
    dots = [Dot(change.name, change.estimate, "" if is_chance else change.verdict) for change in changes]
    caption = "Change of F1 of each class with its interval."
    if not is_chance:
        caption += " A green triangle up is better and a red one down worse beyond noise; a blue dot is neither."
    return draw_dots("classes", dots, "change of F1", f"{caption} The table has the numbers.", caption, zero=True)


def _table(what: str, changes: list[Change], is_chance: bool) -> Table:
    """Two trainings of one recipe get no verdict."""
    titles = (what, *(TITLES[1:6] if is_chance else TITLES[1:]))
    rows = tuple(
        (
            change.name,
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
    return Table(titles, rows, TITLES[1:6], strong=() if is_chance else strong)


def matrices_section(material: Material) -> Section:
    """The matrices before and after, with and without the diagonal."""
    title = "Confusion matrices"
    sides = material.pair or ((material.after,) if material.after else ())
    if not sides:
        return Section(title, (Text(material.missing()),))
    text = "Rows are the true class, columns the predicted one. Without the diagonal the mistakes show."
    if material.pair is None:
        text += f" {material.missing()}"
    elif material.same_configuration:
        text += f" {material.same_configuration}"
    most = max(_mistakes(side).max() for side in sides)
    figures = [_with_diagonal(side, place) for side, place in zip(sides, ("before", "after"), strict=False)]
    figures += [_without_diagonal(side, place, most) for side, place in zip(sides, ("before", "after"), strict=False)]
    return Section(title, (Text(text), Figures(tuple(figures))))


def _mistakes(side: TrialPredictions) -> np.ndarray:
    return side.confusion_KK * (1 - np.eye(len(side.confusion_KK), dtype=np.int64))


def _with_diagonal(side: TrialPredictions, place: str) -> Figure:
    share_KK = side.confusion_KK / np.maximum(side.confusion_KK.sum(1, keepdims=True), 1)
    text_KK = np.round(100 * share_KK).astype(int)
    title = f"{capital(side.name)}: percent of each true class"
    return draw_matrix(f"confusion-{place}", share_KK, text_KK, side.task, title, 1.0, is_mistakes=False)


def _without_diagonal(side: TrialPredictions, place: str, most: int) -> Figure:
    mistakes_KK = _mistakes(side)
    title = f"{capital(side.name)}: mistakes only, in photos"
    return draw_matrix(f"mistakes-{place}", mistakes_KK, mistakes_KK, side.task, title, max(1, most), is_mistakes=True)
