"""Predictions counted per person, and scores that are functions of the summed counts.

A score needs three numbers per class, summed over people: photos of the class, photos predicted as it, and photos
that are both (true positives). So a score on other people, or with other weights, is a matrix product.

Shape suffixes: N photos, P people, K classes, X any number of sets of people.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maskcls.labels import ALL, LabelSpace
from maskcls.scoring.metrics import f1, mean_recall
from maskcls.scoring.tables import BLOCK_CELLS, Floats, Table, as_array, distinct, product, spread, tabulate

MIN_JUDGES = 10
"""Fewer people (groups) give no verdict: one or two of them decide, and an interval over so few is a guess."""

Sums = tuple[Floats, Floats, Floats]
"""(true, predicted, true positive), each [..., K]."""

Score = Callable[[Floats, Floats, Floats], Floats]
"""(true, predicted, true positive), each [..., K] -> a score [...]."""


@dataclass(frozen=True)
class Counts:
    """One model's predictions on labelled photos, counted per person and class: all that a score depends on."""

    person_P: NDArray[np.str_]
    """Names of the people, sorted."""
    stratum_P: NDArray[np.str_]
    """The set of labels on each person's photos, as text; people of one stratum are interchangeable."""
    true_PK: Table
    """Photos of the class."""
    predicted_PK: Table
    """Photos predicted as the class."""
    true_positive_PK: Table
    """Photos of the class that are predicted as it."""
    metric: str = "macro_f1"
    """Name in SCORES of what the model is judged by."""

    @property
    def score(self) -> "Score":
        """What the model is judged by, as a function of sums."""
        return SCORES[self.metric]

    def of_people(self, chosen_P: NDArray[np.bool_]) -> "Counts":
        """The counts of some of the people."""
        return replace(
            self,
            person_P=self.person_P[chosen_P],
            stratum_P=self.stratum_P[chosen_P],
            true_PK=self.true_PK[chosen_P],
            predicted_PK=self.predicted_PK[chosen_P],
            true_positive_PK=self.true_positive_PK[chosen_P],
        )

    @property
    def tables(self) -> tuple[Table, Table, Table]:
        """The three tables, in the order of ``Sums``."""
        return self.true_PK, self.predicted_PK, self.true_positive_PK

    def sums(self, weight_XP: Floats | None = None) -> Sums:
        """Sums over people: [K] unweighted, or [X, K] for X rows of weights."""
        weight_XP = np.ones(len(self.person_P)) if weight_XP is None else weight_XP
        true_XK, predicted_XK, true_positive_XK = (product(weight_XP, table_PK) for table_PK in self.tables)
        return true_XK, predicted_XK, true_positive_XK

    def nudged(self, weight_P: Floats, step: float) -> Sums:
        """Sums [P, K]: in row p, the weight of person p is multiplied by ``1 + step``."""
        return self._nudged_rows(self.sums(weight_P), weight_P, step, slice(None))

    def nudged_score(self, score: Score, weight_P: Floats, step: float) -> Floats:
        """The score [P] of the sums that are ``nudged``.

        Of large tables it is computed once for people with equal rows and weights, and for some of them at a time.
        """
        if isinstance(self.true_PK, np.ndarray):
            return score(*self.nudged(weight_P, step))
        first_U, which_P = distinct(self.tables, weight_P)
        sums, size = self.sums(weight_P), max(1, BLOCK_CELLS // self.true_PK.shape[1])
        blocks = (first_U[start : start + size] for start in range(0, len(first_U), size))
        return np.concatenate([score(*self._nudged_rows(sums, weight_P, step, block)) for block in blocks])[which_P]

    def _nudged_rows(self, sums: Sums, weight_P: Floats, step: float, rows: slice | NDArray[np.int64]) -> Sums:
        """Some rows of ``nudged``; ``sums``: those without a nudge."""
        true_XK, predicted_XK, true_positive_XK = (
            sum_K + step * weight_P[rows, None] * as_array(table_PK[rows])
            for sum_K, table_PK in zip(sums, self.tables, strict=True)
        )
        return true_XK, predicted_XK, true_positive_XK

    def by_classes(self) -> Iterator["Counts"]:
        """The counts class by class, many classes at a time: all of small tables at once."""
        people, classes = self.true_PK.shape
        size = classes if isinstance(self.true_PK, np.ndarray) else max(1, BLOCK_CELLS // people)
        for start in range(0, classes, size):
            true_PK, predicted_PK, true_positive_PK = (table_PK[:, start : start + size] for table_PK in self.tables)
            yield replace(self, true_PK=true_PK, predicted_PK=predicted_PK, true_positive_PK=true_positive_PK)


def count(
    person_N: np.ndarray,
    label_N: np.ndarray,
    predicted_N: np.ndarray,
    space: LabelSpace,
    part: str = ALL,
    metric: str = "macro_f1",
) -> Counts:
    """Counts of predictions [N] over the classes of ``space``, of a model that is judged by ``metric``.

    ``part``: count the classes of one of its factors, read off the label.
    """
    names, index_N = np.unique(np.asarray(person_N, dtype=str), return_inverse=True)
    stratum_P = _strata(index_N, label_N, len(names))
    label_N, predicted_N = space.part_of(label_N, part), space.part_of(predicted_N, part)
    num_classes = space.predicted(part).num_classes

    def table(class_N: np.ndarray, chosen_N: np.ndarray | slice = slice(None)) -> Table:
        return tabulate(index_N[chosen_N] * num_classes + class_N[chosen_N], len(names), num_classes)

    true_positive_PK = table(label_N, label_N == predicted_N)
    return Counts(names, stratum_P, table(label_N), table(predicted_N), true_positive_PK, metric)


def _strata(index_N: np.ndarray, label_N: np.ndarray, num_people: int) -> NDArray[np.str_]:
    """Stratum of every person, as in ``Counts``. The rows of one person need not be adjacent."""
    labels_P: list[set[int]] = [set() for _ in range(num_people)]
    for index, label in zip(index_N.tolist(), label_N.tolist(), strict=True):
        labels_P[index].add(label)
    return np.array([" ".join(map(str, sorted(labels))) for labels in labels_P])


def align(runs: Sequence[Counts]) -> tuple[list[Counts], NDArray[np.int64]]:
    """Runs with different validation people -> runs over the union of them, and the index of each person's first run.

    A person has no photos in a run that they did not validate.
    """
    person_P = np.unique(np.concatenate([counts.person_P for counts in runs]))
    stratum_P = np.empty(len(person_P), dtype=object)
    first_P = np.full(len(person_P), -1)
    aligned = []
    for number, counts in enumerate(runs):
        index = np.searchsorted(person_P, counts.person_P)
        stratum_P[index] = counts.stratum_P
        first_P[index] = np.where(first_P[index] < 0, number, first_P[index])
        aligned.append([spread(table_PK, index, len(person_P)) for table_PK in counts.tables])
    strata = stratum_P.astype(str)
    return [
        replace(
            run,
            person_P=person_P,
            stratum_P=strata,
            true_PK=true_PK,
            predicted_PK=guess_PK,
            true_positive_PK=both_PK,
        )
        for run, (true_PK, guess_PK, both_PK) in zip(runs, aligned, strict=True)
    ], first_P


def macro_f1(true_XK: Floats, predicted_XK: Floats, true_positive_XK: Floats) -> Floats:
    """Mean F1 over the classes; a class with neither photos nor predictions counts 0."""
    return np.asarray(f1(true_XK, predicted_XK, true_positive_XK).mean(-1))


def accuracy(true_XK: Floats, _: Floats, true_positive_XK: Floats) -> Floats:
    """Share of photos that are predicted correctly; 0 without any."""
    true_X, right_X = true_XK.sum(-1), true_positive_XK.sum(-1)
    return np.divide(right_X, true_X, out=np.zeros_like(right_X), where=true_X > 0)


def balanced_accuracy(true_XK: Floats, _: Floats, true_positive_XK: Floats) -> Floats:
    """Mean recall over the classes with photos."""
    return mean_recall(true_XK, true_positive_XK)


SCORES: dict[str, Score] = {"macro_f1": macro_f1, "accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
"""Name of a metric (tasks.task.METRICS) -> the score."""
