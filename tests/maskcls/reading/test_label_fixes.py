"""The overlay that corrects known label errors: the shipped list, and a user's own."""

from pathlib import Path

import pandas as pd
import pytest

from maskcls.reading.mask_photos import list_photos
from maskcls.system.errors import UserError
from tests.helpers.training import make_folder, one_line

SHIPPED = {
    **{f"00635{i}": "female" for i in (9,)},
    **{f"00636{i}": "female" for i in range(5)},
    "001498-1": "male",
    "004432": "male",
    "005223": "male",
    "000020": "male",
    "004418": "female",
    "005227": "female",
}
"""Every id of the shipped list and the gender that the real folder's name has."""

NAMES = [f"{identity}_{gender}_Asian_40" for identity, gender in SHIPPED.items()]
HEADER = "person,photo,gender,age,mask\n"


def fixed(folder: Path, rows: str) -> pd.DataFrame:
    """The folder's photos with these fixes, by path."""
    fixes = folder / "fixes.csv"
    fixes.write_text(HEADER + rows)
    return list_photos(folder, str(fixes)).set_index("path")


def changed(before: pd.DataFrame, after: pd.DataFrame, column: str) -> dict[str, int]:
    """id/stem -> new value, of the rows that differ."""
    differs = after[before[column].to_numpy() != after[column].to_numpy()]
    return {f"{row.id}/{row.stem}": getattr(row, column) for row in differs.itertuples()}


def test_shipped_list_mends_the_folder_that_holds_all_of_its_ids(tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path, [*NAMES, "000001_female_Asian_22"], ["mask1.jpg", "incorrect_mask.jpg", "normal.jpg"]
    )
    before, after = list_photos(folder, "none"), list_photos(folder)
    gender = changed(before, after, "gender")
    assert {name.partition("/")[0]: value for name, value in gender.items()} == {
        **dict.fromkeys(["006359", "006360", "006361", "006362", "006363", "006364"], 0),
        **dict.fromkeys(["001498-1", "004432", "005223"], 1),
    }
    assert len(gender) == 9 * 3
    swapped = {
        f"{i}/{stem}": mask
        for i in ("000020", "004418", "005227")
        for stem, mask in (("incorrect_mask", 2), ("normal", 1))
    }
    assert changed(before, after, "mask") == swapped
    assert changed(before, after, "years") == {}
    assert (after["label"] == after["mask"] * 6 + after["gender"] * 3 + after["age"]).all()


@pytest.mark.parametrize("absent", ["000020", "006364", "001498-1"])
def test_shipped_list_leaves_every_other_folder_alone(tmp_path: Path, absent: str) -> None:
    folder = make_folder(tmp_path, [name for name in NAMES if not name.startswith(absent)])
    pd.testing.assert_frame_equal(list_photos(folder), list_photos(folder, "none"))


def test_files_are_never_renamed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, NAMES)
    assert set(list_photos(folder)["path"]) == {str(path.relative_to(folder)) for path in folder.rglob("*.jpg")}


def test_user_fixes_change_a_person_or_one_photo_and_the_class_follows(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, ["000001_male_Asian_59", "000002_male_Asian_20"])
    before = list_photos(folder).set_index("path")
    after = fixed(folder, "000001,,female,60,\n000002_male_Asian_20,mask3,,,not worn\n")
    assert after.loc[after["id"] == "000001", ["gender", "years", "age"]].drop_duplicates().values.tolist() == [
        [1, 60, 2]
    ]
    assert changed(before, after, "mask") == {"000002/mask3": 2}
    assert after.loc["images/000001_male_Asian_59/normal.jpg", "label"] == 17
    assert after.loc["images/000002_male_Asian_20/mask3.jpg", "label"] == 12
    assert after["person"].equals(before["person"])


def test_user_fixes_replace_the_shipped_list(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, NAMES)
    after = fixed(folder, "004432,,,41,\n")
    assert set(changed(list_photos(folder, "none").set_index("path"), after, "gender")) == set()


