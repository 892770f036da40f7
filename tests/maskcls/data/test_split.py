"""The split by person: who is on which side, and that it is the same everywhere."""

import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from maskcls.config import TrainConfig
from maskcls.data.dataset import Table, read_table
from maskcls.data.split import (
    check_split,
    choose_judges,
    split_by_person,
    split_hash,
    split_photos,
    take_people,
)
from maskcls.reading.mask_photos import list_photos
from maskcls.reading.source import SourceOptions, find_task
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from tests.helpers.data.photos import save_photos, save_table
from tests.helpers.training import SIX_CELLS, make_folder, one_line

STRATA = MASK_TASK.strata

CELL_COUNTS = {(0, 20): 30, (0, 40): 20, (0, 60): 10, (1, 20): 40, (1, 40): 50, (1, 60): 10}
"""(gender, years) -> people of ``crowd``."""


def crowd() -> pd.DataFrame:
    """160 people of seven photos, ids in the order of their cells; no files behind them."""
    cells = [cell for cell, count in CELL_COUNTS.items() for _ in range(count)]
    rows = []
    for index, (gender, years) in enumerate(cells):
        name = f"{index:06d}_{('male', 'female')[gender]}_Asian_{years}"
        age = {20: 0, 40: 1, 60: 2}[years]
        for number, mask in enumerate((0, 0, 0, 0, 0, 1, 2)):
            label = mask * 6 + gender * 3 + age
            rows.append((f"images/{name}/{number}.jpg", 1000, name, mask, gender, age, years, label))
    return pd.DataFrame(rows, columns=["path", "bytes", "person", "mask", "gender", "age", "years", "label"])


def valid_people(photos: pd.DataFrame) -> set[str]:
    return set(photos.loc[photos["split"] == "valid", "person"])


def test_no_person_is_on_both_sides() -> None:
    sides = split_by_person(crowd()).groupby("person")["split"].nunique()
    assert len(sides) == 160
    assert (sides == 1).all()


def test_all_classes_are_on_both_sides(synthetic_table: Table) -> None:
    for side in ("train", "valid"):
        rows = synthetic_table.photos[synthetic_table.photos["split"] == side]
        assert set(rows["label"]) == set(range(18))
    assert synthetic_table.count("train")[0] + synthetic_table.count("valid")[0] == 60


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.5])
def test_every_class_gives_its_share_to_validation(share: float) -> None:
    photos = split_by_person(crowd(), valid_share=share)
    on_valid = (photos["split"] == "valid").groupby([photos["gender"], photos["age"]]).sum() / 7
    total = photos.groupby(["gender", "age"])["person"].nunique()
    assert ((on_valid - share * total).abs() <= 1).all()
    assert len(valid_people(photos)) == pytest.approx(share * 160, abs=3)


def test_seeds_draw_other_people_and_not_the_first_ones() -> None:
    photos = crowd()
    first_of_cells = {name for _, rows in photos.groupby(["gender", "age"]) for name in rows["person"].unique()[:2]}
    chosen = [valid_people(split_by_person(photos, split_seed=seed)) for seed in range(30)]
    assert len({frozenset(people) for people in chosen}) == 30
    drawn = Counter(name for people in chosen for name in people)
    # by chance a person is drawn 6 times of 30; the library alone always takes the lowest (or the highest) ids
    assert max(drawn.values()) <= 18
    assert np.mean([drawn[name] for name in first_of_cells]) == pytest.approx(6, abs=2.5)
    assert len(drawn) > 150


def test_order_of_the_rows_does_not_matter() -> None:
    photos = crowd()
    shuffled = photos.sample(frac=1, random_state=3)
    expected = split_by_person(photos).set_index("path")["split"]
    got = split_by_person(shuffled).set_index("path")["split"]
    assert got.index.tolist() == shuffled["path"].tolist()
    assert got.to_dict() == expected.to_dict()


