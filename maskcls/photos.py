"""A dataset folder -> a table with one row a photo, and an overlay that mends known label errors.

Layout (the mask competition's): ``images/<id>_<gender>_<race>_<age>/{mask1..mask5,incorrect_mask,normal}.<ext>``,
beside it optionally ``train.csv`` with the columns id, gender, race, age, path. A person is a *folder*: ids repeat.
"""

import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from maskcls.errors import UserError, one_line, some
from maskcls.labels import GENDERS, MASKS, age_band, encode

MASK_OF_STEM = {**{f"mask{i}": 0 for i in range(1, 6)}, "incorrect_mask": 1, "normal": 2}
"""File stem -> mask state. Other stems are no photos of the dataset."""

PERSON = re.compile(r"(?P<id>[^_]+)_(?P<gender>male|female)_(?P<race>.+)_(?P<years>\d{1,3})")
CSV_COLUMNS = ("id", "gender", "race", "age", "path")
FIX_COLUMNS = ("person", "photo", "gender", "age", "mask")


def list_photos(folder: Path, label_fixes: str = "auto") -> pd.DataFrame:
    """Table of the photos under ``folder``, sorted by path.

    Columns: path (relative to ``folder``), bytes (the file's size), person, id, stem, mask, gender, age (class
    numbers), years, label (0..17).
    ``label_fixes``: a CSV with the columns person, photo, gender, age, mask; "none"; or "auto", the list that
    ships with the project, applied when all of its ids occur in the folder.
    Raises UserError when the folder is not such a dataset, or train.csv and the folder names disagree.
    """
    people = _list_people(folder)
    _check_against_csv(folder / "train.csv", people)
    rows = [row for name in sorted(people) for row in _photos_of(folder, name, people[name])]
    if not rows:
        stems = ", ".join(MASK_OF_STEM)
        raise UserError(f"There are no photos in {folder}/images: no file there has one of the names {stems}.")
    photos = pd.DataFrame(rows, columns=["path", "bytes", "person", "id", "stem", "mask", "gender", "years"])
    return _with_labels(_mend(photos, label_fixes))


def _list_people(folder: Path) -> dict[str, dict[str, str]]:
    """Person folder's name -> its parts (id, gender, race, years)."""
    images = folder / "images"
    if not images.is_dir():
        missing = folder if not folder.is_dir() else images
        raise UserError(f"There is no folder {missing}; the data folder must hold images/<id>_<gender>_<race>_<age>/.")
    names = [entry.name for entry in os.scandir(images) if entry.is_dir() and not entry.name.startswith(".")]
    people = {name: PERSON.fullmatch(name) for name in names}
    strange = sorted(name for name, match in people.items() if match is None)
    if strange:
        raise UserError(
            f"Folders in {images} must be named <id>_<male|female>_<race>_<age>; {len(strange)} are not:"
            f" {some(strange)}. Rename or remove them."
        )
    return {name: match.groupdict() for name, match in people.items() if match}


def _photos_of(folder: Path, name: str, parts: dict[str, str]) -> list[tuple[Any, ...]]:
    found: dict[str, os.DirEntry[str]] = {}
    for entry in sorted(os.scandir(folder / "images" / name), key=lambda entry: entry.name):
        stem, _ = os.path.splitext(entry.name)  # noqa: PTH122 - faster; of ".name" the name itself: no photo's
        if stem not in MASK_OF_STEM or entry.is_dir():
            continue
        if not entry.is_file():
            raise UserError(f"images/{name}/{entry.name} is a link to nothing; remove it, or bring the photo back.")
        if stem in found:
            raise UserError(
                f"images/{name} holds both {found[stem].name} and {entry.name}; a person has one photo of each name."
            )
        found[stem] = entry
    gender, years = GENDERS.index(parts["gender"]), int(parts["years"])
    return [
        (
            f"images/{name}/{entry.name}",
            entry.stat().st_size,
            name,
            parts["id"],
            stem,
            MASK_OF_STEM[stem],
            gender,
            years,
        )
        for stem, entry in found.items()
    ]


