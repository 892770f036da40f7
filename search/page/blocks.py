"""What a report is made of, as plain values: the web page and its Markdown twin show the same ones.

To add a kind of block, add it here and to Block, and say how both show it: render.py and report.html.j2.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """Short statements, one a line."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """Statements, each under a word or two that say what it is about."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """Cells as they are shown."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...] = ()
    """Titles of the columns that are set to the right."""
    caption: str = ""
    strong: tuple[int, ...] = ()
    """Rows that stand out."""
    note: str = ""
    """What its columns mean, in a line below."""


@dataclass(frozen=True)
class Figure:
    """A drawing."""

    name: str
    """The name of its file, and of it on the page; letters and dashes."""
    svg: str
    alt: str
    """What one sees, for whoever does not."""
    caption: str = ""
    is_dense: bool = False
    """Too fine to shrink to a telephone: scrolls sideways there."""


@dataclass(frozen=True)
class Figures:
    """Drawings to compare, side by side where there is room."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Picture:
    """A photo and what was made of it."""

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
    """A heading with what belongs to it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


@dataclass(frozen=True)
class Report:
    """The answer, what it rests on, and the sections below."""

    study: str
    """Stored name."""
    question: str
    verdict: str
    """In two or three words; see wording.verdict_of."""
    sentences: tuple[str, ...]
    lead: tuple[Block, ...]
    """Right below the answer."""
    sections: tuple[Section, ...]
    footer: str
