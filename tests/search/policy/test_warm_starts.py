"""What a new study tries first: recipes that suit what it searches; the studies of before try what they always did."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import create_trial

from maskcls.config import make_config
from search.database.connect import create_study, open_storage
from search.policy.warm_starts import KNOWN_TO_WORK, choose_warm_starts
from search.study.domains import Domain
from search.study.loading import load_study_file
from search.study.record import KEY, Stored
from search.study.space import distributions
from search.study.study import Choice, Float, Study


def starts(study: Study, folder: Path, n_trials: int = 100) -> list[dict[str, Any]]:
    """The parameters of the warm starts of a study that is the first in its database."""
    stored = Stored(study, "synthetic", "", {"source": "scratch"}, "scratch", "auto", False, 0)
    storage = open_storage(f"sqlite:///{folder}/studies.db", create=True)
    return [warm["params"] for warm in choose_warm_starts(storage, stored, n_trials)]


def study_of(nuisance: dict[str, Domain], baseline: dict[str, Any], **fixed: Any) -> Study:
    lr = {"lr": Float(1e-5, 1e-1, log=True)}
    return Study("Which?", {**lr, **nuisance}, {"epochs": 2, **fixed}, {"lr": 1e-3, **baseline}, synthetic=True)


def test_the_studies_of_before_begin_as_they_did(tmp_path: Path) -> None:
    assert starts(load_study_file("dropout"), tmp_path) == [
        {"lr": 3e-4},  # augment = flip is not within its Subset
        {"lr": 1e-4},
        {"lr": 2e-3},
    ]
    first, second, third = starts(load_study_file("gender"), tmp_path)
    off = {f"augment.{name}": False for name in ("gaussian", "blur", "contrast")}
    flip, both = ({"augment.flip": True, "augment.cutmix": cutmix, **off} for cutmix in (False, True))
    assert first == {"lr": 3e-4, "loss": "focal", "label_smoothing": 0.0, "drop_rate": 0.2, **flip}
    assert second == {"lr": 1e-4, "loss": "cross_entropy", "label_smoothing": 0.1, **both}
    assert third == {"lr": 2e-3, "loss": "cross_entropy", "label_smoothing": 0.1, "drop_rate": 0.0, **flip}
    assert starts(load_study_file("gender"), tmp_path, n_trials=4) == [first]


def test_each_optimizer_is_tried_at_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    study = study_of({"optimizer": Choice("adamw", "sgd", "lion")}, {"optimizer": "adamw"})
    found = [(start["optimizer"], start["lr"]) for start in starts(study, tmp_path)]
    assert found == [("sgd", 1e-2), ("lion", 5e-5), ("adamw", 3e-4), ("adamw", 1e-4), ("adamw", 2e-3)]


def test_a_learning_rate_is_not_tried_with_an_optimizer_that_it_is_not_for(tmp_path: Path) -> None:
    assert starts(study_of({}, {}, optimizer="sgd"), tmp_path) == [{"lr": 1e-2}]
    without_adamw = study_of({"optimizer": Choice("lamb", "sgd")}, {"optimizer": "sgd"})
    assert [start["optimizer"] for start in starts(without_adamw, tmp_path)] == ["sgd", "lamb"]
    out_of_range = Study(
        "Which?",
        {"lr": Float(1e-5, 3e-3, log=True), "optimizer": Choice("adamw", "sgd")},
        {"epochs": 2},
        {"lr": 1e-3, "optimizer": "adamw"},
        synthetic=True,
    )
    assert {start["optimizer"] for start in starts(out_of_range, tmp_path)} == {"adamw"}


@pytest.mark.parametrize(("optimizer", "expected"), [("adamw", []), ("sgd", [{"lr": 0.05}])])
def test_what_an_earlier_study_found_is_of_use_to_its_optimizer_alone(
    optimizer: str, expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    earlier = Stored(
        study_of({}, {}, optimizer="sgd"), "synthetic", "", {"source": "scratch"}, "scratch", "auto", False, 0
    )
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db", create=True)
    study = create_study(storage, "with_sgd", {KEY: earlier.to_json()})
    study.add_trial(create_trial(value=0.9, params={"lr": 0.05}, distributions=distributions(earlier.study.nuisance)))
    found = starts(study_of({}, {}, optimizer=optimizer), tmp_path)
    assert [start for start in found if start["lr"] not in (1e-2, 3e-4, 1e-4, 2e-3)] == expected
    searched = study_of({"optimizer": Choice("adamw", "sgd")}, {"optimizer": "adamw"})
    assert {"optimizer": "sgd", "lr": 0.05} in starts(searched, tmp_path)


@pytest.mark.parametrize(
    ("name", "low", "off", "expected"),
    [("layer_decay", 0.5, 1.0, 0.75), ("frozen_share", 0.0, 0.0, 0.2)],
)
def test_a_recipe_is_tried_first_where_what_it_is_about_is_searched(
    name: str, low: float, off: float, expected: float, tmp_path: Path
) -> None:
    study = study_of({name: Float(low, low + 0.5)}, {name: off})
    assert starts(study, tmp_path)[0] == {"lr": 3e-4, name: expected}
    assert len(starts(study, tmp_path)) == 4


def test_every_recipe_is_a_config() -> None:
    for recipe in KNOWN_TO_WORK:
        make_config({"optimizer": recipe.optimizer, **recipe.values})
        assert set(recipe.needs) <= {"optimizer", *recipe.values}
