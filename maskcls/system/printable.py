"""Text that a terminal only shows: no control characters, nothing that its encoding lacks."""

import re
from typing import TextIO

# C0 but tab and newline, DEL and C1 (escape sequences, also as one byte), marks that turn the direction of what
# follows, line and paragraph separators, invisible tags, and lone surrogates (bytes of a name that are no UTF-8)
_ACTIVE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str, encoding: str = "utf-8") -> str:
    r"""The text with what a terminal would act upon, or cannot show, as ``\u001b``.

    That is how JSON writes a character too, so a JSON document stays the same document. Newlines and tabs stay.
    """
    text = _ACTIVE.sub(lambda found: _escape(found[0]), text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(letter if _has(encoding, letter) else _escape(letter) for letter in text)
    return text


def one_printable_line(text: str, encoding: str = "utf-8") -> str:
    """``printable`` for a name or a cell of a table, which must not begin a line of its own."""
    return printable(text, encoding).replace("\n", r"\u000a").replace("\t", r"\u0009")


def encoding_of(stream: TextIO | None) -> str:
    """What the stream takes; a closed one takes anything."""
    behind = getattr(stream, "rich_proxied_file", stream)  # a live table stands before the terminal, and does not say
    return getattr(behind, "encoding", None) or "utf-8"


def _has(encoding: str, letter: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _escape(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
