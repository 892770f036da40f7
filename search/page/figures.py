"""The report's figures as SVG: dots with intervals, confusion matrices, learning curves, bars.

Colours are Okabe and Ito's, which colour-blind people can tell apart; shapes and dashes carry the same information. A
figure 340 points wide can still be read on a phone.

Shape suffixes: M rows of a matrix, as in ``Condensed``.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from maskcls.labels import LabelSpace
from maskcls.scoring.condensed import Condensed, cell_text
from maskcls.scoring.intervals import Estimate
from maskcls.scoring.plots import borders
from search.answer.format import clipped
from search.page.blocks import Figure

BLUE, ORANGE, VERMILION, GREEN, GREY = "#0072B2", "#E69F00", "#D55E00", "#009E73", "#6b6b6b"
COLOURS = {"better": GREEN, "worse": VERMILION}
MARKERS = {"better": "^", "worse": "v"}
WIDTH = 340 / 72
"""Width of a figure in inches."""
FONT = 9.5
MAX_LABEL = 30
"""Most characters of a label on one line."""
FEW = 18
"""Most classes of a matrix in the larger font."""
LOOK: dict[Any, Any] = {
    "font.size": FONT,
    "axes.labelsize": FONT,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "axes.linewidth": 0.8,
    "text.parse_math": False,  # names of classes may have dollar signs
}


@dataclass(frozen=True)
class Dot:
    """One row: a value and its interval."""

    text: str
    estimate: Estimate
    verdict: str = ""
    """better and worse have their own colour and shape."""
    is_reference: bool = False


@dataclass(frozen=True)
class Curve:
    """A trial's scores over its evaluations."""

    value_by_step: dict[int, float]
    kind: str
    """best, baseline, complete or pruned."""


