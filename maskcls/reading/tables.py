"""A table with a row for every photo, beside a folder with the photos."""

import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import numpy as np
import pandas as pd

from maskcls.reading.cells import check_label_cells, is_missing, without_points
from maskcls.reading.columns import check_column, label_column, path_column
from maskcls.reading.found import SPLITS, Found, class_name, look_alikes, shown
from maskcls.reading.listing import Listing, list_folder
from maskcls.reading.lookup import Lookup
from maskcls.reading.table_file import TableFile, read_table_file
from maskcls.reading.units import SUBJECTS, unit_of
from maskcls.system.errors import UserError, count_of, some
from maskcls.tasks.task import Source

FEW = 0.01
"""Rows without a label or a photo are left out, with a note, as far as fewer than this share lack it."""


class Tabled(NamedTuple):
    """A table and the folder whose pictures it names."""

    table: TableFile
    listing: Listing
    lookup: Lookup


def open_table(data: Path, name: str, listing: Listing | None = None) -> Tabled:
    """The table of this name, which is looked up under ``data`` first. Raises UserError where none is."""
    path = next((place for place in (data / name, Path(name)) if place.is_file()), None)
    if path is None:
        raise UserError(f"There is no table {name}, neither in {data} nor here. Give its path to --table.")
    listing = listing or list_folder(data)
    table = read_table_file(path)
    folder = os.path.relpath(path.parent, data)
    base = "" if folder == "." or folder.startswith("..") else folder
    return Tabled(table, listing, Lookup(listing, base))


def tables_in(listing: Listing, endings: tuple[str, ...]) -> list[str]:
    """Names of the tables that lie in the folder itself."""
    return [name for name in listing.others if "/" not in name and name.lower().endswith(endings)]


def choose_columns(tabled: Tabled, typed: Source) -> Source:
    """``typed`` with the columns that it leaves open. Raises UserError for unknown ones, and where it must be asked."""
    table = tabled.table
    for column, option in (
        *((column, "--label") for column in typed.labels),
        *((typed.path, "--path"), (typed.group, "--group"), (typed.split, "--split")),
    ):
        if column and not (option == "--split" and column == "none"):
            check_column(table, column, option)
    if len(set(typed.labels)) < len(typed.labels):
        raise UserError("--label names one column twice; name every column of the label once.")
    path = typed.path or path_column(table, tabled.lookup, tabled.listing, {*typed.labels, typed.group, typed.split})
    auto = next((column for column in table.cells.columns if column.lower() == "split"), "")
    split = "" if typed.split == "none" else typed.split or (auto if auto not in (*typed.labels, typed.group) else "")
    labels = typed.labels or (label_column(table, {path, typed.group, auto} - {""}),)
    used = [path, *labels, *filter(None, (typed.group, split))]
    twice = sorted({column for column in used if used.count(column) > 1})
    if twice:
        raise UserError(
            f"{shown(twice[0])} of {table.path} is named for two things; --path, --label, --group and --split"
            " each need a column of their own."
        )
    return Source("table", typed.table, path, labels, typed.group, split)


def read_rows(tabled: Tabled, source: Source) -> Found:
    """The photos that the table names. Raises UserError for rows that cannot be used, and for labels that are none."""
    table, listing = tabled.table, tabled.listing
    for column in filter(None, (source.path, *source.labels, source.group, source.split)):
        check_column(table, column, "the stored task")
    cells, notes = _complete(table, source)
    paths, more = _photos(cells[source.path], tabled, source.path)
    notes += more
    cells = cells[[path != "" for path in paths]]
    paths = [path for path in paths if path]
    _check_unique(table, cells, paths, source)
    words = {column: _classes(cells[column], column, table.path) for column in source.labels}
    persons = _groups(cells[source.group]) if source.group else np.array(paths, dtype=str)
    sizes = [(listing.folder / path).stat().st_size for path in paths]
    photos = pd.DataFrame({"path": paths, "bytes": np.array(sizes, dtype=np.int64), "person": persons})
    if source.split:
        sides = _sides(cells[source.split], source.split, table.path)
        _check_apart(persons, sides, source, table.path)
        photos = photos.assign(split_given=sides) if len(set(sides)) > 1 else photos
    order = np.argsort(np.array(paths, dtype=object), kind="stable")
    notes += _unused(tabled, paths, source)
    for column, word_N in words.items():
        notes += look_alikes(word_N.tolist(), f"{shown(column)} in {table.path}")
    return Found(
        photos.iloc[order].reset_index(drop=True),
        {column: word_N[order] for column, word_N in words.items()},
        tuple(notes),
        str(table.path),
        unit_of(source.group) if source.group else None,
    )


