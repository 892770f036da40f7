"""What a reader finds, in the data's own words, and how it becomes a task and a table of photos."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from unicodedata import normalize

import numpy as np
import pandas as pd

from maskcls.labels import ALL, Factor, LabelSpace
from maskcls.system.errors import UserError, count_of, one_line, some
from maskcls.system.paths import as_text
from maskcls.tasks.task import Source, Task, Unit

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""A side of a given split as it is written, in lower case -> as it is called here."""

TAKEN = frozenset({"path", "bytes", "person", "label", "split", "split_given", "row", "backbone", ALL})
"""Names that a factor cannot have: columns of the table of photos, and a part of a model's parameter names."""

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Found:
    """Labelled photos, before classes are numbered."""

    photos: pd.DataFrame
    """Columns "path", "bytes", "person" and, where the data says so, "split_given"; sorted by path."""
    words: dict[str, np.ndarray]
    """Column of the label (a table's, or "class") -> str [N]: the class of every photo."""
    notes: tuple[str, ...] = ()
    """What was left out and what to watch for, in sentences for the user."""
    origin: str = ""
    """Where the classes stand, for messages: "DIR" or "DIR/meta.csv"."""
    groups: Unit | None = None
    """What "person" holds; None: every photo alone."""


def shown(name: str) -> str:
    """A name from the data for a message: text on one line of readable length."""
    line = one_line(as_text(name), 61)
    return line if len(line) <= 60 else line[:59] + "…"


def class_name(text: str) -> str:
    """A class as it is written in data, in composed Unicode and without spaces around it."""
    return " ".join(normalize("NFC", text).split())


def look_alikes(words: Iterable[str], origin: str) -> list[str]:
    """A note on classes that differ in capitals alone, if there are any: often they are one."""
    spellings: dict[str, set[str]] = {}
    for word in words:
        spellings.setdefault(word.casefold(), set()).add(word)
    alike = [" and ".join(map(shown, sorted(names))) for _, names in sorted(spellings.items()) if len(names) > 1]
    if not alike:
        return []
    return [f"CAUTION: classes of {origin} differ in capital letters alone: {some(alike, 3)}. They stay apart."]


def ordered_classes(word_N: np.ndarray) -> tuple[str, ...]:
    """The classes that occur, numbers by their size ("2" before "10"), others by their text."""
    classes = set(word_N.tolist())
    if all(NUMBER.fullmatch(name) for name in classes):
        return tuple(sorted(classes, key=lambda name: (float(name), name)))
    return tuple(sorted(classes))


def factor_name(column: str, alone: bool) -> str:
    """A label column's name as a factor's: letters, digits and ``_``, and none that the table of photos has."""
    name = re.sub(r"\W+", "_", class_name(column)).strip("_")[:40]
    if name.lower() in ("", "label", "labels", "target", "class") and alone:
        return "class"
    return f"{name}_class" if name in TAKEN or not name else name


def task_of(found: Found, source: Source) -> Task:
    """The task whose classes are those that occur. Raises UserError where they make no task."""
    factor_names = [factor_name(column, len(found.words) == 1) for column in found.words]
    if len(set(factor_names)) < len(factor_names):
        raise UserError(
            f"The columns {some(map(shown, found.words))} of {found.origin} have one name without their signs;"
            " rename one of them."
        )
    factors = tuple(
        Factor(name, ordered_classes(word_N), of_group=_is_of_group(found.photos["person"], word_N))
        for name, word_N in zip(factor_names, found.words.values(), strict=True)
    )
    space = LabelSpace(factors)
    for column, factor in zip(found.words, factors, strict=True):
        _check_classes(found, column, factor, source)
    if space.num_classes > len(found.photos):
        sizes = " x ".join(map(str, space.sizes))
        raise UserError(
            f"{sizes} classes of {some(map(shown, found.words))} make {space.num_classes:,} labels, more than the"
            f" {len(found.photos):,} photos. Name fewer columns with --label."
        )
    names = space.names
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise UserError(
            f"Two labels of {found.origin} would both be called {shown(twice)}, since classes of"
            f" {some(map(shown, found.words))} have commas. Write these classes without."
        )
    sides = set(found.photos["split_given"]) if "split_given" in found.photos else set()
    splitter = "given" if {"train", "valid"} <= sides else "pandas-streaming"
    task = Task(", ".join(factor_names), space, source, splitter=splitter)
    return task if found.groups is None else replace(task, unit=found.groups)


def _is_of_group(person_N: pd.Series, word_N: np.ndarray) -> bool:
    return bool(pd.Series(word_N, person_N.index).groupby(person_N).nunique().max() == 1)


def _check_classes(found: Found, column: str, factor: Factor, source: Source) -> None:
    count = len(factor.classes)
    if count < 2:
        raise UserError(
            f"A label needs at least two classes; all {len(found.photos):,} photos of {found.origin} are"
            f" {shown(factor.classes[0])}. Add photos of another class."
        )
    if count > len(found.photos) / 2:
        is_table = source.reader == "table"
        remedy = (
            "Name the column of the classes with --label." if is_table else "Give --data a folder with more of each."
        )
        raise UserError(
            f"{shown(column)} of {found.origin} has {count_of(count, 'class', 'classes')} for {len(found.photos):,}"
            f" photos, which is a name of each rather than a label. {remedy}"
        )


def table_of(found: Found, task: Task) -> pd.DataFrame:
    """The photos with an int64 column for every factor, and "label".

    Raises UserError for a class that the task does not have: the data is not what the study was begun with.
    """
    if len(found.words) != len(task.space.factors):
        names = [factor.name for factor in task.space.factors]
        raise UserError(
            f"The stored task has {count_of(len(names), 'label')} of a photo ({some(names)}), and"
            f" {count_of(len(found.words), 'column')} of {found.origin} {'is' if len(found.words) == 1 else 'are'} read"
            f" for {'it' if len(names) == 1 else 'them'}: {some(map(shown, found.words))}. Name as many with --label."
        )
    number_by_factor = []
    for factor, (column, word_N) in zip(task.space.factors, found.words.items(), strict=True):
        number = {name: index for index, name in enumerate(factor.classes)}
        unknown = sorted(set(word_N.tolist()) - number.keys())
        if unknown:
            raise UserError(
                f"{shown(column)} of {found.origin} has {count_of(len(unknown), 'class', 'classes')} that the stored"
                f" task does not have: {some(map(shown, unknown))}. It has: {some(map(shown, factor.classes), 10)}."
                " Correct the data, or begin a new study."
            )
        number_by_factor.append(np.array([number[word] for word in word_N.tolist()], dtype=np.int64))
    photos = found.photos.reset_index(drop=True)
    for factor, number_N in zip(task.space.factors, number_by_factor, strict=True):
        photos[factor.name] = number_N  # not by assign, which takes no column called self
    photos["label"] = task.space.encode(*number_by_factor)
    first = [name for name in photos if name != "split_given"]
    return photos[[*first, *photos.columns.difference(first)]]
