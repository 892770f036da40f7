"""Predictions counted person by person, and the scores that depend on sums of these counts alone.

A score needs three numbers a class, summed over people: photos that are the class, photos that are called it, and
both. So a score on other people, or on the same ones with other weights, is a matrix product.

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
"""(true, predicted, hit), each [..., K]."""

Score = Callable[[Floats, Floats, Floats], Floats]
"""(true, predicted, hit), each [..., K] -> a score [...]."""


@dataclass(frozen=True)
class Counts:
    """What a model said of a labelled set of photos, person by person: all that a score depends on."""

    person_P: NDArray[np.str_]
    """Their names, sorted."""
    kind_P: NDArray[np.str_]
    """What each person shows, as text: people of one kind stand for each other. Two models' agree."""
    true_PK: Floats
    """Photos of the class."""
    predicted_PK: Floats
    """Photos called the class."""
    hit_PK: Floats
    """Photos of the class that are called it."""

    def sums(self, weight_XP: Floats | None = None) -> Sums:
        """(true, predicted, hit) [K] over all people, or [X, K] for rows of weights of the people."""
        tables = (self.true_PK, self.predicted_PK, self.hit_PK)
        if weight_XP is None:
            return tables[0].sum(0), tables[1].sum(0), tables[2].sum(0)
        true_XK, predicted_XK, hit_XK = (weight_XP @ table_PK for table_PK in tables)
        return true_XK, predicted_XK, hit_XK

    def nudged(self, weight_P: Floats, step: float) -> Sums:
        """(true, predicted, hit) [P, K]: row p is the sums with the weight of person p larger by this share."""
        tables = (self.true_PK, self.predicted_PK, self.hit_PK)
        true_PK, predicted_PK, hit_PK = (
            weight_P @ table_PK + step * weight_P[:, None] * table_PK for table_PK in tables
        )
        return true_PK, predicted_PK, hit_PK


def count(
    person_N: np.ndarray, label_N: np.ndarray, predicted_N: np.ndarray, task: str = "all", part: str | None = None
) -> Counts:
    """Counts over the classes of ``task`` (those of labels and predictions), or of ``part`` of all 18.

    ``part``: mask, gender or age, read off 18-way labels; None: the task's own classes.
    """
    names, index_N = np.unique(np.asarray(person_N, dtype=str), return_inverse=True)
    kind_P = _kinds(index_N, label_N, len(names))
    if part is not None:
        assert task == "all", "a single task has no parts"
        label_N, predicted_N = np.asarray(part_of(label_N, part)), np.asarray(part_of(predicted_N, part))
    size = len(CLASS_NAMES[part or task])

    def table(class_N: np.ndarray, chosen_N: np.ndarray | slice = slice(None)) -> Floats:
        flat = np.bincount(index_N[chosen_N] * size + class_N[chosen_N], minlength=len(names) * size)
        return flat.reshape(len(names), size).astype(np.float64)

    return Counts(names, kind_P, table(label_N), table(predicted_N), table(label_N, label_N == predicted_N))


def _kinds(index_N: np.ndarray, label_N: np.ndarray, num_people: int) -> NDArray[np.str_]:
    """For every person the labels of their photos, as text. Rows of one person need not lie together."""
    shown: list[set[int]] = [set() for _ in range(num_people)]
    for index, label in zip(index_N.tolist(), label_N.tolist(), strict=True):
        shown[index].add(label)
    return np.array([" ".join(map(str, sorted(labels))) for labels in shown])


def align(runs: Sequence[Counts]) -> tuple[list[Counts], NDArray[np.int64]]:
    """Runs that different people judged -> the same with everybody in all of them, and the first run of each person.

    Who did not judge in a run has no photos there.
    """
    everybody = np.unique(np.concatenate([counts.person_P for counts in runs]))
    kind_P = np.empty(len(everybody), dtype=object)
    first_P = np.full(len(everybody), -1)
    aligned = []
    for number, counts in enumerate(runs):
        place = np.searchsorted(everybody, counts.person_P)
        kind_P[place] = counts.kind_P
        first_P[place] = np.where(first_P[place] < 0, number, first_P[place])

        def spread(table_PK: Floats, place: np.ndarray = place) -> Floats:
            whole_PK = np.zeros((len(everybody), table_PK.shape[1]))
            whole_PK[place] = table_PK
            return whole_PK

        aligned.append((spread(counts.true_PK), spread(counts.predicted_PK), spread(counts.hit_PK)))
    kinds = kind_P.astype(str)
    return [Counts(everybody, kinds, *tables) for tables in aligned], first_P


def macro_f1(true_XK: Floats, predicted_XK: Floats, hit_XK: Floats) -> Floats:
    """Mean F1 over the classes."""
    return np.asarray(f1(true_XK, predicted_XK, hit_XK).mean(-1))


def accuracy(true_XK: Floats, _: Floats, hit_XK: Floats) -> Floats:
    """Share of photos whose class is right."""
    return np.asarray(hit_XK.sum(-1) / true_XK.sum(-1))


def f1_of(number: int) -> Score:
    """F1 of one class."""
    return lambda *sums: f1(*sums)[..., number]