def _check_against_csv(path: Path, people: dict[str, dict[str, str]]) -> None:
    """train.csv is optional; where it is there, it must tell the same as the folders."""
    if not path.is_file():
        return
    table = read_csv(path, CSV_COLUMNS)
    differences = [f"{name} is not in train.csv" for name in sorted(people.keys() - set(table["path"]))]
    for row in table.to_dict("records"):
        parts = people.get(row["path"])
        if parts is None:
            differences.append(f"images/{row['path']} does not exist")
        elif row["gender"] != parts["gender"] or not _same_age(row["age"], parts["years"]):
            differences.append(f"{row['path']} is {row['gender']} {row['age']} in train.csv")
    repeated = table["path"][table["path"].duplicated()]
    differences += [f"{name} is listed twice" for name in repeated]
    if differences:
        raise UserError(
            f"{path} and the folder names disagree in {len(differences)} places: {some(differences)}."
            " Mend one of them, or move train.csv away to go by the folder names."
        )


def _same_age(text: str, years: str) -> bool:
    try:
        return float(text) == int(years)
    except ValueError:
        return False


def read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A CSV of strings (ids have leading zeros), empty cells as empty strings."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' parser and decoding errors are ValueErrors
        raise UserError(f"{path} cannot be read as CSV: {one_line(error)}.") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(f"{path} must have the columns {', '.join(columns)}; {', '.join(missing)} is missing.")
    return table


def _with_labels(photos: pd.DataFrame) -> pd.DataFrame:
    age = age_band(photos["years"].to_numpy())
    label = encode(photos["mask"].to_numpy(), photos["gender"].to_numpy(), age)
    return photos.assign(age=age, label=label).reset_index(drop=True)


def _mend(photos: pd.DataFrame, label_fixes: str) -> pd.DataFrame:
    if label_fixes == "none":
        return photos
    if label_fixes == "auto":
        with resources.as_file(resources.files("maskcls") / "label_fixes.csv") as path:
            fixes = read_csv(path, FIX_COLUMNS)
        # ids such as 000020 occur in other datasets too: only a folder with all of them is the one meant
        return _apply(photos, fixes, "the shipped list") if set(fixes["person"]) <= set(photos["id"]) else photos
    path = Path(label_fixes)
    if not path.is_file():
        raise UserError(f"There is no file {path}; --label-fixes takes a CSV with {', '.join(FIX_COLUMNS)}, or none.")
    return _apply(photos, read_csv(path, FIX_COLUMNS), str(path))


def _apply(photos: pd.DataFrame, fixes: pd.DataFrame, source: str) -> pd.DataFrame:
    """Every filled cell of a row overrules that person's (or, with ``photo``, that photo's) label."""
    photos = photos.copy()
    for fix in fixes.to_dict("records"):
        of_person = (photos["id"] == fix["person"]) | (photos["person"] == fix["person"])
        folders = photos.loc[of_person, "person"].unique()
        if len(folders) > 1:
            raise UserError(f"{source}: id {fix['person']} is {len(folders)} people; name the folder: {some(folders)}.")
        rows = of_person & ((photos["stem"] == fix["photo"]) | (fix["photo"] == ""))
        if not rows.any():
            raise UserError(f"{source}: there is no photo {fix['person']} {fix['photo']} in this dataset.")
        for column, value in _fixed_values(fix, source).items():
            photos.loc[rows, column] = value
    return photos


def _fixed_values(fix: dict[Any, str], source: str) -> dict[str, int]:
    values = {}
    for column, known in (("gender", GENDERS), ("mask", MASKS)):
        if fix[column]:
            if fix[column] not in known:
                raise UserError(f"{source}: {column} must be {' or '.join(known)}, not {fix[column]!r}.")
            values[column] = known.index(fix[column])
    if fix["age"]:
        if not fix["age"].isdecimal():
            raise UserError(f"{source}: age must be a whole number of years, not {fix['age']!r}.")
        values["years"] = int(fix["age"])
    if fix["photo"] and len(values.keys() - {"mask"}):
        raise UserError(f"{source}: gender and age belong to a person; leave photo empty for {fix['person']}.")
    return values
