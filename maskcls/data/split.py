"""The split by person: no person on both sides, stratified by class, the same everywhere for a seed."""

import hashlib

import numpy as np
import pandas as pd

from maskcls.labels import LabelSpace
from maskcls.system.errors import UserError, some


def split_by_person(photos: pd.DataFrame, valid_share: float = 0.2, split_seed: int = 0) -> pd.DataFrame:
    """``photos`` with a column "split": "train" or "valid".

    By pandas-streaming's train_test_apart_stratify. Version 0.5.2 drops the result of its own permutation and iterates
    over a set of the groups: with strings the split depends on PYTHONHASHSEED, and with sorted groups the lowest always
    go to the test side. So the groups given to it are seeded random ranks.
    Raises UserError for fewer than two people.
    """
    from pandas_streaming.df import train_test_apart_stratify

    if photos["person"].nunique() < 2:
        raise UserError("A split by person needs at least two people; the photos show only one. Add people.")
    ranked = photos.assign(rank=_random_ranks(photos["person"], split_seed))
    _, valid = train_test_apart_stratify(
        ranked, group="rank", stratify="label", test_size=valid_share, force=True, sorted_indices=True
    )
    split = np.where(photos["person"].isin(valid["person"].unique()), "valid", "train")
    return photos.assign(split=split)


def choose_judges(photos: pd.DataFrame, judge_round: int, valid_share: float, split_seed: int) -> pd.DataFrame:
    """A split table with other validation people, all from its training side; everyone else trains.

    The training side is divided into about 1 / valid_share folds, stratified by gender and age band, and fold i
    validates repeat judge_round = i + 1. Once everyone has validated, new folds are drawn.
    """
    folds = max(2, round(1 / valid_share))
    draw, fold = divmod(judge_round - 1, folds)
    person = photos[photos["split"] == "train"].drop_duplicates("person")[["person", "gender", "age"]]
    # not [split_seed, draw]: numpy takes [0, 0] for 0, the seed of the split itself
    person = person.assign(rank=_random_ranks(person["person"], [split_seed, draw + 1]))
    ordered = person.sort_values(["gender", "age", "rank"])["person"].to_numpy(dtype=str)
    return photos.assign(split=np.where(photos["person"].isin(ordered[fold::folds]), "valid", "train"))


def take_people(photos: pd.DataFrame, people: int, seed: int) -> pd.DataFrame:
    """The photos of ``people`` people, stratified by gender and age band; 0: all people.

    Raises UserError for more people than there are.
    """
    person = photos.drop_duplicates("person")[["person", "gender", "age"]]
    if people == 0:
        return photos
    if people > len(person):
        raise UserError(f"people must be at most {len(person)}, the number in the data, not {people}.")
    person = person.assign(rank=_random_ranks(person["person"], seed)).sort_values("rank")
    cell = person.groupby(["gender", "age"])["rank"]
    # position within the cell in (0, 1): taking the lowest takes the same share of every cell
    position = (cell.cumcount() + 0.5) / cell.transform("size")
    chosen = person.assign(position=position).sort_values(["position", "rank"])["person"].head(people)
    return photos[photos["person"].isin(set(chosen))].reset_index(drop=True)


def _random_ranks(person_N: pd.Series, seed: int | list[int]) -> np.ndarray:
    """Random rank of every row's person, int64 [N]; it depends on the set of names and the seed alone."""
    names, index_N = np.unique(person_N.to_numpy(dtype=str), return_inverse=True)
    return np.random.default_rng(seed).permutation(len(names))[index_N]


def split_hash(photos: pd.DataFrame) -> str:
    """Twelve hex digits of a hash of every photo's path, size in bytes, label and side.

    Not of its time: a changed photo makes another dataset, a copied folder does not.
    """
    rows = photos.sort_values("path")
    columns = (rows[name] for name in ("path", "bytes", "label", "split"))
    text = "\n".join(" ".join(map(str, row)) for row in zip(*columns, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def missing_classes(photos: pd.DataFrame, side: str, space: LabelSpace, task: str) -> list[str]:
    """Names of the classes that a model of ``TrainConfig.task`` predicts and that have no photo on this side."""
    present = set(space.part_of(photos.loc[photos["split"] == side, "label"].to_numpy(), task).tolist())
    return [name for number, name in enumerate(space.predicted(task).names) if number not in present]


def check_split(photos: pd.DataFrame, space: LabelSpace, task: str) -> None:
    """Raise UserError unless the training side has photos of every class and the validation side has people."""
    missing = missing_classes(photos, "train", space, task)
    if missing:
        raise UserError(
            f"Training needs photos of every class; there are none of: {some(missing)}."
            " Add people of those classes, use more --people, or search a single task (--set task=mask)."
        )
    if not (photos["split"] == "valid").any():
        raise UserError("No people are left for validation; raise valid_share or use more people.")
