"""What went wrong with trials: kinds, how often a trial is tried again, and when the study should stop trying."""

import errno
import time
from collections.abc import Sequence
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial

from maskcls.system.errors import one_line
from maskcls.system.lock import StuckError
from search.database.errors import DatabaseError, chain, reason
from search.study.attributes import FAILURE_KIND, FAILURES
from search.system.clock import ended_at

OUT_OF_MEMORY, DIVERGED, UNREADABLE, CRASH = "out of memory", "diverged", "unreadable data", "crash"
UNKNOWN_VALUES = "values that cannot be had"

MAX_TRIES = 3
"""A crash is tried again twice."""

MAX_WORKER_DEATHS = 8
"""A trial whose process dies so often without getting to a further evaluation is what kills it (the kernel's
out-of-memory killer says nothing)."""

FIRST = 5
"""When so many attempts have been made and all of them crashed, the fault is not the trials'."""

LAST, TOO_MANY = 20, 10
"""When of the last so many attempts more than this many crashed, either."""

MAX_TEXT = 1000
"""Characters of an error that are kept in the database; all of it is in the trial's crash.txt."""

DISK = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR,
    errno.EEXIST, errno.EISDIR, errno.ENODEV, errno.ENXIO, errno.ESTALE,
)  # fmt: skip
DISK_TEXTS = (
    "No space left on device", "Disk quota exceeded", "File too large", "Input/output error", "Read-only file system",
    "Stale file handle", "(os error 28)", "(os error 122)", "(os error 27)", "(os error 5)", "(os error 30)",
    "disk is full", "disk I/O error", "readonly database",
)  # fmt: skip
"""Libraries that write for us say it in words: safetensors (in Rust), SQLite, PyTorch."""


def failure(kind: str, error: str) -> dict[str, Any]:
    """A failure that has just happened."""
    return {"kind": kind, "error": one_line(error)[:MAX_TEXT], "when": round(time.time(), 1)}


def failures_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """A trial's failures, the oldest first."""
    found: list[dict[str, Any]] = trial.user_attrs.get(FAILURES, [])
    return found


def crashes_of(trial: FrozenTrial) -> int:
    """How often a trial crashed."""
    return sum(found["kind"] == CRASH for found in failures_of(trial))


def has_diverged(trial: FrozenTrial) -> bool:
    """Whether the training ended because its loss did not stay a number, or grew beyond reason."""
    return trial.user_attrs.get(FAILURE_KIND) == DIVERGED


def may_try_again(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial that has just failed goes back into the queue.

    While nothing has ever succeeded the fault may be anywhere, and no trial is given up.
    """
    kind = failures_of(trial)[-1]["kind"]
    if kind != CRASH:
        return bool(kind == UNREADABLE)  # the photos' fault; the study stops
    return crashes_of(trial) < MAX_TRIES or not any(found.value is not None for found in trials)


def reason_to_give_up(trials: Sequence[FrozenTrial], since: float) -> str:
    """The last crash's cause when, since then (in seconds of time.time), too much crashed; else an empty string."""
    bad = (CRASH, OUT_OF_MEMORY)
    crashes = [
        (found["when"], found["error"]) for trial in trials for found in failures_of(trial) if found["kind"] in bad
    ]
    ends = [
        (ended, "")
        for trial in trials
        if trial.state.name in ("COMPLETE", "PRUNED") and (ended := ended_at(trial)) is not None
    ]
    attempts = sorted(attempt for attempt in crashes + ends if attempt[0] >= since)
    causes = [cause for _, cause in attempts if cause]
    only_crashes = len(attempts) >= FIRST and len(causes) == len(attempts)
    recent = sum(bool(cause) for _, cause in attempts[-LAST:])
    if only_crashes or (len(attempts) >= LAST and recent > TOO_MANY):
        return causes[-1]
    return ""


def cause_outside(error: BaseException) -> str:
    """``the disk: ...`` or ``the database: ...`` when the fault is theirs, and no other trial will do better now; else
    an empty string."""
    if is_of_the_disk(error):
        return f"the disk: {reason(error)}"
    if isinstance(error, StuckError):
        return str(error)
    if any(isinstance(found, DatabaseError | StorageInternalError) for found in chain(error)):
        return f"the database: {reason(error)}"
    return ""


def is_of_the_disk(error: BaseException | None) -> bool:
    """Whether the cause is a disk that is full, failing or not to be written to."""
    return any(
        (isinstance(found, OSError) and found.errno in DISK) or any(text in str(found) for text in DISK_TEXTS)
        for found in chain(error)
    )
