"""What a dataset folder may look like, and what is refused with a sentence that helps."""

import os
import shutil
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from maskcls.reading.mask_photos import list_photos
from maskcls.system.errors import UserError
from tests.helpers.training import REAL_PHOTOS, SIX_CELLS, make_folder, needs_real_photos, one_line


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


def test_files_of_other_tools_beside_a_photo_are_none_of_it(tmp_path: Path) -> None:
    sidecars = ["mask1.json", "mask1.txt", "mask1.xml", "mask1.JPG.json", "normal.npy", "normal.jpg~", "mask1.dat"]
    folder = make_folder(tmp_path, files=["mask1.jpg", "normal.png"])
    for name in sidecars:
        (folder / "images" / SIX_CELLS[0] / name).write_text("{}")
    (folder / "images" / SIX_CELLS[0] / "@eaDir").mkdir()
    heard: list[str] = []
    photos = list_photos(folder, "none", heard.append)
    assert set(photos["path"].str.rpartition("/")[2]) == {"mask1.jpg", "normal.png"}
    assert len(photos) == 12
    assert heard == []


@pytest.mark.parametrize("second", ["mask1.jpeg", "mask1.JPG", "mask1.png", "mask1.heic", "mask1"])
def test_a_second_photo_of_one_name_is_refused_whatever_its_format(tmp_path: Path, second: str) -> None:
    folder = make_folder(tmp_path, SIX_CELLS[:1], ["mask1.jpg"])
    home = folder / "images" / SIX_CELLS[0]
    shutil.copy(home / "mask1.jpg", home / second)
    assert "a person has one photo of each name" in refusal(folder)


def test_a_photo_without_an_ending_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, SIX_CELLS[:1], ["mask1", "normal"])
    (folder / "images" / SIX_CELLS[0] / "mask2").write_text("notes")
    photos = list_photos(folder, "none")
    assert photos["stem"].tolist() == ["mask1", "normal"]


def test_a_format_that_is_not_read_stays_in_the_list_to_be_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, SIX_CELLS[:1], ["mask1.bmp", "mask2.heic", "normal.jpg"])
    assert list_photos(folder, "none")["stem"].tolist() == ["mask1", "mask2", "normal"]


def test_what_is_left_out_is_counted_and_three_are_named(tmp_path: Path) -> None:
    files = ["normal.jpg", "Mask1.jpg", "incorrect-mask.jpg", "mask2.jpg.jpg", "mask 3.png", ".mask4.jpg"]
    folder = make_folder(tmp_path, SIX_CELLS[:2], files)
    (folder / "images" / SIX_CELLS[0] / "mask5.dat").write_text("")
    (folder / "images" / SIX_CELLS[0] / "notes.txt").write_text("")
    (folder / "images" / SIX_CELLS[2]).mkdir()
    shutil.copy(folder / "images" / SIX_CELLS[0] / "normal.jpg", folder / "images" / "overview.jpg")
    heard: list[str] = []
    assert len(list_photos(folder, "none", heard.append)) == 2
    pictures, others, people = heard
    assert pictures.startswith("9 pictures left out, not named like a photo (mask1 to mask5, incorrect_mask, normal):")
    assert f"images/overview.jpg, {SIX_CELLS[0]}/Mask1.jpg, {SIX_CELLS[0]}/incorrect-mask.jpg and 6 more." in pictures
    assert others.startswith("1 file left out, named like a photo")
    assert f"{SIX_CELLS[0]}/mask5.dat" in others
    assert people == f"1 person left out, without a photo in the folder: {SIX_CELLS[2]}."


def test_a_folder_of_wrong_names_alone_says_which(tmp_path: Path) -> None:
    text = refusal(make_folder(tmp_path, SIX_CELLS[:1], ["Normal.jpg", "MASK1.jpg"]))
    assert "There are no photos in" in text
    assert (
        f"2 pictures left out, not named like a photo (mask1 to mask5, incorrect_mask, normal): {SIX_CELLS[0]}" in text
    )


def test_a_link_to_nothing_is_named_wherever_it_is(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, SIX_CELLS[:2])
    for place, says in (
        (folder / "images" / SIX_CELLS[2], f"images/{SIX_CELLS[2]} is a broken link"),
        (folder / "images" / SIX_CELLS[0] / "mask1.jpg", f"images/{SIX_CELLS[0]}/mask1.jpg is a broken link"),
        (folder / "train.csv", "train.csv is a broken link"),
    ):
        place.unlink(missing_ok=True)
        for target in (tmp_path / "not mounted", place):  # to what is not there, and to itself
            place.symlink_to(target)
            assert says in refusal(folder)
            place.unlink()
    home = folder / "images" / SIX_CELLS[0]
    home.rename(tmp_path / "elsewhere")
    home.symlink_to(tmp_path / "elsewhere")
    assert len(list_photos(folder, "none")) == 13