def test_id_that_occurs_twice_must_be_named_by_its_folder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, ["003397_female_Asian_22", "003397_male_Asian_55"])
    with pytest.raises(UserError) as caught:
        fixed(folder, "003397,,female,,\n")
    text = one_line(caught.value)
    assert "id 003397 is 2 people; name the folder: 003397_female_Asian_22, 003397_male_Asian_55" in text
    after = fixed(folder, "003397_male_Asian_55,,female,,\n")
    assert after["gender"].unique().tolist() == [1]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("000009,,male,,", "there is no photo 000009"),
        ("1,,female,,", "there is no photo 1 "),
        ("000001,mask9,,,worn", "there is no photo 000001 mask9"),
        ("000001,,man,,", "gender must be male or female, not 'man'"),
        ("000001,,,,off", "mask must be worn or incorrect or not worn, not 'off'"),
        ("000001,,,old,", "age must be a whole number of years, not 'old'"),
        ("000001,,,-3,", "age must be a whole number of years, not '-3'"),
        ("000001,normal.jpg,,,worn", "Photos are named without their ending: normal."),
        ("1,,female,,", "Ids have leading zeros, which spreadsheets drop: 000001."),
        (",,female,,", "line 2 names no person"),
        ("000001,,,999,", "age must be at most 120 years, not 999"),
        (f"000001,,,{'9' * 5000},", "age must be at most 120 years, not 99999999999999999999."),
        ('"000009\nb",,male,,', "line 3: there is no photo 000009 b in this dataset"),
        ("000001,,,,not worn", "a mask state belongs to one photo; name it"),
        ("000001,,male,30,worn", "a mask state belongs to one photo; name it"),
        ("000001_male_Asian_20,,,,worn", "a mask state belongs to one photo; name it"),
        ("000001,normal,female,,", "gender and age belong to a person"),
        ("000001,normal,,30,worn", "gender and age belong to a person"),
    ],
)
def test_bad_fixes_are_refused(tmp_path: Path, row: str, says: str) -> None:
    folder = make_folder(tmp_path, ["000001_male_Asian_20"])
    with pytest.raises(UserError) as caught:
        fixed(folder, row + "\n")
    assert says in one_line(caught.value)
    assert "fixes.csv" in str(caught.value)


def test_absent_file_and_absent_columns_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, ["000001_male_Asian_20"])
    with pytest.raises(UserError, match=r"There is no file .*absent\.csv; --label-fixes takes a CSV"):
        list_photos(folder, str(tmp_path / "absent.csv"))
    fixes = tmp_path / "short.csv"
    fixes.write_text("person,gender\n000001,male\n")
    with pytest.raises(UserError, match="photo, age, mask is missing"):
        list_photos(folder, str(fixes))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            "000001,,female,,\n000001,,male,,\n",
            "line 3 contradicts {list}, line 2: both give the gender of images/0000",
        ),
        ("000001,,,40,\n000001,,female,,\n000001_male_Asian_20,,,41,\n", "line 4 contradicts {list}, line 2"),
        ("000001,mask1,,,worn\n000001,mask1,,,incorrect\n", "both give the mask of images/000001_male_Asian_20/mask1."),
    ],
)
def test_rows_that_contradict_each_other_are_refused(tmp_path: Path, rows: str, says: str) -> None:
    folder = make_folder(tmp_path, ["000001_male_Asian_20"])
    with pytest.raises(UserError) as caught:
        fixed(folder, rows)
    assert says.format(list=folder / "fixes.csv") in one_line(caught.value)


def test_rows_that_say_the_same_or_another_thing_go_together(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, ["000001_male_Asian_20"])
    after = fixed(folder, "000001 ,, female,,\n000001_male_Asian_20,,female,45,\n000001,normal,,,incorrect\n")
    assert set(after["label"]) == {4, 10}


def heard_of(folder: Path, label_fixes: str = "auto") -> str:
    """The one sentence about fixes."""
    heard: list[str] = []
    list_photos(folder, label_fixes, heard.append)
    (told,) = heard
    return told


def test_the_shipped_list_says_how_many_labels_it_corrected(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, NAMES)
    assert heard_of(folder) == "69 labels corrected by the shipped list."
    photos, fixed_photos = list_photos(folder, "none"), list_photos(folder)
    assert (photos["label"] != fixed_photos["label"]).sum() == 69


def test_the_shipped_list_says_why_it_is_not_applied(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a", [name for name in NAMES if not name.startswith("005227")])
    told = heard_of(folder)
    assert told.startswith("The shipped label fixes are not applied: 005227 is not in the folder.")
    assert "--label-fixes" in told
    folder = make_folder(tmp_path / "b", [name for name in NAMES if name.startswith("0063")])
    assert "001498-1, 004432, 005223 and 3 more are not in the folder." in heard_of(folder)
    folder = make_folder(tmp_path / "c", ["000001_male_Asian_20"])
    assert heard_of(folder) == "The shipped label fixes are not applied: none of their 12 people is in the folder."
    folder = make_folder(tmp_path / "d", [*NAMES, "004432_female_Asian_20"])
    assert heard_of(folder) == "The shipped label fixes are not applied: id 004432 is 2 people."
    heard: list[str] = []
    list_photos(folder, "none", heard.append)
    assert heard == []


def test_a_shipped_fix_of_a_photo_that_is_gone_leaves_the_others(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, NAMES)
    next(folder.glob("images/000020_*/normal.jpg")).unlink()
    assert heard_of(folder) == "68 labels corrected by the shipped list; 000020 normal is not in the folder."


def test_rows_that_change_nothing_are_counted_apart(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, ["000001_male_Asian_20", "000002_male_Asian_57"])
    rows = "000001,,male,20,\n000001,normal,,,not worn\n000001,,,,\n000002,mask1,,,incorrect\n000002,,,59,\n"
    fixed(folder, rows)
    told = heard_of(folder, str(folder / "fixes.csv"))
    assert told == (
        f"1 label corrected by {folder / 'fixes.csv'}; the ages of 6 more photos within their band; 3 of its 5 rows"
        " change nothing."
    )
