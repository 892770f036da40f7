"""Predictions counted person by person, and the scores that depend on sums of these counts alone.

A score needs three numbers a class, summed over people: photos that are the class, photos that are predicted as it,
and both (true positives). So a score on other people, or on the same ones with other weights, is a matrix product.

Shape suffixes: N photos, P people, K classes, X any number of sets of people.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskcls.labels import CLASS_NAMES, part_of
from maskcls.scoring.metrics import f1

Floats = NDArray[np.float64]

Sums = tuple[Floats, Floats, Floats]
"""(true, predicted, true positive), each [..., K]."""

Score = Callable[[Floats, Floats, Floats], Floats]
"""(true, predicted, true positive), each [..., K] -> a score [...]."""


@dataclass(frozen=True)
class Counts:
    """What a model said of a labelled set of photos, person by person: all that a score depends on."""

    person_P: NDArray[np.str_]
    """Their names, sorted."""
    stratum_P: NDArray[np.str_]
    """The labels that each person shows, as text: people of one stratum stand for each other. Equal for all models."""
    true_PK: Floats
    """Photos of the class."""
    predicted_PK: Floats
    """Photos predicted as the class."""
    true_positive_PK: Floats
    """Photos of the class that are predicted as it."""

    def sums(self, weight_XP: Floats | None = None) -> Sums:
        """Sums [K] over all people, or [X, K] for rows of weights of the people."""
        tables = (self.true_PK, self.predicted_PK, self.true_positive_PK)
        if weight_XP is None:
            return tables[0].sum(0), tables[1].sum(0), tables[2].sum(0)
        true_XK, predicted_XK, true_positive_XK = (weight_XP @ table_PK for table_PK in tables)
        return true_XK, predicted_XK, true_positive_XK

    def nudged(self, weight_P: Floats, step: float) -> Sums:
        """Sums [P, K]: row p is the sums with the weight of person p larger by the factor ``1 + step``."""
        tables = (self.true_PK, self.predicted_PK, self.true_positive_PK)
        true_PK, predicted_PK, true_positive_PK = (
            weight_P @ table_PK + step * weight_P[:, None] * table_PK for table_PK in tables
        )
        return true_PK, predicted_PK, true_positive_PK


def count(
    person_N: np.ndarray, label_N: np.ndarray, predicted_N: np.ndarray, task: str = "all", part: str | None = None
) -> Counts:
    """Counts over the classes of ``task`` (those of labels and predictions), or of ``part`` of all 18.

    ``part``: mask, gender or age, read off 18-way labels; None: the task's own classes.
    """
    names, index_N = np.unique(np.asarray(person_N, dtype=str), return_inverse=True)
    stratum_P = _strata(index_N, label_N, len(names))
    if part is not None:
        assert task == "all", "a single task has no parts"
        label_N, predicted_N = np.asarray(part_of(label_N, part)), np.asarray(part_of(predicted_N, part))
    size = len(CLASS_NAMES[part or task])

    def table(class_N: np.ndarray, chosen_N: np.ndarray | slice = slice(None)) -> Floats:
        flat = np.bincount(index_N[chosen_N] * size + class_N[chosen_N], minlength=len(names) * size)
        return flat.reshape(len(names), size).astype(np.float64)

    return Counts(names, stratum_P, table(label_N), table(predicted_N), table(label_N, label_N == predicted_N))


def _strata(index_N: np.ndarray, label_N: np.ndarray, num_people: int) -> NDArray[np.str_]:
    """Stratum of every person: the labels of their photos, as text. Rows of one person need not lie together."""
    shown: list[set[int]] = [set() for _ in range(num_people)]
    for index, label in zip(index_N.tolist(), label_N.tolist(), strict=True):
        shown[index].add(label)
    return np.array([" ".join(map(str, sorted(labels))) for labels in shown])


def align(runs: Sequence[Counts]) -> tuple[list[Counts], NDArray[np.int64]]:
    """Runs judged by different people -> runs over the union of these people, and the index of each person's first run.

    A person who did not judge a run has no photos in it.
    """
    person_P = np.unique(np.concatenate([counts.person_P for counts in runs]))
    stratum_P = np.empty(len(person_P), dtype=object)
    first_P = np.full(len(person_P), -1)
    aligned = []
    for number, counts in enumerate(runs):
        place = np.searchsorted(person_P, counts.person_P)
        stratum_P[place] = counts.stratum_P
        first_P[place] = np.where(first_P[place] < 0, number, first_P[place])

        def spread(table_PK: Floats, place: np.ndarray = place) -> Floats:
            """The table's rows among those of all people; 0 for the others."""
            whole_PK = np.zeros((len(person_P), table_PK.shape[1]))
            whole_PK[place] = table_PK
            return whole_PK

        aligned.append((spread(counts.true_PK), spread(counts.predicted_PK), spread(counts.true_positive_PK)))
    strata = stratum_P.astype(str)
    return [Counts(person_P, strata, *tables) for tables in aligned], first_P


def macro_f1(true_XK: Floats, predicted_XK: Floats, true_positive_XK: Floats) -> Floats:
    """Mean F1 over the classes; a class without photos and predictions counts 0."""
    return np.asarray(f1(true_XK, predicted_XK, true_positive_XK).mean(-1))


def accuracy(true_XK: Floats, _: Floats, true_positive_XK: Floats) -> Floats:
    """Share of photos whose class is predicted right."""
    return np.asarray(true_positive_XK.sum(-1) / true_XK.sum(-1))


def f1_of(class_index: int) -> Score:
    """The score that is the F1 of one class."""
    return lambda *sums: f1(*sums)[..., class_index]
