"""Pictures of a confusion matrix: as it is, and without its diagonal, where the mistakes show."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from maskcls.files import write_atomically
from maskcls.labels import CLASS_NAMES, GENDERS

SHORT = {"male": "M", "female": "F", "under 30": "<30", "30 to 59": "30-59", "60 and over": "60+"}

MARGINS_OF_18 = {"left": 0.19, "right": 0.985, "bottom": 0.09, "top": 0.945, "hspace": 0.3}
MARGINS_OF_3 = {"left": 0.2, "right": 0.97, "bottom": 0.06, "top": 0.92, "hspace": 0.25}
"""Shares of the figure's width and height; the gap between both matrices, of a matrix's height."""


def draw_confusion(confusion_KK: np.ndarray, task: str, title: str, path: Path) -> None:
    """PNG with two matrices: row shares with the diagonal; below it (dashboards are narrow) counts without it."""
    size = len(confusion_KK)
    figure = Figure(figsize=(7.6, 14.6) if size > 3 else (4.8, 9.4), dpi=100)
    FigureCanvasAgg(figure)  # no pyplot: it keeps every figure of a long search alive
    # the names have known lengths; a layout that measures them draws everything twice
    margins = MARGINS_OF_18 if size > 3 else MARGINS_OF_3
    upper, lower = figure.subplots(2, 1, gridspec_kw=margins)
    share_KK = confusion_KK / np.maximum(confusion_KK.sum(1, keepdims=True), 1)
    _draw(upper, share_KK, np.round(100 * share_KK).astype(int), task, "Percent of each true class", vmax=1.0)
    mistakes_KK = confusion_KK * (1 - np.eye(size, dtype=int))
    _draw(lower, mistakes_KK, mistakes_KK, task, "Mistakes only, in photos", vmax=max(1, mistakes_KK.max()))
    figure.suptitle(title)
    write_atomically(path, lambda part: figure.savefig(part))


def _draw(axes: Axes, value_KK: np.ndarray, text_KK: np.ndarray, task: str, title: str, vmax: float) -> None:
    axes.imshow(value_KK, cmap="Blues", vmin=0, vmax=vmax)
    names = [short_name(name) for name in CLASS_NAMES[task]]
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 3 else 0, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(title=title, xlabel="predicted", ylabel="true")
    for row, column in zip(*np.nonzero(text_KK), strict=True):
        colour = "white" if value_KK[row, column] > 0.6 * vmax else "black"
        axes.text(column, row, str(text_KK[row, column]), ha="center", va="center", fontsize=7, color=colour)
    if task == "all":
        for border in (5.5, 11.5):  # between the mask states
            axes.axhline(border, color="0.6", linewidth=0.8)
            axes.axvline(border, color="0.6", linewidth=0.8)


def short_name(name: str) -> str:
    """A class name as an axis has room for it: ``worn M <30``."""
    return " ".join(SHORT.get(word, word) for word in name.split(", ")) if name not in GENDERS else name
