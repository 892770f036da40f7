"""Pictures of a confusion matrix: with its diagonal, and without it, where the mistakes show.

Drawn with Pillow: with matplotlib it takes a second per trial, during which the GPU is idle.
"""

import math
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maskcls.labels import LabelSpace
from maskcls.scoring.condensed import cell_text, condense, most_confused
from maskcls.system.files import write_atomically
from maskcls.system.printable import one_printable_line

BLUES = ["f7fbff", "deebf7", "c6dbef", "9ecae1", "6baed6", "4292c6", "2171b5", "08519c", "08306b"]
"""ColorBrewer's colours, from nothing to the largest value, evenly spaced. https://colorbrewer2.org"""

CELL_OF_18, CELL_OF_3 = 32, 100
GAP = 10
"""In pixels: the side of a cell, and the gap between parts."""
CELL_SIZE, NAME_SIZE, AXIS_SIZE, TITLE_SIZE = 11, 12, 13, 15
"""Font sizes in pixels."""


def draw_confusion(confusion_KK: np.ndarray, space: LabelSpace, title: str, path: Path) -> None:
    """Write a PNG with two matrices: row shares, and below them (dashboards are narrow) counts without the diagonal.

    Of many classes it shows the most confused ones and the others as one (``condense``).
    """
    matrix = condense(confusion_KK, space, most_confused(confusion_KK))
    lines = (len(matrix.names) - 1,) if matrix.others else borders(space)
    parts = [
        _text(title, _font(TITLE_SIZE)),
        _draw(matrix.share_MM, matrix.percent_MM, matrix.names, lines, "Percent of each true class"),
        _draw(matrix.pairs_MM / matrix.most, matrix.mistakes_MM, matrix.names, lines, "Mistakes only, in photos"),
    ]
    if matrix.note:
        parts.insert(1, _text(matrix.note, _font(AXIS_SIZE)))
    width = max(part.width for part in parts) + 2 * GAP
    sheet = Image.new("RGB", (width, sum(part.height + 2 * GAP for part in parts)), "white")
    top = GAP
    for part in parts:
        sheet.paste(part, ((width - part.width) // 2, top))
        top += part.height + 2 * GAP
    write_atomically(path, lambda part: sheet.save(part))


def _draw(
    share_KK: np.ndarray, text_KK: np.ndarray, names: Sequence[str], borders: Sequence[int], title: str
) -> Image.Image:
    """One matrix with its title and labels. ``share_KK``: how dark, in [0, 1]; ``text_KK``: numbers in the cells."""
    row_labels = [_text(name, _font(NAME_SIZE)) for name in names]
    column_labels = [label.rotate(90, expand=True) for label in row_labels] if len(names) > 3 else row_labels
    x_title, y_title = _text("predicted", _font(AXIS_SIZE)), _text("true", _font(AXIS_SIZE)).rotate(90, expand=True)
    heading, cells = _text(title, _font(TITLE_SIZE)), _cells(share_KK, text_KK, borders)
    left = y_title.width + max(label.width for label in row_labels) + 2 * GAP
    upper = heading.height + GAP
    lower = upper + cells.height + 2 * GAP + max(label.height for label in column_labels)
    right = max(left + cells.width, left + (cells.width + heading.width) // 2 + 1)
    sheet = Image.new("RGB", (right, lower + x_title.height), "white")
    sheet.paste(heading, (left + (cells.width - heading.width) // 2, 0))
    sheet.paste(cells, (left, upper))
    sheet.paste(y_title, (0, upper + (cells.height - y_title.height) // 2))
    sheet.paste(x_title, (left + (cells.width - x_title.width) // 2, lower))
    side = cells.width // len(names)
    for index, (row_label, column_label) in enumerate(zip(row_labels, column_labels, strict=True)):
        middle = index * side + side // 2
        sheet.paste(row_label, (left - GAP - row_label.width, upper + middle - row_label.height // 2))
        sheet.paste(column_label, (left + middle - column_label.width // 2, upper + cells.height + GAP))
    return sheet


def borders(space: LabelSpace) -> range:
    """Cells before which a line separates two classes of the first factor; none where there is no other factor."""
    step = space.num_classes // space.sizes[0]
    return range(step, space.num_classes, step) if space.parts else range(0)


def _cells(share_KK: np.ndarray, text_KK: np.ndarray, borders: Sequence[int]) -> Image.Image:
    """Coloured squares with their numbers; zeros are left out. ``borders``: cells before which there is a line."""
    size = len(share_KK)
    side = CELL_OF_18 if size > 3 else CELL_OF_3
    stops = np.linspace(0, 1, len(BLUES))
    channels = zip(*(bytes.fromhex(colour) for colour in BLUES), strict=True)
    colour_KKC = np.stack([np.interp(share_KK, stops, channel) for channel in channels], axis=-1)
    small = Image.fromarray(colour_KKC.round().astype(np.uint8))
    image = small.resize((size * side, size * side), Image.Resampling.NEAREST)
    draw, font = ImageDraw.Draw(image), _font(CELL_SIZE)
    for row, column in zip(*np.nonzero(text_KK), strict=True):
        middle = ((column + 0.5) * side, (row + 0.5) * side)
        colour = "white" if share_KK[row, column] > 0.6 else "black"
        draw.text(middle, cell_text(text_KK[row, column]), colour, font, anchor="mm")
    for border in borders:
        draw.line((border * side, 0, border * side, size * side), "#999999")
        draw.line((0, border * side, size * side, border * side), "#999999")
    draw.rectangle((0, 0, image.width - 1, image.height - 1), outline="black")
    return image


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which covers many languages, from matplotlib's package without importing it."""
    package = find_spec("matplotlib")
    assert package is not None
    assert package.origin is not None
    return ImageFont.truetype(str(Path(package.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"), size)


def _text(text: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """The text in black on white, in the font's full height, so that texts side by side share a baseline."""
    text = one_printable_line(text)
    image = Image.new("RGB", (math.ceil(font.getlength(text)) + 1, sum(font.getmetrics())), "white")
    ImageDraw.Draw(image).text((0, 0), text, "black", font)
    return image
