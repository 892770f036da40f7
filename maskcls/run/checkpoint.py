"""Commit an evaluation to a run's folder, all of it or nothing.

A commit has three steps. The files of the evaluation are *staged*: written under names that begin with the token of
the attempt (one call of ``loop.fit``). Then the record, which holds their digests, replaces the old record in a single
rename: from here on the evaluation counts. Then the staged files are renamed to their final names. When a process is
killed between two of these steps, the next one to open the folder finishes the pending renames; where the files do not
match the record, the run starts again.

The state to resume from may be of an earlier evaluation than the last: it is large, and not every evaluation writes it.
"""

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from maskcls.run.record import (
    PREDICTIONS,
    RECORD,
    STATE,
    WEIGHTS,
    Content,
    Record,
    Stamp,
    UnusableRunError,
    matches,
    read_record,
    stamp_of,
)
from maskcls.run.result import Evaluation

logger = logging.getLogger(__name__)

STAGED = re.compile(r"\.([0-9a-f]{32}|\d+)\..+")
"""Names of staged files: they begin with the attempt's token, in older folders with a process id."""

Guard = Callable[[], AbstractContextManager[None]]
"""A context for renaming and deleting files; entering it raises when another process has taken over the folder."""

Rename = tuple[Path, Path]
"""(source, target)."""


@dataclass(frozen=True)
class Staged:
    """An evaluation whose files are written, but do not count yet."""

    record: Record
    paths: Mapping[str, Path]
    """Where each file waits, by its name; the record too."""

    def discard(self) -> None:
        """Remove the files of an evaluation that will not be committed."""
        for path in self.paths.values():
            path.unlink(missing_ok=True)


class EvaluationStore:
    """Commits the evaluations of one attempt to the run's folder."""

    def __init__(self, folder: Path, guard: Guard, identity: Mapping[str, Any], planned_evaluations: int) -> None:
        """``identity``: as in ``Record``."""
        self.folder, self.guard, self.identity = folder, guard, identity
        self.planned_evaluations = planned_evaluations
        self.attempt = uuid4().hex
        self.files: dict[str, Stamp] = {}

    def recover(self, upgrade: Callable[[Record], Record]) -> Record | None:
        """The record of this run, with its last commit finished; None when the run starts from the beginning.

        Files that the run cannot continue from are deleted, and the reason is logged. ``upgrade`` adds the stamps to a
        legacy record, or raises UnusableRunError. What the guard raises passes through, with the folder unchanged.
        """
        reason = ""
        try:
            record = self._record_of_this_run(upgrade)
            renames = [] if record is None else pending_renames(self.folder, record)
        except UnusableRunError as error:
            record, reason = None, str(error)
        if record is None:
            with self.guard():
                delete_run_files(self.folder)
            if reason:
                logger.info(f"{self.folder}: {reason}; the run starts again.")
            return None
        with self.guard():
            finish_commit(self.folder, record, renames)
        self.files = dict(record.files)
        return record

    def _record_of_this_run(self, upgrade: Callable[[Record], Record]) -> Record | None:
        record = read_record(self.folder)
        if record is None:
            return None
        if record.is_legacy:
            return upgrade(record)
        if changed := changed_facts(record.identity, self.identity):
            raise UnusableRunError(f"it belongs to another run (other {', '.join(changed)})")
        return record

    def stage(self, evaluations: Iterable[Evaluation], contents: Mapping[str, Content]) -> Staged:
        """The first step of a commit: of all evaluations so far, with new files (``contents``: name -> content).

        It takes nearly all of the commit's time; another thread may do it. Files committed earlier stay unless
        replaced; the run's last evaluation removes the state. Raises OSError, for example on a full disk; no file is
        left then.
        """
        evaluations = tuple(evaluations)
        step = evaluations[-1].step
        files = dict(self.files)
        if step == self.planned_evaluations:
            files.pop(STATE, None)
        files |= {name: stamp_of(content, step) for name, content in contents.items()}
        record = Record(self.planned_evaluations, self.attempt, self.identity, evaluations, files)
        all_contents: dict[str, Content] = {**contents, RECORD: record.to_json().encode()}
        staged = Staged(record, {name: _staged_path(self.folder, self.attempt, name) for name in all_contents})
        try:
            for name, content in all_contents.items():
                write_synced(staged.paths[name], content)
        except BaseException:
            staged.discard()
            raise
        return staged

    def put_in_place(self, staged: Staged) -> None:
        """The other steps of a commit, in the thread whose database connection the guard uses.

        Raises what the guard raises; the folder is then unchanged.
        """
        may_be_committed = False  # if so, the record may refer to the staged files
        renames = [(path, self.folder / name) for name, path in staged.paths.items() if name != RECORD]
        try:
            with self.guard():
                may_be_committed = True
                rename(staged.paths[RECORD], self.folder / RECORD)
                _sync_folder(self.folder)  # before files of the old record are overwritten
                finish_commit(self.folder, staged.record, renames)
        finally:
            if not may_be_committed:
                staged.discard()
        self.files = dict(staged.record.files)


def pending_renames(folder: Path, record: Record) -> list[Rename]:
    """Renames of staged files that the record's commit still needs; empty when it is finished.

    Raises UnusableRunError when a file of the record is neither in place nor staged.
    """
    renames = []
    for name, stamp in record.files.items():
        final, staged = folder / name, _staged_path(folder, record.attempt, name)
        if matches(final, stamp):
            continue
        if not matches(staged, stamp):
            raise UnusableRunError(f"its {name} is {'damaged' if final.exists() else 'missing'}")
        renames.append((staged, final))
    return renames


def finish_commit(folder: Path, record: Record, renames: Iterable[Rename]) -> None:
    """Do the pending renames of the record's commit, and remove an outdated state and leftover staged files."""
    for staged, final in renames:
        rename(staged, final)
    if STATE not in record.files:
        (folder / STATE).unlink(missing_ok=True)
    remove_staged_files(folder)
    _sync_folder(folder)


def remove_staged_files(folder: Path) -> None:
    """Remove the staged files that a killed process left in a run's folder."""
    for path in folder.glob(".*"):
        if STAGED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def delete_run_files(folder: Path) -> None:
    """Delete a run's files except its config and picture."""
    for name in (RECORD, STATE, WEIGHTS, PREDICTIONS):  # the record first: without it the others do not count
        (folder / name).unlink(missing_ok=True)
    remove_staged_files(folder)


def write_synced(path: Path, content: Content) -> None:
    """Write a file, and return once its content is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def rename(source: Path, target: Path) -> None:
    """Rename atomically: readers see the old file or the new one."""
    source.replace(target)


def _staged_path(folder: Path, attempt: str, name: str) -> Path:
    return folder / f".{attempt}.{name}"


def _sync_folder(folder: Path) -> None:
    """Write the folder's entries to the disk, on file systems that can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def changed_facts(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Names of the facts of a run's identity that differ from the recorded ones.

    Versions are compared only for packages in both: an older record lacks some.
    """
    return [name for name, fact in current.items() if not _is_same(name, recorded.get(name), fact)]


def _is_same(name: str, recorded: Any, current: Any) -> bool:
    if name == "versions" and isinstance(recorded, Mapping):
        return all(current[package] == version for package, version in recorded.items() if package in current)
    return bool(recorded == current)
