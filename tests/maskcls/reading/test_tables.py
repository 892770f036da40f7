"""Tables of labels: which columns are what, how a cell finds its photo, and what is refused with which sentence."""

import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from maskcls.reading.source import SourceOptions, find_source, find_task, read_photos
from maskcls.system.errors import UserError
from maskcls.tasks.task import PHOTO, Source, Task, Unit
from tests.helpers.data.photos import save_photos, save_table
from tests.helpers.training import one_line

NAMES = tuple(f"{number:03}" for number in range(12))
PATHS = tuple(f"images/{name}.jpg" for name in NAMES)
SPECIES = ("cat", "dog", "ant") * 4


def make(folder: Path, *columns: Iterable[object], name: str = "meta.csv", separator: str = ",") -> Path:
    """A folder of twelve photos with a table of these columns, each a header and twelve cells."""
    save_photos(folder, PATHS)
    save_table(folder / name, zip(*columns, strict=True), separator)
    return folder


def read(folder: Path, **options: object) -> tuple[Task, pd.DataFrame, list[str]]:
    heard: list[str] = []
    task = find_task(folder, SourceOptions(**options))  # type: ignore[arg-type]
    return task, read_photos(folder, task, note=heard.append), heard


def refusal(folder: Path, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, **options)
    return one_line(caught.value)


def test_a_table_beside_its_photos_needs_no_options(tmp_path: Path) -> None:
    folder = make(tmp_path, ["path", *reversed(PATHS)], ["species", *SPECIES])
    task, photos, heard = read(folder)
    assert task.space.factors[0].classes == ("ant", "cat", "dog")
    assert (task.name, task.unit, task.splitter) == ("species", PHOTO, "pandas-streaming")
    assert task.source == Source("table", "meta.csv", "path", ("species",))
    assert photos.columns.tolist() == ["path", "bytes", "person", "species", "label"]
    assert photos["path"].tolist() == list(PATHS)
    assert photos["label"].tolist() == photos["species"].tolist() == [0, 2, 1] * 4
    assert photos["person"].tolist() == list(PATHS)
    assert photos["bytes"].tolist() == [(folder / path).stat().st_size for path in PATHS]
    assert heard == []
    assert Task.from_json(task.to_json()) == task


def test_groups_stay_together_and_name_the_unit(tmp_path: Path) -> None:
    patients = [f"P{number // 3}" for number in range(12)]
    sick = ["yes", "yes", "yes", "no", "no", "no"] * 2
    folder = make(tmp_path, ["file", *NAMES], ["diagnosis", *sick], ["view", *"abc" * 4], ["PatientID", *patients])
    task, photos, _ = read(folder, labels=("diagnosis",), group="PatientID")
    assert task.unit == Unit("patient", "patients")
    assert photos["person"].tolist() == patients
    assert task.strata == ("diagnosis",)
    task, photos, _ = read(folder, labels=("diagnosis", "view"), group="PatientID")
    assert task.strata == ("diagnosis",)
    assert task.space.names == ("no, a", "no, b", "no, c", "yes, a", "yes, b", "yes, c")
    assert photos["label"].tolist() == [3, 4, 5, 0, 1, 2] * 2
    assert photos["view"].dtype == "int64"


def test_a_group_that_is_not_used_is_warned_of(tmp_path: Path) -> None:
    folder = make(tmp_path, ["path", *PATHS], ["label", *SPECIES], ["patient_id", *"aabbccddeeff"])
    _, _, heard = read(folder)
    assert heard == [
        f"CAUTION: patient_id of {folder}/meta.csv says which photos show one patient, and is not used: such photos may"
        " be on both sides. --group patient_id keeps them together."
    ]
    assert read(folder, group="patient_id")[2] == []


