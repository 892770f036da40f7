"""Photos without labels: which files of a folder to predict, under which names, in which order."""

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from maskcls.images.picture_files import is_link_to_nothing, is_picture
from maskcls.reading.csv_file import read_csv
from maskcls.reading.listing import list_folder
from maskcls.system.errors import UserError, count_of, one_line, some
from maskcls.system.paths import as_text

FORMULA = ("=", "+", "-", "@")
"""First characters by which spreadsheets take a cell for a formula."""


@dataclass(frozen=True)
class Unlabelled:
    """The photos of a submission, in its order."""

    folder: Path
    names: list[str]
    """ImageIDs exactly as in info.csv; without one, the paths of the files, relative to ``folder``."""
    files: list[str]
    """The file of each, relative to ``folder``."""
    notes: tuple[str, ...]
    """What was left out and what to watch for, in sentences for the user."""


def find_unlabelled(images: Path) -> Unlabelled:
    """The rows of info.csv in ``images`` or, for a folder named images, beside it; else the folder's pictures by name.

    Where it holds none itself, those in all folders below it.

    Raises UserError for a missing folder or photo, and for a name that leads out of the folder or is not text.
    """
    if not images.is_dir():
        raise UserError(f"There is no folder {images}; --images takes one with info.csv and images/, or one of photos.")
    info = next((path for path in (images / "info.csv", images.parent / "info.csv") if path.is_file()), None)
    folder = images / "images" if (images / "images").is_dir() else images
    if info is None or (info.parent != images and images.name != "images"):
        names, left_out, folders = _pictures(folder)
        if folders and not names:
            listing = list_folder(folder)
            names, left_out, folders = listing.pictures, listing.others, []
        files = names
    else:
        names, left_out = read_csv(info, ("ImageID",))["ImageID"].tolist(), []
        folders = []
        files = _files(info, folder, names)
    if not names:
        raise UserError(" ".join([f"There are no photos in {folder}.", *_notes(names, left_out, folders)]))
    return Unlabelled(folder, names, files, tuple(_notes(names, left_out, folders)))


def _pictures(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """(names of the pictures, of other files, of folders), each sorted; what is hidden is none of them."""
    pictures: list[str] = []
    others: list[str] = []
    folders: list[str] = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if is_link_to_nothing(entry.path) and is_picture(entry.path):
            raise UserError(f"{as_text(entry.path)} is a broken link; restore the photo, or remove the link.")
        if entry.is_file():
            (pictures if is_picture(entry.path) else others).append(entry.name)
        elif entry.is_dir():
            folders.append(entry.name)
    foreign = [as_text(name) for name in pictures if as_text(name) != name]
    if foreign:
        raise UserError(f"Names of photos must be UTF-8; {len(foreign)} are not: {some(foreign)}. Rename them.")
    return pictures, others, folders


def _files(info: Path, folder: Path, names: list[str]) -> list[str]:
    """The file of every ImageID. Raises UserError for one outside of the folder, and for one without a file."""
    outside = [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if outside:
        names_outside = some(map(one_line, outside))
        raise UserError(f"An ImageID must name a file in {folder}; {len(outside)} of {info} lead out: {names_outside}.")
    # file names from a Mac are decomposed Unicode, those in a table written elsewhere are composed
    name_on_disk = {normalize("NFC", entry.name): entry.name for entry in os.scandir(folder)}
    files = [name if _is_file(folder, name) else name_on_disk.get(normalize("NFC", name), name) for name in names]
    missing = [name or "(no name)" for name, file in zip(names, files, strict=True) if not _is_file(folder, file)]
    if missing:
        raise UserError(f"{count_of(len(missing), 'photo')} of {info} not in {folder}: {some(map(one_line, missing))}.")
    return files


def _is_file(folder: Path, name: str) -> bool:
    return os.path.isfile(f"{folder}/{name}")  # noqa: PTH113 - Path.is_file raises for a name that is too long


def _notes(names: list[str], left_out: list[str], folders: list[str]) -> list[str]:
    formulas = [name for name in names if name.startswith(FORMULA)]
    notes = []
    if left_out:
        notes.append(f"{count_of(len(left_out), 'file')} left out, not a picture: {some(map(as_text, left_out), 3)}.")
    if folders:
        notes.append(
            f"{count_of(len(folders), 'folder')} beside the photos left out: {some(map(as_text, folders), 3)}."
        )
    if formulas:
        notes.append(
            f"CAUTION: a spreadsheet takes {some(map(one_line, formulas), 3)} for a formula; names are written as they"
            " are, so import the submission as text."
        )
    return notes
