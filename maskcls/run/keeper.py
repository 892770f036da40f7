"""An evaluation is kept as a whole or not at all.

Its files are first written under names of the attempt that made them (one call of ``loop.fit``); then the record takes
the old one's place in a single step; then the files get their own names. A process may be killed between any two of
these: whoever opens the folder next does what the record says is left to do, or finds that the folder's files are not
those of the record, and the run begins anew.
"""

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from maskcls.run.record import (
    PREDICTIONS,
    RECORD,
    STATE,
    WEIGHTS,
    Content,
    DamagedError,
    Record,
    Stamp,
    is_good,
    read_record,
    stamp_of,
)
from maskcls.run.result import Evaluation

logger = logging.getLogger(__name__)

STAGED = re.compile(r"\.([0-9a-f]{32}|\d+)\..+")
"""Names of files that are not in their place yet: a random token, or in older folders a process's number."""

Guard = Callable[[], AbstractContextManager[None]]
"""Entered for the moment in which files take their place; raises when the folder is somebody else's by now."""


def remove_parts(folder: Path) -> None:
    """Remove what a process that was killed in the middle of writing left in a run's folder."""
    for path in folder.glob(".*"):
        if STAGED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def forget(folder: Path) -> None:
    """Remove a run's files but config and picture; the record first, without which the others mean nothing."""
    for name in (RECORD, STATE, WEIGHTS, PREDICTIONS):
        (folder / name).unlink(missing_ok=True)
    remove_parts(folder)


def unsettled(folder: Path, record: Record) -> tuple[list[tuple[Path, Path]], str]:
    """(files of the record that still have to get their names: from, to; why the run cannot go on, or nothing)."""
    moves = []
    for name, stamp in record.files.items():
        final, staged = folder / name, _staged(folder, record.attempt, name)
        if is_good(final, stamp):
            continue
        if not is_good(staged, stamp):
            return [], f"its {name} is {'damaged' if final.exists() else 'not there'}"
        moves.append((staged, final))
    return moves, ""


def settle(folder: Path, record: Record, moves: Iterable[tuple[Path, Path]]) -> None:
    """Give files their names, and remove what no evaluation of the record has left."""
    for staged, final in moves:
        move(staged, final)
    if STATE not in record.files:
        (folder / STATE).unlink(missing_ok=True)
    remove_parts(folder)
    _sync(folder)


def write(path: Path, content: Content) -> None:
    """A file that is on the disk when this returns, not only on its way there."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def move(source: Path, target: Path) -> None:
    """In one step: readers see the old file or the new."""
    source.replace(target)


def _staged(folder: Path, attempt: str, name: str) -> Path:
    return folder / f".{attempt}.{name}"


def _sync(folder: Path) -> None:
    """Names are on the disk too. A file system that cannot do this for folders is left to its ways."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Keeper:
    """Keeps the evaluations of one attempt at a run in its folder."""

    def __init__(self, folder: Path, guard: Guard, identity: Mapping[str, Any], planned: int) -> None:
        self.folder, self.guard, self.identity, self.planned = folder, guard, identity, planned
        self.attempt = uuid4().hex
        self.files: dict[str, Stamp] = {}

    def open(self, adopt: Callable[[Record], Record]) -> Record | None:
        """The record of this very run, its files in their places; None when the run begins anew, with why if said.

        What cannot be gone on with is cleared away. ``adopt`` makes a whole record of one without stamps, or raises
        DamagedError.
        """
        record, why = None, ""
        moves: list[tuple[Path, Path]] = []
        try:
            record = read_record(self.folder)
            if record is not None and record.is_earlier:
                record = adopt(record)
            elif record is not None:
                why = _difference(record.identity, self.identity)
            if record is not None and not why:
                moves, why = unsettled(self.folder, record)
        except DamagedError as error:
            why = str(error)
        with self.guard():
            if record is None or why:
                forget(self.folder)
            else:
                settle(self.folder, record, moves)
        if record is None or why:
            if why:
                logger.info(f"{self.folder}: {why}; the run starts again.")
            return None
        self.files = dict(record.files)
        return record

    def keep(self, evaluations: Iterable[Evaluation], contents: Mapping[str, Content]) -> None:
        """All of an evaluation: its record and the new files. Files that it does not bring stay; the state never does.

        Raises what the guard raises, with nothing in the folder changed.
        """
        evaluations = tuple(evaluations)
        step = evaluations[-1].step
        files = {name: stamp for name, stamp in self.files.items() if name != STATE}
        files |= {name: stamp_of(content, step) for name, content in contents.items()}
        record = Record(self.planned, self.attempt, self.identity, evaluations, files)
        texts: dict[str, Content] = {**contents, RECORD: record.to_json().encode()}
        staged = {name: _staged(self.folder, self.attempt, name) for name in texts}
        is_mine = False
        try:
            for name, content in texts.items():
                write(staged[name], content)
            with self.guard():
                is_mine = True
                move(staged[RECORD], self.folder / RECORD)
                _sync(self.folder)  # the record is on the disk before it is relied on
                settle(self.folder, record, [(staged[name], self.folder / name) for name in contents])
        finally:
            if not is_mine:  # later the record counts on them
                for path in staged.values():
                    path.unlink(missing_ok=True)
        self.files = files


def _difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Why a record of one identity is not one of another; nothing when it is."""
    names = differing(there, here)
    return f"it is of another run (other {', '.join(names)})" if names else ""


def differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """The facts that are others than they were; of a package whose version was not noted then nothing is known."""
    return [name for name, found in here.items() if not _is_as_it_was(name, there.get(name), found)]


def _is_as_it_was(name: str, there: Any, here: Any) -> bool:
    if name == "versions" and isinstance(there, Mapping):
        return all(here[package] == version for package, version in there.items() if package in here)
    return bool(there == here)
