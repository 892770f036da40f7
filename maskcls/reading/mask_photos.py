"""A folder in the mask competition's layout -> a table with one row per photo.

Layout: ``images/<id>_<gender>_<race>_<age>/{mask1..mask5,incorrect_mask,normal}.<ext>``,
with an optional ``train.csv`` (columns id, gender, race, age, path) beside it. A person is a *folder*: ids repeat.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pandas as pd

from maskcls.images.picture_files import is_link_to_nothing, is_picture
from maskcls.reading.csv_file import read_csv
from maskcls.reading.label_fixes import fix_labels
from maskcls.reading.listing import NO_PHOTOS
from maskcls.system.errors import UserError, count_of, one_line, some
from maskcls.system.paths import as_text
from maskcls.tasks.mask import GENDER, OLDEST

MASK_OF_STEM = {**{f"mask{i}": 0 for i in range(1, 6)}, "incorrect_mask": 1, "normal": 2}
"""File stem -> mask state. Files with other stems are not photos of the dataset."""

PERSON = re.compile(r"(?P<id>[^_]+)_(?P<gender>male|female)_(?P<race>.+)_(?P<years>\d{1,3})")
ALMOST_PERSON = re.compile(r"_(fe)?male_", re.IGNORECASE)
"""What a person's folder is known by, also where other parts of its name are wrong."""

CSV_COLUMNS = ("id", "gender", "race", "age", "path")


@dataclass
class LeftOut:
    """Files and folders that are not taken for photos or people, as ``<person>/<file>`` and ``<person>``."""

    pictures: list[str] = field(default_factory=list)
    """Pictures that are not named like a photo."""
    others: list[str] = field(default_factory=list)
    """Files that are named like a photo but are not pictures, where no photo has that name."""
    people: list[str] = field(default_factory=list)
    """Folders without a photo."""

    def notes(self) -> list[str]:
        """A sentence for each kind that occurs."""
        kinds = (
            (self.pictures, "picture", "", "not named like a photo (mask1 to mask5, incorrect_mask, normal)"),
            (self.others, "file", "", "named like a photo but without the ending of a picture"),
            (self.people, "person", "people", "without a photo in the folder"),
        )
        return [
            f"{count_of(len(names), one, many)} left out, {reason}: {some(names, 3)}."
            for names, one, many, reason in kinds
            if names
        ]


def list_photos(folder: Path, label_fixes: str = "auto", note: Callable[[str], None] = lambda _: None) -> pd.DataFrame:
    """Table of the photos under ``folder``, sorted by path.

    Columns: path (relative to ``folder``), bytes (the file's size), person, id, stem, mask, gender, age (class
    numbers), years, label (0..17).
    ``label_fixes``: a CSV with the columns person, photo, gender, age, mask; "none"; or "auto", the list that
    ships with the project, applied when all of its ids occur in the folder. ``note`` is called with sentences on what
    was left out and what the fixes changed.
    Raises UserError when the folder is not such a dataset, or when train.csv disagrees with the folder names.
    """
    left_out = LeftOut()
    people = _list_people(folder, left_out)
    _check_against_csv(folder / "train.csv", people)
    rows = [row for name in sorted(people) for row in _photos_of(folder, name, people[name], left_out)]
    if not rows:
        stems = ", ".join(MASK_OF_STEM)
        notes = " ".join(["", *left_out.notes()])
        raise UserError(f"There are no photos in {folder}/images: no file is named {stems}.{notes}")
    photos = pd.DataFrame(rows, columns=["path", "bytes", "person", "id", "stem", "mask", "gender", "years"])
    for text in left_out.notes():
        note(text)
    return fix_labels(photos, label_fixes, note)


def looks_like_masks(folder: Path) -> bool:
    """Whether the folder is in this layout, or was meant to be: list_photos then says what is wrong with it."""
    if _where_instead(folder):
        return True
    images = folder / "images"
    if not images.is_dir():
        return False
    names = [entry.name for entry in os.scandir(images)]
    # of folders that are named otherwise, the files inside still tell
    inside = (images / name / f"incorrect_mask{ending}" for name in names for ending in (".jpg", ".jpeg", ".png"))
    return any(map(ALMOST_PERSON.search, names)) or any(path.is_file() for path in inside)


def _list_people(folder: Path, left_out: LeftOut) -> dict[str, dict[str, str]]:
    """Name of a person's folder -> its parts (id, gender, race, years). Raises UserError for any other layout."""
    images = folder / "images"
    if not images.is_dir():
        missing = folder if not folder.is_dir() else images
        raise UserError(
            f"There is no folder {missing}; the data folder must hold images/<id>_<gender>_<race>_<age>/."
            f"{_where_instead(folder)}"
        )
    names = [entry.name for entry in os.scandir(images) if _is_folder(entry, left_out)]
    matches = {name: PERSON.fullmatch(name) for name in names}
    strange = sorted(name for name, match in matches.items() if match is None)
    if strange:
        inner = next((name for name in strange if _holds_people(images / name)), None)
        hint = "" if inner is None else f" There are folders of people in {as_text(inner)}; move those up."
        raise UserError(
            f"Folders in {images} must be named <id>_<male|female>_<race>_<age>; {len(strange)} are not:"
            f" {some(one_line(as_text(name)) for name in strange)}. Rename or remove them.{hint}"
        )
    people = {name: match.groupdict() for name, match in matches.items() if match}
    _check_names(people)
    return people


