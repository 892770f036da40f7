"""Folders of classes: what is a class, what is a split, what is left out, what is refused."""

import os
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from maskcls.reading import source
from maskcls.reading.source import SourceOptions, find_photos, find_source, find_task, read_photos
from maskcls.system.errors import UserError
from maskcls.tasks.task import PHOTO, Source, Task
from tests.helpers.data.photos import save_photos
from tests.helpers.training import one_line


def files(*folders: str, count: int = 3) -> list[str]:
    return [f"{folder}/{number}.jpg" for folder in folders for number in range(count)]


def read(folder: Path) -> tuple[Task, pd.DataFrame, list[str]]:
    heard: list[str] = []
    task = find_task(folder, SourceOptions())
    return task, read_photos(folder, task, note=heard.append), heard


def refusal(folder: Path, options: SourceOptions = SourceOptions()) -> str:
    with pytest.raises(UserError) as caught:
        find_task(folder, options)
    return one_line(caught.value)


def test_every_folder_is_a_class_and_every_picture_a_row(tmp_path: Path) -> None:
    task, photos, heard = read(save_photos(tmp_path, files("oak", "ash/leaves/1", "ash/bark", count=2)))
    assert task.space.factors[0].classes == ("ash", "oak")
    assert (task.name, task.source, task.unit, task.splitter) == ("class", Source("folders"), PHOTO, "pandas-streaming")
    assert task.strata == ("class",)
    assert photos.columns.tolist() == ["path", "bytes", "person", "class", "label"]
    assert photos["path"].tolist() == sorted(files("ash/bark", "ash/leaves/1", "oak", count=2))
    assert photos["label"].tolist() == photos["class"].tolist() == [0, 0, 0, 0, 1, 1]
    assert (photos["label"].dtype, photos["bytes"].dtype) == ("int64", "int64")
    assert photos["person"].tolist() == photos["path"].tolist()
    assert photos["bytes"].tolist() == [(tmp_path / path).stat().st_size for path in photos["path"]]
    assert photos.index.tolist() == list(range(6))
    assert heard == []


def test_numbers_are_in_their_order_and_names_in_that_of_letters(tmp_path: Path) -> None:
    task, photos, _ = read(save_photos(tmp_path / "a", files("10", "2", "-1", "1.5")))
    assert task.space.names == ("-1", "1.5", "2", "10")
    assert photos.set_index("path")["label"]["10/0.jpg"] == 3
    task, _, _ = read(save_photos(tmp_path / "b", files("10", "2", "two")))
    assert task.space.names == ("10", "2", "two")


@pytest.mark.parametrize(
    ("folders", "sides"),
    [
        (("train", "valid"), {"train", "valid"}),
        (("Train", "VAL", "test"), {"train", "valid", "test"}),
        (("Training", "Testing"), {"train", "test"}),
        (("train", "validation"), {"train", "valid"}),
    ],
)
def test_a_split_is_taken_from_folders(tmp_path: Path, folders: tuple[str, ...], sides: set[str]) -> None:
    task, photos, heard = read(
        save_photos(tmp_path, [path for folder in folders for path in files(f"{folder}/oak", f"{folder}/ash")])
    )
    assert task.space.names == ("ash", "oak")
    assert set(photos["split_given"]) == sides
    assert task.splitter == ("given" if "valid" in sides else "pandas-streaming")
    assert photos.set_index("path")["split_given"][f"{folders[0]}/oak/1.jpg"] == "train"
    assert heard == []


def test_a_class_of_trains_is_no_split(tmp_path: Path) -> None:
    task, photos, _ = read(save_photos(tmp_path, [*files("train", "bus"), *files("train/steam", "train/diesel")]))
    assert task.space.names == ("bus", "train")
    assert "split_given" not in photos
    assert (photos["label"] == 1).sum() == 9


def test_train_alone_is_no_split_but_holds_the_classes(tmp_path: Path) -> None:
    _, photos, heard = read(save_photos(tmp_path, [*files("train/oak", "train/ash"), *files("test")]))
    assert "split_given" not in photos
    assert len(photos) == 6
    assert heard == ["3 pictures left out, in no folder of a class: test/0.jpg, test/1.jpg, test/2.jpg."]


