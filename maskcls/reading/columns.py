"""Which columns of a table are the path and the label: those that are named, else the ones that can be no others."""

import re

import numpy as np
import pandas as pd

from maskcls.reading.cells import is_continuous, is_missing, without_points
from maskcls.reading.found import shown
from maskcls.reading.listing import Listing
from maskcls.reading.lookup import Lookup
from maskcls.reading.table_file import TableFile
from maskcls.reading.units import SUBJECTS, unit_of
from maskcls.system.errors import UserError, count_of, nearest, some

LABEL_WORDS = frozenset(
    {
        *("label", "labels", "class", "classes", "category", "target", "y", "species", "genus", "breed", "variety"),
        *("diagnosis", "dx", "disease", "finding", "findings", "condition", "grade", "defect", "type", "kind"),
    }
)
"""Last words of the names of columns that hold labels, but for ``id`` and ``name`` after them."""

SAMPLE = 200
"""Rows that are looked at to tell what a column is."""


def check_column(table: TableFile, column: str, option: str) -> None:
    """Raise UserError unless the table has this column, of texts or numbers."""
    if column in table.nested:
        raise UserError(f"{shown(column)} of {table.path} {_why_nested(table, column)}")
    if column not in table.cells:
        columns = list(table.cells.columns)
        raise UserError(
            f"{table.path} has no column {shown(column)} for {option}. It has: {some(map(shown, columns), 20)}."
            f"{nearest(column, columns)}"
        )


def path_column(table: TableFile, lookup: Lookup, listing: Listing, others: set[str]) -> str:
    """The column whose cells name pictures. ``others``: columns that are the label, the group, the split.

    Raises UserError for none, and for two that name different pictures.
    """
    found = [column for column in path_columns(table, lookup) if column not in others]
    if not found:
        raise UserError(_no_path(table, lookup, listing))
    if len(found) > 1:
        raise UserError(
            f"{count_of(len(found), 'column')} of {table.path} name pictures: {some(map(shown, found))}."
            f" Say which one with --path, for example --path {found[0]}."
        )
    return found[0]


def path_columns(table: TableFile, lookup: Lookup) -> list[str]:
    """The columns that name pictures, each another set: of several that name the same ones the most exact."""
    kept: dict[tuple[str, ...], str] = {}
    for column in table.cells.columns:
        sample = _sample(table.cells[column])
        pictures = [next(iter(lookup.find(cell)), "") for cell in sample]
        if not sample or len(set(pictures) - {""}) < max(1, len(sample) / 2):
            continue  # names fewer pictures than half of its rows: a label, a group, a note
        key = tuple(pictures)
        is_exact = all(cell.endswith(picture) for cell, picture in zip(sample, pictures, strict=True))
        if key not in kept or is_exact:
            kept[key] = column
    return list(kept.values())


def _sample(cells: pd.Series) -> list[str]:
    full = cells[cells.str.strip() != ""]
    return full.iloc[np.linspace(0, len(full) - 1, min(SAMPLE, len(full))).astype(int)].tolist()


def _no_path(table: TableFile, lookup: Lookup, listing: Listing) -> str:
    pictures = [column for column, kind in table.nested.items() if kind == "bytes"]
    if pictures:
        return f"{shown(pictures[0])} of {table.path} {_why_nested(table, pictures[0])}"
    for column in table.cells.columns:
        sample = _sample(table.cells[column])
        away = [cell for cell in sample if lookup.leads_out(cell)]
        if len(away) > len(sample) / 2:
            return (
                f"Paths must be relative to {listing.folder}; {shown(column)} of {table.path} leads out of it:"
                f" {shown(away[0])}. Write them relative to that folder."
            )
    example = f", such as {shown(listing.pictures[0])}" if listing.pictures else ""
    return (
        f"No column of {table.path} names pictures in {listing.folder}, which holds"
        f" {count_of(len(listing.pictures), 'picture')}{example}. Its columns are"
        f" {some(map(shown, table.cells.columns), 10)}; name the one of the paths with --path, or give the pictures'"
        " folder to --data."
    )


