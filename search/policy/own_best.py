"""Which levels have their own best setting of the nuisance hyperparameters elsewhere than where the rounds asked.

The rounds compare all levels at one setting, near the best for all of them together. A level that, by the search, does
much better at a setting of its own is named, since what the rounds say of it holds for their setting alone. The search
never compares levels: it only tells what a level is expected to gain by its own setting (surface.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtri

from maskcls.config import TrainConfig
from search.policy.levels import Levels
from search.policy.portfolio import to_unit
from search.policy.rounds import arms_of
from search.policy.surface import Floats, Surface, scored
from search.study.attributes import is_own_best, round_of
from search.study.space import distributions, factors, values_of
from search.study.study import Study

SURE = 0.9
"""A level that is expected to gain more than what matters is named if it gains at all with this probability."""

LEAST_TRAININGS = 3
"""A level with fewer complete trainings, those of rounds included, is not named."""

CLEARLY = 0.1
"""Values of a range that lie no further apart, as a share of it, are not told apart."""


@dataclass(frozen=True)
class Elsewhere:
    """A level whose own best setting is not that of the rounds."""

    level: str
    """The name of its arm (rounds.Arm)."""
    gain: float
    """What it is expected to gain there."""
    values: Mapping[str, Any]
    """The hyperparameters in which its best differs clearly from the rounds' settings."""
    asked: Mapping[str, tuple[Any, ...]]
    """Their values in the rounds, each once."""


def levels_elsewhere(study: Study, trials: Sequence[FrozenTrial]) -> list[Elsewhere]:
    """The levels, that of the reference included, that gain by a setting of their own, the greatest gain first.

    Empty before the first round after a search, and in a study that compares or tunes nothing.
    """
    space, compared = distributions(study.space), factors(study.scientific)
    tuned = {name: space[name] for name in space if name not in {factor.param for factor in compared}}
    trials = [trial for trial in trials if space.keys() <= trial.params.keys()]
    asked = _asked_settings(trials, tuned)
    judges = {**TrainConfig().model_dump(), **study.fixed}["judge_round"]
    trainings = scored(trials, tuned, compared, judges)
    if not (compared and tuned and asked and trainings):
        return []
    surface, found = Surface(tuned, trainings, tells_apart=True), []
    complete: dict[Levels, list[FrozenTrial]] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            complete.setdefault(tuple(factor.level(trial.params) for factor in compared), []).append(trial)
    for arm in arms_of(study):
        trained = complete.get(arm.levels, [])
        own = [{name: trial.params[name] for name in tuned} for trial in trained if round_of(trial) is None]
        if not own or len(trained) < LEAST_TRAININGS:
            continue
        gain, deviation, best = _best_gain(surface, arm.levels, own, asked)
        values, beside = _told_apart(study, tuned, best, asked)
        if values and gain > study.matters and gain >= float(ndtri(SURE)) * deviation:
            found.append(Elsewhere(arm.name, gain, values, beside))
    return sorted(found, key=lambda each: -each.gain)


def _asked_settings(trials: Sequence[FrozenTrial], tuned: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    """The settings of the rounds after round 0 that all levels have in common, one for each round."""
    of_round = {round_of(trial): trial for trial in trials if round_of(trial) and not is_own_best(trial)}
    return [{name: trial.params[name] for name in tuned} for trial in of_round.values()]


def _best_gain(
    surface: Surface, levels: Levels, own: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]]
) -> tuple[float, float, Mapping[str, Any]]:
    """(gain, its standard deviation, setting): the best expected one of its ``own`` less the mean of those asked at."""
    mean_C, covariance_CC = surface.of_level(levels, surface.points([*own, *asked]))
    best = int(np.argmax(mean_C[: len(own)]))
    weight_C: Floats = np.zeros(len(mean_C))
    weight_C[len(own) :] = -1 / len(asked)
    weight_C[best] += 1
    variance = float(weight_C @ covariance_CC @ weight_C)
    return float(weight_C @ mean_C), math.sqrt(max(0.0, variance)), own[best]


def _told_apart(
    study: Study, tuned: Mapping[str, BaseDistribution], best: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, tuple[Any, ...]]]:
    """Elsewhere.values and Elsewhere.asked of this setting."""
    domains = {name: study.space[name] for name in study.nuisance}
    value, others = values_of(domains, best), [values_of(domains, setting) for setting in asked]
    clear = [
        name
        for name in study.nuisance
        if value[name] not in [other[name] for other in others]
        and not (name in tuned and _is_near(tuned[name], best[name], [setting[name] for setting in asked]))
    ]
    beside = {name: tuple({repr(other[name]): other[name] for other in others}.values()) for name in clear}
    return {name: value[name] for name in clear}, beside


def _is_near(domain: BaseDistribution, value: Any, others: Sequence[Any]) -> bool:
    """Whether a value of a range lies near one of the others."""
    if isinstance(domain, CategoricalDistribution):
        return False
    return min(abs(to_unit(domain, value) - to_unit(domain, other)) for other in others) <= CLEARLY
