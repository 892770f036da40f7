"""Scores of predictions: the same functions for training, search, evaluation and reports.

Shape suffixes: N photos, K classes, X any number of sets of photos.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcls.labels import LabelSpace

SCORE_TOLERANCE = 1e-9
"""Values of a metric this close are equal: the last digits differ between processors."""


LATER_FIELDS = {"balanced_accuracy", "metric"}
"""Fields of Scores that the first records lack."""


@dataclass(frozen=True)
class Scores:
    """Scores of one evaluation on a labelled set of photos."""

    macro_f1: float
    """Mean F1 over the K classes; a class with neither photos nor predictions counts 0."""
    accuracy: float
    """Share of photos whose class is predicted correctly."""
    loss: float
    """Mean negative log-likelihood, in nats."""
    f1_per_class: tuple[float, ...]
    """F1 of the K classes, in the order of LabelSpace.names."""
    f1_per_part: dict[str, float]
    """Macro F1 of every factor alone, read off the predicted label. Empty where there is only one."""
    balanced_accuracy: float | None = None
    """Mean recall over the classes that have photos; None in records of models that are judged by macro F1."""
    metric: str = "macro_f1"
    """Name in tasks.task.METRICS of what the model is judged by."""

    @property
    def value(self) -> float:
        """What the model is judged by."""
        return float(getattr(self, self.metric))

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain values, for JSON; without the last two fields for macro F1, as before they existed."""
        values = asdict(self)
        is_old = self.metric == "macro_f1"
        return {name: value for name, value in values.items() if not (is_old and name in LATER_FIELDS)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Scores":
        """The inverse of to_dict, after a trip through JSON."""
        return Scores(**{**values, "f1_per_class": tuple(values["f1_per_class"])})


def confusion_matrix(label_N: np.ndarray, predicted_N: np.ndarray, num_classes: int) -> np.ndarray:
    """Photos by class, int64 [K, K]: row true class, column predicted class."""
    flat = np.bincount(label_N * num_classes + predicted_N, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def f1(true_XK: np.ndarray, predicted_XK: np.ndarray, true_positive_XK: np.ndarray) -> NDArray[np.float64]:
    """F1 of every class, float64 [..., K], from photos that are the class, are predicted as it, and both.

    2 TP / (true + predicted), which is 2 TP / (2 TP + FP + FN); 0 where that is 0 / 0 (scikit-learn's zero_division=0).
    """
    total_XK = true_XK + predicted_XK
    return np.divide(2 * true_positive_XK, total_XK, out=np.zeros_like(total_XK, np.float64), where=total_XK > 0)


def f1_per_class(confusion_KK: np.ndarray) -> NDArray[np.float64]:
    """F1 of every class, float64 [K], from a confusion matrix."""
    return f1(confusion_KK.sum(1), confusion_KK.sum(0), np.diagonal(confusion_KK))


def mean_recall(true_XK: np.ndarray, true_positive_XK: np.ndarray) -> NDArray[np.float64]:
    """Balanced accuracy [...]: the mean over the classes with photos of the share that is predicted correctly.

    As scikit-learn's balanced_accuracy_score; 0 without any photo.
    """
    has_photos_XK = true_XK > 0
    recall_XK = np.divide(true_positive_XK, true_XK, out=np.zeros_like(true_XK, np.float64), where=has_photos_XK)
    return np.asarray(recall_XK.sum(-1) / np.maximum(has_photos_XK.sum(-1), 1))


def _sums(label_N: np.ndarray, predicted_N: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Photos [K] that are the class, are predicted as it, and both: a confusion matrix's sums, without its K**2 cells.

    Raises ValueError for other classes than 0..K-1.
    """
    right_N = label_N[label_N == predicted_N]
    true_K, predicted_K, true_positive_K = (
        np.bincount(class_N, minlength=num_classes).reshape(num_classes) for class_N in (label_N, predicted_N, right_N)
    )
    return true_K, predicted_K, true_positive_K


def score(log_prob_NK: np.ndarray, label_N: np.ndarray, space: LabelSpace, metric: str = "macro_f1") -> Scores:
    """Scores of predictions over the classes 0..K-1 of ``space``, judged by ``metric`` (tasks.task.METRICS).

    Raises ValueError for other classes.
    """
    predicted_N = log_prob_NK.argmax(1)
    sums = _sums(label_N, predicted_N, space.num_classes)
    f1_K = f1(*sums)
    part_f1 = {}
    for part in space.parts:
        classes = (space.part_of(label_N, part), space.part_of(predicted_N, part))
        part_f1[part] = float(f1(*_sums(*classes, space.predicted(part).num_classes)).mean())
    true_K, _, true_positive_K = sums
    balanced = None if metric == "macro_f1" else float(mean_recall(true_K, true_positive_K))
    return Scores(
        macro_f1=float(f1_K.mean()),
        accuracy=float(true_positive_K.sum() / len(label_N)),
        loss=float(-log_prob_NK[np.arange(len(label_N)), label_N].mean(dtype=np.float64)),
        f1_per_class=tuple(f1_K.tolist()),
        f1_per_part=part_f1,
        balanced_accuracy=balanced,
        metric=metric,
    )
