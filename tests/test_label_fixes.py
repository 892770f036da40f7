"""The overlay that mends known label errors: the shipped list, and a user's own."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import make_folder, one_line

from maskcls.errors import UserError
from maskcls.photos import list_photos

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
