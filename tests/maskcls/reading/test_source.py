"""What a folder is taken for, when nothing is said about it; and the words for a column of groups."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maskcls.reading.mask_photos import list_photos
from maskcls.reading.source import SourceOptions, find_task, read_photos
from maskcls.reading.units import unit_of
from maskcls.system.errors import UserError
from maskcls.tasks.mask import AGE_BANDS, MASK_TASK
from tests.helpers.data.photos import save_photos
from tests.helpers.training import SIX_CELLS, make_folder, one_line


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_photos(folder, find_task(folder, SourceOptions()))
    return one_line(caught.value)


def test_the_mask_task_is_known_by_its_folders(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    assert find_task(folder, SourceOptions()) is MASK_TASK
    heard: list[str] = []
    photos = read_photos(folder, MASK_TASK, "none", heard.append)
    pd.testing.assert_frame_equal(photos, list_photos(folder, "none"))
    assert photos.columns.tolist() == [
        *("path", "bytes", "person", "id", "stem", "mask", "gender", "years", "age", "label")
    ]
    assert find_task(folder, SourceOptions(metric="accuracy")) == MASK_TASK.judged_by("accuracy")
    (folder / "images" / SIX_CELLS[0] / "photo.jpg").write_bytes(b"")
    read_photos(folder, MASK_TASK, note=heard.append)
    assert "1 picture left out, not named like a photo" in heard[0]
    assert "The shipped label fixes are not applied" in heard[1]


@pytest.mark.parametrize("place", ["train", "a/train", "photos", "upper"])
def test_a_mask_folder_that_went_wrong_gets_its_own_sentence(tmp_path: Path, place: str) -> None:
    people = make_folder(tmp_path / "made") / "images"
    if place == "upper":
        for path in list(people.iterdir()):
            path.rename(people / path.name.replace("male", "Male"))
        assert "must be named <id>_<male|female>_<race>_<age>; 6 are not" in refusal(tmp_path / "made")
    elif place == "photos":
        people.rename(tmp_path / "photos")
        assert "The folders of people lie in" in refusal(tmp_path / "photos")
    else:
        (tmp_path / place).mkdir(parents=True)
        people.rename(tmp_path / place / "images")
        (tmp_path / "eval" / "images").mkdir(parents=True)
        shutil.rmtree(tmp_path / "made")
        assert f"{tmp_path / place} does." in refusal(tmp_path)


def test_one_bad_folder_of_many_is_still_the_mask_tasks(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "images" / "other").mkdir()
    assert "1 are not: other." in refusal(tmp_path)


def test_images_of_other_tasks_are_not_taken_for_it(tmp_path: Path) -> None:
    paths = [f"images/{name}/{number}.jpg" for name in ("oak_1_2", "ash") for number in range(3)]
    assert "There are folders of pictures in" in refusal(save_photos(tmp_path, paths))
    assert find_task(tmp_path / "images", SourceOptions()).space.names == ("ash", "oak_1_2")


def test_bands_are_cut_as_ages_always_were() -> None:
    years = np.array([0, 29, 30, 59, 60, 120])
    assert AGE_BANDS.classes(years).tolist() == [0, 0, 1, 1, 2, 2]
    assert AGE_BANDS.classes(years, 58).tolist() == [0, 0, 1, 2, 2, 2]
    assert AGE_BANDS.classes(years, 20).tolist() == [0, 1, 2, 2, 2, 2]  # below the other cut: as two comparisons
    assert AGE_BANDS.classes(years.astype(np.int32)).dtype == np.int64
    assert AGE_BANDS.classes(years[:0]).tolist() == []


@pytest.mark.parametrize(
    ("column", "one", "many"),
    [
        ("patient_id", "patient", "patients"),
        ("PatientID", "patient", "patients"),
        ("patientid", "patient", "patients"),
        ("Patient ID", "patient", "patients"),
        ("patients", "patient", "patients"),
        ("person", "person", "people"),
        ("people", "person", "people"),
        ("child_no", "child", "children"),
        ("mouse", "mouse", "mice"),
        ("mice", "mouse", "mice"),
        ("biopsy", "biopsy", "biopsies"),
        ("studies", "study", "studies"),
        ("batch", "batch", "batches"),
        ("box_nr", "box", "boxes"),
        ("species", "species", "species"),
        ("virus", "virus", "viruses"),
        ("lesion_site", "lesion site", "lesion sites"),
        ("survey_day", "survey day", "survey days"),
        ("g", "group", "groups"),
        ("id", "group", "groups"),
        ("group_id", "group", "groups"),
        ("환자", "group", "groups"),
        ("<b>patient</b>", "group", "groups"),
        ("photo_id", "group", "groups"),
        ("image", "group", "groups"),
    ],
)
def test_a_group_columns_name_says_what_a_group_is(column: str, one: str, many: str) -> None:
    unit = unit_of(column)
    assert (unit.one, unit.many) == (one, many)