@pytest.mark.parametrize(
    ("cells", "paths"),
    [
        (PATHS, PATHS),
        ([f"./{path}" for path in PATHS], PATHS),
        (["images\\" + f"{name}.jpg" for name in NAMES], PATHS),
        ([f"{name}.jpg" for name in NAMES], PATHS),
        (NAMES, PATHS),
        ([f"images/{name}" for name in NAMES], PATHS),
    ],
)
def test_a_cell_names_its_photo_in_many_ways(tmp_path: Path, cells: Iterable[str], paths: tuple[str, ...]) -> None:
    _, photos, heard = read(make(tmp_path, ["image_id", *cells], ["label", *SPECIES]))
    assert photos["path"].tolist() == list(paths)
    assert heard == []


def test_photos_in_several_folders_are_found_by_their_ids(tmp_path: Path) -> None:
    paths = [f"{'part_1' if number < 6 else 'part_2/deep'}/{name}.png" for number, name in enumerate(NAMES)]
    save_photos(tmp_path, paths)
    save_table(tmp_path / "meta.csv", [("dx", "image_id"), *zip(SPECIES, NAMES, strict=True)])
    assert "Say --table meta.csv if the labels stand in it, or --table none if the folders are the" in refusal(tmp_path)
    assert read(tmp_path, table="meta.csv")[1]["path"].tolist() == sorted(paths)
    assert read(tmp_path, table="none")[0].space.names == ("part_1", "part_2")
    save_photos(tmp_path, ["part_1/007.png"])
    text = refusal(tmp_path, table="meta.csv")
    assert "1 row of" in text
    assert "may mean several pictures: 007 is part_1/007.png, part_2/deep/007.png." in text


def test_one_name_in_two_folders_is_told_apart_by_the_data_folder(tmp_path: Path) -> None:
    save_photos(tmp_path, [f"{side}/{name}.jpg" for side in ("train", "test") for name in NAMES])
    save_table(tmp_path / "train.csv", zip(["id", *NAMES], ["label", *SPECIES], strict=True))
    assert "or give --data the folder of the table's photos." in refusal(tmp_path, table="train.csv")
    _, photos, _ = read(tmp_path / "train", table=str(tmp_path / "train.csv"))
    assert photos["path"].tolist() == [f"{name}.jpg" for name in NAMES]


def test_an_address_in_another_column_is_not_taken_for_a_path(tmp_path: Path) -> None:
    addresses = ["https://lab.example/1.jpg", *["-"] * 11]
    assert "No column of" in refusal(make(tmp_path, ["scan", *"abcdefghijkl"], ["source", *addresses]))


def test_an_absolute_path_into_the_folder_is_one_of_it(tmp_path: Path) -> None:
    folder = make(tmp_path, ["path", *(str(tmp_path / path) for path in PATHS)], ["label", *SPECIES])
    assert read(folder)[1]["path"].tolist() == list(PATHS)


@pytest.mark.parametrize(
    "away",
    ["../{}", "/home/lab/{}", "images/../../{}", "C:\\data\\{}", "https://lab.example/{}", "~/{}", "\\\\nas\\{}"],
)
def test_no_path_leads_out_of_the_folder(tmp_path: Path, away: str) -> None:
    make(tmp_path / "data", ["path", *(away.format(path) for path in PATHS)], ["label", *SPECIES])
    save_photos(tmp_path, PATHS)  # which the first of them names
    for options in ({}, {"path": "path"}):
        text = refusal(tmp_path / "data", **options)
        assert f"Paths must be relative to {tmp_path / 'data'}" in text
        assert "Write them relative to that folder." in text
    one = [away.format(PATHS[0]), *PATHS[1:]]
    save_table(tmp_path / "data" / "meta.csv", zip(["path", *one], ["label", *SPECIES], strict=True))
    assert "1 of" in refusal(tmp_path / "data")


