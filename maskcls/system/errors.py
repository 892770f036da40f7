"""The errors that end a command with one line, and parts of their texts. Any other is a bug and keeps its traceback."""

import difflib
from collections.abc import Iterable

from maskcls.system.redact import redacted


class UserError(ValueError):
    """Bad input. Its text is one or two sentences: the rule, the value that breaks it, the remedy."""


class OutsideError(Exception):
    """A failure outside this program, of a database's server or a disk. Its text is one line.

    It ends a command with exit status 1; the same command continues later.
    """


def some(items: Iterable[object], limit: int = 5) -> str:
    """The first few of ``items`` for a message, and how many more there are."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    separator = "; " if any("," in text for text in texts) else ", "
    return separator.join(texts[:limit]) + more


def count_of(number: int, singular: str, plural: str = "") -> str:
    """``1 trial``, ``2 trials``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def one_line(error: object, limit: int = 200) -> str:
    """The start of a library's message, to be quoted in ours, without secrets that it may hold."""
    return " ".join(redacted(str(error)).split())[:limit]


def nearest(name: str, names: Iterable[str]) -> str:
    """ " Nearest: a, b." for a mistyped name; empty when none of ``names`` is near."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f" Nearest: {', '.join(close)}." if close else ""
