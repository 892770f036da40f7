"""Where the levels' common best setting of the nuisance hyperparameters lies, by a Gaussian process over all trainings.

    score = judges + levels + f(setting) + g_level(setting) + noise

All levels lend each other what they know: f is common, and g is what a level likes more or less than the others do. It
proposes settings, and tells which level has its best elsewhere (own_best.py). An answer from the search's scores would
be biased, as they chose the settings (by how much: benchmarks/README.md); the rounds' own trainings answer.

Shapes: N trainings, C candidate settings, D parameters, F factors, K columns of the linear part.
"""

import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState
from scipy.linalg import solve_triangular

from search.policy.levels import Levels
from search.policy.portfolio import to_unit
from search.study.attributes import judge_round_of
from search.study.space import Factor

Floats = NDArray[np.float64]

MAX_TRAININGS = 300
"""The process sees so many at most, the latest: its cost grows with their cube."""

LENGTH, SWITCH_LENGTH = 0.35, 2.5
"""Distances, as shares of a range and as another option of a choice, over which scores are alike. Of several ranges
each counts less, by the root of their number: settings that differ in one of many are still much alike."""

F_DEVIATIONS, G_DEVIATIONS = (0.04, 0.08, 0.16, 0.3), (0.01, 0.02, 0.04)
NOISE_DEVIATIONS = (0.015, 0.022, 0.032, 0.045, 0.065)
"""Standard deviations among which the marginal likelihood chooses."""

POOR = 0.2
"""A stopped trial counts with its best score, but as no poorer than this below the best trial: how poor it would have
become is not known, and does not matter."""

NUM_NEAR, SPREAD, SWITCHED = 40, 0.12, 0.25
"""Settings around the best one that are considered too; how far from it, as a share of a range; how often an option
differs."""

TEMPER = 0.3
"""How much of its uncertainty the process lets into the choice of a setting. Rounds then differ in their settings as
far as the best one is not known, and what that does to the levels' differences shows in their spread."""

G_SPREAD, APART_G_DEVIATIONS, APART_G_SPREAD = 0.7, (*G_DEVIATIONS, 0.08), 1.4
"""How far from what is usual g's standard deviation may be, on a log scale. Where levels are told apart it may be
larger, or what one level likes much more than the others do would be taken for noise."""

STOPPED_DEVIATION = 0.12
"""Standard deviation of a stopped trial's score about what it would have come to, where levels are told apart: as
certain as the others, such scores hide what one level likes (benchmarks/README.md)."""

CAUTION = 1.0
"""How many standard deviations of its difference from the best tried setting a setting loses: far from all that was
tried the process expects the average, which is better than much of what was tried."""


@dataclass(frozen=True)
class Scored:
    """A training as the process sees it."""

    params: Mapping[str, Any]
    """Its nuisance parameters."""
    levels: Levels
    judges: Hashable
    """Those of one value have the same judges."""
    value: float
    is_stopped: bool = False
    """Whether it was stopped early, so that its value is what it had come to."""


def scored(
    trials: Sequence[FrozenTrial], tuned: Iterable[str], compared: Sequence[Factor], judges: int
) -> list[Scored]:
    """The finished trials as the process sees them; none while none is complete. ``judges``: TrainConfig.judge_round of
    the study."""
    ended = [trial for trial in trials if trial.state.is_finished() and trial.state != TrialState.FAIL]
    is_complete = [trial.state == TrialState.COMPLETE for trial in ended]
    best = max((trial.value or 0.0 for trial, whole in zip(ended, is_complete, strict=True) if whole), default=None)
    if best is None:
        return []
    return [
        Scored(
            {name: trial.params[name] for name in tuned},
            tuple(factor.level(trial.params) for factor in compared),
            judge_round_of(trial) or judges,
            trial.value or 0.0 if whole else max(trial.value or 0.0, best - POOR),
            not whole,
        )
        for trial, whole in zip(ended, is_complete, strict=True)
    ]


