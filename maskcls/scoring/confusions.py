"""What a model confuses with what: how many photos, of how many people, in which direction, by mask state.

A *confusion* is one way to be wrong, say women taken for men with the mask worn. The photos at risk are those that
could be confused so, and its rate is the share of them that are. Rates are compared over people, never over photos
(maskcls.scoring.resampling).

Shape suffixes: N photos, P people, K = 18 classes.
"""

from dataclasses import dataclass, replace

import numpy as np

from maskcls.labels import CLASS_NAMES, part_table
from maskcls.scoring.counts import Counts, Floats, count
from maskcls.scoring.intervals import Estimate, compare
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples

MIN_PEOPLE = 10
"""With fewer people at risk on either side two rates are not told apart."""

PLURALS = {"male": "men", "female": "women"}


@dataclass(frozen=True)
class Confusion:
    """Photos of one class of ``part`` that are predicted as another one."""

    part: str
    """mask, gender or age."""
    true: int | None = None
    """Class within the part; None: any."""
    predicted: int | None = None
    """Class within the part; None: any wrong one."""
    mask: int | None = None
    """Photos with this true mask state; None: all."""

    @property
    def text(self) -> str:
        """``women taken for men``, ``age wrong``."""
        names = [PLURALS.get(name, name) for name in CLASS_NAMES[self.part]]
        if self.true is None or self.predicted is None:
            return f"{self.part} wrong"
        return f"{names[self.true]} taken for {names[self.predicted]}"

    def at_risk(self, label_N: np.ndarray) -> np.ndarray:
        """bool [N]: photos that could be confused so; labels are 18-way."""
        of_part_N, mask_N = part_table(self.part)[label_N], part_table("mask")[label_N]
        is_true_N = np.full(len(label_N), True) if self.true is None else of_part_N == self.true
        return is_true_N if self.mask is None else is_true_N & (mask_N == self.mask)

    def is_confused(self, label_N: np.ndarray, predicted_N: np.ndarray) -> np.ndarray:
        """bool [N]: photos that are; labels and predictions are 18-way."""
        class_of_label = part_table(self.part)
        is_wrong_N = class_of_label[label_N] != class_of_label[predicted_N]
        is_such_N = is_wrong_N if self.predicted is None else class_of_label[predicted_N] == self.predicted
        return self.at_risk(label_N) & is_such_N & is_wrong_N


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
        """Confused photos of those at risk; 0 without any."""
        return self.wrong / self.photos if self.photos else 0.0


def directions(part: str, mask: int | None = None) -> list[Confusion]:
    """Every confusion of one class of the part with one other, ordered by the true class."""
    classes = range(len(CLASS_NAMES[part]))
    return [Confusion(part, true, predicted, mask) for true in classes for predicted in classes if true != predicted]


def rate_of(confusion: Confusion, predictions: Predictions) -> Rate:
    """How often it happens in one model's predictions (all 18 classes)."""
    counts = count_confusion(confusion, predictions)
    at_risk_P, confused_P = counts.true_PK[:, 0], counts.true_positive_PK[:, 0]
    return Rate(int(at_risk_P.sum()), int(confused_P.sum()), int((at_risk_P > 0).sum()), int((confused_P > 0).sum()))


def count_confusion(confusion: Confusion, predictions: Predictions) -> Counts:
    """Counts with the single class "is confused so": true are the photos at risk, predicted those that are confused."""
    label_N, predicted_N = predictions.label_N, predictions.log_prob_NK.argmax(1)
    of_labels = count(predictions.person_N, label_N, predicted_N)
    index_N = np.searchsorted(of_labels.person_P, np.asarray(predictions.person_N, dtype=str))

    def table(chosen_N: np.ndarray) -> Floats:
        chosen_P = np.bincount(index_N[chosen_N], minlength=len(of_labels.person_P))
        return chosen_P.astype(np.float64)[:, None]

    at_risk_P1, confused_P1 = table(confusion.at_risk(label_N)), table(confusion.is_confused(label_N, predicted_N))
    return replace(of_labels, true_PK=at_risk_P1, predicted_PK=confused_P1, true_positive_PK=confused_P1)


def confusion_rate(true_XK: Floats, _: Floats, true_positive_XK: Floats) -> Floats:
    """Confused photos of those at risk, of counts by ``count_confusion``; a Score."""
    at_risk_X, confused_X = true_XK.sum(-1), true_positive_XK.sum(-1)
    return np.divide(confused_X, at_risk_X, out=np.zeros_like(confused_X), where=at_risk_X > 0)


def compare_rates(ours: Counts, theirs: Counts, resamples: Resamples, comparisons: int) -> Estimate:
    """Our rate less theirs, over people; ``comparisons`` are looked at together."""
    return compare((ours,), (theirs,), resamples, confusion_rate, comparisons)


def is_distinguishable(difference: Estimate, *rates: Rate) -> bool:
    """Whether the interval leaves out 0 and enough people are at risk for an interval to mean something."""
    has_enough = min(rate.people for rate in rates) >= MIN_PEOPLE
    return has_enough and difference.error > 0 and difference.verdict != "not distinguishable"
