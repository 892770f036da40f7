"""Reading of CSV files that users write; other encodings and separators are refused with the way to save them."""

import csv
import io
from pathlib import Path

import pandas as pd

from maskcls.system.errors import UserError, one_line

SEPARATORS = {",": "commas", ";": "';'", "\t": "tabs", "|": "'|'"}


def read_csv(path: Path, columns: tuple[str, ...], separator: str = ",") -> pd.DataFrame:
    """A table of strings (ids have leading zeros), indexed by line number; missing cells are empty strings.

    Lines without a value are skipped, and so are empty cells at the end of a line.
    Raises UserError when the file is not UTF-8 text separated by commas (or ``separator``), or lacks one of
    ``columns``; without any, other separators are told by a header that commas do not part.
    """
    text = _text(path)
    _check_separator(path, text.lstrip().partition("\n")[0], columns, separator)
    lines = _cells(path, text, separator)
    if not lines:
        must = f"It must have the columns {', '.join(columns)}." if columns else "It must have a header and rows."
        raise UserError(f"{path} cannot be read as CSV: it is empty. {must}")
    _, header = lines.pop(0)
    missing = [column for column in columns if column not in header]
    if missing:
        raise UserError(f"{path} must have the columns {', '.join(columns)}; {', '.join(missing)} is missing.")
    rows = [_padded(path, number, cells, len(header)) for number, cells in lines]
    return pd.DataFrame(rows, [number for number, _ in lines], header, dtype=str)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read as CSV: {one_line(error.strerror or error)}.") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data:
        raise _encoding_error(path, "it looks like UTF-16", "UTF-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _encoding_error(path, "it is not UTF-8 (CP949, perhaps)", "CP949") from None


def _encoding_error(path: Path, what: str, guess: str) -> UserError:
    return UserError(
        f'{path} cannot be read as CSV: {what}. Save it as "CSV UTF-8 (comma delimited)", or convert it:'
        f" iconv -f {guess} -t UTF-8."
    )


def _cells(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """(number of its last line, cells) of every row with a value, without the empty cells at its end."""
    reader, rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), []
    try:
        for cells in reader:
            while cells and not cells[-1].strip():
                cells.pop()
            if cells:
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as CSV: line {reader.line_num}: {one_line(error)}.") from None
    return rows


def _check_separator(path: Path, line: str, columns: tuple[str, ...], right: str) -> None:
    """Raise UserError when the first line names the columns with another separator than the right one."""
    if not columns and right in line:
        return
    for separator, name in SEPARATORS.items():
        cells = {cell.strip('" \r') for cell in line.split(separator)}
        if separator != right and separator in line and set(columns) <= cells:
            raise UserError(
                f"{path} cannot be read as CSV: its columns are separated by {name}. Save it with {SEPARATORS[right]}."
            )


def _padded(path: Path, number: int, cells: list[str], width: int) -> list[str]:
    if len(cells) > width:
        raise UserError(
            f"{path} cannot be read as CSV: line {number} has {len(cells)} cells and the header {width}."
            " A value with a comma in it needs quotes."
        )
    return cells + [""] * (width - len(cells))
