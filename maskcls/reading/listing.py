"""Everything that lies under a data folder: pictures, other files, and what cannot be read."""

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from maskcls.images.picture_files import PICTURE_ENDINGS, is_link_to_nothing, is_picture
from maskcls.system.errors import UserError, one_line, some
from maskcls.system.paths import as_text

NO_PHOTOS = {
    *("__MACOSX", "@eaDir", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN", "lost+found"),
    "System Volume Information",
}
"""Folders that archives and file servers leave anywhere."""


@dataclass
class Listing:
    """Paths relative to the folder, with ``/`` between names, each kind sorted."""

    folder: Path
    pictures: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Regular files that are no pictures."""
    unusable: dict[str, str] = field(default_factory=dict)
    """Broken links, and what is named like a picture but is no regular file -> what it is."""
    folders: list[str] = field(default_factory=list)


def list_folder(folder: Path) -> Listing:
    """What lies under ``folder``, at any depth. Hidden files are left out, and what archives and file servers leave.

    Links are followed, except for those to a folder that holds them.
    Raises UserError for a folder that is missing or cannot be opened, and for names of pictures that are not UTF-8 or
    occur twice, in two spellings of Unicode.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file. Give its folder to --data, and a table of labels to --table.")
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}. Give --data a folder of photos.")
    listing = Listing(folder)
    to_do: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset({_identity(folder)}))]
    while to_do:
        inner, above = to_do.pop()
        for entry in _entries(folder, inner):
            if entry.name.startswith(".") or entry.name in NO_PHOTOS:
                continue
            path = f"{inner}/{entry.name}" if inner else entry.name
            if not entry.is_dir():
                _add_file(listing, entry, path)
            elif not entry.is_symlink() or _identity(entry) not in above:
                listing.folders.append(path)
                to_do.append((path, above | {_identity(entry)}))
    for paths in (listing.pictures, listing.others, listing.folders):
        paths.sort()
    _check_names(listing)
    return listing


def _identity(place: Path | os.DirEntry[str]) -> tuple[int, int]:
    stat = place.stat()
    return stat.st_dev, stat.st_ino


def _entries(folder: Path, inner: str) -> list[os.DirEntry[str]]:
    try:
        return list(os.scandir(folder / inner))
    except OSError as error:
        raise UserError(
            f"The folder {as_text(str(folder / inner))} cannot be read: {one_line(error.strerror or error)}."
        ) from None


def _add_file(listing: Listing, entry: os.DirEntry[str], path: str) -> None:
    if entry.is_file():
        (listing.pictures if is_picture(entry.path) else listing.others).append(path)
        return
    # by its ending alone: what is no regular file is not opened, and a link without an ending may be to a folder
    ending = PurePosixPath(path).suffix.lower()
    is_broken = is_link_to_nothing(entry.path)
    if ending in PICTURE_ENDINGS or (is_broken and not ending):
        listing.unusable[path] = "is a broken link" if is_broken else "is not a regular file"


def _check_names(listing: Listing) -> None:
    """Raise UserError for names that are not text or occur twice: they go into hashes, predictions and pages."""
    foreign = [as_text(path) for path in listing.pictures if as_text(path) != path]
    if foreign:
        raise UserError(
            f"Names of photos and their folders must be UTF-8; {len(foreign)} in {listing.folder} are not:"
            f" {some(foreign)}. Rename them."
        )
    composed: dict[str, str] = {}
    for path in [*listing.folders, *listing.pictures]:
        if composed.setdefault(normalize("NFC", path), path) != path:
            raise UserError(
                f"{listing.folder} holds {as_text(path)} twice, in two spellings of Unicode; remove one of them."
            )
