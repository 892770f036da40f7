"""The bootstrap over people, never over photos.

Errors on the photos of one person are correlated, so resampling photos makes intervals much too narrow
(benchmarks/evidence.py). The split is stratified by gender and age band, so people are resampled within strata: those
whose photos show the same labels.

Shape suffixes: P people, S resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskcls.scoring.counts import Counts, Floats

RESAMPLES = 2000
"""Resamples by default; the standard error then has an error of its own of 1.6 %."""


@dataclass(frozen=True)
class Resamples:
    """Weights of the people, one row per resample; one set for all models, so that differences are paired."""

    person_P: NDArray[np.str_]
    """Names of the people, sorted."""
    stratum_P: NDArray[np.int64]
    """Number of each person's stratum, from 0."""
    weight_SP: Floats
    """How often each person is drawn, scaled so that a stratum's weights sum to its number of people."""


def resample(counts: Counts, seed: int = 0, resamples: int = RESAMPLES, group_P: np.ndarray | None = None) -> Resamples:
    """Draw ``resamples`` sets of people like those of ``counts``.

    Within each stratum n - 1 of n people are drawn with replacement, each weighing n / (n - 1) (Rao and Wu 1988,
    https://doi.org/10.1080/01621459.1988.10478591): plain resampling makes the variance too small by that factor,
    a quarter for a stratum of four people. ``group_P``: a number for each person that divides the strata further, such
    as the repeat that the person validates.
    """
    key_P = counts.stratum_P
    if group_P is not None:
        key_P = np.char.add(np.char.add(key_P, " / "), group_P.astype(str))
    stratum_P = _merge_singletons(key_P)
    rng = np.random.default_rng(seed)
    weight_SP = np.zeros((resamples, len(key_P)))
    for stratum in range(stratum_P.max() + 1):
        member = np.flatnonzero(stratum_P == stratum)
        size = len(member)
        if size == 1:  # the only person of all: the spread is unknown
            weight_SP[:, member] = 1.0
            continue
        drawn = rng.multinomial(size - 1, np.full(size, 1 / size), size=resamples)
        weight_SP[:, member] = drawn * (size / (size - 1))
    return Resamples(counts.person_P, stratum_P, weight_SP)


def _merge_singletons(key_P: np.ndarray) -> NDArray[np.int64]:
    """Stratum of every person, from 0. People with a key of their own (a corrected label, say) share a stratum."""
    _, inverse_P, size = np.unique(key_P, return_inverse=True, return_counts=True)
    is_alone_P = size[inverse_P] == 1
    if is_alone_P.sum() == 1 and len(size) > 1:  # a single such person joins the smallest stratum
        is_alone_P |= inverse_P == np.where(size > 1, size, size.max() + 1).argmin()
    merged_P = np.where(is_alone_P, -1, inverse_P)
    return np.unique(merged_P, return_inverse=True)[1].astype(np.int64)
