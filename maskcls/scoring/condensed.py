"""What is shown of many classes: the most confused ones and the others as one, the best and the worst, short names.

Shape suffixes: K classes, M rows of a condensed matrix: the classes shown and, if that is not all of them, the others.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskcls.labels import LabelSpace
from maskcls.system.errors import count_of
from maskcls.system.printable import shortened

MAX_SHOWN = 25
"""Most classes in a picture of a confusion matrix, besides the others as one."""

EACH_END = 20
"""So many of the best classes, and so many of the worst ones, are in a table."""

AXIS_COLUMNS = 30
"""Most columns of a name on an axis."""

NAME_COLUMNS = 60
"""Most columns of a name in a table."""


@dataclass(frozen=True)
class Condensed:
    """A confusion matrix of which some classes are shown."""

    photos_MM: NDArray[np.int64]
    """Row true class, column predicted class. The others together are the last row and column."""
    mistakes_MM: NDArray[np.int64]
    """The same without correct predictions; in the corner the mistakes among the others."""
    names: tuple[str, ...]
    """Of the M rows, for an axis."""
    others: int
    """Number of the other classes; 0 if all are shown."""

    @property
    def share_MM(self) -> NDArray[np.float64]:
        """Share of each true class that is predicted so; the others together are one class."""
        return np.asarray(self.photos_MM / np.maximum(self.photos_MM.sum(1, keepdims=True), 1))

    @property
    def percent_MM(self) -> NDArray[np.int64]:
        """``share_MM`` in percent."""
        return np.round(100 * self.share_MM).astype(int)

    @property
    def pairs_MM(self) -> NDArray[np.int64]:
        """``mistakes_MM`` with 0 for the others: their many mistakes would outshine those between two classes."""
        pairs_MM = self.mistakes_MM.copy()
        if self.others:
            pairs_MM[-1], pairs_MM[:, -1] = 0, 0
        return pairs_MM

    @property
    def most(self) -> int:
        """The most mistakes between two classes, at least 1."""
        return max(1, int(self.pairs_MM.max()))

    @property
    def note(self) -> str:
        """What is shown and what is not; empty if all classes are."""
        if not self.others:
            return ""
        shown = len(self.names) - 1
        return (
            f"Shown are the {shown} most confused of {shown + self.others:,} classes, and the other {self.others:,} as"
            " one, with the mistakes among them in the corner."
        )


def most_confused(*confusions_KK: np.ndarray) -> NDArray[np.int64]:
    """The classes that are most often taken for others or others for them, in their order; all if there are few.

    Of several models' matrices: in all of them together.
    """
    mistakes_K = sum(matrix_KK.sum(0) + matrix_KK.sum(1) - 2 * np.diagonal(matrix_KK) for matrix_KK in confusions_KK)
    if len(mistakes_K) <= MAX_SHOWN + 1:  # the others would be one class
        return np.arange(len(mistakes_K))
    return np.sort(np.argsort(-mistakes_K, kind="stable")[:MAX_SHOWN])


def condense(confusion_KK: np.ndarray, space: LabelSpace, shown: NDArray[np.int64]) -> Condensed:
    """The confusion matrix of ``space`` with the classes ``shown``, and the others as one."""
    size, others = len(shown), len(confusion_KK) - len(shown)
    names = axis_names(space, shown)
    if not others:
        return Condensed(confusion_KK, confusion_KK * (1 - np.eye(size, dtype=int)), names, 0)
    row_KM = np.full(len(confusion_KK), size)
    row_KM[shown] = np.arange(size)
    true_X, predicted_X = np.nonzero(confusion_KK)
    photos_X = confusion_KK[true_X, predicted_X]
    place_X = row_KM[true_X] * (size + 1) + row_KM[predicted_X]

    def summed(number_X: np.ndarray) -> NDArray[np.int64]:
        flat = np.bincount(place_X, number_X, minlength=(size + 1) ** 2)
        return flat.astype(np.int64).reshape(size + 1, size + 1)

    mistakes_MM = summed(np.where(true_X == predicted_X, 0, photos_X))
    return Condensed(summed(photos_X), mistakes_MM, (*names, f"{others:,} others"), others)


def cell_text(value: int) -> str:
    """At most four letters, which is what a cell has room for: ``9999``, ``12k``, ``3M``."""
    if value < 10_000:
        return str(value)
    return f"{value / 1000:.0f}k" if value < 999_500 else f"{value / 1e6:.0f}M"


def axis_names(space: LabelSpace, shown: NDArray[np.int64]) -> tuple[str, ...]:
    """Short names of these classes; where they are too long, every factor's share of the room."""
    names = []
    for index in shown.tolist():
        parts = [space.short_names[index]]
        if space.parts and len(parts[0]) > AXIS_COLUMNS:
            classes = [space.part_of(index, part) for part in space.parts]
            parts = [factor.short_names[number] for factor, number in zip(space.factors, classes, strict=True)]
        room = max(5, (AXIS_COLUMNS + 1) // len(parts) - 1)
        names.append(" ".join(shortened(part, room) for part in parts))
    return tuple(names)


def extremes(value_K: np.ndarray) -> NDArray[np.int64]:
    """Classes with the highest values, then those with the lowest, from high to low; all in their order if few."""
    if len(value_K) <= 2 * EACH_END:
        return np.arange(len(value_K))
    order = np.argsort(-value_K, kind="stable")
    return np.concatenate([order[:EACH_END], order[-EACH_END:]])


def extremes_note(number: int, best: str, worst: str) -> str:
    """``Of 500 classes the 20 best and the 20 worst``; empty if all classes are shown."""
    if number <= 2 * EACH_END:
        return ""
    return f"Of {count_of(number, 'class', 'classes')} the {EACH_END} {best} and the {EACH_END} {worst}"
