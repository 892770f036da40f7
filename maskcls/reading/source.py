"""From --data and what was typed to a task, and from a task to its table of photos."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from maskcls.reading.columns import path_columns
from maskcls.reading.folders import check_folders, class_folders, read_folders
from maskcls.reading.found import Found, shown, table_of, task_of
from maskcls.reading.listing import Listing, list_folder
from maskcls.reading.mask_photos import list_photos, looks_like_masks
from maskcls.reading.table_file import ENDINGS
from maskcls.reading.tables import Tabled, choose_columns, open_table, read_rows, tables_in
from maskcls.system.errors import UserError, count_of, some
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import Source, Task

NO_TABLE = "none"
"""--table none reads the folders, though a table lies beside them."""

DRAWN = "none"
"""--split none draws the split, though a column of the table may say it."""

FOLDERS = Source("folders")


@dataclass(frozen=True)
class SourceOptions:
    """What was typed about the data; empty: not typed."""

    table: str = ""
    """--table: a CSV, TSV or Parquet file, looked up under --data first; "none": read the folders."""
    path: str = ""
    """--path: the table's column with the path of every photo."""
    labels: tuple[str, ...] = ()
    """--label, several times for several factors: the table's columns that make up the label."""
    group: str = ""
    """--group: the table's column that says which photos belong together."""
    split: str = ""
    """--split: the table's column that says train, valid or test; "none": draw the split."""
    metric: str = ""
    """--metric: what models are judged by; empty: the task's own."""

    @property
    def typed(self) -> dict[str, str]:
        """Option -> value, of those that only a table has."""
        labels = ", ".join(self.labels)
        options = {"--table": self.table, "--path": self.path, "--label": labels, "--group": self.group}
        return {name: value for name, value in {**options, "--split": self.split}.items() if value}


def find_task(data: Path, options: SourceOptions, known: Source = FOLDERS) -> Task:
    """The task of the photos under ``data``: the mask task, folders of classes, or a table with a row for every photo.

    ``known``: as in find_source.
    Raises UserError where there is none, or where what is there can be read in several ways; it says which option
    decides.
    """
    return _read_task(data, options, known)[0]


def find_photos(data: Path, options: SourceOptions, known: Source = FOLDERS) -> tuple[Task, pd.DataFrame | None]:
    """(the task as find_task, the photos of the same reading as read_photos; None for the mask task)."""
    task, found = _read_task(data, options, known)
    return task, None if found is None else table_of(found, task)


def _read_task(data: Path, options: SourceOptions, known: Source) -> tuple[Task, Found | None]:
    """(the task, what was read to find it: nothing of the mask task's photos)."""
    place, found = _find(data, options), None
    if isinstance(place, Source):
        task = MASK_TASK
    elif isinstance(place, Tabled):
        source = _source_of(place, _as_known(place, options, known))
        found = read_rows(place, source)
        task = task_of(found, source)
    else:
        check_folders(place)
        found = read_folders(place)
        task = task_of(found, FOLDERS)
    return task.judged_by(options.metric) if options.metric else task, found


def find_source(data: Path, options: SourceOptions, known: Source = FOLDERS) -> Source:
    """Where the photos under ``data`` and their labels stand, for a task that is known: it may lack classes.

    ``known``: that of an earlier command, whose columns are taken where none are typed and the table has them.
    Raises UserError as find_task, but for what makes no task.
    """
    place = _find(data, options)
    if isinstance(place, Source):
        return place
    return _source_of(place, _as_known(place, options, known)) if isinstance(place, Tabled) else FOLDERS


def _as_known(tabled: Tabled, options: SourceOptions, known: Source) -> SourceOptions:
    """The options with the columns of ``known`` where none are typed, labels in the order of its factors."""
    has = tabled.table.cells.columns
    labels = options.labels or (known.labels if set(known.labels) <= set(has) else ())
    labels = known.labels if set(labels) == set(known.labels) else labels
    group = options.group or (known.group if known.group in has else "")
    drawn = DRAWN if known.reader == "table" else ""
    split = options.split or (known.split if known.split in has else drawn)
    return replace(options, labels=labels, group=group, split=split)


