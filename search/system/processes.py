"""Which process runs a trial, and whether it still does."""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

STALL_SECONDS, MIN_STALL = 1800.0, 10.0
"""A process whose training makes no progress for so long hangs. The slowest forward pass that is known to be meant (a
large model on one core, a whole batch at once) takes a few minutes."""


@dataclass(frozen=True)
class WorkerIdentity:
    """What a worker writes down beside its trial: where it runs, on which slot, since when."""

    host: str
    """Its name, for people; it does not tell two containers apart."""
    machine: str | None
    """Names the place where a pid means something (``_machine``); None in a form from before that was written down."""
    pid: int
    started: int | None
    """``start_time`` of the pid."""
    slot: str | None
    """Slot.name."""
    since: float | None
    """When the process was described, in seconds since 1970."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, as the trial attribute has them."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any] | None) -> "WorkerIdentity | None":
        """The inverse, also of a form that lacks some fields; None of None, which is stored while no process runs."""
        if values is None:
            return None
        known = {field.name: values.get(field.name) for field in fields(WorkerIdentity)}
        return WorkerIdentity(**{**known, "host": values.get("host", ""), "pid": values.get("pid", 0)})

    def is_same_process(self, other: "WorkerIdentity | None") -> bool:
        """Whether both describe one process."""
        if other is None:
            return False
        return (self.machine, self.pid, self.started) == (other.machine, other.pid, other.started)

    def has_ended(self) -> bool | None:
        """Whether the process has ended; None when that cannot be seen from here, since it runs on another machine."""
        if self.machine != _machine():
            return None
        return start_time(self.pid) != self.started


def describe_myself(slot: str) -> WorkerIdentity:
    """The identity of this process, which works on ``slot``."""
    pid = os.getpid()
    return WorkerIdentity(socket.gethostname(), _machine(), pid, start_time(pid), slot, round(time.time(), 1))


@cache
def _machine() -> str:
    """Names the place where a pid means something: this boot of this kernel, this namespace of processes.

    A host name does not: containers share one, and a restarted container has another.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot. Pids are used again; with this one names a process for good.

    None when there is no such process, or when it has ended and its parent has not heard of it yet.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def is_held(pid: int) -> bool:
    """Whether the process cannot go on: it was stopped (SIGSTOP), or it waits for a disk.

    Either may last for ever; a disk that answers does so within a blink.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "TD"
    except OSError:
        return False