def test_other_processes_split_alike_whatever_their_hash_seed(synthetic_folder: Path, synthetic_table: Table) -> None:
    program = (
        "import sys; from pathlib import Path; from maskcls.config import TrainConfig; "
        "from maskcls.data.dataset import read_table; print(read_table(Path(sys.argv[1]), TrainConfig()).hash)"
    )
    hashes = set()
    for seed in ("1", "27"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        call = [sys.executable, "-c", program, str(synthetic_folder)]
        hashes.add(subprocess.run(call, env=environment, capture_output=True, text=True, check=True).stdout.strip())
    assert hashes == {synthetic_table.hash}


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3, 0.6])
def test_rounds_are_judged_by_everybody_of_the_training_side_once_and_by_nobody_else(share: float) -> None:
    photos = split_by_person(crowd(), valid_share=share)
    learners = set(photos["person"]) - valid_people(photos)
    folds = max(2, round(1 / share))
    rounds = [choose_judges(photos, number, share, 0, STRATA) for number in range(1, 2 * folds + 1)]
    judges = [valid_people(found) for found in rounds]
    for deal in (judges[:folds], judges[folds:]):
        assert sum(map(len, deal)) == len(learners)
        assert set.union(*deal) == learners
        assert max(map(len, deal)) - min(map(len, deal)) <= 1
    assert judges[0] not in judges[folds:]
    for found in rounds[:folds]:
        cells = (found["split"] == "valid").groupby([found["gender"], found["age"]]).sum() / 7
        total = (photos["split"] == "train").groupby([photos["gender"], photos["age"]]).sum() / 7
        assert ((cells - total / folds).abs() < 1).all()
        assert set(found["split"]) == {"train", "valid"}  # whoever does not judge trains, who chose too


def test_judges_are_the_same_in_any_order_of_rows_and_others_for_another_seed() -> None:
    photos = split_by_person(crowd())
    shuffled = split_by_person(crowd().sample(frac=1, random_state=3))
    expected = choose_judges(photos, 2, 0.2, 0, STRATA)
    assert valid_people(choose_judges(shuffled, 2, 0.2, 0, STRATA)) == valid_people(expected)
    assert valid_people(choose_judges(photos, 2, 0.2, 1, STRATA)) != valid_people(expected)
    assert (photos["split"] == split_by_person(crowd())["split"]).all()


def test_a_round_is_another_split_of_the_same_photos(synthetic_folder: Path, synthetic_table: Table) -> None:
    tables = [read_table(synthetic_folder, TrainConfig(judge_round=number)) for number in range(4)]
    assert tables[0].hash == synthetic_table.hash
    assert len({table.hash for table in tables}) == 4
    chose = valid_people(tables[0].photos)
    assert all(not chose & valid_people(table.photos) for table in tables[1:])


def test_one_person_cannot_be_split(tmp_path: Path) -> None:
    photos = list_photos(make_folder(tmp_path, SIX_CELLS[:1]))
    with pytest.raises(UserError, match="needs at least two people"):
        split_by_person(photos)


def test_class_absent_from_training_is_named() -> None:
    photos = crowd()
    photos = split_by_person(photos[(photos["gender"] == 1) | (photos["age"] < 2)])
    with pytest.raises(UserError) as caught:
        check_split(photos, MASK_TASK, "all")
    text = one_line(caught.value)
    assert "none of: worn, male, 60 and over; incorrect, male, 60 and over; not worn, male, 60 and over." in text
    for task in ("mask", "gender", "age"):
        check_split(photos, MASK_TASK, task)
    with pytest.raises(UserError, match="none of: female"):
        check_split(photos[photos["gender"] == 0], MASK_TASK, "gender")


def test_nobody_for_validation_is_refused() -> None:
    with pytest.raises(UserError, match="No people are left for validation"):
        check_split(crowd().assign(split="train"), MASK_TASK, "all")


def test_classes_may_be_absent_from_validation_only() -> None:
    photos = split_by_person(crowd())
    check_split(photos[~((photos["split"] == "valid") & (photos["label"] == 2))], MASK_TASK, "all")


@pytest.mark.parametrize("people", [16, 40, 80, 159])
def test_taking_people_keeps_every_cells_share_and_whole_persons(people: int) -> None:
    photos = crowd()
    taken = take_people(photos, people, 0, STRATA)
    assert taken["person"].nunique() == people
    assert (taken.groupby("person").size() == 7).all()
    counts = taken.groupby(["gender", "years"])["person"].nunique()
    for cell, count in CELL_COUNTS.items():
        assert abs(counts[cell] - count * people / 160) <= 1
    assert taken.index.tolist() == list(range(len(taken)))


