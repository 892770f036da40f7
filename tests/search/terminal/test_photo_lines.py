"""What the plan says of the photos as they were read."""

from pathlib import Path

from maskcls.config import TrainConfig
from maskcls.data.dataset import read_table
from maskcls.reading.source import SourceOptions, find_task
from search.study.study import Study
from search.terminal.photos import photo_lines
from search.worker.estimate import FEWER_PHOTOS, _advice
from tests.helpers.data.own_photos import draw_folders, folder_of_classes, given_split


def test_classes_are_told_from_their_counts_also_where_they_are_numbers(tmp_path: Path) -> None:
    classes = tuple(map(str, range(10)))
    draw_folders(tmp_path, (f"{name}/{n}.png" for name in classes for n in range(5 + int(name))), classes)
    table = read_table(tmp_path, TrainConfig(), task=find_task(tmp_path, SourceOptions()))
    assert photo_lines(table) == [
        "a class for every folder",
        "class: 10 classes (9: 14, 8: 13, 7: 12, 6: 11, 5: 10, 4: 9, ... 2 more ..., 1: 6, 0: 5)",
    ]


def test_the_folders_of_a_given_split_are_named(tmp_path: Path) -> None:
    folder = given_split(tmp_path).folder
    first = photo_lines(read_table(folder, TrainConfig(), task=find_task(folder, SourceOptions())))[0]
    assert first == "a class for every folder in test and train and val"


def test_nobody_is_told_to_use_more_photos_than_there_are(tmp_path: Path) -> None:
    folder = folder_of_classes(tmp_path).folder
    table = read_table(folder, TrainConfig(), task=find_task(folder, SourceOptions()))
    assert len(table.photos) < FEWER_PHOTOS
    study = Study("?", scientific={}, nuisance={}, fixed={"image_size": 224}, baseline={})
    assert "--set image_size=96" in _advice(study, table)
    assert "--people" not in _advice(study, table)