class Surface:
    """The fitted process."""

    def __init__(
        self, tuned: Mapping[str, BaseDistribution], trainings: Sequence[Scored], tells_apart: bool = False
    ) -> None:
        """``trainings``: at least one. ``tells_apart``: whether to ask what single levels like, or all together."""
        trainings = trainings[-MAX_TRAININGS:]
        g_deviations, self._g_spread = (APART_G_DEVIATIONS, APART_G_SPREAD) if tells_apart else (G_DEVIATIONS, G_SPREAD)
        unsure = STOPPED_DEVIATION if tells_apart else 0.0
        self._unsure_N = np.array([unsure * training.is_stopped for training in trainings])
        self.tuned, self.trainings = tuned, trainings
        self._is_switch_D = np.array([isinstance(domain, CategoricalDistribution) for domain in tuned.values()])
        self.point_ND = self.points([training.params for training in trainings])
        self._level_NF = np.array([training.levels for training in trainings], dtype=int).reshape(len(trainings), -1)
        self._value_N = np.array([training.value for training in trainings])
        self._linear_NK = self._linear_part([training.judges for training in trainings])
        self._explained = np.column_stack([self._linear_NK, self._value_N])
        self._alike_NN = self._kernel(self.point_ND, self.point_ND)
        same_NNF = self._level_NF[:, None] == self._level_NF[None]
        self._same_NN = same_NNF.mean(-1) if self._level_NF.shape[1] else np.zeros_like(self._alike_NN)
        self._deviations = max(
            itertools.product(F_DEVIATIONS, g_deviations, NOISE_DEVIATIONS), key=self._log_likelihood
        )
        precision_NN = np.linalg.inv(self._covariance(*self._deviations))
        coefficients_KN = np.linalg.pinv(self._linear_NK.T @ precision_NN @ self._linear_NK)
        coefficients_KN = coefficients_KN @ self._linear_NK.T @ precision_NN
        # of what the linear part leaves: a round of one setting says nothing of it, as its judges' part is unknown
        self._precision_NN = precision_NN - precision_NN @ self._linear_NK @ coefficients_KN
        self._weight_N = self._precision_NN @ self._value_N

    def points(self, settings: Sequence[Mapping[str, Any]]) -> Floats:
        """The settings' coordinates, [C, D]."""
        rows = [[to_unit(domain, setting[name]) for name, domain in self.tuned.items()] for setting in settings]
        return np.array(rows, dtype=np.float64).reshape(len(settings), len(self.tuned))

    def _linear_part(self, judges: Sequence[Hashable]) -> Floats:
        """Columns of 0 and 1: one for each crowd of judges, and for each level but a factor's first."""
        crowds = list(dict.fromkeys(judges))
        columns = [[float(each == crowd) for each in judges] for crowd in crowds]
        for level_N in self._level_NF.T:
            columns += [(level_N == level).astype(float).tolist() for level in np.unique(level_N)[1:]]
        return np.array(columns).T

    def _kernel(self, one_CD: Floats, other_ND: Floats) -> Floats:
        """How much alike scores are at these settings, from 0 to 1."""
        gap_CND = np.abs(one_CD[:, None] - other_ND[None])
        length = LENGTH * math.sqrt(max(1, int((~self._is_switch_D).sum())))
        scaled_CND = np.where(self._is_switch_D, (gap_CND > 0) / SWITCH_LENGTH, gap_CND / length)
        return np.asarray(np.exp(-0.5 * (scaled_CND**2).sum(-1)))

    def _covariance(self, f: float, g: float, noise: float) -> Floats:
        same_NN = f**2 + g**2 * self._same_NN
        return same_NN * self._alike_NN + np.diag(noise**2 + self._unsure_N**2)

    def _log_likelihood(self, deviations: tuple[float, float, float]) -> float:
        """Restricted to what the linear part leaves, but for a constant; with weak priors on noise and g."""
        root_NN = np.linalg.cholesky(self._covariance(*deviations))
        whitened = solve_triangular(root_NN, self._explained, lower=True, check_finite=False)
        linear_NK, value_N = whitened[:, :-1], whitened[:, -1]
        squares_KK = linear_NK.T @ linear_NK + 1e-9 * np.eye(linear_NK.shape[1])
        products_K = linear_NK.T @ value_N
        rest = value_N @ value_N - products_K @ np.linalg.solve(squares_KK, products_K)
        determinants = np.log(np.diag(root_NN)).sum() + 0.5 * np.linalg.slogdet(squares_KK)[1]
        _, g, noise = deviations
        # few trainings would else claim that there is no noise
        prior = 0.5 * (math.log(noise / 0.03) / 0.5) ** 2 + 0.5 * (math.log(g / 0.012) / self._g_spread) ** 2
        return float(-0.5 * rest - determinants - prior)

    def of_level(self, levels: Levels, point_CD: Floats) -> tuple[Floats, Floats]:
        """Mean [C] and covariance [C, C] of f and of the g of these levels at these points, but for a constant."""
        f, g, _ = self._deviations
        same_NF = self._level_NF == np.array(levels, dtype=int)
        same_N = same_NF.mean(-1) if levels else np.zeros(len(same_NF))
        cross_CN = self._kernel(point_CD, self.point_ND) * (f**2 + g**2 * same_N)
        prior_CC = self._kernel(point_CD, point_CD) * (f**2 + g**2 * bool(levels))
        return cross_CN @ self._weight_N, prior_CC - cross_CN @ self._precision_NN @ cross_CN.T

    def pooled(self, point_CD: Floats) -> tuple[Floats, Floats]:
        """Mean [C] and covariance [C, C] of f and the mean of all g at these points, but for a constant."""
        f, g, _ = self._deviations
        shares = [1 / len(np.unique(level_N)) for level_N in self._level_NF.T]
        share = float(np.mean(shares)) if shares else 0.0
        cross_CN = self._kernel(point_CD, self.point_ND) * (f**2 + g**2 * share)
        prior_CC = self._kernel(point_CD, point_CD) * (f**2 + g**2 * share)
        return cross_CN @ self._weight_N, prior_CC - cross_CN @ self._precision_NN @ cross_CN.T

    def expected(self, levels: Levels | None, point_CD: Floats) -> tuple[Floats, Floats]:
        """``of_level`` for these levels; for None, ``pooled``."""
        return self.pooled(point_CD) if levels is None else self.of_level(levels, point_CD)

    def visited(self) -> list[dict[str, Any]]:
        """The settings of the trainings, each once, in their order."""
        points = [point_D.tobytes() for point_D in self.point_ND]
        first = {point: index for index, point in reversed(list(enumerate(points)))}
        return [dict(self.trainings[index].params) for index in sorted(first.values())]

    def ranked(self, levels: Levels | None = None) -> list[dict[str, Any]]:
        """The visited settings, the best expected one first, for these levels; None: for all together."""
        visited = self.visited()
        mean_C, _ = self.expected(levels, self.points(visited))
        return [visited[index] for index in np.argsort(-mean_C, kind="stable")]