def test_names_are_compared_in_one_form_of_unicode(tmp_path: Path) -> None:
    names = [unicodedata.normalize("NFD", f"é{name}") for name in NAMES]
    save_photos(tmp_path, [f"{name}.jpg" for name in names])
    cells = [unicodedata.normalize("NFC", name) for name in names]
    classes = [unicodedata.normalize(form, "bée") for form in ("NFC", "NFD")] * 3 + ["ant"] * 6
    save_table(tmp_path / "meta.csv", [("id", "label"), *zip(cells, classes, strict=True)])
    task, photos, _ = read(tmp_path)
    assert photos["path"].tolist() == [f"{name}.jpg" for name in names]  # as they are on the disk
    assert task.space.names == ("ant", unicodedata.normalize("NFC", "bée"))


def test_a_table_elsewhere_is_stored_where_later_commands_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "data", ["path", *PATHS], ["label", *SPECIES])
    (folder / "meta.csv").rename(tmp_path / "mine.csv")
    monkeypatch.chdir(tmp_path)
    task = find_task(folder, SourceOptions(table="mine.csv"))
    assert task.source.table == str(tmp_path / "mine.csv")
    monkeypatch.chdir("/")
    assert len(read_photos(folder, task)) == 12
    assert "There is no table mine.csv, neither in" in refusal(folder, table="mine.csv")


def test_a_table_in_an_inner_folder_speaks_from_there(tmp_path: Path) -> None:
    save_photos(tmp_path, [f"{side}/{path}" for side in ("a", "b") for path in PATHS])
    save_table(tmp_path / "a" / "meta.tsv", zip(["path", *PATHS], ["label", *SPECIES], strict=True), "\t")
    _, photos, heard = read(tmp_path, table="a/meta.tsv")
    assert photos["path"].tolist() == [f"a/{path}" for path in PATHS]
    assert heard == [
        f"12 pictures left out, not in {tmp_path}/a/meta.tsv: b/images/000.jpg, b/images/001.jpg, b/images/002.jpg and"
        " 9 more."
    ]


def test_of_two_columns_for_one_photo_either_will_do_and_of_two_photos_none(tmp_path: Path) -> None:
    both = make(tmp_path / "a", ["image_id", *NAMES], ["file_name", *PATHS], ["label", *SPECIES])
    assert read(both)[0].source.path == "file_name"
    left = [f"left/{name}.jpg" for name in NAMES]
    two = save_photos(make(tmp_path / "b", ["fundus", *PATHS], ["oct", *left], ["label", *SPECIES]), left)
    table = two / "meta.csv"
    assert refusal(two, table="meta.csv") == (
        f"2 columns of {table} name pictures: fundus, oct. Say which one with --path, for example --path fundus."
    )
    assert read(two, path="oct")[1]["path"].tolist() == left


