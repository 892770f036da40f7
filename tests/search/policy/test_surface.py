"""The setting that all levels have in a round."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.policy.portfolio import to_unit
from search.policy.surface import Scored, Surface, common_setting, from_unit

LR = FloatDistribution(1e-4, 1e-1, log=True)
TUNED = {"lr": LR, "flip": CategoricalDistribution([False, True])}


def scored(lr: float, flip: bool, level: int, value: float, judges: int = 0) -> Scored:
    return Scored({"lr": lr, "flip": flip}, (level,), judges, value)


def drawn(trainings: list[Scored], number: int = 30) -> list[dict[str, float]]:
    return [common_setting(TUNED, trainings, np.random.default_rng(seed)) for seed in range(number)]


def test_it_is_near_the_best_for_all_levels_together() -> None:
    rng = np.random.default_rng(0)
    trainings = []
    for index in range(40):
        place, flip, level = rng.random(), bool(rng.random() < 0.5), index % 2
        value = 0.6 - 0.7 * (place - 0.6) ** 2 - 0.05 * (not flip) - 0.2 * level + 0.02 * rng.normal()
        trainings.append(scored(from_unit(LR, place), flip, level, value))
    found = drawn(trainings)
    places = [to_unit(LR, setting["lr"]) for setting in found]
    assert np.mean(places) == pytest.approx(0.6, abs=0.12)
    assert np.mean([setting["flip"] for setting in found]) > 0.8


def test_a_few_trainings_do_not_lead_beyond_all_that_was_tried() -> None:
    values = {0.0066: (0.24, 0.233), 0.01: (0.2, 0.146), 0.032: (0.154, 0.123)}
    trainings = [scored(lr, False, level, value) for lr, pair in values.items() for level, value in enumerate(pair)]
    lrs = [setting["lr"] for setting in drawn(trainings)]
    assert 0.002 < np.median(lrs) < 0.0067
    assert min(lrs) > 0.001  # without caution most are lower


def test_what_other_judges_think_of_all_levels_says_nothing_of_a_setting() -> None:
    trainings = [scored(1e-3, False, level, 0.5) for level in range(2)] + [scored(1e-2, False, 0, 0.4)]
    harsh = [scored(1e-3, False, level, 0.1, judges=1) for level in range(2)]
    assert Surface(TUNED, trainings + harsh).ranked()[0]["lr"] == 1e-3


def test_a_round_of_one_setting_makes_nobody_surer_of_it() -> None:
    known = [scored(lr, False, level, 0.5) for lr in (1e-3, 1e-2) for level in range(2)]
    alone = [scored(1e-4, False, level, 0.5, judges=1) for level in range(2)]
    points = [{"lr": lr, "flip": False} for lr in (1e-3, 1e-4)]
    contrast = np.array([1.0, -1.0])
    before, after = (
        contrast @ surface.pooled(surface.points(points))[1] @ contrast
        for surface in (Surface(TUNED, known), Surface(TUNED, known + alone))
    )
    assert after > 0.5 * before


def test_one_training_is_enough() -> None:
    assert all(0.0 < setting["lr"] <= 0.1 for setting in drawn([scored(1e-2, True, 0, 0.5)]))


@pytest.mark.parametrize(
    "domain", [LR, FloatDistribution(0, 2), IntDistribution(3, 9), IntDistribution(8, 512, log=True)]
)
def test_a_place_is_the_values_own(domain: FloatDistribution | IntDistribution) -> None:
    values = [domain.low, domain.high] if isinstance(domain, FloatDistribution) else range(domain.low, domain.high + 1)
    for value in values:
        assert from_unit(domain, to_unit(domain, value)) == pytest.approx(value)
    assert from_unit(domain, -0.5) == domain.low
    assert from_unit(domain, 1.5) == domain.high