def common_setting(
    tuned: Mapping[str, BaseDistribution],
    trainings: Sequence[Scored],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """One setting for all levels, near the best for all of them together."""
    return _drawn_setting(Surface(tuned, trainings), None, rng)


def own_settings(
    tuned: Mapping[str, BaseDistribution],
    trainings: Sequence[Scored],
    levels: Sequence[Levels],
    seed: Sequence[int],
) -> list[dict[str, Any]]:
    """A setting for each of these levels, near its own best.

    The draws are the same for all, so that levels without a liking of their own get one setting.
    """
    surface = Surface(tuned, trainings, tells_apart=True)
    return [_drawn_setting(surface, each, np.random.default_rng(seed)) for each in levels]


def _drawn_setting(surface: Surface, levels: Levels | None, rng: np.random.Generator) -> dict[str, Any]:
    """The best setting for these levels (None: for all together) in a tempered and cautious draw of the process, of the
    settings that were tried and of others around the best of them."""
    best, *others = surface.ranked(levels)
    candidates = [best, *others, *(_near(surface.tuned, best, rng) for _ in range(NUM_NEAR))]
    mean_C, covariance_CC = surface.expected(levels, surface.points(candidates))
    drawn_C = rng.multivariate_normal(mean_C, TEMPER**2 * covariance_CC, method="eigh", check_valid="ignore")
    variance_C = np.diag(covariance_CC)
    from_best_C = variance_C + variance_C[0] - 2 * covariance_CC[0]
    drawn_C -= CAUTION * np.sqrt(np.maximum(from_best_C, 0.0))
    return candidates[int(np.argmax(drawn_C))]


def _near(
    tuned: Mapping[str, BaseDistribution], setting: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, Any]:
    """A setting near this one."""
    near = {}
    for name, domain in tuned.items():
        moved, switched, option = rng.normal(), rng.random(), rng.random()
        if isinstance(domain, CategoricalDistribution):
            others = [choice for choice in domain.choices if choice != setting[name]]
            near[name] = others[int(option * len(others))] if others and switched < SWITCHED else setting[name]
        else:
            near[name] = from_unit(domain, to_unit(domain, setting[name]) + SPREAD * moved)
    return near


def from_unit(domain: BaseDistribution, place: float) -> Any:
    """The value at this place of a range, whose ends are 0 and 1; the inverse of portfolio.to_unit."""
    assert isinstance(domain, FloatDistribution | IntDistribution)
    place = min(max(place, 0.0), 1.0)
    if domain.low == domain.high:
        return domain.low
    value = (
        domain.low * (domain.high / domain.low) ** place
        if domain.log
        else domain.low + place * (domain.high - domain.low)
    )
    value = min(max(value, domain.low), domain.high)
    return round(value) if isinstance(domain, IntDistribution) else value