def test_what_is_no_photo_is_left_out_and_counted(tmp_path: Path) -> None:
    save_photos(tmp_path, [*files("oak", "ash", "__MACOSX/oak", ".git"), "overview.png", "oak/.hidden.jpg"])
    (tmp_path / "empty").mkdir()
    for name in ("README.md", "oak/notes.txt", "oak/Thumbs.db", "ash/list"):
        (tmp_path / name).write_text("text")
    _, photos, heard = read(tmp_path)
    assert len(photos) == 6
    assert heard == [
        "4 files left out, not a picture: README.md, ash/list, oak/Thumbs.db and 1 more.",
        "1 picture left out, in no folder of a class: overview.png.",
        "1 folder left out, without a picture in it: empty.",
    ]


def test_a_link_is_followed_and_a_circle_is_not(tmp_path: Path) -> None:
    save_photos(tmp_path, files("data/oak", "elsewhere"))
    (tmp_path / "data" / "ash").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "oak" / "up").symlink_to(tmp_path / "data")
    assert len(read(tmp_path / "data")[1]) == 6


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        ([], "There are no folders of pictures in {tmp}. Make a folder for each class, or name a table of labels"),
        (["1.jpg", "2.jpg"], "There are no folders of pictures in {tmp}."),
        (files("train", "test"), "test, train in {tmp} are sides of a split, and do not hold folders of two classes."),
        (files("train/oak", "val/oak"), "train, val in {tmp} are sides of a split"),
        (files("oak"), "at least two classes, and {tmp} holds one folder of pictures, oak."),
        (files("photos/oak", "photos/ash"), "There are folders of pictures in {tmp}/photos; give that to --data."),
        (
            ["a/1.jpg", "b/1.jpg", "c/1.jpg", "d/1.jpg", "d/2.jpg"],
            "has 4 classes for 5 photos, which is a name of each",
        ),
    ],
)
def test_what_is_no_set_of_classes_is_refused(tmp_path: Path, paths: list[str], says: str) -> None:
    assert says.format(tmp=tmp_path) in refusal(save_photos(tmp_path, paths))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent") == f"There is no folder {tmp_path / 'absent'}. Give --data a folder of photos."


def test_broken_links_and_what_is_no_file_are_named(tmp_path: Path) -> None:
    folder = save_photos(tmp_path, files("oak", "ash"))
    for place, says in ((folder / "elm", "elm in"), (folder / "oak" / "9.jpg", "oak/9.jpg in")):
        place.symlink_to(tmp_path / "not mounted")
        assert f"{says} {folder} is a broken link" in refusal(folder)
        place.unlink()
    (folder / "oak" / "notes.txt").symlink_to(tmp_path / "not mounted")
    os.mkfifo(folder / "oak" / "pipe")
    assert len(read(folder)[1]) == 6
    os.mkfifo(folder / "oak" / "9.JPG")
    assert f"oak/9.JPG in {folder} is not a regular file" in refusal(folder)


def test_names_must_be_text_and_differ_in_more_than_their_spelling(tmp_path: Path) -> None:
    folder = save_photos(tmp_path, files("train/été", "train/oak", f"valid/{unicodedata.normalize('NFD', 'été')}"))
    task, photos, _ = read(folder)
    assert task.space.names == ("oak", "été")
    assert len(photos) == 9
    save_photos(folder, files(f"train/{unicodedata.normalize('NFD', 'été')}"))
    assert "twice, in two spellings of Unicode; remove one of them." in refusal(folder)
    other = save_photos(tmp_path / "b", files("oak", "ash", os.fsdecode(b"\xe9t\xe9"), count=1))
    assert r"must be UTF-8; 1 in" in refusal(other)
    assert r"\xe9t\xe9/0.jpg. Rename them." in refusal(other)


