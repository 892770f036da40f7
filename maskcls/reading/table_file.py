"""A table of labels as a frame of texts: CSV, TSV or Parquet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from maskcls.reading.csv_file import read_csv
from maskcls.reading.found import shown
from maskcls.system.errors import UserError, one_line, some

ENDINGS = (".csv", ".tsv", ".parquet")

NEEDS_PYARROW = "needs the package pyarrow: pip install 'mask-search[parquet]'."


@dataclass(frozen=True)
class TableFile:
    """A table as it was read."""

    path: Path
    cells: pd.DataFrame
    """Text, empty where a cell is; indexed by the number of the line (of the row, from 1, of a Parquet file)."""
    nested: dict[str, str]
    """Column of a Parquet file that holds no texts or numbers -> what it holds: "lists" or "bytes"."""


def read_table_file(path: Path) -> TableFile:
    """The table in a file of one of ENDINGS. Raises UserError for another file, or one that cannot be read."""
    ending = path.suffix.lower()
    if ending == ".parquet":
        cells, nested = _read_parquet(path)
    elif ending in ENDINGS:
        cells, nested = read_csv(path, (), separator="\t" if ending == ".tsv" else ","), {}
    else:
        raise UserError(f"A table must be one of {', '.join(ENDINGS)}, not {shown(path.name)}. Save it as CSV.")
    columns = [str(column).strip() for column in cells.columns]
    cells.columns = pd.Index(columns)
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise UserError(f"{path} has two columns named {some(map(shown, twice))}; rename or remove one of them.")
    if not len(cells):
        raise UserError(f"{path} has no rows. Give a table with a row for every photo.")
    return TableFile(path, cells.loc[:, [name != "" for name in columns]], nested)


def import_arrow(path: Path) -> Any:
    """The package pyarrow with its readers. Raises UserError where it is not installed."""
    try:
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"Reading {path} {NEEDS_PYARROW}") from None
    return pyarrow


def _read_parquet(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    arrow = import_arrow(path)
    try:
        schema = arrow.parquet.read_schema(path)
        nested = {field.name: kind for field in schema if (kind := _nested_kind(arrow, field.type))}
        flat = [name for name in schema.names if name not in nested]
        table = arrow.parquet.read_table(path, columns=flat, partitioning=None)
    except (arrow.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {one_line(error)}.") from None
    texts = {name: texts_of(table.column(index).to_pylist()) for index, name in enumerate(table.column_names)}
    return pd.DataFrame(texts, range(1, table.num_rows + 1), dtype=str), nested


def texts_of(values: list[Any]) -> list[str]:
    """Cells of a column as text; nothing and NaN are empty."""
    return ["" if value is None or value != value else str(value) for value in values]


def _nested_kind(arrow: Any, kind: Any) -> str:
    types = arrow.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_map(kind):
        return "lists"
    is_binary = types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    return "bytes" if types.is_struct(kind) or is_binary else ""
