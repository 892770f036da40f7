"""What a report is made of, as plain values: the web page and its Markdown twin show the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from maskcls.scoring.intervals import Estimate


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
    """Of its file, and of it on the page; letters and dashes."""
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
    """All of it."""

    study: str
    """Stored name."""
    question: str
    verdict: str
    sentences: tuple[str, ...]
    lead: tuple[Block, ...]
    """Right below the answer."""
    sections: tuple[Section, ...]
    footer: str


def number(value: float | None) -> str:
    """A score: four decimals."""
    return "–" if value is None else f"{value:.4f}"


def signed(value: float) -> str:
    """A difference of scores."""
    return f"{value:+.4f}"


def clipped(found: Estimate, lowest: float) -> Estimate:
    """The interval kept within [``lowest``, 1]: 0 for a score, -1 for a difference of two."""
    return replace(found, low=max(lowest, found.low), high=min(1.0, found.high))


def spread(found: Estimate) -> str:
    """``0.5921 to 0.6611``: the interval of a score; a dash where all people agree and nothing tells of its width."""
    if found.error == 0:
        return "–"
    shown = clipped(found, 0.0)
    return f"{number(shown.low)} to {number(shown.high)}"


def signed_spread(found: Estimate) -> str:
    """``-0.0102 to +0.0348``: the interval of a difference; a dash as in ``spread``."""
    if found.error == 0:
        return "–"
    shown = clipped(found, -1.0)
    return f"{signed(shown.low)} to {signed(shown.high)}"


def percent(share: float) -> str:
    """``13.7 %``."""
    return f"{100 * share:.1f} %"


def listed(items: Sequence[object]) -> str:
    """``3``, ``3 and 5``, ``3, 5 and 8``."""
    words = [str(item) for item in items]
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part) if words else "none"


VERDICTS = {"better": "▲", "worse": "▼", "not distinguishable": "≈"}
"""Verdict -> the sign that goes with the word, so that nothing hangs on a colour."""


def with_sign(verdict: str) -> str:
    """``▲ better``; what a verdict adds in brackets stays."""
    return f"{VERDICTS.get(verdict.partition(' (')[0], '…')} {verdict}"