def label_column(table: TableFile, others: set[str]) -> str:
    """The one column that is a label. ``others``: columns that are the path, the group, the split.

    Raises UserError where none or several could be, and where columns of 0 and 1 hold the labels.
    """
    columns = [column for column in [*table.cells.columns, *table.nested] if column not in others]
    named = _without_twins(table, [column for column in columns if _is_named_label(column)])
    if len(named) == 1:
        return named[0]
    likely = [column for column in columns if column in table.cells and _could_be_label(table.cells[column], column)]
    if not named and (ones := _one_hot(table, columns)):
        raise UserError(ones)
    if not named and len(likely) == 1:
        return likely[0]
    candidates = named or likely or columns
    if not candidates:
        raise UserError(f"{table.path} has no column that could be the label. Add one with the class of every photo.")
    what = "could be the label" if named or likely else "could be the label by its values; the others are"
    many = f"{count_of(len(candidates), 'column')} of {table.path} {what}"
    start = many if named or likely else f"No column of {table.path} {what}"
    raise UserError(
        f"{start}: {some(map(shown, candidates), 10)}. Say which one with --label, for example --label {candidates[0]}."
    )


def _is_named_label(column: str) -> bool:
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", column)
    names = [word.lower() for word in words]
    while len(names) > 1 and names[-1] in ("id", "ids", "name", "idx", "index", "code"):
        names.pop()
    return bool(names) and names[-1] in LABEL_WORDS


def _could_be_label(cells: pd.Series, column: str) -> bool:
    if unit_of(column).one in SUBJECTS:
        return False
    word_N = without_points(cells[[not is_missing(cell) for cell in cells]].to_numpy(dtype=str))
    count = len(set(word_N.tolist()))
    return 2 <= count <= len(word_N) / 2 and not is_continuous(word_N)


def _without_twins(table: TableFile, columns: list[str]) -> list[str]:
    """Of columns that part the rows in the same way, such as class_id and class_name, the one with words."""
    kept: dict[bytes, str] = {}
    for column in columns:
        cells = table.cells.get(column)
        key = column.encode() if cells is None else pd.factorize(cells)[0].tobytes()
        is_words = cells is not None and not cells.str.fullmatch(r"[\d.]*").all()
        if key not in kept or (is_words and bool(table.cells[kept[key]].str.fullmatch(r"[\d.]*").all())):
            kept[key] = column
    return list(kept.values())


def _one_hot(table: TableFile, columns: list[str]) -> str:
    """The sentence that refuses labels written as columns of 0 and 1; empty where there are no two of them."""
    ones = [
        column
        for column in columns
        if column in table.cells
        and {"0", "1"} <= (values := {cell.strip().removesuffix(".0") for cell in table.cells[column]})
        and values <= {"", "0", "1", "-1"}
    ]
    if len(ones) < 2:
        return ""
    number_N = table.cells[ones].apply(lambda cells: cells.str.strip().str.fullmatch(r"1(\.0)?")).sum(axis=1)
    several = int((number_N > 1).sum())
    start = f"{table.path} has no one column of labels but {len(ones)} of 0 and 1 ({some(map(shown, ones), 3)})"
    if several:
        return (
            f"{start}, with several ones in {count_of(several, 'row')}: photos with several labels (multi-label) are"
            f" not supported. Name one of the columns with --label, for example --label {ones[0]}."
        )
    return f"{start}. Write the name of the column with the 1 into one column, or name one of them with --label."


def _why_nested(table: TableFile, column: str) -> str:
    if table.nested[column] == "lists":
        return "holds lists: photos with several labels (multi-label) are not supported. Keep one class a photo."
    return "holds the pictures themselves; give their folder as --data hf:DIR, or write them into files."
