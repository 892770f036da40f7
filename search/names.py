"""Names of studies: each is a folder's too, and the dashboard renames a study to anything."""

from pathlib import Path

from maskcls.errors import UserError

CHARACTERS = "letters, digits, '.', '_' and '-'"
LONGEST_NAME = 100
MOST_BYTES = 200
"""In UTF-8; a file system takes 255, and what is made of a name (its confirmation's, one in the trash) is longer."""

TAKEN_NAMES = ("cache", "artifacts", "studies.db", "synthetic")
"""What else lies in the runs folder begins with one of these."""


def checked_name(name: str, remedy: str = "Use --name.") -> str:
    """The name, which a folder can have. Raises UserError, which ends with the remedy, for any other."""
    if not name.strip(".") or not all(letter.isalnum() or letter in "._-" for letter in name):
        raise UserError(f"A study's name is made of {CHARACTERS}, not {name!r}. {remedy}")
    if len(name) > LONGEST_NAME or len(name.encode()) > MOST_BYTES or name.startswith(TAKEN_NAMES):
        raise UserError(
            f"A study's name names its folder too: at most {LONGEST_NAME} characters and {MOST_BYTES} bytes, and not"
            f" beginning with {', '.join(TAKEN_NAMES)}; not {name!r}. {remedy}"
        )
    return name


def is_name(name: str) -> bool:
    """Whether a folder can have it."""
    try:
        checked_name(name)
    except UserError:
        return False
    return True


def folder_in(runs: Path, name: str) -> Path:
    """The folder of a stored study. Raises UserError when its name, which anybody may have changed, is no folder's."""
    return runs / checked_name(name, "Its files cannot be found by that; rename it in the dashboard.")


def shown_name(name: str) -> str:
    """The name as it may be printed: with its control characters written out."""
    return name if name.isprintable() else repr(name)
