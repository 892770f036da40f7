"""The files that a stored study was made from: they may have moved, or the command runs in another folder."""

from pathlib import Path

from maskcls.reading.hf import PREFIX
from maskcls.system.errors import UserError
from maskcls.system.paths import WORDS, absolute_if_path
from search.study.record import Stored


def photos_now(stored: Stored, name: str, data: str | None) -> str:
    """Where the photos of the stored study ``name`` are: --data as given now, else as the study was made with.

    Raises UserError if the study's photos, or the label fixes that were applied to them, are not where they were.
    """
    folder = stored.data.removeprefix(PREFIX)
    if data is None and folder not in WORDS and not Path(folder).is_dir():
        raise UserError(
            f"Study {name!r} was made with the photos in {folder}, but there is no such folder"
            f" {_searched(folder)}. Give it by --data."
        )
    if stored.label_fixes not in WORDS and not Path(stored.label_fixes).is_file():
        raise UserError(
            f"Study {name!r} was made with the label fixes in {stored.label_fixes}, but there is no such file"
            f" {_searched(stored.label_fixes)}. Put it back."
        )
    return stored.data if data is None else absolute_if_path(data)


def _searched(path: str) -> str:
    """Where the path was looked for; earlier versions stored paths as they were typed."""
    return "any more" if Path(path).is_absolute() else f"under {Path.cwd()}; the path was typed in another folder"