@matplotlib.rc_context(LOOK)
def draw_dots(name: str, dots: Sequence[Dot], axis: str, alt: str, caption: str = "", zero: bool = False) -> Figure:
    """A row for each dot with its interval, from top to bottom; ``zero``: differences, with a line at 0, not scores."""
    labels = ["\n".join(textwrap.wrap(dot.text, MAX_LABEL)) for dot in dots]
    lines = max(label.count("\n") for label in labels) + 1
    drawing = _drawing(0.55 + (0.14 + 0.16 * lines) * len(dots))
    axes = drawing.subplots()
    if zero:
        axes.axvline(0, color="#333333", linewidth=0.9)
    for row, dot in enumerate(dots):
        colour = COLOURS.get(dot.verdict, GREY if dot.is_reference else BLUE)
        marker = MARKERS.get(dot.verdict, "D" if dot.is_reference else "o")
        shown = clipped(dot.estimate, -1.0 if zero else 0.0)
        axes.plot([shown.low, shown.high], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot([dot.estimate.value], [row], marker=marker, color=colour, markersize=7, markeredgecolor="white")
    axes.set_yticks(range(len(dots)), labels)
    axes.set_ylim(len(dots) - 0.4, -0.6)
    axes.set_xlabel(axis)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    _plain(axes)
    return Figure(name, to_svg(drawing, name), alt, caption)


@matplotlib.rc_context(LOOK)
def draw_matrix(
    name: str,
    value_MM: np.ndarray,
    text_MM: np.ndarray,
    matrix: Condensed,
    space: LabelSpace,
    title: str,
    most: float,
    is_mistakes: bool,
) -> Figure:
    """A confusion matrix: row true class, column predicted class; ``text_MM`` is written into the cells, but not zeros.

    ``most`` is the value of the darkest colour.
    """
    size = len(value_MM)
    width = 5.6 if size > 3 else 3.4
    drawing = _drawing(width, width)
    axes = drawing.subplots()
    colours = "Oranges" if is_mistakes else "Blues"
    axes.pcolormesh(value_MM, cmap=colours, vmin=0, vmax=most, edgecolors="white", linewidth=0.5)
    font = FONT if size <= 3 else 7.5 if size <= FEW else 6
    axes.set_xticks(np.arange(size) + 0.5, matrix.names, rotation=90 if size > 3 else 0, fontsize=font)
    axes.set_yticks(np.arange(size) + 0.5, matrix.names, fontsize=font)
    axes.set(xlabel="predicted", ylabel="true", aspect="equal")
    axes.invert_yaxis()
    for row, column in zip(*np.nonzero(text_MM), strict=True):
        text, colour = cell_text(text_MM[row, column]), "white" if value_MM[row, column] > 0.55 * most else "black"
        place = (column + 0.5, row + 0.5)
        axes.annotate(text, place, ha="center", va="center", fontsize=font - 0.5, color=colour)
    for border in (size - 1,) if matrix.others else borders(space):
        axes.axhline(border, color="#555555", linewidth=0.9)
        axes.axvline(border, color="#555555", linewidth=0.9)
    _plain(axes)
    return Figure(name, to_svg(drawing, name), f"Confusion matrix. {title}.", title, is_dense=size > 3)


STYLES: dict[str, dict[str, Any]] = {
    "pruned": {"color": ORANGE, "linewidth": 1.0, "linestyle": (0, (3, 1.5)), "zorder": 2},
    "complete": {"color": BLUE, "linewidth": 1.0, "alpha": 0.65, "zorder": 3},
    "baseline": {"color": "black", "linewidth": 1.8, "linestyle": (0, (1, 1)), "zorder": 4},
    "best": {"color": BLUE, "linewidth": 2.6, "zorder": 5},
}
LEGEND = {"best": "best trial", "baseline": "baseline", "complete": "complete", "pruned": "pruned, at ×"}


@matplotlib.rc_context(LOOK)
def draw_curves(name: str, curves: Sequence[Curve], axis: str, alt: str, caption: str) -> Figure:
    """Scores over evaluations, the ``axis`` up, with a cross where a trial was pruned."""
    drawing = _drawing(3.4)
    axes = drawing.subplots()
    drawn: set[str] = set()
    for curve in sorted(curves, key=lambda curve: list(STYLES).index(curve.kind)):
        steps = sorted(curve.value_by_step)
        label = None if curve.kind in drawn else LEGEND[curve.kind]
        values = [curve.value_by_step[step] for step in steps]
        axes.plot(steps, values, label=label, **STYLES[curve.kind])
        drawn.add(curve.kind)
        if curve.kind == "pruned":
            axes.plot(steps[-1:], values[-1:], marker="x", color=VERMILION, markersize=6, markeredgewidth=1.6, zorder=6)
    axes.set(xlabel="evaluation", ylabel=axis)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#e4e4e4", linewidth=0.8)
    drawing.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=FONT - 1, handlelength=1.8)
    _plain(axes)
    return Figure(name, to_svg(drawing, name), alt, caption)


@matplotlib.rc_context(LOOK)
def draw_bars(name: str, values: dict[str, float], alt: str, caption: str) -> Figure:
    """A bar with its value for each name."""
    drawing = _drawing(0.3 + 0.3 * len(values))
    axes = drawing.subplots()
    axes.barh(list(values), list(values.values()), color=BLUE, height=0.6)
    for row, value in enumerate(values.values()):
        axes.annotate(f" {value:.2f}", (value, row), va="center", fontsize=FONT)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values.values(), default=1.0) * 1.15 or 1.0)
    axes.set_xticks([])
    _plain(axes)
    axes.spines["bottom"].set_visible(False)
    return Figure(name, to_svg(drawing, name), alt, caption)


def _drawing(height: float, width: float = WIDTH) -> Drawing:
    return Drawing(figsize=(width, height), layout="constrained")


def _plain(axes: Axes) -> None:
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")


def to_svg(drawing: Drawing, name: str) -> str:
    """The <svg> element, reproducible, with ``name`` before all of its ids, so that they are unique on a page."""
    output = io.StringIO()
    FigureCanvasSVG(drawing)  # pyplot would keep every figure
    with matplotlib.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # letters that the font lacks are drawn as boxes
        drawing.savefig(output, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = output.getvalue().partition("<svg")[2]
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    return "<svg" + re.sub(r"url\(#", f"url(#{name}-", svg)