def test_several_tables_are_asked_about(tmp_path: Path) -> None:
    folder = make(tmp_path, ["path", *PATHS], ["label", *SPECIES])
    (folder / "sample_submission.csv").write_text("a\n")
    assert "holds 2 tables: meta.csv, sample_submission.csv. Say which one with --table" in refusal(folder)


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({"species": SPECIES, "view": "abcabcabcabc"}, "species"),
        ({"class_id": "120120120120", "class_name": SPECIES}, "class_name"),
        ({"Finding Labels": SPECIES, "Patient Age": "567567567567"}, "Finding Labels"),
        ({"what": SPECIES}, "what"),
        ({"what": SPECIES, "score": [number + 0.5 for number in range(12)], "id": range(12)}, "what"),
        ({"what": SPECIES, "patient_id": "aabbccddeeff"}, "what"),
        ({"diseaseType": SPECIES, "age": "567567567567"}, "diseaseType"),
    ],
)
def test_the_one_obvious_column_is_the_label(tmp_path: Path, columns: dict[str, Iterable[object]], label: str) -> None:
    folder = make(tmp_path, ["path", *PATHS], *([name, *cells] for name, cells in columns.items()))
    assert read(folder)[0].source.labels == (label,)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"species": SPECIES, "disease": "aabbccaabbcc"}, "2 columns of {table} could be the label: species, disease."),
        ({"sex": "mfmfmfmfmfmf", "site": SPECIES}, "2 columns of {table} could be the label: sex, site. Say which one"),
        ({"name": "abcdefghijkl"}, "No column of {table} could be the label by its values; the others are: name."),
        ({}, "{table} has no column that could be the label."),
        ({"label": "abcdefghijkl"}, "label of {table} has 12 classes for 12 photos, which is a name of each"),
        (
            {"label": ["cat"] * 12},
            "at least two classes; all 12 photos of {table} are cat. Add photos of another class.",
        ),
        ({"label": [number / 7 for number in range(1, 13)]}, "label of {table} holds measured numbers, such as 0.14"),
        ({"label": ["a|b", "a", "b", "c"] * 3}, "holds several classes in 3 rows, such as a|b: photos with several"),
        (
            {"label": ["a;b", "b;c"] * 6},
            "holds several classes in 12 rows, such as a;b: photos with several labels (mul",
        ),
        ({"label": ["[1 0]", "[0 1]"] * 6}, "holds several classes in 12 rows, such as [1 0]"),
        (
            {"cat": "101010101010", "dog": "110011001100"},
            "2 of 0 and 1 (cat, dog), with several ones in 3 rows: photos",
        ),
        ({"cat": "101010101010", "dog": "010101010101"}, "2 of 0 and 1 (cat, dog). Write the name of the column with"),
        ({"label": ["cat", "dog", ""] * 4}, "Every row needs its label; there are 4 rows of {table} without label"),
        (
            {"label": ["cat", "dog", "ant"] * 3 + ["cat", "dog", "nan"]},
            "there is 1 row of {table} without label (line 13",
        ),
    ],
)
def test_what_is_no_label_is_refused_or_asked_about(
    tmp_path: Path, columns: dict[str, Iterable[object]], says: str
) -> None:
    folder = make(tmp_path, ["path", *PATHS], *([name, *cells] for name, cells in columns.items()))
    assert says.format(table=folder / "meta.csv") in refusal(folder)


