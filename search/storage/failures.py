"""Failures of trials: their kinds, how often a trial is tried again, and when the study gives up."""

import errno
import time
from collections.abc import Sequence
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial

from maskcls.system.errors import chain, one_line
from maskcls.system.lock import StuckError
from search.database.errors import DatabaseError, reason
from search.study.attributes import FAILURE_KIND, FAILURES
from search.system.clock import ended_at

OUT_OF_MEMORY, DIVERGED, UNREADABLE, CRASH = "out of memory", "diverged", "unreadable data", "crash"
UNKNOWN_VALUES, BYSTANDER = "values that cannot be had", "GPU lost with another trial"

MAX_TRIES = 3
"""A crash is tried again twice."""

FAULT_SECONDS = 30.0
"""Within this time one fault of a GPU reaches all workers on it: under MPS it ends them all."""

MAX_WORKER_DEATHS = 8
"""A trial whose process dies so often without reaching another evaluation counts as crashed (the kernel's
out-of-memory killer leaves no message)."""

MIN_ATTEMPTS = 5
"""The study gives up when at least so many attempts were made and all crashed: the trials are not at fault."""

RECENT_ATTEMPTS, MAX_RECENT_CRASHES = 20, 10
"""It also gives up when more than MAX_RECENT_CRASHES of its last RECENT_ATTEMPTS crashed."""

MAX_TEXT = 1000
"""Characters of an error that the database keeps; the trial's crash.txt has all of it."""

DISK_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR,
    errno.EEXIST, errno.EISDIR, errno.ENODEV, errno.ENXIO, errno.ESTALE,
)  # fmt: skip
DISK_TEXTS = (
    "No space left on device", "Disk quota exceeded", "File too large", "Input/output error", "Read-only file system",
    "Stale file handle", "(os error 28)", "(os error 122)", "(os error 27)", "(os error 5)", "(os error 30)",
    "disk is full", "disk I/O error", "readonly database",
)  # fmt: skip
"""Parts of the messages of libraries that raise no OSError: safetensors (in Rust), SQLite, PyTorch."""


def failure(kind: str, error: str, lost_gpu: str = "") -> dict[str, Any]:
    """A failure that happens now, as stored with the trial. ``lost_gpu``: the uuid of the GPU that failed in it."""
    gpu = {"gpu": lost_gpu} if lost_gpu else {}
    return {"kind": kind, "error": one_line(error)[:MAX_TEXT], "when": round(time.time(), 1), **gpu}


def is_bystander(trial: FrozenTrial, failed: dict[str, Any], trials: Sequence[FrozenTrial], since: float) -> bool:
    """Whether the fault of a GPU that ended this try of ``trial`` is already counted as the crash of another trial.

    ``since``: when the process that ran it began; a fault before that is another one.
    """
    return any(
        failed.get("gpu") and other.get("gpu") == failed["gpu"] and other["kind"] == CRASH
        and since < other["when"] and failed["when"] - other["when"] <= FAULT_SECONDS
        for another in trials if another.number != trial.number
        for other in failures_of(another)
    )  # fmt: skip


def failures_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """A trial's failures, the oldest first."""
    failures: list[dict[str, Any]] = trial.user_attrs.get(FAILURES, [])
    return failures


def crashes_of(trial: FrozenTrial) -> int:
    """How often a trial crashed."""
    return sum(failed["kind"] == CRASH for failed in failures_of(trial))


def has_diverged(trial: FrozenTrial) -> bool:
    """Whether the training stopped because its loss became NaN or grew beyond reason."""
    return trial.user_attrs.get(FAILURE_KIND) == DIVERGED


def may_try_again(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial that has just failed goes back into the queue.

    While no trial has ever succeeded the fault may be anywhere, and none is given up.
    """
    kind = failures_of(trial)[-1]["kind"]
    if kind != CRASH:
        return kind in (UNREADABLE, BYSTANDER)  # the photos are at fault, and the study stops; or the GPU
    return crashes_of(trial) < MAX_TRIES or not any(other.value is not None for other in trials)


def reason_to_give_up(trials: Sequence[FrozenTrial], since: float) -> str:
    """The last crash's cause when too many attempts crashed since then (by time.time); else an empty string.

    The fault of a GPU is one crash, however many trials it ended (BYSTANDER).
    """
    crashes = [failed for trial in trials for failed in failures_of(trial) if failed["kind"] in (CRASH, OUT_OF_MEMORY)]
    attempts = [(failed["when"], failed["error"]) for failed in crashes]
    for trial in trials:
        if trial.state.name in ("COMPLETE", "PRUNED") and (ended := ended_at(trial)) is not None:
            attempts.append((ended, ""))
    causes = [cause for when, cause in sorted(attempts) if when >= since]  # empty for a success
    recent = causes[-RECENT_ATTEMPTS:]
    all_crashed = len(causes) >= MIN_ATTEMPTS and all(causes)
    most_crashed = len(recent) == RECENT_ATTEMPTS and sum(map(bool, recent)) > MAX_RECENT_CRASHES
    return next(filter(None, reversed(causes))) if all_crashed or most_crashed else ""


def cause_outside(error: BaseException) -> str:
    """``the disk: ...`` or ``the database: ...`` when that is at fault, so that other trials would fail too; else an
    empty string."""
    if _is_disk_error(error):
        return f"the disk: {reason(error)}"
    if isinstance(error, StuckError):
        return str(error)
    if any(isinstance(cause, DatabaseError | StorageInternalError) for cause in chain(error)):
        return f"the database: {reason(error)}"
    return ""


def _is_disk_error(error: BaseException) -> bool:
    """Whether the cause is a disk that is full, failing or read-only."""
    return any(
        (isinstance(cause, OSError) and cause.errno in DISK_ERRORS) or any(text in str(cause) for text in DISK_TEXTS)
        for cause in chain(error)
    )
