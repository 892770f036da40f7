"""Files written atomically: readers see the old one or the new."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from maskcls.system.errors import UserError

MAX_BYTES = 255
"""Of a file's name on every usual file system; a letter is up to four."""


def cut(name: str, most_bytes: int) -> str:
    """The beginning of the name that so many bytes hold, in whole letters."""
    return os.fsencode(name)[:most_bytes].decode("utf-8", errors="ignore")


def check_folder(path: Path, option: str) -> None:
    """Raise UserError where a folder can be neither found nor made, since something else has its place."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise UserError(
                f"{option} {path}: {place} is a link to {place.readlink()}, which is not there. Mount or make that, or"
                " name another folder."
            )
        if place.exists() and not place.is_dir():
            raise UserError(f"{option} {path}: {place} is a file, not a folder. Name another folder.")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a file beside ``path``, then put it in its place: readers see the old one or the new."""
    # of this call alone: a process's number is another one's on another machine; numpy and Pillow go by the ending
    part = path.with_name(f".{uuid4().hex}.part{path.suffix}")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """The text as a file of its own, also where the old one has a second name."""

    def write(part: Path) -> None:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")  # of names that are no UTF-8

    write_atomically(path, write)


def link(source: Path, target: Path) -> None:
    """A second name for the same file, which is never written into, only replaced; a copy where that cannot be.

    Raises FileExistsError when ``target`` is there.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another disk, or a file system without links
        shutil.copy2(source, target)