def _complete(table: TableFile, source: Source) -> tuple[pd.DataFrame, list[str]]:
    """The rows with a cell in every column that is used, and notes on the others."""
    cells, notes = table.cells, []
    lacks_label_N = cells[list(source.labels)].map(is_missing).all(axis=1).to_numpy()
    if source.split:
        is_test_N = np.array([SPLITS.get(cell.strip().lower()) == "test" for cell in cells[source.split]])
        if is_test_N.any() and lacks_label_N[is_test_N].all() and not is_test_N.all():
            notes.append(f"{count_of(int(is_test_N.sum()), 'test photo')} of {table.path} left out, without a label.")
            cells = cells[~is_test_N]
    for column in filter(None, (source.path, *source.labels, source.group, source.split)):
        is_missing_N = cells[column].map(is_missing).to_numpy(dtype=bool)
        lines = cells.index[is_missing_N].tolist()
        if not lines:
            continue
        what = f"{count_of(len(lines), 'row')} of {table.path} without {shown(column)}"
        if len(lines) >= FEW * len(table.cells):
            raise UserError(
                f"Every row needs its {shown(column)}; there {'is' if len(lines) == 1 else 'are'} {what}"
                f" ({_lines(lines)}). Fill them in, or remove these rows."
            )
        notes.append(f"{what} left out ({_lines(lines)}).")
        cells = cells[~is_missing_N]
    return cells, notes


def _lines(lines: list[int]) -> str:
    return f"line {lines[0]}" if len(lines) == 1 else f"lines {some(lines, 3)}"


def _photos(cells: pd.Series, tabled: Tabled, column: str) -> tuple[list[str], list[str]]:
    """(the picture of every row, empty where it is missing; notes). Raises UserError for rows without one picture."""
    table, listing, lookup = tabled
    out = [cell for cell in cells if lookup.leads_out(cell)]
    if out:
        lead = "leads" if len(out) == 1 else "lead"
        raise UserError(
            f"Paths must be relative to {listing.folder}; {len(out)} of {table.path} {lead} out of it:"
            f" {some(map(shown, out), 3)}. Write them relative to that folder."
        )
    found = [lookup.find(cell) for cell in cells]
    several = [(cell, paths) for cell, paths in zip(cells, found, strict=True) if len(paths) > 1]
    if several:
        cell, paths = several[0]
        raise UserError(
            f"{count_of(len(several), 'row')} of {table.path} may mean several pictures: {shown(cell)} is"
            f" {some(map(shown, paths), 2)}. Write the path from {listing.folder} on into {shown(column)}, or give"
            " --data the folder of the table's photos."
        )
    missing = [cell for cell, paths in zip(cells, found, strict=True) if not paths]
    if not missing:
        return [paths[0] for paths in found], []
    _check_missing(missing, tabled)
    what = f"{count_of(len(missing), 'photo')} of {table.path} not in {listing.folder}: {some(map(shown, missing), 3)}"
    if len(missing) >= FEW * len(cells):
        raise UserError(f"{what}. Restore them, or remove their rows; {shown(column)} is the column of the paths.")
    return [paths[0] if paths else "" for paths in found], [f"{what}; left out."]


