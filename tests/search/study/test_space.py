"""Knobs as Optuna's parameters and back, and the levels of the scientific ones."""

import itertools
import math
from typing import Any

import numpy as np
import optuna
import pytest

from maskcls.config import canonical
from search.study.space import distributions, factors, params_of, values_of
from search.study.study import STRETCHES, Choice, Float, Int, Knob, Subset, knob_from_json, knob_to_json, stretches

SPACE: dict[str, Knob] = {
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


def draw(knob: Knob, rng: np.random.Generator) -> Any:
    match knob:
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
        values = {name: draw(knob, rng) for name, knob in SPACE.items()}
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


def test_a_knob_survives_the_trip_through_json() -> None:
    import json

    for knob in [*SPACE.values(), *RANGES, Choice((), ("flip", "blur")), Choice(True, False)]:
        assert knob_from_json(json.loads(json.dumps(knob_to_json(knob)))) == knob


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
    knob = Choice((), ("flip",), ("flip", "blur"))
    (factor,) = factors({"augment": knob})
    params = [params_of({"augment": knob}, {"augment": option}) for option in knob.options]
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


@pytest.mark.parametrize("knob", RANGES, ids=str)
def test_stretches_tile_the_range(knob: Float | Int) -> None:
    found = stretches(knob)
    assert found[0][0] == knob.low
    assert found[-1][1] == knob.high
    step = 0 if isinstance(knob, Float) else 1
    assert all(before[1] + step == after[0] for before, after in itertools.pairwise(found))
    assert all(low < high if isinstance(knob, Float) else low <= high for low, high in found)


@pytest.mark.parametrize("knob", [knob for knob in RANGES if isinstance(knob, Float)], ids=str)
def test_stretches_are_equally_long_on_their_own_scale(knob: Float) -> None:
    lengths = [math.log(high / low) if knob.log else high - low for low, high in stretches(knob)]
    assert len(lengths) == STRETCHES
    assert lengths == pytest.approx([sum(lengths) / STRETCHES] * STRETCHES)


def test_stretches_of_whole_numbers_hold_about_as_many() -> None:
    assert stretches(Int(57, 60)) == [(57, 57), (58, 58), (59, 59), (60, 60)]
    assert stretches(Int(1, 2)) == [(1, 1), (2, 2)]
    for high in range(4, 30):
        sizes = [last - first + 1 for first, last in stretches(Int(1, high))]
        assert len(sizes) == STRETCHES
        assert max(sizes) - min(sizes) <= 1, (high, sizes)


@pytest.mark.parametrize("knob", RANGES, ids=str)
def test_every_value_of_a_range_has_the_level_whose_stretch_holds_it(knob: Float | Int) -> None:
    (factor,) = factors({"x": knob})
    rng = np.random.default_rng(0)
    levels = set()
    for value in [knob.low, knob.high, *(draw(knob, rng) for _ in range(300))]:
        level = factor.level({"x": value})
        low, high = factor.levels[level]
        assert low <= value <= high
        levels.add(level)
    assert levels == set(range(len(factor.levels)))
    assert factor.level({"x": knob.low}) == 0
    assert factor.level({"x": knob.high}) == len(factor.levels) - 1
