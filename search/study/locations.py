"""Where the files that a stored study was made from are now: a later command is run from elsewhere, or much later."""

from pathlib import Path

from maskcls.system.errors import UserError
from maskcls.system.paths import WORDS, absolute_if_path
from search.study.record import Stored


def photos_now(stored: Stored, name: str, data: str | None) -> str:
    """--data for a command on the stored study ``name``: as given to it, else as the study has it.

    Raises UserError when the study's photos, or the label fixes that were applied to them, are not where they were.
    """
    if data is None and stored.data not in WORDS and not Path(stored.data).is_dir():
        raise UserError(
            f"Study {name!r} has its photos in {stored.data}, and there is no such folder {_here(stored.data)}."
            " Name it by --data."
        )
    if stored.label_fixes not in WORDS and not Path(stored.label_fixes).is_file():
        raise UserError(
            f"Study {name!r} has its label fixes from {stored.label_fixes}, and there is no such file"
            f" {_here(stored.label_fixes)}. Bring it back."
        )
    return stored.data if data is None else absolute_if_path(data)


def _here(path: str) -> str:
    """Earlier versions kept paths as they were typed."""
    return "any more" if Path(path).is_absolute() else f"under {Path.cwd()}; it was typed in another folder"