def test_classes_may_be_numbers_with_points_and_names_with_signs(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", ["path", *PATHS], ["label", *["10.0", "2.0", "1.0"] * 4])
    task, photos, _ = read(folder)
    assert task.space.names == ("1", "2", "10")
    assert (task.space.factors[0].name, photos["class"].tolist()) == ("class", [2, 1, 0] * 4)
    folder = make(tmp_path / "b", ["path", *PATHS], ["grade", *["0.5", "1", "1.5"] * 4])
    assert read(folder)[0].space.names == ("0.5", "1", "1.5")
    folder = make(tmp_path / "c", ["path", *PATHS], ["taxon", *["Quercus|robur", "b", "c; d"] * 4])
    assert read(folder)[0].space.names == ("Quercus|robur", "b", "c; d")


def test_a_factor_has_a_name_that_the_table_and_a_model_can_have(tmp_path: Path) -> None:
    folder = make(tmp_path, ["path", *PATHS], ["bytes", *SPECIES], ["person", *"aaabbb" * 2], ["e.g. x/y", *"ab" * 6])
    task, photos, _ = read(folder, labels=("bytes", "person"))
    assert task.space.parts == ("bytes_class", "person_class")
    assert photos["person"].tolist() == list(PATHS)
    assert photos["bytes_class"].tolist() == [1, 2, 0] * 4
    assert read(folder, labels=("e.g. x/y", "person"))[0].space.parts == ("e_g_x_y", "person_class")
    assert task.source.labels == ("bytes", "person")


def test_more_labels_than_photos_are_refused(tmp_path: Path) -> None:
    columns = [[name, *SPECIES] for name in ("a", "b", "c")]
    folder = make(tmp_path, ["path", *PATHS], *columns)
    assert "3 x 3 x 3 classes of a, b, c make 27 labels, more than the 12 photos." in refusal(
        folder, labels=("a", "b", "c")
    )


def many(folder: Path, *, lacking: int, split: bool = False) -> Path:
    """201 photos with labels, of which so many rows lack theirs."""
    names = [f"{number:03}" for number in range(201)]
    save_photos(folder, [f"{name}.jpg" for name in names])
    labels = ["" if number < lacking else "ab"[number % 2] for number in range(201)]
    sides = ["test" if number < lacking else "train" for number in range(201)]
    columns = [["id", *names], ["label", *labels], *([["split", *sides]] if split else []), ["end", *"x" * 201]]
    save_table(folder / "meta.csv", zip(*columns, strict=True))
    return folder


def test_few_rows_without_a_label_are_left_out_with_a_note(tmp_path: Path) -> None:
    _, photos, heard = read(many(tmp_path / "few", lacking=2))
    table = tmp_path / "few" / "meta.csv"
    assert len(photos) == 199
    assert heard[0] == f"2 rows of {table} without label left out (lines 2, 3)."
    assert "there are 3 rows of" in refusal(many(tmp_path / "more", lacking=3))


def test_a_test_side_without_labels_is_left_out(tmp_path: Path) -> None:
    _, photos, heard = read(many(tmp_path, lacking=50, split=True))
    assert len(photos) == 151
    assert heard[0] == f"50 test photos of {tmp_path}/meta.csv left out, without a label."
    assert "split_given" not in photos


def test_missing_photos_are_named_and_counted(tmp_path: Path) -> None:
    folder = many(tmp_path, lacking=0)
    for name in ("007", "100"):
        (folder / f"{name}.jpg").unlink()
    _, photos, heard = read(folder)
    assert len(photos) == 199
    assert heard == [f"2 photos of {folder}/meta.csv not in {folder}: 007, 100; left out."]
    (folder / "101.jpg").unlink()
    assert "3 photos of" in (text := refusal(folder))
    assert "not in" in text
    assert "007, 100, 101. Restore them, or remove their rows" in text
    (folder / "101.jpg").symlink_to(folder / "not mounted")
    assert "101.jpg in" in (text := refusal(folder))
    assert "is a broken link; restore the photo, or remove its row." in text


def test_a_file_that_is_no_picture_is_told_from_a_missing_one(tmp_path: Path) -> None:
    folder = make(tmp_path, ["path", "scan.dcm", *PATHS[1:]], ["label", *SPECIES])
    (folder / "scan.dcm").write_text("DICM")
    assert "scan.dcm of" in (text := refusal(folder))
    assert "is not a picture by its ending. Save it as PNG or JPEG, or remove its row." in text


def test_a_photo_is_listed_once(tmp_path: Path) -> None:
    folder = make(tmp_path, ["path", PATHS[1], *PATHS[1:]], ["label", *SPECIES])
    assert "1 photo of" in (text := refusal(folder))
    assert "has two labels: images/001.jpg. Keep one row of each." in text
    folder = make(tmp_path, ["path", PATHS[3], *PATHS[1:]], ["label", *SPECIES])
    assert "listed more than once: images/003.jpg. Keep one row of each." in refusal(folder)


SIDES = ("train", "train", "Train ", "training", "train", "train", "val", "valid", "validation", "dev", "test", "test")


def test_a_given_split_is_respected(tmp_path: Path) -> None:
    folder = make(tmp_path, ["path", *PATHS], ["label", *SPECIES], ["split", *SIDES], ["site", *"aaaaaabbbbcc"])
    task, photos, _ = read(folder, group="site")
    assert (task.splitter, task.source.split) == ("given", "split")
    assert photos["split_given"].tolist() == ["train"] * 6 + ["valid"] * 4 + ["test"] * 2
    assert photos.columns.tolist() == ["path", "bytes", "person", "class", "label", "split_given"]
    task, photos, _ = read(folder, group="site", split="none")
    assert task.splitter == "pandas-streaming"
    assert "split_given" not in photos


@pytest.mark.parametrize(
    ("sides", "says"),
    [
        (["fold1", "fold2"] * 6, "split of {table} must say train, valid or test; it says fold1, fold2."),
        (["valid", "test"] * 6, "split of {table} says train of no photo."),
        (["train"] * 11 + [""], "there is 1 row of {table} without split (line 13)"),
        (
            ["train"] * 5 + ["valid"] * 5 + ["test"] * 2,
            "2 patients of {table} on several sides of split: p1, p2. Move all photos of a patient to one side, or",
        ),
    ],
)
def test_a_split_that_is_none_is_refused(tmp_path: Path, sides: list[str], says: str) -> None:
    patients = [f"p{number // 4}" for number in range(12)]
    columns = ["path", *PATHS], ["label", *SPECIES], ["patient", *patients], ["split", *sides]
    folder = make(tmp_path, *columns)
    assert says.format(table=folder / "meta.csv") in refusal(folder, group="patient")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"labels": ("specie",)}, "has no column specie for --label. It has: path, species, site. Nearest: species,"),
        ({"group": "patient"}, "has no column patient for --group."),
        ({"split": "side"}, "has no column side for --split."),
        ({"path": "file"}, "has no column file for --path."),
        ({"labels": ("site", "site")}, "--label names one column twice"),
        ({"labels": ("site",), "group": "site"}, "site of {table} is named for two things"),
        ({"table": "list.txt"}, "A table must be one of .csv, .tsv, .parquet, not list.txt. Save it as CSV."),
        ({"table": "absent.csv"}, "There is no table absent.csv"),
        ({"path": "site"}, "12 photos of {table} not in {tmp}: a, b, c and 9 more."),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, object], says: str) -> None:
    folder = make(tmp_path, ["path", *PATHS], ["species", *SPECIES], ["site", *"abcabcabcabc"])
    (folder / "list.txt").write_text("a\n")
    assert says.format(table=folder / "meta.csv", tmp=tmp_path) in refusal(folder, **options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path;label\nimages/000.jpg;cat\n", "its columns are separated by ';'. Save it with commas."),
        ("path,label\n", "has no rows. Give a table with a row for every photo."),
        ("", "it is empty. It must have a header and rows."),
        ("path,label,label\nimages/000.jpg,cat,dog\n", "has two columns named label; rename or remove one of them."),
        (
            "a,b\nx,y\n",
            "No column of {table} names pictures in {tmp}, which holds 12 pictures, such as images/000.jpg.",
        ),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, text: str, says: str) -> None:
    save_photos(tmp_path, PATHS)
    (tmp_path / "meta.csv").write_text(text)
    assert says.format(table=tmp_path / "meta.csv", tmp=tmp_path) in refusal(tmp_path)


