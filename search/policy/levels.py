"""The levels of the scientific hyperparameters: their allocation to trials, and their effect on the values.

Shapes: N trials, F factors, C candidate combinations of levels.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial, TrialState

MAX_COMBINATIONS = 1024
"""Up to so many combinations of levels are listed to choose the next one; of more, so many are sampled."""

Levels = tuple[int, ...]
"""A trial's level of each factor, by index."""


def deal(taken: Sequence[Levels], sizes: Sequence[int], rng: np.random.Generator) -> Levels:
    """The next combination of levels, given those of the trials so far and the number of levels of each factor.

    Each factor's levels are used evenly first; then the levels of each pair of factors, which could otherwise be
    confounded; ties are broken at random.
    """
    if math.prod(sizes) <= MAX_COMBINATIONS:
        candidate_CF = np.array(list(itertools.product(*(range(size) for size in sizes))), dtype=int)
    else:
        candidate_CF = np.stack([rng.integers(size, size=MAX_COMBINATIONS) for size in sizes], axis=1)
    candidate_CF = rng.permutation(candidate_CF)
    taken_NF = np.array(taken, dtype=int).reshape(len(taken), len(sizes))
    alone_C, paired_C = (np.zeros(len(candidate_CF), dtype=int) for _ in range(2))
    for i, size in enumerate(sizes):
        alone_C += np.bincount(taken_NF[:, i], minlength=size)[candidate_CF[:, i]]
    for i, j in itertools.combinations(range(len(sizes)), 2):
        count = np.zeros((sizes[i], sizes[j]), dtype=int)
        np.add.at(count, (taken_NF[:, i], taken_NF[:, j]), 1)
        paired_C += count[candidate_CF[:, i], candidate_CF[:, j]]
    first = np.lexsort((paired_C, alone_C))[0]  # stable, so the permutation breaks ties
    return tuple(int(level) for level in candidate_CF[first])


def level_offsets(levels: Sequence[Levels], trials: Sequence[FrozenTrial]) -> list[float]:
    """How much better or worse each trial's levels do than the study as a whole, by medians of complete trials.

    A value minus its offset shows the effect of the nuisance hyperparameters: the good half of a losing level counts
    as good. Several factors are subtracted one after the other (Tukey's median polish, one sweep).
    """
    offset_N = np.zeros(len(trials))
    value_N = np.array([trial.value if trial.state == TrialState.COMPLETE else np.nan for trial in trials], dtype=float)
    if not np.isfinite(value_N).any():
        return offset_N.tolist()
    for level_N in np.array(levels, dtype=int).reshape(len(trials), -1).T:
        residual_N = value_N - offset_N
        centre = np.nanmedian(residual_N)
        for level in np.unique(level_N):
            is_level_N = level_N == level
            if np.isfinite(residual_N[is_level_N]).any():
                offset_N[is_level_N] += np.nanmedian(residual_N[is_level_N]) - centre
    return offset_N.tolist()
