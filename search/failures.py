"""What went wrong with trials: kinds, how often a trial is tried again, and when the study should stop trying."""

import errno
import time
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial

from maskcls.errors import one_line

FAILURES = "failures"
"""Trial attribute: a list of {"kind", "error", "when"}, one for each time it failed."""

INTERRUPTIONS = "interruptions"
"""Trial attribute: how often its process was stopped or died."""

OUT_OF_MEMORY, DIVERGED, UNREADABLE, CRASH = "out of memory", "diverged", "unreadable data", "crash"

MOST_TRIES = 3
"""A crash is tried again twice."""

MOST_DEATHS = 8
"""A trial whose process dies so often without getting to a further evaluation is what kills it (the kernel's
out-of-memory killer says nothing)."""

FIRST = 5
"""When so many attempts have been made and all of them crashed, the fault is not the trials'."""

LAST, TOO_MANY = 20, 10
"""When of the last so many attempts more than this many crashed, either."""

MOST_TEXT = 1000
"""Characters of an error that are kept in the database; all of it is in the trial's crash.txt."""

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)
DISK_TEXTS = ("No space left on device", "os error 28", "disk is full", "readonly database", "Read-only file system")
"""Libraries that write for us say it in words: safetensors (in Rust), SQLite."""


def failure(kind: str, error: str) -> dict[str, Any]:
    """A failure that has just happened."""
    return {"kind": kind, "error": one_line(error)[:MOST_TEXT], "when": round(time.time(), 1)}


def failures_of(trial: FrozenTrial) -> list[dict[str, Any]]:
    """A trial's failures, the oldest first."""
    found: list[dict[str, Any]] = trial.user_attrs.get(FAILURES, [])
    return found


def crashes_of(trial: FrozenTrial) -> int:
    """How often a trial crashed."""
    return sum(found["kind"] == CRASH for found in failures_of(trial))


def may_try_again(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial that has just failed goes back into the queue.

    While nothing has ever succeeded the fault may be anywhere, and no trial is given up.
    """
    kind = failures_of(trial)[-1]["kind"]
    if kind != CRASH:
        return bool(kind == UNREADABLE)  # the photos' fault; the study stops
    return crashes_of(trial) < MOST_TRIES or not any(found.value is not None for found in trials)


def reason_to_give_up(trials: Sequence[FrozenTrial], since: float) -> str:
    """The last crash's cause when, since then (in seconds of time.time), too much crashed; else an empty string."""
    bad = (CRASH, OUT_OF_MEMORY)
    crashes = [
        (found["when"], found["error"]) for trial in trials for found in failures_of(trial) if found["kind"] in bad
    ]
    ends = [
        (trial.datetime_complete.timestamp(), "")
        for trial in trials
        if trial.datetime_complete is not None and trial.state.name in ("COMPLETE", "PRUNED")
    ]
    attempts = sorted(attempt for attempt in crashes + ends if attempt[0] >= since)
    causes = [cause for _, cause in attempts if cause]
    only_crashes = len(attempts) >= FIRST and len(causes) == len(attempts)
    recent = sum(bool(cause) for _, cause in attempts[-LAST:])
    if only_crashes or (len(attempts) >= LAST and recent > TOO_MANY):
        return causes[-1]
    return ""


def is_of_the_disk(error: BaseException | None) -> bool:
    """Whether the cause is a disk that is full or not to be written to: then no other trial will do better."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK:
            return True
        if any(text in str(error) for text in DISK_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False
