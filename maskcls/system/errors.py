"""The one kind of error that is the user's to mend; anything else that escapes is a bug and keeps its traceback."""

import difflib
from collections.abc import Iterable

from maskcls.system.redact import redacted


class UserError(ValueError):
    """Bad input. Its text is one or two sentences: the rule, the value that broke it, the remedy."""


class OutsideError(Exception):
    """What the program needs and nobody here can mend went away: a database's server, a disk. Its text is one line.

    Commands end with it and exit status 1; the same command goes on later.
    """


def some(items: Iterable[object], limit: int = 5) -> str:
    """The first few of ``items`` for a message, and how many more there are."""
    listed = [str(item) for item in items]
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    separator = "; " if any("," in item for item in listed) else ", "
    return separator.join(listed[:limit]) + more


def count_of(amount: int, one: str, many: str = "") -> str:
    """``1 trial``, ``2 trials``."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def one_line(error: object, limit: int = 200) -> str:
    """The start of another library's message, for one of ours, without a secret that it may quote."""
    return " ".join(redacted(str(error)).split())[:limit]


def nearest(name: str, known: Iterable[str]) -> str:
    """ " Nearest: a, b." for a mistyped name, or an empty string when nothing is near."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Nearest: {', '.join(close)}." if close else ""
