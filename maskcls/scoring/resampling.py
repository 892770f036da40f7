"""Other people like those at hand: the bootstrap over people, never over photos.

The photos of one person err together, so resampling photos makes intervals much too narrow (benchmarks/evidence.py).
The split draws validation people of every gender and age band by its share; so people are resampled within what they
show.

Shape suffixes: P people, S resamples.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from maskcls.scoring.counts import Counts, Floats

RESAMPLES = 2000
"""The standard error then has an error of its own of 1.6 %."""


@dataclass(frozen=True)
class Resamples:
    """Weights of the people, a row a resample; one set for all models, so that differences are paired."""

    person_P: NDArray[np.str_]
    stratum_P: NDArray[np.int64]
    weight_SP: Floats

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """People in each stratum."""
        return np.bincount(self.stratum_P)


def resample(counts: Counts, seed: int = 0, resamples: int = RESAMPLES, group_P: np.ndarray | None = None) -> Resamples:
    """Draw ``resamples`` sets of people like those of ``counts``.

    Within each kind n - 1 of n people are drawn with replacement, each weighing n / (n - 1) (Rao and Wu 1988,
    https://doi.org/10.1080/01621459.1988.10478591): plain resampling makes the variance too small by that factor,
    a quarter for a kind of four people. ``group_P``: further numbers that people of one stratum share.
    """
    keys = counts.kind_P if group_P is None else np.char.add(np.char.add(counts.kind_P, " / "), group_P.astype(str))
    stratum_P = _strata(keys)
    rng = np.random.default_rng(seed)
    weight_SP = np.zeros((resamples, len(keys)))
    for stratum in range(stratum_P.max() + 1):
        member = np.flatnonzero(stratum_P == stratum)
        size = len(member)
        if size == 1:  # nobody else is like this one, nor left over from other kinds: nothing is known of the spread
            weight_SP[:, member] = 1.0
            continue
        drawn = rng.multinomial(size - 1, np.full(size, 1 / size), size=resamples)
        weight_SP[:, member] = drawn * (size / (size - 1))
    return Resamples(counts.person_P, stratum_P, weight_SP)


def _strata(key_P: np.ndarray) -> NDArray[np.int64]:
    """A number for each kind of people; those who are alone of their kind (a mended label, say) form one together."""
    _, inverse_P, size = np.unique(key_P, return_inverse=True, return_counts=True)
    alone_P = size[inverse_P] == 1
    if alone_P.sum() == 1 and len(size) > 1:  # not even another one who is alone: with the smallest other kind
        alone_P |= inverse_P == np.where(size > 1, size, size.max() + 1).argmin()
    merged_P = np.where(alone_P, -1, inverse_P)
    return np.unique(merged_P, return_inverse=True)[1].astype(np.int64)
