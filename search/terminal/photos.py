"""What was understood of the photos, for the plan: classes with counts, columns, groups, what is held back."""

import numpy as np

from maskcls.data.dataset import Table
from maskcls.data.splitters import lonely_classes, lonely_text
from maskcls.system.errors import count_of
from maskcls.system.printable import one_printable_line, shortened
from maskcls.tasks.task import Source, Task

MAX_CLASSES = 8
"""Classes that are named with their counts; of more, the largest and the smallest."""


def photo_lines(table: Table) -> list[str]:
    """The lines of the plan on photos that were read from folders or a table; none for the mask task, known to all."""
    task = table.task
    if task.source.reader == "mask":
        return []
    lines = [_read_from(task.source, task)]
    lines += [_classes(table, factor.name) for factor in task.space.factors]
    if lonely := lonely_classes(table.photos):
        lines.append(lonely_text(lonely, task.space.names, task.unit))
    return lines + _held_back(table)


def _read_from(source: Source, task: Task) -> str:
    if source.reader == "folders":
        return "a class for every folder"
    columns = [f"label {' and '.join(source.labels)}", f"path {source.path}"]
    columns += [f"group {source.group}"] if source.group else []
    columns += [f"split {source.split}"] if source.split else []
    return one_printable_line(f"read from {source.table}: {', '.join(columns)}; judged by {task.metric_words}")


def _classes(table: Table, factor: str) -> str:
    """``diagnosis: 7 classes, nv 2,300, mel 400, ...``."""
    space = table.task.space
    names = space.factor(factor).classes
    class_N = table.photos["label"].to_numpy()
    class_N = space.part_of(class_N, factor) if space.parts else class_N
    count_K = np.bincount(class_N, minlength=len(names))
    order = np.argsort(-count_K, kind="stable").tolist()
    shown = order if len(order) <= MAX_CLASSES else [*order[: MAX_CLASSES - 2], *order[-2:]]
    counts = [f"{shortened(names[number], 40)} {count_K[number]:,}" for number in shown]
    if len(shown) < len(order):
        counts.insert(MAX_CLASSES - 2, f"... {len(order) - len(shown)} more ...")
    return f"{factor}: {count_of(len(names), 'class', 'classes')} ({', '.join(counts)})"


def _held_back(table: Table) -> list[str]:
    if table.test is None:
        return []
    unit, units = table.task.unit, table.test["person"].nunique()
    of = f" of {unit.count(units)}" if table.task.has_groups else ""
    return [
        f"{count_of(len(table.test), 'photo')}{of} for a test are held back; search.confirm scores them once, at last"
    ]
