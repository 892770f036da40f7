"""What a study file may hold: plain Python once it is loaded, whatever wrote it; for the rest one sentence."""

import json
from collections import OrderedDict
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskcls.system.errors import UserError
from search.policy.policy import Policy
from search.study.record import Stored
from search.study.study import Choice, Float, Int, Pruner, Sampler, Study, Subset
from search.study.values import plain
from tests.helpers.training import one_line


class Size(IntEnum):
    SMALL = 32


class Loss(Enum):
    FOCAL = "focal"


def study(name: str, domain: Any, baseline: Any, **more: Any) -> Study:
    """A study that tunes one hyperparameter."""
    return Study(
        **{"question": "Which?", "nuisance": {name: domain}, "fixed": {}, "baseline": {name: baseline}, **more}
    )


def refused(*words: Any, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        study(*words, **more)
    return one_line(caught.value)


def through_json(made: Study) -> Study:
    stored = Stored(made, "synthetic", "", {}, "scratch", "auto", False, 0)
    return Stored.from_json(json.loads(json.dumps(stored.to_json()))).study


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(8), 8),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("flip"), "flip"),
        (np.array([8, 16]), (8, 16)),
        (np.array(8), 8),
        (torch.tensor([0.5, 1.0]), (0.5, 1.0)),
        (torch.tensor(3), 3),
        (Size.SMALL, 32),
        (Loss.FOCAL, "focal"),
        (Path("resnet18"), "resnet18"),
        (Decimal("0.25"), 0.25),
        (Fraction(1, 4), 0.25),
        ([8, [16, "x"]], (8, (16, "x"))),
        (range(2), (0, 1)),
        ({"flip", "blur"}, ("blur", "flip")),
        ({"a": 1}.keys(), ("a",)),
        (OrderedDict(a=np.int64(1)), {"a": 1}),
        (True, True),
        (None, None),
    ],
)
def test_what_numpy_torch_and_others_write_becomes_plain_python(value: Any, expected: Any) -> None:
    found = plain("lr", value)
    assert found == expected
    assert type(found) is type(expected)
    json.dumps(found)


@pytest.mark.parametrize("value", [len, lambda: 1, Float, object(), b"flip", 1j, iter([1]), [1, len], {"a": len}])
def test_what_has_no_plain_value_is_refused_by_the_name_of_its_hyperparameter(value: Any) -> None:
    with pytest.raises(UserError, match=r"^lr must be a number, a word or a list of them, not .*\.$"):
        plain("lr", value)
    assert "lr must be" in refused("weight_decay", Float(0.1, 0.2), 0.1, fixed={"lr": value})
    assert "lr must be" in refused("lr", Choice(0.1, value), 0.1)
    assert "lr must be" in refused("lr", Float(0.1, 0.2), value)


@pytest.mark.parametrize(
    ("name", "domain", "baseline"),
    [
        ("batch_size", Int(*np.array([8, 64])), 32),
        ("batch_size", Int(8, 64), np.int64(32)),
        ("batch_size", Int(8.0, 64.0), 32.0),  # type: ignore[arg-type]
        ("batch_size", Choice(*np.array([16, 32])), np.int32(16)),
        ("lr", Float(np.float32(1e-3), np.float64(1e-1), log=np.bool_(True)), np.float16(0.01)),
        ("lr", Float(Fraction(1, 1000), Decimal("0.1")), Decimal("0.01")),  # type: ignore[arg-type]
        ("augment", Subset(*np.array(["flip", "blur"])), np.array(["blur"])),
        pytest.param("augment", Subset("flip", "blur"), {"flip", "blur"}, id="augment-set"),  # in no order of its own
        ("image_size", Choice(np.array([32, 48]), Size.SMALL), torch.tensor([32, 48])),
        ("loss", Choice(Loss.FOCAL, "cross_entropy"), Loss.FOCAL),
        ("backbone", Choice(Path("resnet18"), "resnet34"), "resnet18"),
    ],
    ids=str,
)
def test_a_study_of_such_values_is_stored_and_proposes_as_one_of_plain_values(
    name: str, domain: Any, baseline: Any
) -> None:
    made = study(name, domain, baseline)
    assert (through_json(made).space, through_json(made).baseline) == (made.space, made.baseline)
    assert Policy(made, 0).propose([]).params == Policy(through_json(made), 0).propose([]).params


def test_arguments_of_samplers_and_pruners_are_plain_too() -> None:
    tools = {
        "sampler": Sampler("tpe", n_ei_candidates=np.int64(48)),
        "pruner": Pruner("median", interval_steps=Size(32)),
    }
    made = study("lr", Float(0.1, 0.2), 0.1, **tools)
    assert type(made.sampler.arguments["n_ei_candidates"]) is int
    assert through_json(made).pruner.arguments == {"interval_steps": 32}
    assert "The sampler's gamma must be" in refused("lr", Float(0.1, 0.2), 0.1, sampler=Sampler("tpe", gamma=len))


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"question": 3}, "question is a sentence"),
        ({"question": " "}, "question is a sentence"),
        ({"synthetic": 1}, "synthetic is True or False, not 1"),
        ({"fixed": ["lr"]}, 'fixed is {"name": value, ...}'),
        ({"nuisance": [Float(0.1, 0.2)]}, 'nuisance is {"name": value, ...}'),
        ({"scientific": None}, 'scientific is {"name": value, ...}'),
        ({"fixed": {3: 1}}, "No hyperparameter named '3'"),
        ({"fixed": {"epochs": True}}, "epochs must be a number"),
        ({"fixed": {"epochs": None}}, "epochs must be"),
        ({"fixed": {"epochs": {"a": 1}}}, "epochs must be"),
    ],
)
def test_a_study_that_is_made_otherwise_is_refused_in_one_sentence(changes: dict[str, Any], hint: str) -> None:
    assert hint in refused("lr", Float(0.1, 0.2), 0.1, **changes)


@pytest.mark.parametrize(
    ("domain", "hint"),
    [
        (Float("0.1", 0.2), "lr: a range goes from one number to another"),  # type: ignore[arg-type]
        (Float(False, 0.2), "lr: a range goes from one number to another"),
        (Float(None, 0.2), "lr: a range goes from one number to another"),  # type: ignore[arg-type]
        (Float(0.1, 0.2, log=1), "lr: log is True or False, not 1"),  # type: ignore[arg-type]
        (Float(0.1, 0.2, log="yes"), "lr: log is True or False, not 'yes'"),  # type: ignore[arg-type]
        (Int(0, float("inf")), "the ends of an Int are whole numbers"),  # type: ignore[arg-type]
        (Float(0.1, float("nan")), "from a lower to a higher"),
    ],
)
def test_the_ends_of_a_range_are_numbers(domain: Any, hint: str) -> None:
    assert hint in refused("lr", domain, 0.1)