@pytest.mark.parametrize("name", ["rank", "position"])
def test_no_name_of_a_factor_keeps_it_from_being_a_stratum(name: str) -> None:
    renamed, strata = crowd().rename(columns={"gender": name}), (name, "age")
    taken, expected = take_people(renamed, 40, 0, strata), take_people(crowd(), 40, 0, STRATA)
    assert taken["person"].tolist() == expected["person"].tolist()
    judged = choose_judges(split_by_person(renamed), 1, 0.2, 0, strata)
    assert valid_people(judged) == valid_people(choose_judges(split_by_person(crowd()), 1, 0.2, 0, STRATA))


def test_fewer_people_are_among_the_more_and_seeds_differ() -> None:
    photos = crowd()
    takes = [set(take_people(photos, people, 0, STRATA)["person"]) for people in (6, 30, 31, 90, 160)]
    assert all(fewer < more for fewer, more in itertools.pairwise(takes))
    assert set(take_people(photos, 30, 1, STRATA)["person"]) != takes[1]
    shuffled = photos.sample(frac=1, random_state=1)
    assert set(take_people(shuffled, 30, 0, STRATA)["person"]) == takes[1]
    assert set(take_people(photos, 30, 0, STRATA)["person"]) != set(photos["person"].unique()[:30])


def test_no_people_means_all_and_too_many_are_refused() -> None:
    photos = crowd()
    assert take_people(photos, 0, 0, STRATA).equals(photos)
    with pytest.raises(UserError, match="people must be at most 160, the number in the data, not 161"):
        take_people(photos, 161, 0, STRATA)


def test_hash_names_photos_labels_and_sides_but_not_their_order() -> None:
    photos = split_by_person(crowd())
    expected = split_hash(photos)
    assert len(expected) == 12
    assert split_hash(photos.sample(frac=1, random_state=0)) == expected
    assert split_hash(split_by_person(crowd())) == expected
    for column, value in (("label", 17), ("split", "neither"), ("path", "images/elsewhere.jpg"), ("bytes", 999)):
        other = photos.copy()
        other.loc[100, column] = value
        assert split_hash(other) != expected, column
    assert split_hash(photos[1:]) != expected


GOLDEN = {
    "crowd": ("9941b68cf836", "16bf7686b204", "1c292461a972", "1129ab90d8f6", "7a7292fc550b", "5baa6b741530"),
    "drawn": ("89fe18db9d73", "f2aefac27cfc", "363d225a40fb", "2c45add081fc", "965c2347bc3e", "83b3326f5378"),
    "uneven": ("44a023742263", "88ff2eb1ba53", "6cfcb1f6c116", "e0670d0a24c6", "c3c0bebf3773", "cc171d3e82b2"),
}
"""Hashes by the code before there were other splitters than this: the split, its judges of rounds 1, 2 and 6, the split
of 30 people, and that of another share and seed."""


@pytest.mark.parametrize("name", GOLDEN)
def test_the_mask_tasks_splits_judges_and_subsets_are_those_of_earlier_versions(
    name: str, synthetic_folder: Path
) -> None:
    uneven = crowd().drop(index=[3, 11, 12, 13, 500]).reset_index(drop=True)  # some people lack photos
    drawn = list_photos(synthetic_folder).assign(bytes=0)  # which depend on the library that writes JPEG
    photos = {"crowd": crowd(), "drawn": drawn, "uneven": uneven}[name]
    table, _ = split_photos(photos, "pandas-streaming")
    found = [split_hash(table), *(split_hash(choose_judges(table, number, 0.2, 0, STRATA)) for number in (1, 2, 6))]
    found.append(split_hash(split_by_person(take_people(photos, 30, 0, STRATA))))
    found.append(split_hash(split_by_person(photos, 0.3, 5)))
    assert tuple(found) == GOLDEN[name]


def test_combinations_of_factors_that_no_photo_has_are_told_from_those_that_training_lacks(tmp_path: Path) -> None:
    rows = [(f"{number}.png", *words) for number, words in enumerate([("cat", "kitten"), ("dog", "puppy")] * 20)]
    save_photos(tmp_path, [path for path, *_ in rows])
    save_table(tmp_path / "meta.csv", [("path", "species", "age"), *rows])
    task = find_task(tmp_path, SourceOptions(labels=("species", "age")))
    with pytest.raises(UserError) as caught:
        read_table(tmp_path, TrainConfig(), task=task)
    assert one_line(caught.value) == (
        "2 of the 4 combinations of species and age are in no photo: cat, puppy; dog, kitten. Write those that occur"
        " into one column and name that with --label, or search one of them (--set task=species)."
    )
    assert read_table(tmp_path, TrainConfig(task="species"), task=task).count("valid")[1] == 8
