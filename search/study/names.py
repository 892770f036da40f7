"""Names of studies: a study's name is also its folder's, and the dashboard can rename a study to anything."""

import os
from pathlib import Path

from maskcls.system.errors import UserError
from maskcls.system.files import MAX_BYTES

MAX_NAME = 100
"""In characters."""

MAX_NAME_BYTES = 180
"""In UTF-8; lower than files.MAX_BYTES, as the folders of a confirmation and of a deleted study have longer names."""

RESERVED = ("cache", "artifacts", "studies.db", "synthetic")
"""What the names of other files in the runs folder begin with."""


def checked_name(name: str) -> str:
    """The name for a new study. Raises UserError for one that its folder cannot have."""
    if not _has_valid_letters(name):
        raise UserError(
            f"A study's name is made of letters, digits, '.', '_' and '-' and begins with no '-', unlike {name!r}."
            " Use another --name. Rename a stored study in the dashboard, or continue it by --name NEW --from OLD."
        )
    size = len(os.fsencode(name))
    if len(name) > MAX_NAME or size > MAX_NAME_BYTES or name.startswith(RESERVED):
        raise UserError(
            f"A study's name is also its folder's: it has at most {MAX_NAME} characters and {MAX_NAME_BYTES} bytes, and"
            f" does not begin with {', '.join(RESERVED)}. Use another --name than {name!r} ({size} bytes); continue a"
            " study that is stored under it by --name NEW --from OLD."
        )
    return name


def is_name(name: str) -> bool:
    """Whether a folder can have the name; stored studies may exceed today's limits."""
    return _has_valid_letters(name) and len(os.fsencode(name)) <= MAX_BYTES and not name.startswith(RESERVED)


def _has_valid_letters(name: str) -> bool:
    is_option = name.startswith("-")
    return bool(name.strip(".")) and not is_option and all(letter.isalnum() or letter in "._-" for letter in name)


def folder_in(runs: Path, name: str) -> Path:
    """The folder of a stored study. Raises UserError for a name that no folder can have: the dashboard allows any."""
    if not is_name(name):
        raise UserError(f"A study's name is also its folder's, which cannot be {name!r}; rename it in the dashboard.")
    return runs / name
