"""What was understood of the photos, for the plan: classes with counts, columns, groups, what is held back."""

import textwrap

import numpy as np

from maskcls.data.dataset import Dataset, Table, progress_bar
from maskcls.data.duplicates import near_duplicates_of, near_duplicates_text
from maskcls.data.splitters import lonely_classes, lonely_text
from maskcls.reading.hf import TABLE
from maskcls.system.errors import count_of
from maskcls.system.printable import one_printable_line, shortened

MAX_CLASSES = 8
"""Classes that are named with their counts; of more, the largest and the smallest."""


WIDTH = 108
"""Characters of a line of the plan, without its margin of 12."""


def photo_lines(table: Table, of_test: str = "") -> list[str]:
    """The lines of the plan on photos that were read from folders or a table; none for the mask task, known to all.

    ``of_test``: what becomes of those that are held back, to follow that they are; only of use where some are.
    """
    return [line for text in _understood(table, of_test) for line in wrapped(text)]


def note_lines(table: Table) -> list[str]:
    """The lines of the plan on what was left out and what to watch for; the mask task's are not broken."""
    if table.task.source.reader == "mask":
        return list(table.notes)
    return [line for text in table.notes for line in wrapped(text)]


def duplicate_lines(dataset: Dataset) -> list[str]:
    """The lines of the plan on photos that are on both sides in two guises; none for the mask task, where faces were
    taken for a competition."""
    if dataset.task.source.reader == "mask":
        return []
    photos = len(dataset.train.row_N) + len(dataset.valid.row_N)
    with progress_bar(f"comparing {photos} photos", photos) as tick:
        found = near_duplicates_of(dataset, tick)
    return wrapped(near_duplicates_text(found, dataset.task.unit))


def wrapped(text: str) -> list[str]:
    """The text in lines of the plan, without characters that a terminal would act upon; none for an empty one."""
    return textwrap.wrap(
        one_printable_line(text), WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _understood(table: Table, of_test: str) -> list[str]:
    task = table.task
    if task.source.reader == "mask":
        return []
    lines = [_read_from(table)]
    lines += [_classes(table, factor.name) for factor in task.space.factors]
    if lonely := lonely_classes(table.photos):
        lines.append(lonely_text(lonely, task.space.names, task.unit))
    return lines + _held_back(table, of_test)


def _read_from(table: Table) -> str:
    task, source = table.task, table.task.source
    if source.reader == "folders":
        return f"a class for every folder{_in_sides(table)}"
    is_unpacked = source.table == TABLE and table.folder.name.startswith("hf-")  # whose user knows no such file
    place = "the dataset" if is_unpacked else source.table
    columns = [f"label {' and '.join(source.labels)}"]
    columns += [f"{'pictures' if is_unpacked else 'path'} {source.path}"]
    columns += [f"group {source.group}"] if source.group else []
    columns += [f"split {source.split}"] if source.split else []
    return one_printable_line(f"read from {place}: {', '.join(columns)}; judged by {task.metric_words}")


def _in_sides(table: Table) -> str:
    """`` in train, val and test``, by the folders' own names; empty where the split is drawn."""
    if table.task.splitter != "given":
        return ""
    sides = (table.photos,) if table.test is None else (table.photos, table.test)
    names = sorted({path.partition("/")[0] for side in sides for path in side["path"]})
    return f" in {' and '.join(names)}"


def _classes(table: Table, factor: str) -> str:
    """``diagnosis: 7 classes (nv: 2,300, mel: 400, ...)``."""
    space = table.task.space
    names = space.factor(factor).classes
    class_N = table.photos["label"].to_numpy()
    class_N = space.part_of(class_N, factor) if space.parts else class_N
    count_K = np.bincount(class_N, minlength=len(names))
    order = np.argsort(-count_K, kind="stable").tolist()
    shown = order if len(order) <= MAX_CLASSES else [*order[: MAX_CLASSES - 2], *order[-2:]]
    counts = [f"{shortened(names[number], 40)}: {count_K[number]:,}" for number in shown]
    if len(shown) < len(order):
        counts.insert(MAX_CLASSES - 2, f"... {len(order) - len(shown)} more ...")
    return f"{factor}: {count_of(len(names), 'class', 'classes')} ({', '.join(counts)})"


def size_of_test(table: Table) -> str:
    """``22 photos of 11 patients``: what is held back for a test; empty where nothing is."""
    if table.test is None:
        return ""
    unit, units = table.task.unit, table.test["person"].nunique()
    of = f" of {unit.count(units)}" if table.task.has_groups else ""
    return f"{count_of(len(table.test), 'photo')}{of}"


def _held_back(table: Table, of_test: str) -> list[str]:
    size = size_of_test(table)
    return [f"{size} for a test are held back{of_test}"] if size else []
