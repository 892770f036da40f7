"""Text from photos, studies and errors, made safe for a report: shown letter for letter, never obeyed as markup."""

import re
from typing import Any

from markupsafe import Markup

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""Control characters (a terminal obeys them), those that change the writing direction, and what UTF-8 cannot encode."""

_MARKUP = re.compile(r"[\\`*\[\]~$]|(?<!\w)_|_(?!\w)")

_AT_THE_START = re.compile(r"(?:#{1,6}|[+-]|\d+[.)])(?=\s|$)|(?:-+|=+)$")
"""Beginnings that turn a line into a heading, a list or a rule."""


def plain(text: str) -> str:
    """The text without characters that a terminal or a browser acts on; line breaks and tabs stay."""
    return _UNSEEN.sub(REPLACEMENT, text)


def finalize(value: Any) -> Any:
    """Apply ``plain`` to any value of a template; markup stays markup."""
    if isinstance(value, Markup):
        return Markup(plain(str(value)))
    return plain(value) if isinstance(value, str) else value


def markdown(text: object) -> str:
    """One line of Markdown that shows the text letter for letter: no tags, links, pictures or emphasis."""
    line = plain(" ".join(str(text).split()))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
    line = _MARKUP.sub(lambda match: f"\\{match[0]}", line)
    line = line.replace("://", "\\://").replace("www.", "www\\.")  # else an address becomes a link by itself
    if _AT_THE_START.match(line):
        line = re.sub(r"^(\d*)", r"\1\\", line, count=1)
    return line


def fenced(text: str) -> str:
    """A block of code, its fence longer than any in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{plain(text)}\n{fence}\n"
