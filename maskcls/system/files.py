"""Files written atomically (readers see the old content or the new), and what file systems allow."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from maskcls.system.errors import UserError

MAX_BYTES = 255
"""Longest file name on every usual file system; a character takes up to four bytes."""


def truncate_name(name: str, max_bytes: int) -> str:
    """The start of the name that fits into so many bytes, in whole characters."""
    return os.fsencode(name)[:max_bytes].decode("utf-8", errors="ignore")


def check_folder(path: Path, option: str) -> None:
    """Raise UserError where no folder is and none can be made, since a file or a broken link has its place."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise UserError(
                f"{option} {path}: {place} is a link to {place.readlink()}, which is not there. Create or mount it, or"
                " name another folder."
            )
        if place.exists() and not place.is_dir():
            raise UserError(f"{option} {path}: {place} is a file, not a folder. Name another folder.")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a temporary file beside ``path``, then move it there."""
    # a random name, as processes on two machines may have one number; the same ending, as numpy and Pillow go by it
    part = path.with_name(f".{uuid4().hex}.part{path.suffix}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically; a second name (a hard link) of the old file keeps the old text."""
    # backslashreplace for file names in the text that are not UTF-8
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8", errors="backslashreplace"))


def link(source: Path, target: Path) -> None:
    """Give ``source`` a second name (a hard link), or copy it where the file system has no links.

    Either file may be replaced later, but not written into. Raises FileExistsError when ``target`` exists.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another disk, or a file system without links
        shutil.copy2(source, target)
