"""Which process runs a trial, and whether it still does."""

import os
import socket
import time
from functools import cache
from pathlib import Path
from typing import Any

STALL_SECONDS, MIN_STALL = 1800.0, 10.0
"""A process whose training makes no progress for so long hangs. The slowest forward pass that is known to be meant (a
large model on one core, a whole batch at once) takes a few minutes."""


def describe_myself(slot: str) -> dict[str, Any]:
    """What a worker writes down beside its trial: where it runs, on which slot, since when."""
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": pid,
        "started": start_time(pid),
        "slot": slot,
        "since": round(time.time(), 1),
    }


def is_same(one: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Whether two descriptions are of one process."""
    return (
        one is not None and other is not None and all(one[key] == other[key] for key in ("machine", "pid", "started"))
    )


def is_gone(worker: dict[str, Any]) -> bool | None:
    """Whether the process has ended; None when that cannot be seen from here, since it runs on another machine."""
    if worker.get("machine") != _machine():
        return None
    return start_time(worker["pid"]) != worker["started"]


@cache
def _machine() -> str:
    """Names the place where a pid means something: this boot of this kernel, this namespace of processes.

    A host name does not: containers share one, and a restarted container has another.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def start_time(pid: int) -> int | None:
    """In clock ticks since boot; with the pid it names a process for good, since pids are used again.

    None when there is no such process, or when it has ended and its parent has not heard of it yet.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def is_held(pid: int) -> bool:
    """Whether the process cannot go on: somebody has stopped it (SIGSTOP), or it waits for a disk.

    Either may last for ever; a disk that answers does so within a blink.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "TD"
    except OSError:
        return False
