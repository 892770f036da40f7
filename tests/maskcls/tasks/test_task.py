"""Tasks: what they refuse, how they are stored, and the age bands of the mask task at their borders."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maskcls.config import TrainConfig, change, save_config
from maskcls.labels import Factor, LabelSpace
from maskcls.model.composite import read_model
from maskcls.system.errors import UserError
from maskcls.tasks.declared import DECLARED, task_from_json, task_to_json
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import METRICS, PHOTO, Bands, Source, Task, Unit
from tests.helpers.training import one_line

SPECIES = Factor("species", ("cat", "dog", "fox"))
COAT = Factor("coat", ("short", "long"), of_group=True, plural=("short coats", "long coats"))
FOLDERS = Task("pets", LabelSpace((SPECIES,)), Source("folders"))
TABLE = Task(
    "pets by table",
    LabelSpace((SPECIES, COAT)),
    Source("table", "pets.csv", "photo", ("species", "coat"), "animal", "side"),
    unit=Unit("animal", "animals"),
    metric="balanced_accuracy",
    splitter="by hand",
)
DEFAULT = TrainConfig()


def refused(task: Task, config: TrainConfig) -> str:
    with pytest.raises(UserError) as caught:
        task.check(config)
    return one_line(caught.value)


@pytest.mark.parametrize(
    ("task", "parts"),
    [(MASK_TASK, ("all", "mask", "gender", "age")), (TABLE, ("all", "species", "coat")), (FOLDERS, ("all",))],
)
def test_the_parts_of_a_task_are_taken_and_others_are_not(task: Task, parts: tuple[str, ...]) -> None:
    for part in parts:
        task.check(change(DEFAULT, task=part))
        assert task.predicted(change(DEFAULT, task=part)) == task.space.predicted(part)
    for other in {"all", "mask", "gender", "age", "species", "coat", "race"} - set(parts):
        text = refused(task, change(DEFAULT, task=other))
        assert (f"not {other!r}" if task.space.parts else f"task={other} asks for one factor") in text


def test_a_wrong_part_is_one_sentence_with_the_right_ones() -> None:
    text = refused(MASK_TASK, change(DEFAULT, task="gendr"))
    assert text == "task must be all, mask, gender, age, not 'gendr'. Nearest: gender, age."
    assert refused(FOLDERS, change(DEFAULT, task="coat")) == (
        "task=coat asks for one factor of a label of several, and the label of these photos has species alone."
        " Choose a study of the whole label."
    )


@pytest.mark.parametrize("heads", ["three_heads", "three_models"])
def test_several_heads_need_several_factors(heads: str) -> None:
    assert refused(FOLDERS, change(DEFAULT, heads=heads)) == (
        f"heads={heads} needs a label of several factors, which these photos lack. Leave it out."
    )
    TABLE.check(change(DEFAULT, heads=heads))
    MASK_TASK.check(change(DEFAULT, heads=heads))


def test_old_from_is_of_the_age_bands_alone() -> None:
    early = change(DEFAULT, old_from=58)
    MASK_TASK.check(early)
    for task in (FOLDERS, TABLE, replace(TABLE, bands=Bands("coat", "length", (3,), "long_from"))):
        assert refused(task, early).startswith("old_from=58 needs age bands, which these photos lack")
        task.check(DEFAULT)


def test_strata_and_groups() -> None:
    assert (MASK_TASK.strata, TABLE.strata, FOLDERS.strata) == (("gender", "age"), ("coat",), ())
    assert MASK_TASK.has_groups
    assert TABLE.has_groups
    assert not FOLDERS.has_groups
    assert FOLDERS.unit == PHOTO
    assert [TABLE.unit.count(number) for number in (1, 2, 1234)] == ["1 animal", "2 animals", "1,234 animals"]


def test_a_record_stores_nothing_of_the_mask_task() -> None:
    assert task_to_json(MASK_TASK) is None
    assert task_from_json(None) is MASK_TASK
    assert DECLARED["mask"] is MASK_TASK


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_a_declared_task_with_another_metric_is_stored_by_name(metric: str) -> None:
    task = MASK_TASK.judged_by(metric)
    stored = json.loads(json.dumps(task_to_json(task)))
    assert stored == {"declared": "mask", "metric": metric}
    assert task_from_json(stored) == task
    assert task != MASK_TASK


@pytest.mark.parametrize("task", [FOLDERS, TABLE, FOLDERS.judged_by("accuracy")])
def test_a_task_that_was_read_is_stored_whole(task: Task) -> None:
    assert task_from_json(json.loads(json.dumps(task_to_json(task)))) == task


def test_a_task_that_was_read_may_have_a_declared_ones_name() -> None:
    task = replace(FOLDERS, name="mask")
    assert task_from_json(json.loads(json.dumps(task_to_json(task)))) == task


def test_what_is_no_stored_task_is_refused() -> None:
    with pytest.raises(KeyError):
        task_from_json({"declared": "pets", "metric": "accuracy"})
    with pytest.raises(UserError, match="not 'speed'"):
        task_from_json({"declared": "mask", "metric": "speed"})
    with pytest.raises(KeyError):
        task_from_json({"name": "pets"})
    stored = TABLE.to_json()
    with pytest.raises(TypeError):
        task_from_json({**stored, "source": {**stored["source"], "colour": "red"}})


def test_metrics_are_read_and_an_unknown_one_is_refused() -> None:
    assert {name: MASK_TASK.judged_by(name).metric_words for name in METRICS} == {
        "macro_f1": "macro F1",
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
    }
    assert MASK_TASK.judged_by("macro_f1") == MASK_TASK
    with pytest.raises(UserError) as caught:
        MASK_TASK.judged_by("acuracy")
    told = "--metric must be one of macro_f1, accuracy, balanced_accuracy, not 'acuracy'. Nearest: accuracy"
    assert one_line(caught.value).startswith(told)


def bands() -> Bands:
    assert MASK_TASK.bands is not None
    return MASK_TASK.bands


def test_age_bands_begin_at_30_and_60() -> None:
    years = np.array([0, 18, 29, 30, 31, 59, 60, 61, 99])
    found = bands().classes(years)
    assert found.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert found.dtype == np.int64


@pytest.mark.parametrize("old_from", [57, 58, 59, 60])
def test_old_from_moves_the_old_band_alone(old_from: int) -> None:
    years = np.array([29, 30, old_from - 1, old_from])
    assert bands().classes(years, old_from).tolist() == [0, 1, 1, 2]


def test_a_single_cut_may_be_moved() -> None:
    one = Bands("coat", "length", (3,), "long_from")
    assert one.classes(np.array([2, 3, 4])).tolist() == [0, 1, 1]
    assert one.classes(np.array([2, 3, 4]), 4).tolist() == [0, 0, 1]


@pytest.mark.parametrize("task", [{"declared": "gone", "metric": "accuracy"}, {"name": "x"}, {"metric": "auc"}, "mask"])
def test_what_is_no_task_in_a_config_is_told_in_a_sentence(task: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    stored = {**TABLE.to_json(), **task} if "metric" in task else task
    save_config(folder / "config.toml", DEFAULT, {"task": stored})
    with pytest.raises(UserError, match=r"config\.toml: \[origin\.task\] is no task that this version can read \("):
        read_model(folder)
