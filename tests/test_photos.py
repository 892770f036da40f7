"""What a dataset folder may look like, and what is refused with a sentence that helps."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import REAL_PHOTOS, SIX_CELLS, make_folder, needs_real_photos, one_line

from maskcls.errors import UserError
from maskcls.photos import list_photos


def write_csv(folder: Path, people: list[str]) -> Path:
    rows = []
    for name in people:
        identity, gender, *race, age = name.split("_")
        rows.append((identity, gender, "_".join(race), age, name))
    path = folder / "train.csv"
    pd.DataFrame(rows, columns=["id", "gender", "race", "age", "path"]).to_csv(path, index=False)
    return path


def refusal(folder: Path, label_fixes: str = "auto") -> str:
    with pytest.raises(UserError) as caught:
        list_photos(folder, label_fixes)
    return one_line(caught.value)


def test_every_photo_is_a_row_with_its_label(tmp_path: Path) -> None:
    photos = list_photos(make_folder(tmp_path, ["000001_female_Asian_45"])).set_index("stem")
    assert list(photos.columns) == ["path", "bytes", "person", "id", "mask", "gender", "years", "age", "label"]
    assert photos["label"].to_dict() == {**{f"mask{i}": 4 for i in range(1, 6)}, "incorrect_mask": 10, "normal": 16}
    row = photos.loc["normal"]
    assert row["bytes"] == (tmp_path / row["path"]).stat().st_size
    assert row["path"] == "images/000001_female_Asian_45/normal.jpg"
    assert (row["person"], row["id"], row["years"]) == ("000001_female_Asian_45", "000001", 45)


def test_rows_are_sorted_by_path_and_numbered(tmp_path: Path) -> None:
    photos = list_photos(make_folder(tmp_path, reversed(SIX_CELLS)))
    assert photos["path"].tolist() == sorted(photos["path"])
    assert photos.index.tolist() == list(range(42))


def test_endings_may_differ_and_be_in_capitals(tmp_path: Path) -> None:
    files = ["mask1.jpg", "mask2.jpeg", "mask3.png", "mask4.JPG", "mask5.JPEG", "incorrect_mask.PNG", "normal.Jpg"]
    photos = list_photos(make_folder(tmp_path, files=files))
    assert sorted(photos["path"].str.rpartition("/")[2].unique()) == sorted(files)
    assert len(photos) == 42


def test_hidden_files_and_other_stems_are_no_photos(tmp_path: Path) -> None:
    files = ["._mask1.jpg", ".normal.jpg", "mask6.jpg", "mask.jpg", "Normal.jpg", "normal2.jpg", "normal.jpg"]
    folder = make_folder(tmp_path, files=files)
    (folder / "images" / "._000001_female_Asian_45").mkdir()
    (folder / "images" / "README.txt").write_text("not a folder")
    (folder / "images" / SIX_CELLS[0] / "Thumbs.db").touch()
    photos = list_photos(folder)
    assert photos["path"].tolist() == [f"images/{person}/normal.jpg" for person in SIX_CELLS]


def test_fewer_than_seven_photos_are_fine(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, SIX_CELLS[:2])
    (folder / "images" / SIX_CELLS[0] / "mask3.jpg").unlink()
    shutil.rmtree(folder / "images" / SIX_CELLS[1])
    (folder / "images" / SIX_CELLS[1]).mkdir()
    assert len(list_photos(folder)) == 6


def test_two_files_of_one_stem_are_refused_by_name(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, SIX_CELLS[:1], ["normal.jpg", "normal.png"])
    assert "holds both normal.jpg and normal.png" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "identity", "label", "years"),
    [
        ("001498-1_male_Asian_23", "001498-1", 12, 23),
        ("000001_male_East_Asian_30", "000001", 13, 30),
        ("000001_female_Others_97", "000001", 17, 97),
        ("000001_female_not known_05", "000001", 15, 5),
        ("abc_male_X_103", "abc", 14, 103),
    ],
)
def test_ids_races_and_ages_of_all_kinds(tmp_path: Path, name: str, identity: str, label: int, years: int) -> None:
    (row,) = list_photos(make_folder(tmp_path, [name], ["normal.jpg"])).to_dict("records")
    assert (row["id"], row["label"], row["years"], row["person"]) == (identity, label, years, name)


def test_one_id_in_two_folders_is_two_people(tmp_path: Path) -> None:
    names = ["003397_female_Asian_22", "003397_male_Asian_55"]
    photos = list_photos(make_folder(tmp_path, names))
    assert photos.groupby("person")["gender"].first().to_dict() == {names[0]: 1, names[1]: 0}


def test_folders_with_strange_names_are_refused_and_listed(tmp_path: Path) -> None:
    strange = ["000002_Male_Asian_20", "000003_male_Asian", "000004_male_Asian_old", "_male_Asian_20", "a", "b", "c"]
    text = refusal(make_folder(tmp_path, [*SIX_CELLS, *strange], ["normal.jpg"]))
    assert "7 are not: 000002_Male_Asian_20, 000003_male_Asian, 000004_male_Asian_old" in text
    assert "and 2 more" in text


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert f"There is no folder {tmp_path / 'absent'};" in refusal(tmp_path / "absent")
    assert f"There is no folder {tmp_path / 'images'};" in refusal(tmp_path)
    (tmp_path / "images").mkdir()
    assert f"There are no photos in {tmp_path}/images" in refusal(tmp_path)
    (tmp_path / "images" / SIX_CELLS[0]).mkdir()
    assert f"There are no photos in {tmp_path}/images" in refusal(tmp_path)


def test_train_csv_that_agrees_changes_nothing(tmp_path: Path) -> None:
    names = [*SIX_CELLS, "001498-1_male_East_Asian_23"]
    without = list_photos(make_folder(tmp_path, names))
    write_csv(tmp_path, names)
    pd.testing.assert_frame_equal(list_photos(tmp_path), without)


def test_train_csv_with_ages_as_floats_agrees(tmp_path: Path) -> None:
    path = write_csv(make_folder(tmp_path), list(SIX_CELLS))
    path.write_text(path.read_text().replace(",45,", ",45.0,"))
    assert len(list_photos(tmp_path)) == 42


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("male,Asian,20,000001", "female,Asian,20,000001", "000001_male_Asian_20 is female 20 in train.csv"),
        ("Asian,20,000001", "Asian,21,000001", "000001_male_Asian_20 is male 21 in train.csv"),
        ("Asian,20,000001", "Asian,,000001", "000001_male_Asian_20 is male  in train.csv"),
        ("000002,male,Asian,45,000002_male_Asian_45\n", "", "000002_male_Asian_45 is not in train.csv"),
        (",000003_male_Asian_60", ",000003_male_Asian_61", "images/000003_male_Asian_61 does not exist"),
        (",000003_male_Asian_60", ",000003_male_Asian_60\n" * 2 + "000003,male,Asian,60,000003_male_Asian_60", "twice"),
    ],
)
def test_train_csv_that_disagrees_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = write_csv(make_folder(tmp_path), list(SIX_CELLS))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1).replace("\n\n", "\n"))
    message = refusal(tmp_path)
    assert says in message
    assert "train.csv and the folder names disagree in" in message


def test_many_disagreements_are_counted_and_the_first_few_named(tmp_path: Path) -> None:
    write_csv(make_folder(tmp_path), [])
    message = refusal(tmp_path)
    assert "disagree in 6 places: 000001_male_Asian_20 is not in train.csv" in message
    assert "000006" not in message
    assert "and 1 more" in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"id,gender,race,path\n", "age is missing"),
        (b"", "cannot be read as CSV"),
        (
            b"id,gender,race,age,path\n1,male,Asian,20,1_male_Asian_20\n1,2,3,4,5,6\n",
            "cannot be read as CSV",
        ),
        (b"id,gender,race,age,path\n1,2\n\xff\xfe\x00", "cannot be read as CSV"),
    ],
)
def test_broken_train_csv_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (make_folder(tmp_path) / "train.csv").write_bytes(content)
    assert says in refusal(tmp_path)


@needs_real_photos
def test_real_folder_is_read_whole() -> None:
    photos = list_photos(REAL_PHOTOS / "train")
    assert len(photos) == 4200
    assert photos["person"].nunique() == 600
    assert set(photos["label"]) == set(range(18))
