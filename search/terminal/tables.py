"""Tables: drawn by Rich on a terminal, plain aligned columns otherwise."""

import sys
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from maskcls.system.console import say
from maskcls.system.printable import encoding_of, one_printable_line
from search.terminal.progress import is_terminal

WRAPPED_WIDTH = 8
"""Width that a column of words should have at least, in characters."""


def show_table(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str] = ()) -> None:
    """Print a table; the columns whose titles are in ``numbers`` are right-aligned."""
    encoding = encoding_of(sys.stdout)
    rows = [[one_printable_line(cell, encoding) for cell in row] for row in rows]
    if is_terminal():
        if _least_width(titles, rows, numbers) > Console().width:
            _show_blocks(titles, rows)
        else:
            _show_rich(titles, rows, numbers)
        return
    widths = [max(cell_len(cell) for cell in column) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        cells = [
            cell.rjust(width) if title in numbers else set_cell_size(cell, width)
            for title, cell, width in zip(titles, row, widths, strict=True)
        ]
        say("  ".join(cells).rstrip())


def _least_width(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> int:
    """Width of the table, in characters, with every column wrapped that may be; in less, Rich drops columns."""
    width = len(titles) - 1
    for index, column in enumerate(zip(titles, *rows, strict=True)):
        widest = max(cell_len(cell) for cell in column)
        width += widest if index == 0 or column[0] in numbers else min(widest, WRAPPED_WIDTH)
    return width


def _show_blocks(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one line per cell, for a terminal on which the table would lose columns."""
    width = max(map(len, titles[1:]))
    for first, *others in rows:
        say(first)
        for title, cell in zip(titles[1:], others, strict=True):
            say(f"  {title:<{width}}  {cell}".rstrip())


def _show_rich(titles: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[str]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in titles:  # on a narrow terminal words are wrapped, but never numbers and the names in the first column
        is_number = title in numbers
        no_wrap = is_number or title == titles[0]
        table.add_column(title, justify="right" if is_number else "left", no_wrap=no_wrap, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # not markup: a question may have brackets
    Console().print(table)
