"""The blocks of a report as plain values, which the web page and the Markdown file both show.

To add a kind of block, add it here and to Block, and show it in render.py (Markdown) and report.html.j2 (web page).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of short statements."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """A list of (term, statement)."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A table of formatted cells."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...] = ()
    """Titles of the right-aligned columns."""
    caption: str = ""
    strong: tuple[int, ...] = ()
    """Indices of the highlighted rows."""
    note: str = ""
    """A line below the table that explains its columns."""


@dataclass(frozen=True)
class Figure:
    """A drawing."""

    name: str
    """The name of its file, without .svg; letters and dashes."""
    svg: str
    alt: str
    """The text for those who cannot see the drawing."""
    caption: str = ""
    is_dense: bool = False
    """Whether it is too fine to shrink to a phone's width: it scrolls sideways there."""


@dataclass(frozen=True)
class Figures:
    """Drawings to compare, side by side where there is room."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Picture:
    """A photo with its caption."""

    jpeg: bytes | None
    """None: not shown."""
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Gallery:
    """Photos in a grid."""

    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Code:
    """Commands to type."""

    text: str


Block = Text | Bullets | Facts | Table | Figure | Figures | Gallery | Code


@dataclass(frozen=True)
class Section:
    """A heading with its blocks."""

    title: str
    blocks: tuple[Block, ...]
    is_folded: bool = False
    """Whether the page shows only its heading until it is opened: how the answer was found, not the answer."""

    @property
    def anchor(self) -> str:
        """The heading's id on the page."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


@dataclass(frozen=True)
class Report:
    """The answer, its lead blocks, and the sections below."""

    study: str
    """Stored name."""
    question: str
    verdict: str
    """Two or three words (Answer.verdict)."""
    sentences: tuple[str, ...]
    """The answer in words."""
    lead: tuple[Block, ...]
    """Blocks right below the answer."""
    sections: tuple[Section, ...]
    footer: str
