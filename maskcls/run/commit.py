"""Commit an evaluation to a run's folder as a whole or not at all.

A commit has three steps. The files of the evaluation are *staged*: written under names of the attempt that made them
(one call of ``loop.fit``). Then the record, which names them by their digests, takes the old record's place in a single
rename: from here on the evaluation counts. Then the staged files are renamed to their own names. A process may be
killed between any two of these: whoever opens the folder next finishes the renames that the record still asks for, or
finds that the files are not those of the record, and the run starts again.
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
"""Names of staged files: they begin with the attempt's token, or in older folders with a process's number."""

Guard = Callable[[], AbstractContextManager[None]]
"""Entered while files are renamed or deleted; raises when another process has taken over the folder."""

Rename = tuple[Path, Path]
"""From, to."""


class EvaluationStore:
    """Commits the evaluations of one attempt at a run to the run's folder."""

    def __init__(self, folder: Path, guard: Guard, identity: Mapping[str, Any], planned_evaluations: int) -> None:
        """``identity``: what the run's result depends on, as in ``Record``."""
        self.folder, self.guard, self.identity = folder, guard, identity
        self.planned_evaluations = planned_evaluations
        self.attempt = uuid4().hex
        self.files: dict[str, Stamp] = {}

    def recover(self, upgrade: Callable[[Record], Record]) -> Record | None:
        """The record of this very run, its last commit finished; None when the run starts from nothing.

        Files that cannot be gone on from are deleted, and the user is told why. ``upgrade`` makes a record with stamps
        of a legacy one, or raises UnusableRunError. Raises what the guard raises, with nothing in the folder changed.
        """
        record, reason = None, ""
        renames: list[Rename] = []
        try:
            record = self._record_of_this_run(upgrade)
            renames = [] if record is None else pending_renames(self.folder, record)
        except UnusableRunError as error:
            record, reason = None, str(error)
        with self.guard():
            if record is None:
                delete_run_files(self.folder)
            else:
                finish_commit(self.folder, record, renames)
        if reason:
            logger.info(f"{self.folder}: {reason}; the run starts again.")
        if record is not None:
            self.files = dict(record.files)
        return record

    def _record_of_this_run(self, upgrade: Callable[[Record], Record]) -> Record | None:
        record = read_record(self.folder)
        if record is None:
            return None
        if record.is_legacy:
            return upgrade(record)
        changed = changed_facts(record.identity, self.identity)
        if changed:
            raise UnusableRunError(f"it is of another run (other {', '.join(changed)})")
        return record

    def commit(self, evaluations: Iterable[Evaluation], contents: Mapping[str, Content]) -> None:
        """Commit all evaluations so far with the files, name to content, that the last one brings.

        Committed files that it does not bring stay, but for the state: without a new one there is none.
        Raises OSError (a full disk, say) and what the guard raises, with nothing in the folder changed.
        """
        evaluations = tuple(evaluations)
        step = evaluations[-1].step
        files = {name: stamp for name, stamp in self.files.items() if name != STATE}
        files |= {name: stamp_of(content, step) for name, content in contents.items()}
        record = Record(self.planned_evaluations, self.attempt, self.identity, evaluations, files)
        staged_contents: dict[str, Content] = {**contents, RECORD: record.to_json().encode()}
        staged = {name: _staged_path(self.folder, self.attempt, name) for name in staged_contents}
        may_be_committed = False
        try:
            for name, content in staged_contents.items():
                write_synced(staged[name], content)
            with self.guard():
                may_be_committed = True
                rename(staged[RECORD], self.folder / RECORD)
                _sync_folder(self.folder)  # the record is on the disk before it is relied on
                finish_commit(self.folder, record, [(staged[name], self.folder / name) for name in contents])
        finally:
            if not may_be_committed:  # else the record may count on the staged files
                for path in staged.values():
                    path.unlink(missing_ok=True)
        self.files = files


def pending_renames(folder: Path, record: Record) -> list[Rename]:
    """Renames of staged files that the record's commit still lacks; none when it was finished.

    Raises UnusableRunError when a file of the record is neither in its place nor staged.
    """
    renames = []
    for name, stamp in record.files.items():
        final, staged = folder / name, _staged_path(folder, record.attempt, name)
        if matches(final, stamp):
            continue
        if not matches(staged, stamp):
            raise UnusableRunError(f"its {name} is {'damaged' if final.exists() else 'not there'}")
        renames.append((staged, final))
    return renames


def finish_commit(folder: Path, record: Record, renames: Iterable[Rename]) -> None:
    """Do the renames that the record's commit still lacks, and remove the files that no record names."""
    for staged, final in renames:
        rename(staged, final)
    if STATE not in record.files:
        (folder / STATE).unlink(missing_ok=True)
    remove_staged_files(folder)
    _sync_folder(folder)


def remove_staged_files(folder: Path) -> None:
    """Remove what a process that was killed before its commit left in a run's folder."""
    for path in folder.glob(".*"):
        if STAGED.fullmatch(path.name):
            path.unlink(missing_ok=True)


def delete_run_files(folder: Path) -> None:
    """Delete a run's files but config and picture; the record first, without which the others mean nothing."""
    for name in (RECORD, STATE, WEIGHTS, PREDICTIONS):
        (folder / name).unlink(missing_ok=True)
    remove_staged_files(folder)


def write_synced(path: Path, content: Content) -> None:
    """Write a file that is on the disk when this returns, not only on its way there."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def rename(source: Path, target: Path) -> None:
    """Rename in one step: readers see the old file or the new."""
    source.replace(target)


def _staged_path(folder: Path, attempt: str, name: str) -> Path:
    return folder / f".{attempt}.{name}"


def _sync_folder(folder: Path) -> None:
    """Put the names on the disk too. A file system that cannot do this for folders is left to its ways."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def changed_facts(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Names of the facts of a run's identity that are not as recorded.

    Of versions only those of packages in both count: nothing is known of a package whose version was not noted.
    """
    return [name for name, fact in current.items() if not _is_unchanged(name, recorded.get(name), fact)]


def _is_unchanged(name: str, recorded: Any, current: Any) -> bool:
    if name == "versions" and isinstance(recorded, Mapping):
        return all(current[package] == version for package, version in recorded.items() if package in current)
    return bool(recorded == current)
