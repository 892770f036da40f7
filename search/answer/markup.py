"""Text from photos, studies and errors in a report: it is shown as it is, and is neither markup nor a command."""

import re
from typing import Any

from markupsafe import Markup

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""Controls (a terminal obeys them), those that turn the direction of writing, and what UTF-8 has no form for."""

_MARKUP = re.compile(r"[\\`*\[\]~$]|(?<!\w)_|_(?!\w)")

_AT_THE_START = re.compile(r"(?:#{1,6}|[+-]|\d+[.)])(?=\s|$)|(?:-+|=+)$")
"""What makes a heading, a list or a rule of a line."""


def plain(text: str) -> str:
    """Without characters that a terminal or a browser acts on; lines and tabs stay."""
    return _UNSEEN.sub(REPLACEMENT, text)


def finalize(value: Any) -> Any:
    """The same for whatever a template shows, marked as markup or not."""
    if isinstance(value, Markup):
        return Markup(plain(str(value)))
    return plain(value) if isinstance(value, str) else value


def markdown(text: object) -> str:
    """For one line of Markdown, which shows the text letter for letter: no tags, links, pictures or emphasis."""
    line = plain(" ".join(str(text).split()))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
    line = _MARKUP.sub(lambda found: f"\\{found[0]}", line)
    line = line.replace("://", "\\://").replace("www.", "www\\.")  # else an address becomes a link by itself
    if _AT_THE_START.match(line):
        line = re.sub(r"^(\d*)", r"\1\\", line, count=1)
    return line


def fenced(text: str) -> str:
    """A block of code whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{plain(text)}\n{fence}\n"
