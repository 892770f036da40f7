"""Training and validation people: no person on both sides, every class by its share, the same everywhere for a seed."""

import hashlib

import numpy as np
import pandas as pd

from maskcls.labels import CLASS_NAMES, part_of
from maskcls.system.errors import UserError, some


def split_by_person(photos: pd.DataFrame, valid_share: float = 0.2, split_seed: int = 0) -> pd.DataFrame:
    """``photos`` with a column "split": "train" or "valid".

    By pandas-streaming's train_test_apart_stratify. As delivered (0.5.2) it drops the result of its own
    permutation and walks through a set of the groups, so that with strings the split follows PYTHONHASHSEED and
    with sorted ones the lowest always go to the test side. So the groups given to it are seeded random ranks.
    Raises UserError for fewer than two people.
    """
    from pandas_streaming.df import train_test_apart_stratify

    if photos["person"].nunique() < 2:
        raise UserError("A split by person needs at least two people; the photos show one only.")
    ranked = photos.assign(rank=_random_ranks(photos["person"], split_seed))
    _, valid = train_test_apart_stratify(
        ranked, group="rank", stratify="label", test_size=valid_share, force=True, sorted_indices=True
    )
    split = np.where(photos["person"].isin(valid["person"].unique()), "valid", "train")
    return photos.assign(split=split)


def choose_judges(photos: pd.DataFrame, judge_round: int, valid_share: float, split_seed: int) -> pd.DataFrame:
    """A split table with other validation people, all of them from its training side; everybody else trains.

    The training side is dealt into about 1 / valid_share parts, every gender and age band by its share, and repeat
    judge_round = 1, 2, ... is judged by its part: nobody judges twice. Once all have judged, they are dealt anew.
    """
    folds = max(2, round(1 / valid_share))
    deal, fold = divmod(judge_round - 1, folds)
    person = photos[photos["split"] == "train"].drop_duplicates("person")[["person", "gender", "age"]]
    # not [split_seed, deal]: numpy takes [0, 0] for 0, the seed of the split itself
    person = person.assign(rank=_random_ranks(person["person"], [split_seed, deal + 1]))
    dealt = person.sort_values(["gender", "age", "rank"])["person"].to_numpy(dtype=str)
    return photos.assign(split=np.where(photos["person"].isin(dealt[fold::folds]), "valid", "train"))


def take_people(photos: pd.DataFrame, people: int, seed: int) -> pd.DataFrame:
    """The photos of ``people`` people, every gender and age band by its share; 0 means all of them.

    Raises UserError for more people than there are.
    """
    person = photos.drop_duplicates("person")[["person", "gender", "age"]]
    if people == 0:
        return photos
    if people > len(person):
        raise UserError(f"people must be at most {len(person)}, the number there are, not {people}.")
    person = person.assign(rank=_random_ranks(person["person"], seed)).sort_values("rank")
    cell = person.groupby(["gender", "age"])["rank"]
    # a person's place within the cell, as a share of it: taking the lowest takes from every cell alike
    place = (cell.cumcount() + 0.5) / cell.transform("size")
    chosen = person.assign(place=place).sort_values(["place", "rank"])["person"].head(people)
    return photos[photos["person"].isin(set(chosen))].reset_index(drop=True)


def _random_ranks(person_N: pd.Series, seed: int | list[int]) -> np.ndarray:
    """The random rank of every row's person, int64 [N]; depends on the set of names and the seed alone."""
    names, index_N = np.unique(person_N.to_numpy(dtype=str), return_inverse=True)
    return np.random.default_rng(seed).permutation(len(names))[index_N]


def split_hash(photos: pd.DataFrame) -> str:
    """Twelve hex digits that name the photos, their labels and the sides they are on.

    Of a photo its path and its size in bytes: a changed one is another dataset, a copied folder is not.
    """
    rows = photos.sort_values("path")
    columns = (rows[name] for name in ("path", "bytes", "label", "split"))
    text = "\n".join(" ".join(map(str, row)) for row in zip(*columns, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def missing_classes(photos: pd.DataFrame, side: str, task: str) -> list[str]:
    """Names of the task's classes that no photo on this side shows."""
    present = set(part_of(photos.loc[photos["split"] == side, "label"].to_numpy(), task))
    return [name for number, name in enumerate(CLASS_NAMES[task]) if number not in present]


def check_split(photos: pd.DataFrame, task: str) -> None:
    """Raise UserError unless the training side shows every class and the validation side has people."""
    missing = missing_classes(photos, "train", task)
    if missing:
        raise UserError(
            f"Training needs photos of every class; there are none of: {some(missing)}."
            " Add people of those classes, use more --people, or search a single task (--set task=mask)."
        )
    if not (photos["split"] == "valid").any():
        raise UserError("No people are left for validation; raise valid_share or use more people.")