def test_the_column_that_pandas_numbers_rows_with_is_none(tmp_path: Path) -> None:
    save_photos(tmp_path, PATHS)
    pd.DataFrame({"path": PATHS, "what": SPECIES}).to_csv(tmp_path / "meta.csv")
    assert read(tmp_path)[0].space.names == ("ant", "cat", "dog")


def test_a_class_that_the_stored_task_lacks_is_refused_by_name(tmp_path: Path) -> None:
    folder = make(tmp_path, ["path", *PATHS], ["label", *SPECIES])
    task = find_task(folder, SourceOptions())
    make(tmp_path, ["path", *PATHS], ["label", "<b>" + "x" * 100, *SPECIES[1:]])
    with pytest.raises(UserError) as caught:
        read_photos(folder, task)
    assert f"has 1 class that the stored task does not have: <b>{'x' * 56}…. It has: ant, cat, dog." in str(
        caught.value
    )
    make(tmp_path, ["path", *PATHS], ["kind", *SPECIES])
    with pytest.raises(UserError, match=r"has no column label for the stored task\. It has: path, kind\."):
        read_photos(folder, task)


def test_rows_of_one_class_are_fine_for_a_task_that_is_known(tmp_path: Path) -> None:
    task = find_task(make(tmp_path / "a", ["path", *PATHS], ["label", *SPECIES]), SourceOptions())
    one = make(tmp_path / "b", ["file", *PATHS], ["what", *["dog"] * 12])
    source = find_source(one, SourceOptions(labels=("what",)))
    assert source == Source("table", "meta.csv", "file", ("what",))
    assert read_photos(one, replace(task, source=source))["label"].tolist() == [2] * 12


