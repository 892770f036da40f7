"""Configurations to try first, learnt from earlier studies: a portfolio in which at least one should do well.

Nothing improves a search more than configurations that won elsewhere (benchmarks/README.md). The best ones of all
studies would be much alike. The portfolio takes the one with the best mean over the studies, then the one that adds
most where the first is weak, and so on. Most configurations were run in one study only; their values in the others are
estimated from the nearest trials.

Shapes: C candidates, N trials of a study, K neighbours, T studies, D parameters.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Params = Mapping[str, Any]
Space = Mapping[str, BaseDistribution]
Floats = NDArray[np.float64]

NUM_NEIGHBOURS = 5
"""Trials that a value is estimated from; 3 to 8 do equally well, one alone is worse."""
NUM_CANDIDATES = 20
"""How many of the best trials of each study may be chosen. More cost time and change nothing."""
NEAR = 0.1
"""A configuration nearer than this to a chosen one, in mean difference of parameters as shares of their ranges, is not
worth a trial: a sampler's last proposals in a study are nearly copies of its best one."""
UNKNOWN = 1 / 3
"""Difference in a parameter that one of two configurations lacks: the mean difference of two random values. If both
lack it they agree, as both get the caller's value."""


def warm_configurations(
    earlier: Sequence[Sequence[tuple[Params, float]]], space: Space, count: int
) -> list[dict[str, Any]]:
    """At most ``count`` configurations of ``space`` to try first, the most promising first.

    ``earlier`` holds (parameters, value) of each study's trials; higher is better. Parameters outside the space are
    left out. A trial with a value outside its range is left out, as it may owe its score to that value. A configuration
    may lack parameters of the space that its study did not search; the caller fills them in (with the baseline's).
    Deterministic: ties go to the earlier study and trial.
    """
    studies = [[(_shared(params, space), value) for params, value in trials] for trials in earlier]
    studies = [[(params, value) for params, value in trials if params and math.isfinite(value)] for trials in studies]
    studies = [trials for trials in studies if trials]
    if not studies:
        return []
    point_TND = [np.array([to_point(params, space) for params, _ in trials]) for trials in studies]
    value_TN = [standardised(np.array([value for _, value in trials])) for trials in studies]
    candidates: dict[bytes, tuple[dict[str, Any], Floats]] = {}
    for trials, point_ND, value_N in zip(studies, point_TND, value_TN, strict=True):
        for index in np.argsort(-value_N, kind="stable")[:NUM_CANDIDATES]:
            candidates.setdefault(point_ND[index].tobytes(), (trials[index][0], point_ND[index]))
    configurations = [params for params, _ in candidates.values()]
    point_CD = np.array([point_D for _, point_D in candidates.values()])
    guess_TC = np.array(
        [guess(point_CD, point_ND, value_N) for point_ND, value_N in zip(point_TND, value_TN, strict=True)]
    )
    return [configurations[index] for index in portfolio(guess_TC, point_CD, count)]


def _shared(params: Params, space: Space) -> dict[str, Any]:
    """The parameters of the space; none if one of them is outside its range."""
    shared = {name: params[name] for name in space if name in params}
    return {} if any(math.isnan(to_unit(space[name], value)) for name, value in shared.items()) else shared


def portfolio(guess_TC: Floats, point_CD: Floats, count: int) -> list[int]:
    """Indices of candidates, each chosen to raise the mean over studies of the best chosen so far.

    When none raises it (in a single study: after its best), the choice begins again among those left.
    """
    chosen: list[int] = []
    best_T = np.zeros(len(guess_TC))
    is_free_C = np.ones(len(point_CD), dtype=bool)
    while len(chosen) < count and is_free_C.any():
        mean_C = np.where(is_free_C, np.maximum(guess_TC, best_T[:, None]).mean(0), -1.0)
        best = int(mean_C.argmax())
        if best_T.any() and mean_C[best] <= best_T.mean():
            best_T = np.zeros(len(guess_TC))
            continue
        chosen.append(best)
        best_T = np.maximum(best_T, guess_TC[:, best])
        is_free_C[best] = False
        is_free_C &= distance(point_CD, point_CD[best : best + 1])[:, 0] > NEAR
    return chosen


def standardised(value_N: Floats) -> Floats:
    """Values scaled from 0, the median and all below, to 1, the best: the size of a failure does not matter."""
    middle, best = np.median(value_N), value_N.max()
    if best <= middle:
        return (value_N >= best).astype(float)
    return np.asarray(np.maximum(value_N - middle, 0.0) / (best - middle))


def guess(point_CD: Floats, point_ND: Floats, value_N: Floats) -> Floats:
    """The estimated value of each candidate in a study: the mean of its nearest trials, weighted by 1 / distance^2.

    A trial at the candidate's own point outweighs all others.
    """
    distance_CN = distance(point_CD, point_ND)
    num = min(NUM_NEIGHBOURS, len(value_N))
    near_CK = np.argpartition(distance_CN, num - 1, axis=1)[:, :num]
    weight_CK = 1 / (np.take_along_axis(distance_CN, near_CK, axis=1) + 1e-6) ** 2
    return np.asarray((weight_CK * value_N[near_CK]).sum(1) / weight_CK.sum(1))


def distance(a_CD: Floats, b_ND: Floats) -> Floats:
    """Mean difference of the parameters; any two options of a choice are 1 apart."""
    total_CN = np.zeros((len(a_CD), len(b_ND)))
    for a_C, b_N in zip(a_CD.T, b_ND.T, strict=True):  # one parameter at a time, to keep memory small
        gap_CN = np.minimum(np.abs(a_C[:, None] - b_N), 1.0)
        gap_CN[np.isnan(gap_CN)] = UNKNOWN
        gap_CN[np.ix_(np.isnan(a_C), np.isnan(b_N))] = 0.0
        total_CN += gap_CN
    return total_CN / a_CD.shape[1]


def to_point(params: Params, space: Space) -> list[float]:
    """The configuration's coordinates; NaN for a parameter that it lacks."""
    return [to_unit(domain, params[name]) if name in params else math.nan for name, domain in space.items()]


def to_unit(distribution: BaseDistribution, value: Any) -> float:
    """Where the value lies in its range, from 0 to 1, or the index of a choice's option; NaN if it is outside."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return float(choices.index(value)) if value in choices else math.nan
        case IntDistribution(low=low, high=high, log=log) | FloatDistribution(low=low, high=high, log=log):
            if isinstance(value, bool | str) or not low <= value <= high:
                return math.nan
            if low == high:
                return 0.5
            if log:
                return math.log(value / low) / math.log(high / low)
            return float((value - low) / (high - low))
    raise AssertionError(distribution)
