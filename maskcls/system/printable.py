"""Text that is safe to print: without control characters, and without characters that the encoding lacks."""

import re
import unicodedata
from typing import TextIO

# C0 except tab and newline, DEL and C1 (escape sequences, also of one byte), marks that change the text's direction,
# line and paragraph separators, invisible tags, and lone surrogates (bytes of a name that are not UTF-8)
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str, encoding: str = "utf-8") -> str:
    r"""The text with ``\u001b`` for a character that a terminal would act upon or cannot show; newlines and tabs stay.

    JSON has the same escapes, so a JSON document keeps its meaning.
    """
    text = _ACTIVE.sub(lambda match: _escape(match[0]), text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(letter if letter.encode(encoding, "ignore") else _escape(letter) for letter in text)
    return text


def one_printable_line(text: str, encoding: str = "utf-8") -> str:
    """``printable`` text on one line, for a name or a cell of a table."""
    return printable(text, encoding).replace("\n", r"\u000a").replace("\t", r"\u0009")


GAP = "..."
"""Stands for what is left out of a name; of letters that every encoding has."""


def shortened(text: str, columns: int) -> str:
    """``one_printable_line``, without its middle if it takes more columns: names often differ at their ends.

    Letters such as Chinese ones take two columns.
    """
    line = one_printable_line(text)
    if len(line) <= columns // 2 or sum(map(_columns, line)) <= columns:
        return line
    room = max(2, columns - len(GAP))
    end = _fitting(line[::-1], room // 2)[::-1]
    return f"{_fitting(line, room - room // 2).rstrip()}{GAP}{end.lstrip()}"


def _fitting(text: str, columns: int) -> str:
    """The start of the text that takes at most so many columns."""
    for index, letter in enumerate(text):
        columns -= _columns(letter)
        if columns < 0:
            return text[:index]
    return text


def _columns(letter: str) -> int:
    """The columns that a letter takes in a monospaced font."""
    return 0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")


def encoding_of(stream: TextIO | None) -> str:
    """The stream's encoding; UTF-8 for a closed one."""
    target = getattr(stream, "rich_proxied_file", stream)  # Rich's proxy during a live table has no encoding
    return getattr(target, "encoding", None) or "utf-8"


def _escape(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
