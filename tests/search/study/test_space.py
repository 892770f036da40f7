"""Hyperparameters as Optuna's parameters and back, and the levels of the scientific ones."""

import itertools
import math
from typing import Any

import numpy as np
import optuna
import pytest

from maskcls.config import canonical
from search.study.domains import NUM_BINS, bins, domain_from_json, domain_to_json
from search.study.space import distributions, factors, params_of, values_of
from search.study.study import Choice, Domain, Float, Int, Subset

SPACE: dict[str, Domain] = {
    "lr": Float(1e-5, 3e-3, log=True),
    "drop_rate": Float(0.0, 0.7),
    "old_from": Int(57, 60),
    "batch_size": Int(8, 512, log=True),
    "loss": Choice("cross_entropy", "focal"),
    "label_smoothing": Choice(0.0, 0.1, 0.2),
    "image_size": Choice((96, 96), (128, 96), 224),
    "augment": Subset("flip", "gaussian", "cutmix"),
}

RANGES = [
    Float(0.0, 0.7),
    Float(1e-5, 3e-3, log=True),
    Float(-1, 1),
    Int(57, 60),
    Int(0, 10),
    Int(1, 2),
    Int(8, 512, log=True),
    Int(1, 5, log=True),
]


def draw(domain: Domain, rng: np.random.Generator) -> Any:
    match domain:
        case Float(low, high):
            return float(rng.uniform(low, high))
        case Int(low, high):
            return int(rng.integers(low, high + 1))
        case Choice(options):
            return options[rng.integers(len(options))]
        case Subset(names):
            return tuple(name for name in names if rng.random() < 0.5)


def test_values_survive_the_trip_through_parameters() -> None:
    rng = np.random.default_rng(0)
    found = distributions(SPACE)
    for _ in range(200):
        values = {name: draw(domain, rng) for name, domain in SPACE.items()}
        params = params_of(SPACE, values)
        assert params.keys() == found.keys()
        assert all(found[name]._contains(found[name].to_internal_repr(value)) for name, value in params.items())
        assert values_of(SPACE, params) == {name: canonical(name, value) for name, value in values.items()}


def test_parameters_survive_the_trip_through_values() -> None:
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(sampler=sampler)
    for _ in range(100):
        params = study.ask(distributions(SPACE)).params
        assert params_of(SPACE, values_of(SPACE, params)) == params


def test_a_domain_survives_the_trip_through_json() -> None:
    import json

    for domain in [*SPACE.values(), *RANGES, Choice((), ("flip", "blur")), Choice(True, False)]:
        assert domain_from_json(json.loads(json.dumps(domain_to_json(domain)))) == domain


def test_each_member_of_a_subset_is_on_or_off_by_itself() -> None:
    found = distributions({"augment": Subset("flip", "blur")})
    assert list(found) == ["augment.flip", "augment.blur"]
    assert values_of({"augment": Subset("flip", "blur")}, {"augment.flip": False, "augment.blur": True}) == {
        "augment": ("blur",)
    }


def test_ranges_keep_their_ends_and_their_scale() -> None:
    found = distributions(SPACE)
    lr, batch = found["lr"], found["batch_size"]
    assert isinstance(lr, optuna.distributions.FloatDistribution)
    assert isinstance(batch, optuna.distributions.IntDistribution)
    assert (lr.low, lr.high, lr.log) == (1e-5, 3e-3, True)
    assert (batch.low, batch.high, batch.log) == (8, 512, True)
    assert found["drop_rate"].log is False  # type: ignore[attr-defined]


def test_every_option_is_a_level_of_its_own() -> None:
    domain = Choice((), ("flip",), ("flip", "blur"))
    (factor,) = factors({"augment": domain})
    params = [params_of({"augment": domain}, {"augment": option}) for option in domain.options]
    assert [factor.level(one) for one in params] == [0, 1, 2]
    assert [factor.describe(level) for level in range(3)] == [
        "augment = none",
        "augment = flip",
        "augment = flip+blur",
    ]


def test_every_member_of_a_subset_is_a_factor_of_its_own() -> None:
    found = factors({"augment": Subset("flip", "blur"), "heads": Choice("joint", "three_heads")})
    assert [factor.param for factor in found] == ["augment.flip", "augment.blur", "heads"]
    assert [len(factor.levels) for factor in found] == [2, 2, 2]
    params = {"augment.flip": True, "augment.blur": False, "heads": "joint"}
    assert [factor.level(params) for factor in found] == [1, 0, 0]


@pytest.mark.parametrize("domain", RANGES, ids=str)
def test_bins_tile_the_range(domain: Float | Int) -> None:
    found = bins(domain)
    assert found[0][0] == domain.low
    assert found[-1][1] == domain.high
    step = 0 if isinstance(domain, Float) else 1
    assert all(before[1] + step == after[0] for before, after in itertools.pairwise(found))
    assert all(low < high if isinstance(domain, Float) else low <= high for low, high in found)


@pytest.mark.parametrize("domain", [domain for domain in RANGES if isinstance(domain, Float)], ids=str)
def test_bins_are_equally_wide_on_their_own_scale(domain: Float) -> None:
    lengths = [math.log(high / low) if domain.log else high - low for low, high in bins(domain)]
    assert len(lengths) == NUM_BINS
    assert lengths == pytest.approx([sum(lengths) / NUM_BINS] * NUM_BINS)


def test_bins_of_whole_numbers_hold_about_as_many() -> None:
    assert bins(Int(57, 60)) == [(57, 57), (58, 58), (59, 59), (60, 60)]
    assert bins(Int(1, 2)) == [(1, 1), (2, 2)]
    for high in range(4, 30):
        sizes = [last - first + 1 for first, last in bins(Int(1, high))]
        assert len(sizes) == NUM_BINS
        assert max(sizes) - min(sizes) <= 1, (high, sizes)


@pytest.mark.parametrize("domain", RANGES, ids=str)
def test_every_value_of_a_range_has_the_level_whose_bin_holds_it(domain: Float | Int) -> None:
    (factor,) = factors({"x": domain})
    rng = np.random.default_rng(0)
    levels = set()
    for value in [domain.low, domain.high, *(draw(domain, rng) for _ in range(300))]:
        level = factor.level({"x": value})
        low, high = factor.levels[level]
        assert low <= value <= high
        levels.add(level)
    assert levels == set(range(len(factor.levels)))
    assert factor.level({"x": domain.low}) == 0
    assert factor.level({"x": domain.high}) == len(factor.levels) - 1
