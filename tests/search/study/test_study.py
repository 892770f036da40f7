"""The words in which a study is written: what they refuse, and what preview and --set make of a study."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from maskcls.system.errors import UserError
from search.study.domains import contains, encode
from search.study.loading import load_study_file
from search.study.study import Choice, Float, Int, Study, Subset, pin, preview_of
from tests.helpers.training import one_line

MINE = '''"""Does mine work?"""
from search.study.study import Choice, Float, Study

STUDY = Study(
    question="Does mine work?",
    scientific={"drop_rate": Choice(0.0, 0.5)},
    nuisance={"lr": Float(1e-4, 1e-2, log=True)},
    fixed={"epochs": 1},
    baseline={"drop_rate": 0.0, "lr": 1e-3},
)
'''


def a_study(**changes: Any) -> Study:
    given: dict[str, Any] = {
        "question": "Does dropout help?",
        "scientific": {"drop_rate": Choice(0.0, 0.5)},
        "nuisance": {"lr": Float(1e-4, 1e-2, log=True)},
        "fixed": {"epochs": 3},
        "baseline": {"drop_rate": 0.0, "lr": 1e-3},
    }
    return Study(**{**given, **changes})


def refused(**changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        a_study(**changes)
    return one_line(caught.value)


def tuning(name: str, domain: Any, value: Any) -> dict[str, Any]:
    """Changes to a_study: one more nuisance hyperparameter."""
    return {
        "nuisance": {"lr": Float(1e-4, 1e-2), name: domain},
        "baseline": {"drop_rate": 0.0, "lr": 1e-3, name: value},
    }


def test_a_study_of_the_users_own_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "my study.py"
    path.write_text(MINE)
    study = load_study_file(str(path))
    assert study.question == "Does mine work?"
    assert study.space == {"drop_rate": Choice(0.0, 0.5), "lr": Float(1e-4, 1e-2, log=True)}
    assert study.baseline == {"drop_rate": 0.0, "lr": 1e-3}


def test_a_study_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no study file") as caught:
        load_study_file(str(tmp_path / "nope.py"))
    assert str(tmp_path / "nope.py") in one_line(caught.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("STUDY = Study(", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import no_such_module", "ModuleNotFoundError"),
        (
            "raise ValueError('one\\ntwo')",
            "ValueError: one",
        ),
        ("x = 5", "must define STUDY"),
        ("STUDY = {'question': 'No?'}", "must define STUDY"),
        (MINE.replace("drop_rate", "droprate"), "Nearest: drop_rate"),
        (MINE.replace("question=", "qestion="), "TypeError"),
    ],
)
def test_a_fault_in_a_study_file_is_one_line_with_the_file(tmp_path: Path, text: str, hint: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_study_file(str(path))
    assert hint in str(caught.value)
    assert "broken.py" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_hyperparameter_is_told_the_nearest_and_all() -> None:
    text = refused(**tuning("learning_rate", Float(0.1, 0.2), 0.1))
    assert "No hyperparameter named 'learning_rate'" in text
    assert "weight_decay" in text
    assert "Nearest: drop_rate" in refused(**tuning("droprate", Float(0.1, 0.2), 0.1))
    assert "No hyperparameter named 'epoch'. Nearest: epochs" in refused(fixed={"epoch": 3})


def test_a_hyperparameter_has_one_role() -> None:
    assert "give drop_rate one role only" in refused(nuisance={"lr": Float(0.1, 0.2), "drop_rate": Float(0, 0.5)})
    assert "give lr one role only" in refused(fixed={"lr": 1e-3})
    assert "give drop_rate one role only" in refused(fixed={"drop_rate": 0.0})


@pytest.mark.parametrize(
    ("name", "domain", "value"),
    [
        ("seed", Int(0, 9), 0),
        ("split_seed", Choice(0, 1), 0),
        ("valid_share", Float(0.1, 0.3), 0.2),
        ("epochs", Int(1, 9), 3),
        ("people", Choice(100, 200), 100),
        ("evaluations_per_epoch", Choice(1, 2), 1),
    ],
)
def test_what_makes_trials_incomparable_is_never_searched(name: str, domain: Any, value: Any) -> None:
    assert f"{name} is never searched" in refused(fixed={}, **tuning(name, domain, value))
    # nor may a preview search it
    assert refused(fixed={"epochs": 3}, preview={name: domain})


@pytest.mark.parametrize(
    ("baseline", "hint"),
    [
        ({"drop_rate": 0.0}, "lr"),
        ({"drop_rate": 0.0, "lr": 1e-3, "loss": "focal"}, "loss"),
        ({"drop_rate": 0.25, "lr": 1e-3}, "drop_rate, 0.25, is outside"),
        ({"drop_rate": 0.0, "lr": 0.5}, "lr, 0.5, is outside"),
        ({"drop_rate": 0.0, "lr": "fast"}, "lr, 'fast', is outside"),
    ],
)
def test_the_baseline_is_complete_and_within(baseline: dict[str, Any], hint: str) -> None:
    assert hint in refused(baseline=baseline)


@pytest.mark.parametrize(
    ("name", "domain", "value", "hint"),
    [
        ("weight_decay", Float(0.1, 0.1), 0.1, "from a lower to a higher"),
        ("weight_decay", Float(0.2, 0.1), 0.1, "from a lower to a higher"),
        ("weight_decay", Float(0.0, 0.1, log=True), 0.1, "above 0 if log"),
        ("weight_decay", Float(float("nan"), 0.1), 0.1, "weight_decay"),
        ("weight_decay", Float(0.1, 5.0), 0.1, "weight_decay must be less than or equal to 1, not 5"),
        ("old_from", Int(57, 61), 60, "old_from must be less than or equal to 60, not 61"),
        ("old_from", Int(57.5, 60), 60, "old_from"),  # type: ignore[arg-type]
        ("loss", Choice("focal"), "focal", "at least two different"),
        ("loss", Choice("focal", "focal"), "focal", "at least two different"),
        ("loss", Choice("focal", "hinge"), "focal", "loss must be 'cross_entropy' or 'focal', not 'hinge'"),
        ("augment", Subset(), (), "at least one member"),
        ("augment", Subset("flip", "rotate"), (), "rotate"),
        (
            "augment",
            Subset("flip", "flip"),
            (),
            "different",
        ),
        ("weight_decay", (0.1, 0.2), 0.1, "must be a Float, Int, Choice or Subset"),
        (
            "weight_decay",
            Choice(None, 0.1),
            0.1,
            "weight_decay",
        ),
        ("lr", Int(0, 1), 1, "lr"),
    ],
)
def test_a_hyperparameter_is_checked_when_the_study_is_written(name: str, domain: Any, value: Any, hint: str) -> None:
    assert hint in refused(**tuning(name, domain, value))


def test_fixed_and_baseline_are_checked_together() -> None:
    assert "three_heads" in refused(fixed={"task": "mask", "heads": "three_heads"})
    assert "epochs must be greater than or equal to 1, not 0" in refused(fixed={"epochs": 0})


def test_a_preview_keeps_the_hyperparameters_and_swaps_the_values() -> None:
    study = a_study(
        scientific={"backbone": Choice("resnet50", "densenet121")},
        nuisance={"lr": Float(1e-4, 1e-2), "drop_rate": Choice(0.0, 0.2)},
        fixed={"epochs": 8, "image_size": 224},
        baseline={"backbone": "densenet121", "lr": 1e-3, "drop_rate": 0.2},
        preview={"backbone": Choice("test_resnet", "test_vit"), "epochs": 2},
    )
    preview = preview_of(study)
    assert preview.question == study.question
    assert preview.scientific == {"backbone": Choice("test_resnet", "test_vit")}
    assert preview.nuisance == study.nuisance
    assert preview.fixed == {"epochs": 2, "image_size": 224}
    assert preview.baseline == {"backbone": "test_resnet", "lr": 1e-3, "drop_rate": 0.2}
    assert preview.synthetic
    assert not study.synthetic


@pytest.mark.parametrize(
    "preview",
    [{"lr": 1e-3}, {"loss": Choice("focal", "cross_entropy")}, {"lr": Float(0.1, 0.2)}, {"epochs": 0}, {"epoch": 1}],
)
def test_a_preview_that_asks_something_else_is_refused_with_the_study(preview: dict[str, Any]) -> None:
    assert refused(preview=preview)


def test_pinning_a_nuisance_hyperparameter_takes_it_out_of_the_search() -> None:
    pinned = pin(a_study(), {"lr": 0.005, "batch_size": 16})
    fixed = {"epochs": 3, "lr": 0.005, "batch_size": 16}
    assert pinned == a_study(nuisance={}, fixed=fixed, baseline={"drop_rate": 0.0})
    assert pin(a_study(), {"epochs": 5}) == a_study(fixed={"epochs": 5})
    assert pin(a_study(), {}) == a_study()


def test_a_fixed_hyperparameter_has_no_other_domain_in_the_preview() -> None:
    """``--set backbone=...`` with --data, of a study whose preview searches other backbones."""
    study = a_study(preview={"lr": Float(1e-3, 1e-1, log=True), "epochs": 1})
    pinned = pin(study, {"lr": 0.005})
    assert (pinned.fixed["lr"], pinned.preview) == (0.005, {"epochs": 1})
    assert pin(study, {"epochs": 5}).preview == study.preview


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"drop_rate": 0.5}, "it is what this study compares"),
        ({"seed": 3}, "--seed"),
        ({"lr": 5}, "lr must be less than or equal to 1, not 5"),
        ({"lr": float("nan")}, "lr must be"),
        ({"epochs": "many"}, "epochs must be a valid integer"),
        ({"learning": 1}, "No hyperparameter named 'learning'"),
        ({"task": "mask", "heads": "three_heads"}, 'needs heads = "joint"'),
        ({"micro_batch": 64, "batch_size": 32}, "must not exceed"),
    ],
)
def test_what_set_cannot_do_is_refused(values: dict[str, Any], hint: str) -> None:
    with pytest.raises(UserError) as caught:
        pin(a_study(), values)
    assert hint in one_line(caught.value)


def test_a_value_may_be_pinned_outside_of_the_searched_range() -> None:
    assert pin(a_study(), {"lr": 0.5}).fixed["lr"] == 0.5


def test_a_domain_contains_its_ends_and_its_options() -> None:
    assert contains("drop_rate", Float(0, 1), 0)
    assert contains("old_from", Int(57, 60), 60)
    assert not contains("old_from", Int(57, 60), 61)
    assert contains("image_size", Choice((96, 96), (128, 96)), [128, 96])
    assert contains("augment", Subset("flip", "blur"), ())
    assert not contains("augment", Subset("flip", "blur"), ("cutmix",))
    assert not contains("drop_rate", Choice(0.0, 0.5), 0.2)


def test_options_are_told_apart_in_the_database() -> None:
    assert encode(()) == "none"
    assert encode(("flip", "cutmix")) == "flip+cutmix"
    assert encode(0.7) == 0.7
    with pytest.raises(UserError, match="two different"):
        replace(a_study(), scientific={"augment": Choice((), "none")}, baseline={"augment": (), "lr": 1e-3})


def test_choices_that_cannot_be_together_are_refused_before_any_trial() -> None:
    domains = {"batch_size": Choice(32, 16), "drop_rate": Choice(0.0, 0.5)}
    with pytest.raises(UserError, match=r"micro_batch \(32\) must not exceed batch_size \(16\)"):
        Study("Which?", nuisance=domains, fixed={"micro_batch": 32}, baseline={"batch_size": 32, "drop_rate": 0.0})
