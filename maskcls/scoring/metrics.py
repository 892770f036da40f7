"""Scores of predictions: the same functions for training, search, evaluation and reports.

Shape suffixes: N photos, K classes, X any number of sets of photos.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcls.labels import CLASS_NAMES, PARTS, part_table

SCORE_TOLERANCE = 1e-9
"""Values of macro F1 this close are equal: the last digits differ between processors."""


@dataclass(frozen=True)
class Scores:
    """Scores of one evaluation on a labelled set of photos."""

    macro_f1: float
    """Mean F1 over the K classes, what models are judged by; a class with neither photos nor predictions counts 0."""
    accuracy: float
    """Share of photos whose class is predicted correctly."""
    loss: float
    """Mean negative log-likelihood, in nats."""
    f1_per_class: tuple[float, ...]
    """F1 of the K classes, in the order of labels.CLASS_NAMES."""
    f1_per_part: dict[str, float]
    """Macro F1 of mask, gender and age alone, read off the predicted label. Empty for a single task."""

    def to_dict(self) -> dict[str, Any]:
        """The scores as plain numbers, for JSON."""
        return asdict(self)

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


def merge_confusion(confusion_KK: np.ndarray, part: str) -> np.ndarray:
    """The 18-way confusion matrix summed to the classes of mask, gender or age: int64 [classes, classes]."""
    member_KP = np.eye(len(CLASS_NAMES[part]), dtype=np.int64)[part_table(part)]
    return member_KP.T @ confusion_KK @ member_KP


def score(log_prob_NK: np.ndarray, label_N: np.ndarray, task: str) -> Scores:
    """Scores of predictions for ``task``; labels are classes 0..K-1 of that task."""
    num_classes = len(CLASS_NAMES[task])
    confusion_KK = confusion_matrix(label_N, log_prob_NK.argmax(1), num_classes)
    f1_K = f1_per_class(confusion_KK)
    parts = PARTS if task == "all" else ()
    return Scores(
        macro_f1=float(f1_K.mean()),
        accuracy=float(np.trace(confusion_KK) / len(label_N)),
        loss=float(-log_prob_NK[np.arange(len(label_N)), label_N].mean(dtype=np.float64)),
        f1_per_class=tuple(f1_K.tolist()),
        f1_per_part={part: float(f1_per_class(merge_confusion(confusion_KK, part)).mean()) for part in parts},
    )