def test_a_class_that_the_stored_task_lacks_is_refused_by_name(tmp_path: Path) -> None:
    folder = save_photos(tmp_path, files("oak", "ash", "elm"))
    task = find_task(folder, SourceOptions())
    (folder / "ash").rename(folder / "yew")
    with pytest.raises(UserError) as caught:
        read_photos(folder, task)
    assert "has 1 class that the stored task does not have: yew. It has: ash, elm, oak." in one_line(caught.value)
    for path in (folder / "yew").iterdir():
        path.unlink()
    assert read_photos(folder, task)["label"].tolist() == [1, 1, 1, 2, 2, 2]


def test_photos_of_one_class_are_fine_for_a_task_that_is_known(tmp_path: Path) -> None:
    task = find_task(save_photos(tmp_path / "a", files("oak", "ash")), SourceOptions())
    one = save_photos(tmp_path / "b", files("oak", count=1))
    assert find_source(one, SourceOptions()) == task.source
    assert read_photos(one, task)["label"].tolist() == [1]
    assert "at least two classes" in refusal(one)


def test_classes_that_differ_in_capitals_are_warned_of(tmp_path: Path) -> None:
    _, photos, heard = read(save_photos(tmp_path, files("Oak", "oak", "ash")))
    assert photos["label"].nunique() == 3
    assert heard == [f"CAUTION: classes of {tmp_path} differ in capital letters alone: Oak and oak. They stay apart."]


def test_a_dataset_of_other_files_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "state.json").write_text("{}")
    assert f"It looks like a Hugging Face dataset: --data hf:{tmp_path} reads one." in refusal(tmp_path)


def test_a_file_is_no_folder_of_photos(tmp_path: Path) -> None:
    (table := tmp_path / "meta.csv").write_text("a,b\n")
    assert refusal(table) == f"{table} is a file. Give its folder to --data, and a table of labels to --table."


def test_folders_in_a_class_that_may_be_the_classes_or_subjects_are_told(tmp_path: Path) -> None:
    inner = files("digits/0", "digits/1", "digits/2")
    _, _, heard = read(save_photos(tmp_path / "a", [*inner, *files("examples")]))
    assert heard == [
        "CAUTION: folders in a class are not told apart: digits (3 folders). If they are the classes, give"
        f" {tmp_path}/a/digits to --data; if each shows one subject, write a table with a column for --group."
    ]
    patients = [f"{side}/{name}/p{number}" for side in ("train", "val") for name in "ab" for number in range(3)]
    _, _, heard = read(save_photos(tmp_path / "b", files(*patients)))
    assert "not told apart: train/a (3 folders), train/b (3 folders), val/a (3 folders) and 1 more." in heard[0]
    _, _, heard = read(save_photos(tmp_path / "c", [*inner, *files("examples"), "digits/3.jpg"]))
    assert heard == []  # they are photos of the class itself


def test_what_folders_do_not_have_is_refused(tmp_path: Path) -> None:
    folder = save_photos(tmp_path, files("oak", "ash"))
    assert "leave out --group" in refusal(folder, SourceOptions(table="none", group="patient"))
    assert refusal(folder, SourceOptions(group="patient")) == (
        f"There is no table in {tmp_path}, which --group would be about. Give one with --table, or leave out --group if"
        " the classes are the folders (ash, oak)."
    )
    assert "--metric must be one of macro_f1, accuracy" in refusal(folder, SourceOptions(metric="auc"))
    assert find_task(folder, SourceOptions(metric="accuracy")).metric == "accuracy"
    with pytest.raises(UserError, match=r"--label-fixes fixes.csv is a list for the mask task's people"):
        read_photos(folder, find_task(folder, SourceOptions()), "fixes.csv")
    assert Task.from_json(find_task(folder, SourceOptions()).to_json()) == find_task(folder, SourceOptions())


def test_photos_are_read_once_to_find_their_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_photos(tmp_path, files("oak", "ash"))
    known = find_task(folder, SourceOptions())
    expected, looks = read_photos(folder, known), list[Path]()
    listing = source.list_folder
    monkeypatch.setattr(source, "list_folder", lambda place: looks.append(place) or listing(place))
    task, photos = find_photos(folder, SourceOptions())
    assert task == known
    assert photos is not None
    assert photos.equals(expected)
    assert looks == [folder]
