"""How often a model takes one class for another: photos and groups affected, by direction and context.

A *confusion* is one kind of error, such as women taken for men while a mask is worn; what is worn is the context.
The photos at risk are those that it could happen to, and its rate is the share of them that it does happen to.
Intervals of rates are over groups (people), never over photos (maskcls.scoring.resampling).

Shape suffixes: N photos, P people, K classes.
"""

from dataclasses import dataclass, replace

import numpy as np

from maskcls.labels import LabelSpace
from maskcls.scoring.condensed import NAME_COLUMNS
from maskcls.scoring.counts import Counts, Floats, count
from maskcls.scoring.intervals import Estimate, compare
from maskcls.scoring.metrics import confusion_matrix
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples
from maskcls.system.printable import shortened

MIN_PEOPLE = 10
"""People that must be at risk on either side before two rates are called different."""


@dataclass(frozen=True)
class Confusion:
    """One kind of error: photos of one class of ``part`` predicted as another."""

    space: LabelSpace
    """What the model predicts."""
    part: str
    """One of its factors, or ALL where it has only one."""
    true: int | None = None
    """True class within the part; None: any."""
    predicted: int | None = None
    """Predicted class within the part; None: any wrong one."""
    context: tuple[str, int] | None = None
    """(factor, class) that the true label is limited to; None: all."""

    @property
    def text(self) -> str:
        """The confusion in words: ``women taken for men``, ``age wrong``."""
        (factor,) = self.space.predicted(self.part).factors
        if self.true is None or self.predicted is None:
            return f"{factor.name} wrong"
        true, predicted = (
            shortened(factor.plural_names[number], NAME_COLUMNS) for number in (self.true, self.predicted)
        )
        return f"{true} taken for {predicted}"

    def at_risk(self, label_N: np.ndarray) -> np.ndarray:
        """bool [N]: the photos that it could happen to."""
        class_N = self.space.part_of(label_N, self.part)
        is_true_N = np.full(len(label_N), True) if self.true is None else class_N == self.true
        if self.context is None:
            return is_true_N
        factor, number = self.context
        return is_true_N & (self.space.part_of(label_N, factor) == number)

    def is_confused(self, label_N: np.ndarray, predicted_N: np.ndarray) -> np.ndarray:
        """bool [N]: the photos that it happens to."""
        true_N, predicted_N = self.space.part_of(label_N, self.part), self.space.part_of(predicted_N, self.part)
        is_wrong_N = self.at_risk(label_N) & (true_N != predicted_N)
        return is_wrong_N if self.predicted is None else is_wrong_N & (predicted_N == self.predicted)


@dataclass(frozen=True)
class Rate:
    """How often a confusion happens."""

    photos: int
    """Photos at risk."""
    wrong: int
    """Photos that are confused."""
    people: int
    """People with a photo at risk."""
    affected: int
    """People with a photo that is confused."""

    @property
    def value(self) -> float:
        """Share of the photos at risk that are confused; 0 when none is at risk."""
        return self.wrong / self.photos if self.photos else 0.0


def directions(space: LabelSpace, part: str, context: tuple[str, int] | None = None) -> list[Confusion]:
    """Every confusion of one class of the part with one other, ordered by the true class."""
    classes = range(space.predicted(part).num_classes)
    return [
        Confusion(space, part, true, predicted, context)
        for true in classes
        for predicted in classes
        if true != predicted
    ]


def most_frequent(
    space: LabelSpace, part: str, predictions: Predictions, limit: int, context: tuple[str, int] | None = None
) -> list[Confusion]:
    """The confusions of the part's classes that happen most often, at most ``limit``; none that never happens.

    Of equals the one with the higher rate comes first, then the earlier one in ``directions``.
    """
    label_N, predicted_N = predictions.label_N, predictions.log_prob_NK.argmax(1)
    at_risk_N = Confusion(space, part, context=context).at_risk(label_N)
    true_N, said_N = (space.part_of(class_N[at_risk_N], part) for class_N in (label_N, predicted_N))
    photos_KK = confusion_matrix(true_N, said_N, space.predicted(part).num_classes)
    rate_KK = photos_KK / np.maximum(photos_KK.sum(1, keepdims=True), 1)
    mistakes_KK = photos_KK * (1 - np.eye(len(photos_KK), dtype=np.int64))
    true_X, predicted_X = np.nonzero(mistakes_KK)
    order = np.lexsort((-rate_KK[true_X, predicted_X], -mistakes_KK[true_X, predicted_X]))[:limit]
    return [Confusion(space, part, int(true_X[index]), int(predicted_X[index]), context) for index in order]


def rate_of(confusion: Confusion, predictions: Predictions) -> Rate:
    """How often ``confusion`` happens in the predictions of a model of its label space."""
    counts = count_confusion(confusion, predictions)
    at_risk_P, confused_P = counts.true_PK[:, 0], counts.true_positive_PK[:, 0]
    return Rate(int(at_risk_P.sum()), int(confused_P.sum()), int((at_risk_P > 0).sum()), int((confused_P > 0).sum()))


def count_confusion(confusion: Confusion, predictions: Predictions) -> Counts:
    """Counts of one pseudo-class, K = 1: its true photos are those at risk, its predicted ones those confused."""
    label_N, predicted_N = predictions.label_N, predictions.log_prob_NK.argmax(1)
    counts = count(predictions.person_N, label_N, predicted_N, confusion.space)
    index_N = np.searchsorted(counts.person_P, np.asarray(predictions.person_N, dtype=str))

    def table(chosen_N: np.ndarray) -> Floats:
        photos_P = np.bincount(index_N[chosen_N], minlength=len(counts.person_P))
        return photos_P.astype(np.float64)[:, None]

    at_risk_P1, confused_P1 = table(confusion.at_risk(label_N)), table(confusion.is_confused(label_N, predicted_N))
    return replace(counts, true_PK=at_risk_P1, predicted_PK=confused_P1, true_positive_PK=confused_P1)


def confusion_rate(true_XK: Floats, _: Floats, true_positive_XK: Floats) -> Floats:
    """Score of counts by ``count_confusion``: the share of photos at risk that are confused, 0 without any at risk."""
    at_risk_X, confused_X = true_XK.sum(-1), true_positive_XK.sum(-1)
    return np.divide(confused_X, at_risk_X, out=np.zeros_like(confused_X), where=at_risk_X > 0)


def compare_rates(ours: Counts, theirs: Counts, resamples: Resamples, comparisons: int) -> Estimate:
    """Our rate less theirs, with an interval over people. ``comparisons``: how many such intervals hold at once."""
    return compare((ours,), (theirs,), resamples, confusion_rate, comparisons)


def is_distinguishable(difference: Estimate, *rates: Rate) -> bool:
    """Whether the interval leaves out 0, and enough people are at risk for an interval to mean anything."""
    has_enough = min(rate.people for rate in rates) >= MIN_PEOPLE
    return has_enough and difference.error > 0 and difference.verdict != "not distinguishable"
