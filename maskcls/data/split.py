"""The split by person: no person on both sides, stratified by class, the same everywhere for a seed.

A person stands for any group of photos that must not be on both sides; ``unit`` is the word for it in messages, and
splitters.py says how groups of different sizes are split.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd

from maskcls.config import TrainConfig
from maskcls.data.splitters import (
    GIVEN,
    PANDAS_STREAMING,
    PEOPLE,
    SPLITTERS,
    STRATIFIED_GROUP,
    GroupCounts,
    balances_photos,
    group_folds,
    lonely_classes,
    random_ranks,
    single_group_text,
    split_given,
    split_uneven,
)
from maskcls.labels import ALL, LabelSpace
from maskcls.system.errors import UserError, some
from maskcls.tasks.task import Task, Unit

RANK = "random rank"
"""Column beside those of the strata, whose names never have a space: a factor of the label may be called rank."""


def split_photos(
    photos: pd.DataFrame, splitter: str, valid_share: float = 0.2, split_seed: int = 0, unit: Unit = PEOPLE
) -> tuple[pd.DataFrame, str]:
    """(``photos`` with a column "split", a sentence for the plan if the split is not as asked, else empty).

    ``splitter``: one of splitters.SPLITTERS. Raises UserError for another, and for photos that it cannot split.
    """
    if splitter == PANDAS_STREAMING:
        return split_by_person(photos, valid_share, split_seed, unit), ""
    if splitter == STRATIFIED_GROUP:
        return split_uneven(photos, valid_share, split_seed, unit)
    if splitter == GIVEN:
        return split_given(photos, unit), ""
    raise UserError(f"No splitter named {splitter!r}. There are: {', '.join(SPLITTERS)}.")


def check_draws_split(typed: Iterable[str], task: Task, config: TrainConfig) -> None:
    """Raise UserError where a typed hyperparameter of the drawn split would change nothing, since the data gives one.

    ``typed``: names of hyperparameters. The folds of a later ``judge_round`` depend on both, and the choice of
    ``people`` on split_seed, whoever gives the split.
    """
    if task.splitter != GIVEN or config.judge_round:
        return
    idle = {"valid_share"} if config.people else {"valid_share", "split_seed"}
    if name := min(idle & set(typed), default=""):
        drawn = "--split none" if task.source.reader == "table" else "name a folder that holds the classes themselves"
        raise UserError(
            f"{name}={getattr(config, name)} would change nothing: the data says who trains and who validates. Leave it"
            f" out, or have the split drawn: {drawn}."
        )


def split_by_person(
    photos: pd.DataFrame, valid_share: float = 0.2, split_seed: int = 0, unit: Unit = PEOPLE
) -> pd.DataFrame:
    """``photos`` with a column "split": "train" or "valid".

    By pandas-streaming's train_test_apart_stratify. Version 0.5.2 drops the result of its own permutation and iterates
    over a set of the groups: with strings the split depends on PYTHONHASHSEED, and with sorted groups the lowest always
    go to the test side. So the groups given to it are seeded random ranks.
    Raises UserError for fewer than two people.
    """
    from pandas_streaming.df import train_test_apart_stratify

    if photos["person"].nunique() < 2:
        raise UserError(single_group_text(unit))
    ranked = photos.assign(rank=random_ranks(photos["person"], split_seed))
    _, valid = train_test_apart_stratify(
        ranked, group="rank", stratify="label", test_size=valid_share, force=True, sorted_indices=True
    )
    split = np.where(photos["person"].isin(valid["person"].unique()), "valid", "train")
    return photos.assign(split=split)


def choose_judges(
    photos: pd.DataFrame,
    judge_round: int,
    valid_share: float,
    split_seed: int,
    strata: tuple[str, ...],
    splitter: str = PANDAS_STREAMING,
) -> pd.DataFrame:
    """A split table with other validation people, all from its training side; everyone else trains, but for test rows.

    The training side is divided into about 1 / valid_share folds, stratified by ``strata`` (without any by label), and
    fold i validates repeat judge_round = i + 1. Once everyone has validated, new folds are drawn.
    Folds have equal numbers of people; by the splitter for uneven groups, of photos, and a person whose class nobody
    else has never validates, since that class would not be learned.
    """
    deal = _judges_by_photos if balances_photos(photos, splitter) else _judges_by_heads
    judges = deal(photos, judge_round, valid_share, split_seed, strata)
    sides = np.where(photos["person"].isin(judges), "valid", "train")
    return photos.assign(split=np.where(photos["split"] == "test", "test", sides))


def take_people(
    photos: pd.DataFrame,
    people: int,
    seed: int,
    strata: tuple[str, ...],
    splitter: str = PANDAS_STREAMING,
    unit: Unit = PEOPLE,
) -> pd.DataFrame:
    """The photos of ``people`` people, stratified by ``strata`` (without any by most frequent label); 0: all people.

    Every cell gives the same share of its people; by the splitter for uneven groups, of its photos.
    Raises UserError for more people than there are.
    """
    if people == 0:
        return photos
    person, cell = _people(photos, strata)
    if people > len(person):
        of = "" if unit == PEOPLE else f" of {unit.many}"
        raise UserError(f"people must be at most {len(person)}, the number{of} in the data, not {people}.")
    person = person.assign(**{RANK: random_ranks(person["person"], seed)}).sort_values(RANK)
    # position within the cell in (0, 1): taking the lowest takes the same share of every cell
    if balances_photos(photos, splitter):
        size = person["person"].map(photos["person"].value_counts())
        by_cell = size.groupby([person[name] for name in cell])
        position = (by_cell.cumsum() - size / 2) / by_cell.transform("sum")
    else:
        ranks = person.groupby(cell)[RANK]
        position = (ranks.cumcount() + 0.5) / ranks.transform("size")
    chosen = person.assign(position=position).sort_values(["position", RANK])["person"].head(people)
    return photos[photos["person"].isin(set(chosen))].reset_index(drop=True)


def _judges_by_heads(
    photos: pd.DataFrame, judge_round: int, valid_share: float, split_seed: int, strata: tuple[str, ...]
) -> np.ndarray:
    """The people who judge this round: folds of as many people each, text."""
    folds = max(2, round(1 / valid_share))
    draw, fold = divmod(judge_round - 1, folds)
    person, cell = _people(photos[photos["split"] == "train"], strata)
    # not [split_seed, draw]: numpy takes [0, 0] for 0, the seed of the split itself
    person = person.assign(**{RANK: random_ranks(person["person"], [split_seed, draw + 1])})
    ordered = person.sort_values([*cell, RANK])["person"].to_numpy(dtype=str)
    return ordered[fold::folds]


def _judges_by_photos(
    photos: pd.DataFrame, judge_round: int, valid_share: float, split_seed: int, strata: tuple[str, ...]
) -> np.ndarray:
    """The people who judge this round: folds of as many photos each, text."""
    alone = set(lonely_classes(photos[photos["split"] != "test"]).values())
    able = photos[(photos["split"] == "train") & ~photos["person"].isin(alone)]
    key = able.groupby(list(strata)).ngroup() if strata else able["label"]
    counts = GroupCounts.of(able["person"], key)
    folds = min(max(2, round(1 / valid_share)), len(counts.names))
    if folds < 2:
        return counts.names
    draw, fold = divmod(judge_round - 1, folds)
    return counts.names[group_folds(counts.photos_GK, folds, [split_seed, draw + 1]) == fold]


def _people(photos: pd.DataFrame, strata: tuple[str, ...]) -> tuple[pd.DataFrame, list[str]]:
    """(one row a person in order of first photos, the columns that stratify them): most frequent label without any."""
    if strata:
        return photos.drop_duplicates("person")[["person", *strata]], list(strata)
    counts = photos.groupby(["person", "label"]).size().rename("photos").reset_index()
    most = counts.sort_values(["photos", "label"], ascending=[False, True]).drop_duplicates("person")
    return most[["person", "label"]], ["label"]


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


def check_split(photos: pd.DataFrame, task: Task, part: str) -> None:
    """Raise UserError unless the training side has photos of every class and the validation side has people.

    ``part``: ``TrainConfig.task``, what is predicted.
    """
    unit, parts = task.unit, task.space.parts if part == ALL else ()
    missing = missing_classes(photos, "train", task.space, part)
    if missing and parts and task.source.reader != "mask":
        _check_combinations(photos, task)
    if missing:
        single = f", or search a single task (--set task={parts[0]})" if parts else ""
        raise UserError(
            f"Training needs photos of every class; there are none of: {some(missing)}."
            f" Add {unit.many} of those classes, use more --people{single}."
        )
    if not (photos["split"] == "valid").any():
        raise UserError(f"No {unit.many} are left for validation; raise valid_share or use more {unit.many}.")


def _check_combinations(photos: pd.DataFrame, task: Task) -> None:
    """Raise UserError for combinations of the factors' classes that occur in no photo: no more photos would help."""
    names = task.space.names
    present = set(photos["label"].tolist())
    absent = [name for number, name in enumerate(names) if number not in present]
    if absent:
        parts = task.space.parts
        raise UserError(
            f"{len(absent):,} of the {len(names):,} combinations of {' and '.join(parts)} are in no"
            f" photo: {some(absent)}."
            f" Write those that occur into one column and name that with --label, or search one of them (--set"
            f" task={parts[0]})."
        )