def read_photos(
    data: Path, task: Task, label_fixes: str = "auto", note: Callable[[str], None] = lambda _: None
) -> pd.DataFrame:
    """The task's photos under ``data``, one row each, sorted by path.

    Columns: "path" (relative to ``data``, ``/`` between names), "bytes" (the file's size), "person" (the group's name;
    without groups the path), one of int64 for every factor, "label" (int64, of the task's label space), and
    "split_given" ("train", "valid" or "test") where the data says so. Those of the mask task: mask_photos.list_photos.
    ``note`` is called with sentences on what was left out and what to watch for.
    Raises UserError for data that cannot be read so, and for classes that the task does not have.
    """
    if task.source.reader == "mask":
        return list_photos(data, label_fixes, note)
    if label_fixes not in ("auto", "none"):
        raise UserError(
            f"--label-fixes {label_fixes} is a list for the mask task's people. Correct the labels in the data, and"
            " leave it out."
        )
    found = _read(data, task.source)
    for text in found.notes:
        note(text)
    return table_of(found, task)


def _find(data: Path, options: SourceOptions) -> Source | Tabled | Listing:
    """What the data is: the mask task's source, a table, or folders of classes."""
    typed = options.typed
    is_table = bool(typed.keys() - {"--table"}) or options.table not in ("", NO_TABLE)
    if options.table == NO_TABLE and is_table:
        names = some(name for name in typed if name != "--table")
        raise UserError(f"--table none reads folders of classes, which have no columns; leave out {names}.")
    if not typed and data.is_dir() and looks_like_masks(data):
        return MASK_TASK.source
    listing = list_folder(data)
    if is_table or (options.table != NO_TABLE and _is_table(listing)):
        return open_table(data, options.table or _only_table(listing, typed), listing)
    return listing


def _source_of(tabled: Tabled, options: SourceOptions) -> Source:
    """The table and its columns, of which some may be typed."""
    path, data = tabled.table.path, tabled.listing.folder
    # one that is not under --data was found from here, and is to be found again from elsewhere
    name = path.relative_to(data).as_posix() if path.is_relative_to(data) else str(path.absolute())
    typed = Source("table", name, options.path, options.labels, options.group, options.split)
    return choose_columns(tabled, typed)


def _read(data: Path, source: Source) -> Found:
    if source.reader == "folders":
        return read_folders(list_folder(data))
    return read_rows(open_table(data, source.table), source)


def _is_table(listing: Listing) -> bool:
    """Whether the labels stand in a table. Raises UserError where they may as well be the folders' names."""
    names, folders = tables_in(listing, ENDINGS), class_folders(listing)
    if len(folders) < 2:
        return bool(names)
    for name in names:
        if _names_pictures(listing, name):
            raise UserError(
                f"{listing.folder} holds folders of pictures ({some(map(shown, folders), 3)}) and a table that names"
                f" pictures ({shown(name)}). Say --table {name} if the labels stand in it, or --table none if the"
                " folders are the classes."
            )
    return False


def _names_pictures(listing: Listing, name: str) -> bool:
    try:
        tabled = open_table(listing.folder, name, listing)
    except UserError:  # a file beside the folders that is no table of photos
        return False
    return bool(path_columns(tabled.table, tabled.lookup))


def _only_table(listing: Listing, typed: Iterable[str]) -> str:
    names = tables_in(listing, ENDINGS)
    if not names:
        options = some(typed)
        remedy = "Give one with --table"
        if folders := class_folders(listing):
            remedy += f", or leave out {options} if the classes are the folders ({some(map(shown, folders), 3)})"
        raise UserError(f"There is no table in {listing.folder}, which {options} would be about. {remedy}.")
    if len(names) > 1:
        raise UserError(
            f"{listing.folder} holds {count_of(len(names), 'table')}: {some(map(shown, names))}. Say which one with"
            f" --table, for example --table {names[0]}."
        )
    return names[0]
