"""Paths as users write them: ``~`` is the home folder in every option, and a name is text."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maskcls.system.errors import UserError

PATHS = frozenset({"data", "weights", "label_fixes", "storage"})
"""Parameters of commands that are strings, since they take words too, and may be paths; Paths always are."""

NAMES = frozenset({"study", "a", "b"})
"""The same of those that take a study's name too, which may begin with ``~``: a path is what has a slash."""

WORDS = frozenset({"synthetic", "auto", "pretrained", "scratch", "none"})
"""What such an option takes besides paths; a folder of that name is ./auto."""


def with_paths(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with its options' values as they are meant, before it does anything."""

    @functools.wraps(command)
    def called(**given: Any) -> Any:
        return command(**{name: _meant(name, value) for name, value in given.items()})

    return called


def _meant(name: str, value: Any) -> Any:
    """The value of one option; raises UserError for one that is not text."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str | Path):
            check_text(str(text))
    if isinstance(value, Path):
        return Path(at_home(str(value)))
    is_path = isinstance(value, str) and (name in PATHS or (name in NAMES and "/" in value))
    return at_home(value) if is_path else value


def at_home(text: str) -> str:
    """A path, or the URL of an SQLite file, with the folder that ``~`` or ``~user`` stands for.

    Shells do so themselves, but not after ``--runs=``, in a unit file or in a variable that was set in quotes.
    """
    before, mark, path = text.partition(":///") if text.startswith("sqlite") else ("", "", text)
    full = os.path.expanduser(path)  # noqa: PTH111 - that one raises where nobody has that name
    if full.startswith("~"):
        who = path.partition("/")[0]
        raise UserError(f"No home folder is known for {who}; for a file of that very name write ./{path}.")
    check_text(full)
    return before + mark + full


def as_kept(option: str) -> str:
    """An option's value for keeping: as an absolute path where it names what is there; words stay words.

    So a later command finds it from any folder. Links stay as they are: the user may turn them elsewhere.
    Raises UserError for a path that is not text.
    """
    if option in WORDS or not Path(option).exists():  # what is not there is refused by whoever reads it
        return option
    path = os.path.abspath(option)  # noqa: PTH100 - Path has no way to do this without following links
    check_text(path)
    return path


def check_text(name: str) -> None:
    """Raise UserError for a name that is not UTF-8: it goes into JSON, TOML, URLs and pages, which hold only text."""
    if as_text(name) != name:
        raise UserError(
            f"Names must be UTF-8, and {as_text(name)} is not; rename it, or make a link to it with another name."
        )


def as_text(name: str) -> str:
    """The name as text, with ``\\xe9`` for a byte that is none."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