def test_columns_of_a_task_that_is_known_are_taken_again(tmp_path: Path) -> None:
    """Where the table has them: its other columns may have the same classes, and be guessed first."""
    answers, groups = ["yes", "no", "no"] * 4, [f"p{number // 2}" for number in range(12)]
    columns = [["file", *PATHS], ["label", *answers[::-1]], ["ill", *answers], ["smokes", *answers[::-1]]]
    folder = make(tmp_path, *columns, ["patient", *groups], ["split", *["train", "test"] * 6])
    typed = SourceOptions(labels=("ill", "smokes"), group="patient", split="none")
    task = find_task(folder, typed)
    assert find_source(folder, SourceOptions(table="meta.csv"), task.source) == task.source
    assert find_task(folder, SourceOptions(table="meta.csv"), task.source) == task
    swapped = find_source(folder, SourceOptions(labels=("smokes", "ill")), task.source)
    assert swapped.labels == ("ill", "smokes")
    assert find_source(folder, SourceOptions(labels=("label",)), task.source).labels == ("label",)
    other = make(tmp_path / "b", ["file", *PATHS], ["label", *answers])
    found = find_source(other, SourceOptions(table="meta.csv"), task.source)
    assert found == Source("table", "meta.csv", "file", ("label",))
    with pytest.raises(UserError) as caught:
        read_photos(other, replace(task, source=found))
    assert "The stored task has 2 labels of a photo (ill, smokes), and 1 column of" in one_line(caught.value)


def test_labels_of_one_name_are_refused(tmp_path: Path) -> None:
    """Predictions have a column of each."""
    make(tmp_path, ["path", *PATHS], ["kind", *['"a"', '"a, b"'] * 6], ["part", *['"b, c"', '"b, c"', "c", "c"] * 3])
    said = refusal(tmp_path, labels=("kind", "part"))
    assert "would both be called a, b, c, since classes of kind, part have commas." in said


def test_a_factor_may_have_any_columns_name(tmp_path: Path) -> None:
    columns = [["path", *PATHS], ["self", *SPECIES], ["index", *["a", "b"] * 6]]
    task, photos, _ = read(make(tmp_path, *columns), labels=("self", "index"))
    assert task.space.parts == ("self", "index")
    assert photos["self"].tolist() == [1, 2, 0] * 4
    assert photos["label"].tolist() == [2, 5, 0, 3, 4, 1] * 2


def test_rows_may_come_in_any_order(tmp_path: Path) -> None:
    rows = list(zip(PATHS, SPECIES, "aabbccddeeff", strict=True))
    save_photos(tmp_path, PATHS)
    save_table(tmp_path / "meta.csv", [("path", "label", "person"), *rows])
    _, photos, _ = read(tmp_path, group="person")
    save_table(tmp_path / "meta.csv", [("path", "label", "person"), *rows[::-1]])
    pd.testing.assert_frame_equal(read(tmp_path, group="person")[1], photos)


def test_without_the_package_for_parquet_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_photos(tmp_path, ["1.jpg"])
    (tmp_path / "meta.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs the package pyarrow: pip install 'mask-search\[parquet\]'\."):
        find_task(tmp_path, SourceOptions())
