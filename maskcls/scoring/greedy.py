"""Greedy selection of an ensemble, with replacement, by stored predictions (Caruana et al. 2004, Ensemble Selection
from Libraries of Models, https://doi.org/10.1145/1015330.1015432).

An ensemble is a *bag* of models, in which one may be several times, and predicts the mean of their probabilities. It
begins empty; at every step the model joins that makes the bag's score highest. Of the bags on this way the best is
taken. So that chance decides less, this is done DRAWS times, for people weighted at random (the Bayesian bootstrap,
Rubin 1981, https://doi.org/10.1214/aos/1176345338), and the models that joined most often make the ensemble.
benchmarks/ensembles.py measures what that gains.

Shape suffixes: N photos, P people, K classes, T models, S resamples, D draws, X rows of weights.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maskcls.labels import LabelSpace
from maskcls.scoring.counts import Counts, Floats, count
from maskcls.scoring.metrics import SCORE_TOLERANCE
from maskcls.scoring.predictions import Predictions

DRAWS = 10
"""Random weightings of the people; 20 choose no better."""

MAX_VALUES = 4_000_000
"""Weights of people held at a time, in numbers."""

Bag = tuple[int, ...]
"""Numbers of the models, ascending; one that is twice has twice the weight."""


@dataclass(frozen=True)
class Library:
    """Models' predictions of the same labelled photos, from which an ensemble is chosen."""

    truth: Counts
    """Counts of the photos' true classes: whose they are, and what judges."""
    prob_TNK: np.ndarray
    """float32 probabilities."""
    label_N: np.ndarray
    """True classes."""
    person_index_N: np.ndarray
    """Index of each photo's person in ``truth``."""

    @staticmethod
    def of(predictions: Sequence[Predictions], space: LabelSpace, metric: str) -> "Library":
        """The models' predictions of the same photos, over the classes of ``space``; ``metric`` is what judges."""
        first = predictions[0]
        truth = count(first.person_N, first.label_N, first.label_N, space, metric=metric)
        index_N = np.searchsorted(truth.person_P, np.asarray(first.person_N, dtype=str))
        prob_TNK = np.stack([np.exp(said.log_prob_NK, dtype=np.float32) for said in predictions])
        return Library(truth, prob_TNK, first.label_N, index_N)

    @property
    def size(self) -> int:
        """T."""
        return len(self.prob_TNK)

    def predicted(self, bag: Bag) -> np.ndarray:
        """The classes [N] that the bag predicts."""
        return np.asarray(self._sum_NK(bag).argmax(1))

    def extended(self, bag: Bag, models: Iterable[int]) -> np.ndarray:
        """The classes [len(models), N] that the bag predicts once it has one model more, for each of these."""
        sum_NK = self._sum_NK(bag)
        return np.stack([(sum_NK + self.prob_TNK[number]).argmax(1) for number in models])

    def _sum_NK(self, bag: Bag) -> np.ndarray:
        return np.asarray(sum((self.prob_TNK[number] for number in bag), np.zeros_like(self.prob_TNK[0])))

    def scores(self, predicted_TN: np.ndarray, weight_XP: Floats) -> Floats:
        """Scores [X, T] of the predicted classes on people of these weights."""
        people, classes = self.truth.true_PK.shape
        at_once = max(1, MAX_VALUES // (classes * max(people, len(weight_XP))))
        parts = [predicted_TN[start : start + at_once] for start in range(0, len(predicted_TN), at_once)]
        return np.concatenate([self._scores(part_TN, weight_XP) for part_TN in parts]).T

    def _scores(self, predicted_TN: np.ndarray, weight_XP: Floats) -> Floats:
        """``scores``, [T, X], of models whose tables of people and classes fit into memory together."""
        people, classes = self.truth.true_PK.shape
        models = len(predicted_TN)
        row_TN = (np.arange(models)[:, None] * people + self.person_index_N) * classes + predicted_TN
        predicted_TXK, right_TXK = (
            weight_XP @ np.bincount(row, minlength=models * people * classes).reshape(models, people, classes)
            for row in (row_TN.ravel(), row_TN[predicted_TN == self.label_N])
        )
        true_TXK = np.broadcast_to(weight_XP @ self.truth.true_PK, predicted_TXK.shape)
        return self.truth.score(true_TXK, predicted_TXK, right_TXK)


def choose_ensemble(library: Library, size: int, allowed_T: np.ndarray | None = None) -> Bag:
    """The ensemble of at most ``size`` different models. ``allowed_T``: whether each may join; None: all."""
    allowed_T = np.full(library.size, True) if allowed_T is None else allowed_T
    (bag,) = choose_ensembles(library, size, np.ones((1, len(library.truth.person_P))), allowed_T[None])
    return bag


def choose_ensembles(library: Library, size: int, weight_XP: Floats, allowed_XT: np.ndarray) -> list[Bag]:
    """The ensembles of at most ``size`` different models for people of these weights, one for every row.

    ``allowed_XT``: whether a model may join; at least one in every row.
    """
    draw_DP = np.random.default_rng(0).exponential(size=(DRAWS, weight_XP.shape[1]))
    rows = max(1, MAX_VALUES // draw_DP.size)
    bags: list[Bag] = []
    for start in range(0, len(weight_XP), rows):
        weight_YP = (weight_XP[start : start + rows, None] * draw_DP).reshape(-1, weight_XP.shape[1])
        bags += choose_bags(library, size, weight_YP, allowed_XT[start : start + rows].repeat(DRAWS, axis=0))
    return [_poured(bags[start : start + DRAWS], size) for start in range(0, len(bags), DRAWS)]


def _poured(bags: Sequence[Bag], size: int) -> Bag:
    """The ``size`` models that are most often in the bags, the earliest of equals, each as often as in all of them."""
    times = Counter(number for bag in bags for number in bag)
    chosen = sorted(times, key=lambda number: (-times[number], number))[:size]
    return tuple(number for number in sorted(chosen) for _ in range(times[number]))


def choose_bags(library: Library, size: int, weight_XP: Floats, allowed_XT: np.ndarray) -> list[Bag]:
    """The bags of at most ``size`` models that one greedy selection finds for people of these weights, one a row.

    Of models that do equally well one that is in the bag already joins, which costs nothing when photos are predicted;
    else the earliest. Rows whose bags agree so far go on together, since a step costs as much for one as for all.
    """
    bags: list[Bag] = [()] * len(weight_XP)
    best, best_X = list(bags), np.full(len(weight_XP), -np.inf)
    for _ in range(size):
        for bag, row_X in _by_bag(bags):
            choice = np.flatnonzero(allowed_XT[row_X].any(0))
            choice = np.array(sorted(choice.tolist(), key=lambda number: (number not in bag, number)))
            value_XT = library.scores(library.extended(bag, choice), weight_XP[row_X])
            value_XT[~allowed_XT[np.ix_(row_X, choice)]] = -np.inf
            joins_X = (value_XT >= value_XT.max(1, keepdims=True) - SCORE_TOLERANCE).argmax(1)
            for row, place, value in zip(row_X, joins_X, value_XT[np.arange(len(row_X)), joins_X], strict=True):
                bags[row] = tuple(sorted((*bag, int(choice[place]))))
                if value > best_X[row] + SCORE_TOLERANCE:
                    best[row], best_X[row] = bags[row], value
    return best


def _by_bag(bags: Sequence[Bag]) -> Iterator[tuple[Bag, np.ndarray]]:
    """(bag, the rows that have it)."""
    rows: dict[Bag, list[int]] = {}
    for row, bag in enumerate(bags):
        rows.setdefault(bag, []).append(row)
    yield from ((bag, np.array(numbers)) for bag, numbers in rows.items())


@dataclass(frozen=True)
class GreedyProcedure:
    """``choose_ensembles`` as an intervals.Procedure."""

    library: Library
    size: int
    at_hand: int
    """Number of models that may join: the best ones, by those who select, since only their weights are kept."""

    def __call__(self, drawn_SP: Floats, left_out_SP: Floats) -> Floats:
        """The scores [S] on the people left out of the ensembles that are chosen by the people drawn."""
        score_S = np.empty(len(drawn_SP))
        for bag, row_S in _by_bag(choose_ensembles(self.library, self.size, drawn_SP, self._allowed_ST(drawn_SP))):
            score_S[row_S] = self.library.scores(self.library.predicted(bag)[None], left_out_SP[row_S])[:, 0]
        return score_S

    def _allowed_ST(self, drawn_SP: Floats) -> np.ndarray:
        value_ST = self.library.scores(self.library.extended((), range(self.library.size)), drawn_SP)
        rank_ST = np.argsort(np.argsort(-value_ST, axis=1, kind="stable"), axis=1)
        return np.asarray(rank_ST < self.at_hand)


MIN_RESAMPLES, MAX_RESAMPLES = 25, 500

WORK_PER_SECOND = 1.5e8
"""Probabilities that a core looks at; measured with 10 to 60 models and 420 to 7,000 photos of 18 classes."""


def seconds_of(values: int, size: int, at_hand: int) -> float:
    """How long a resample of the correction takes. ``values``: probabilities of one model, photos x classes."""
    return DRAWS * size * at_hand * values / WORK_PER_SECOND


def affordable_resamples(library: Library, size: int, at_hand: int, seconds: float = 60.0) -> int:
    """How many resamples the correction takes: fewer for many models and photos, so that it ends in so many seconds,
    but no fewer than MIN_RESAMPLES."""
    affordable = int(seconds / seconds_of(library.prob_TNK[0].size, size, at_hand))
    return min(MAX_RESAMPLES, max(MIN_RESAMPLES, affordable))
