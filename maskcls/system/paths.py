"""Paths as users write them: ``~`` stands for a home folder in every option, and names must be UTF-8."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maskcls.system.errors import UserError

PATHS = frozenset({"data", "weights", "label_fixes", "storage"})
"""String parameters of commands that take a path or a word. Parameters of type Path are paths anyway."""

NAMES = frozenset({"study", "a", "b"})
"""String parameters that take a path or a study's name, which may begin with ``~``; a value with a slash is a path."""

PREFIXES = frozenset({"hf"})
"""What may stand before the path of --data, with a colon."""

WORDS = frozenset({"synthetic", "auto", "pretrained", "scratch", "none"})
"""The words that options in PATHS take; a folder of that name is written ./auto."""


def with_paths(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, called with ``~`` expanded in its paths. A call raises UserError for values that are not UTF-8."""

    @functools.wraps(command)
    def expanded(**values: Any) -> Any:
        return command(**{name: _expand_option(name, value) for name, value in values.items()})

    return expanded


def _expand_option(name: str, value: Any) -> Any:
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str | Path):
            _check_utf8(str(text))
    if isinstance(value, Path):
        return Path(expand_home(str(value)))
    is_path = isinstance(value, str) and (name in PATHS or (name in NAMES and "/" in value))
    return expand_home(value) if is_path else value


def expand_home(text: str) -> str:
    """A path, or the URL of an SQLite file, with the folder that ``~`` or ``~user`` stands for.

    Shells expand it too, but not after ``--runs=``, in a unit file or in a variable that was set in quotes.
    Raises UserError for an unknown user, and for a path that is not UTF-8.
    """
    scheme, separator, path = text.partition(":///") if text.startswith("sqlite") else ("", "", text)
    full = os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises RuntimeError for an unknown user
    if full.startswith("~"):
        user = path.partition("/")[0]
        raise UserError(f"No home folder is known for {user}; for a file of that name write ./{path}.")
    _check_utf8(full)
    return scheme + separator + full


def absolute_if_path(option: str) -> str:
    """An option's value for storing: an absolute path if it names an existing one, so that later commands find it.

    Words stay as they are, and so do links, which the user may redirect. Raises UserError for a path that is not UTF-8.
    """
    prefix, separator, path = option.partition(":")
    if separator and prefix in PREFIXES:
        return prefix + separator + absolute_if_path(path)
    if option in WORDS or not Path(option).exists():  # whoever reads a missing path refuses it
        return option
    path = os.path.abspath(option)  # noqa: PTH100 - Path has no way to do this without following links
    _check_utf8(path)
    return path


def _check_utf8(name: str) -> None:
    """Raise UserError for a name that is not UTF-8: JSON, TOML, URLs and pages, where it is written, hold only text."""
    if as_text(name) != name:
        raise UserError(
            f"Names must be UTF-8, and {as_text(name)} is not; rename it, or make a link to it with another name."
        )


def as_text(name: str) -> str:
    """The name as valid text, with ``\\xe9`` for a byte that is not UTF-8."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
