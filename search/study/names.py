"""Names of studies: each is a folder's too, and the dashboard renames a study to anything."""

import os
from pathlib import Path

from maskcls.system.errors import UserError
from maskcls.system.files import MAX_BYTES

CHARACTERS = "letters, digits, '.', '_' and '-'"
LONGEST_NAME = 100
LONGEST_BYTES = 180
"""In UTF-8. A folder's name has files.MAX_BYTES at most, and what is made of a study's is longer: its confirmation's,
one that is being deleted."""

TAKEN_NAMES = ("cache", "artifacts", "studies.db", "synthetic")
"""What else lies in the runs folder begins with one of these."""


def checked_name(name: str) -> str:
    """The name for a new study. Raises UserError for one that no folder can have."""
    if not _has_folders_letters(name):
        raise UserError(
            f"A study's name is made of {CHARACTERS}, and begins with no '-'; not {name!r}. Use --name. A stored study"
            " of such a name is renamed in the dashboard, or goes on by --name NEW --from OLD."
        )
    size = len(os.fsencode(name))
    if len(name) > LONGEST_NAME or size > LONGEST_BYTES or name.startswith(TAKEN_NAMES):
        raise UserError(
            f"A study's name names its folder too: at most {LONGEST_NAME} characters and {LONGEST_BYTES} bytes, and"
            f" not beginning with {', '.join(TAKEN_NAMES)}. Use another --name than {name!r} ({size} bytes); a study"
            " that is stored under it goes on by --name NEW --from OLD."
        )
    return name


def is_name(name: str) -> bool:
    """Whether a folder can have it; a stored study may have been named before today's limits."""
    return _has_folders_letters(name) and len(os.fsencode(name)) <= MAX_BYTES and not name.startswith(TAKEN_NAMES)


def _has_folders_letters(name: str) -> bool:
    is_option = name.startswith("-")
    return bool(name.strip(".")) and not is_option and all(letter.isalnum() or letter in "._-" for letter in name)


def folder_in(runs: Path, name: str) -> Path:
    """The folder of a stored study. Raises UserError when its name, which anybody may have changed, is no folder's."""
    if not is_name(name):
        raise UserError(f"A study's name names its folder too, and {name!r} cannot; rename it in the dashboard.")
    return runs / name