def _check_missing(missing: list[str], tabled: Tabled) -> None:
    """Raise UserError for files that are there and no pictures: a broken link is a disk that is not mounted."""
    listing = tabled.listing
    unusable = Lookup(replace(listing, pictures=list(listing.unusable)))
    others = {normalize("NFC", path) for path in listing.others}
    for cell in missing:
        for path in unusable.find(cell)[:1]:
            raise UserError(
                f"{shown(path)} in {listing.folder} {listing.unusable[path]}; restore the photo, or remove its row."
            )
        if tabled.lookup.name_of(cell) in others:
            raise UserError(
                f"{shown(cell)} of {tabled.table.path} is not a picture by its ending. Save it as PNG or JPEG, or"
                " remove its row."
            )


def _check_unique(table: TableFile, cells: pd.DataFrame, paths: list[str], source: Source) -> None:
    is_twice_N = pd.Series(paths).duplicated(keep=False).to_numpy(dtype=bool)
    if not is_twice_N.any():
        return
    twice = [path for path, is_twice in zip(paths, is_twice_N, strict=True) if is_twice]
    labels = cells.loc[is_twice_N, list(source.labels)].assign(path=twice).drop_duplicates()
    differ = labels["path"][labels["path"].duplicated()].unique()
    if len(differ):
        have = "has" if len(differ) == 1 else "have"
        raise UserError(
            f"{count_of(len(differ), 'photo')} of {table.path} {have} two labels: {some(map(shown, differ), 3)}. Keep"
            " one row of each."
        )
    raise UserError(
        f"{count_of(len(set(twice)), 'photo')} of {table.path} listed more than once:"
        f" {some(map(shown, dict.fromkeys(twice)), 3)}. Keep one row of each."
    )


def _classes(cells: pd.Series, column: str, path: Path) -> np.ndarray:
    word_N = without_points(np.array([class_name(cell) for cell in cells], dtype=str))
    check_label_cells(word_N, column, str(path))
    return word_N


def _groups(cells: pd.Series) -> np.ndarray:
    return without_points(np.array([class_name(cell) for cell in cells], dtype=str))


def _sides(cells: pd.Series, column: str, path: Path) -> list[str]:
    sides = [SPLITS.get(cell.strip().lower(), "") for cell in cells]
    strange = sorted({cell.strip() for cell, side in zip(cells, sides, strict=True) if not side})
    if strange:
        raise UserError(
            f"{shown(column)} of {path} must say train, valid or test; it says {some(map(shown, strange), 3)}."
            " Write one of these words, or draw the split with --split none."
        )
    if len(set(sides)) > 1 and "train" not in sides:
        raise UserError(f"{shown(column)} of {path} says train of no photo. Add some, or draw the split: --split none.")
    return sides


def _check_apart(person_N: np.ndarray, sides: list[str], source: Source, path: Path) -> None:
    """Raise UserError for groups on several sides of the given split."""
    if not source.group:
        return
    count = pd.Series(sides).groupby(person_N).nunique()
    torn = count.index[count > 1].tolist()
    if torn:
        unit = unit_of(source.group)
        raise UserError(
            f"{unit.count(len(torn))} of {path} on several sides of {shown(source.split)}: {some(map(shown, torn), 3)}."
            f" Move all photos of a {unit.one} to one side, or draw the split with --split none."
        )


def _unused(tabled: Tabled, paths: list[str], source: Source) -> list[str]:
    """Notes on pictures that the table leaves out, and on a column that looks like a group and is not used."""
    notes, rest = [], sorted(set(tabled.listing.pictures) - set(paths))
    if rest:
        notes.append(
            f"{count_of(len(rest), 'picture')} left out, not in {tabled.table.path}: {some(map(shown, rest), 3)}."
        )
    used = (source.path, *source.labels, source.split)
    for column in [] if source.group else tabled.table.cells.columns:
        one = unit_of(column).one
        if one in SUBJECTS and column not in used and tabled.table.cells[column].duplicated().any():
            notes.append(
                f"CAUTION: {shown(column)} of {tabled.table.path} says which photos show one {one}, and is not used:"
                f" such photos may be on both sides. --group {column} keeps them together."
            )
    return notes