def test_a_file_in_place_of_a_persons_folder_is_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, SIX_CELLS[:2])
    (folder / "images" / SIX_CELLS[2]).write_text("version https://git-lfs")
    assert f"images/{SIX_CELLS[2]} is a file, named like a person's folder" in refusal(folder)


def test_what_is_no_regular_file_is_no_photo(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, SIX_CELLS[:1], ["normal.jpg"])
    os.mkfifo(folder / "images" / SIX_CELLS[0] / "mask1.jpg")
    assert f"images/{SIX_CELLS[0]}/mask1.jpg is not a regular file" in refusal(folder)


def test_what_archives_and_file_servers_leave_is_nobody(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, SIX_CELLS[:2])
    for name in ("__MACOSX", "@eaDir", "#recycle", "lost+found", "System Volume Information", ".cache"):
        (folder / "images" / name).mkdir()
    assert len(list_photos(folder, "none")) == 14


@pytest.mark.parametrize(
    ("lies", "asked", "says"),
    [
        ("train/images", "", "<age>/. {tmp}/train does."),
        ("a/train/images", "", "<age>/. {tmp}/a/train does."),
        ("images", "images", "The folder above it does: {tmp}."),
        ("photos", "photos", "lie in {tmp}/photos itself; move them into {tmp}/photos/images."),
        ("images/images", "", "There are folders of people in images; move those up."),
        ("images/train", "", "There are folders of people in train; move those up."),
    ],
)
def test_a_folder_too_high_or_too_low_is_told_the_right_one(tmp_path: Path, lies: str, asked: str, says: str) -> None:
    make_folder(tmp_path, SIX_CELLS[:2])
    people = tmp_path / "people"
    (tmp_path / "images").rename(people)
    (tmp_path / "__MACOSX" / "images" / SIX_CELLS[0]).mkdir(parents=True)
    (tmp_path / lies).parent.mkdir(parents=True, exist_ok=True)
    people.rename(tmp_path / lies)
    assert says.format(tmp=tmp_path) in refusal(tmp_path / asked)


def test_names_are_compared_in_one_form_of_unicode(tmp_path: Path) -> None:
    composed, decomposed = "000007_female_Bogotá_20", unicodedata.normalize("NFD", "000007_female_Bogotá_20")
    folder = make_folder(tmp_path, [decomposed])
    write_csv(folder, [composed])
    assert set(list_photos(folder)["person"]) == {decomposed}  # as it is on the disk
    (folder / "fixes.csv").write_text(f"person,photo,gender,age,mask\n{composed},,male,,\n")
    assert set(list_photos(folder, str(folder / "fixes.csv"))["gender"]) == {0}
    make_folder(tmp_path, [composed])
    assert "twice, in two spellings of Unicode" in refusal(folder)


def test_an_age_beyond_all_is_refused(tmp_path: Path) -> None:
    text = refusal(make_folder(tmp_path, [*SIX_CELLS, "000007_male_Asian_999", "000008_male_Asian_121"]))
    assert "An age is at most 120 years; 2 folders have more: 000007_male_Asian_999, 000008_male_Asian_121." in text


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, SIX_CELLS[:2])
    (folder / "images" / os.fsdecode(b"000003_male_Bogot\xe1_20")).mkdir()
    assert r"must be UTF-8; 000003_male_Bogot\xe1_20 is not" in refusal(folder)


def test_train_csv_as_a_spreadsheet_saves_it(tmp_path: Path) -> None:
    path = write_csv(make_folder(tmp_path), list(SIX_CELLS))
    plain = path.read_text()
    path.write_text(plain.replace("\n", ",\n"))
    assert len(list_photos(tmp_path)) == 42
    path.write_text(plain.replace(",", ";"))
    assert "separated by ';'. Save it with commas." in refusal(tmp_path)
    path.write_text(plain.replace("Asian", "아시아"), encoding="cp949")
    assert 'Save it as "CSV UTF-8 (comma delimited)"' in refusal(tmp_path)
    path.write_text(plain, encoding="utf-16")
    assert "looks like UTF-16" in refusal(tmp_path)


@needs_real_photos
def test_real_folder_is_read_whole() -> None:
    photos = list_photos(REAL_PHOTOS / "train")
    assert len(photos) == 4200
    assert photos["person"].nunique() == 600
    assert set(photos["label"]) == set(range(18))