def _is_folder(entry: os.DirEntry[str], left_out: LeftOut) -> bool:
    """Whether it is a person's folder, whatever its name. Raises UserError for what stands in place of one."""
    shown = f"images/{as_text(entry.name)}"
    if entry.name.startswith(".") or entry.name in NO_PHOTOS:
        return False
    if is_link_to_nothing(entry.path):
        raise UserError(f"{shown} is a broken link; restore its target, or remove it.")
    if not entry.is_dir() and PERSON.fullmatch(entry.name):
        raise UserError(f"{shown} is a file, named like a person's folder; restore the folder.")
    left_out.pictures += [shown] if entry.is_file() and is_picture(entry.path) else []
    return entry.is_dir()


def _check_names(people: dict[str, dict[str, str]]) -> None:
    """Raise UserError for names that are not text or occur twice, and for impossible ages."""
    foreign = [as_text(name) for name in sorted(people) if as_text(name) != name]
    if foreign:  # names go into hashes, predictions and pages
        raise UserError(f"Folder names must be UTF-8; {some(foreign)} is not. Rename it in images/.")
    composed: set[str] = set()
    for name in sorted(people):
        if normalize("NFC", name) in composed:
            raise UserError(f"images/ holds {name} twice, in two spellings of Unicode; remove one of them.")
        composed.add(normalize("NFC", name))
    old = [name for name in sorted(people) if int(people[name]["years"]) > OLDEST]
    if old:
        raise UserError(f"An age is at most {OLDEST} years; {len(old)} folders have more: {some(old)}. Rename them.")


def _where_instead(folder: Path) -> str:
    """A hint at the folder that was probably meant, one level up or one or two down; empty without one."""
    if folder.name == "images" and folder.is_dir() and _holds_people(folder):
        return f" The folder above it does: {folder.parent}."
    if not folder.is_dir():
        return ""
    if _holds_people(folder):
        return f" The folders of people lie in {folder} itself; move them into {folder / 'images'}."
    below = sorted(path for depth in ("images", "*/images", "*/*/images") for path in folder.glob(depth))
    inner = [path for path in below if path.is_dir() and not NO_PHOTOS & set(path.parts) and _holds_people(path)]
    return f" {inner[0].parent} does." if inner else ""


def _holds_people(folder: Path) -> bool:
    return any(PERSON.fullmatch(entry.name) for entry in os.scandir(folder))


def _photos_of(folder: Path, name: str, parts: dict[str, str], left_out: LeftOut) -> list[tuple[Any, ...]]:
    """The person's rows of the table, sorted by file name."""
    identity, gender, years = parts["id"], GENDER.classes.index(parts["gender"]), int(parts["years"])
    return [
        (f"images/{name}/{file.name}", file.stat().st_size, name, identity, stem, MASK_OF_STEM[stem], gender, years)
        for stem, file in _files_of(folder, name, left_out).items()
    ]


def _files_of(folder: Path, name: str, left_out: LeftOut) -> dict[str, os.DirEntry[str]]:
    """Stem -> file of each of the person's photos. Raises UserError for two of one stem, and for what is not a file."""
    files: dict[str, os.DirEntry[str]] = {}
    others: dict[str, str] = {}
    for entry in sorted(os.scandir(folder / "images" / name), key=lambda entry: entry.name):
        stem, ending = os.path.splitext(entry.name)  # noqa: PTH122 - faster than a Path
        shown = f"{name}/{as_text(entry.name)}"
        if entry.name.startswith(".") or (stem not in MASK_OF_STEM and not ending):
            continue
        if is_link_to_nothing(entry.path):
            if stem in MASK_OF_STEM and is_picture(entry.path):
                raise UserError(f"images/{shown} is a broken link; restore the photo, or remove the link.")
        elif not entry.is_file():
            if stem in MASK_OF_STEM and not entry.is_dir():
                raise UserError(f"images/{shown} is not a regular file; restore the photo, or remove it.")
        elif stem not in MASK_OF_STEM:
            left_out.pictures += [shown] if is_picture(entry.path) else []
        elif not is_picture(entry.path):
            others.setdefault(stem, shown)  # often another tool's notes, beside the photo
        elif stem in files:
            raise UserError(
                f"images/{name} holds both {files[stem].name} and {entry.name}; a person has one photo of each name."
            )
        else:
            files[stem] = entry
    left_out.others += [shown for stem, shown in others.items() if stem not in files]
    left_out.people += [] if files else [name]
    return files


def _check_against_csv(path: Path, people: dict[str, dict[str, str]]) -> None:
    """Raise UserError if there is a train.csv that disagrees with the folder names.

    Names are compared in Unicode's composed form: those of folders that come from a Mac are decomposed.
    """
    if is_link_to_nothing(str(path)):
        raise UserError(f"{path} is a broken link; restore the file, or remove the link to use the folder names.")
    if not path.is_file():
        return
    table = read_csv(path, CSV_COLUMNS)
    listed = table["path"].map(lambda name: normalize("NFC", name))
    parts_by_name = {normalize("NFC", name): parts for name, parts in people.items()}
    differences = [f"{name} is not in train.csv" for name in sorted(parts_by_name.keys() - set(listed))]
    for name, row in zip(listed, table.to_dict("records"), strict=True):
        parts = parts_by_name.get(name)
        if parts is None:
            differences.append(f"images/{row['path']} does not exist")
        elif row["gender"] != parts["gender"] or not _same_age(row["age"], parts["years"]):
            differences.append(f"{row['path']} is {row['gender']} {row['age']} in train.csv")
    differences += [f"{name} is listed twice" for name in listed[listed.duplicated()]]
    if differences:
        lines = (" ".join(text.splitlines()) for text in differences)  # a cell may hold several
        raise UserError(
            f"{path} and the folder names disagree in {len(differences)} places: {some(lines)}."
            " Correct one of them, or move train.csv away to use the folder names."
        )


def _same_age(text: str, years: str) -> bool:
    try:
        return float(text) == int(years)
    except ValueError:
        return False
