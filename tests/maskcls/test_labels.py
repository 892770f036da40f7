"""The 18 classes against the competition's table, and the age bands at their borders."""

import numpy as np
import pytest

from maskcls.labels import CLASS_NAMES, NUM_CLASSES, age_band, encode, part_of, part_table

TABLE = [(mask, gender, age) for mask in range(3) for gender in range(2) for age in range(3)]
"""The competition numbers the classes in this order."""


@pytest.mark.parametrize("label", range(18))
def test_every_class_is_taken_apart_and_put_together_again(label: int) -> None:
    parts = (part_of(label, "mask"), part_of(label, "gender"), part_of(label, "age"))
    assert parts == TABLE[label]
    assert encode(*parts) == label
    assert part_of(label, "all") == label


def test_arrays_are_encoded_like_numbers() -> None:
    mask_N, gender_N, age_N = np.array(TABLE).T
    assert encode(mask_N, gender_N, age_N).tolist() == list(range(NUM_CLASSES))


@pytest.mark.parametrize("task", CLASS_NAMES)
def test_part_table_holds_the_part_of_every_class(task: str) -> None:
    table = part_table(task)
    assert table.tolist() == [part_of(label, task) for label in range(NUM_CLASSES)]
    assert set(table) == set(range(len(CLASS_NAMES[task])))


def test_names_of_classes_are_those_of_their_parts() -> None:
    for label, name in enumerate(CLASS_NAMES["all"]):
        parts = [CLASS_NAMES[part][part_of(label, part)] for part in ("mask", "gender", "age")]
        assert name == ", ".join(parts)
    assert CLASS_NAMES["all"][0] == "worn, male, under 30"
    assert CLASS_NAMES["all"][17] == "not worn, female, 60 and over"


def test_unknown_task_is_refused_and_the_known_ones_listed() -> None:
    with pytest.raises(ValueError, match=r"No task named 'race'\. There are: all, mask, gender, age\."):
        part_of(3, "race")


def test_age_bands_begin_at_30_and_60() -> None:
    years = np.array([0, 18, 29, 30, 31, 59, 60, 61, 99])
    assert age_band(years).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("old_from", [57, 58, 59, 60])
def test_old_from_moves_the_old_band_alone(old_from: int) -> None:
    years = np.array([29, 30, old_from - 1, old_from])
    assert age_band(years, old_from).tolist() == [0, 1, 1, 2]
