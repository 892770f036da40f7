"""Which process runs a trial, and whether that process is still alive."""

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

STALL_SECONDS, MIN_STALL = 1800.0, 10.0
"""Default and minimum of the seconds without progress after which a training counts as hung. The slowest legitimate
forward pass (a large model on one core, a whole batch at once) takes a few minutes."""


@dataclass(frozen=True)
class WorkerIdentity:
    """What a worker stores with its trial: where it runs, on which slot, since when."""

    host: str
    """Host name, for display only: two containers may share it."""
    machine: str | None
    """The pid's namespace (``_machine``); None in an older form, which lacks it."""
    pid: int
    started: int | None
    """``start_time`` of the pid."""
    slot: str | None
    """Slot.name."""
    since: float | None
    """When this description was made, in seconds since 1970."""

    def to_json(self) -> dict[str, Any]:
        """The JSON value of the trial attribute."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any] | None) -> "WorkerIdentity | None":
        """The inverse of to_json, also of a form that lacks some fields; None of None, stored while no process runs."""
        if values is None:
            return None
        present = {field.name: values.get(field.name) for field in fields(WorkerIdentity)}
        return WorkerIdentity(**{**present, "host": values.get("host", ""), "pid": values.get("pid", 0)})

    def is_same_process(self, other: "WorkerIdentity | None") -> bool:
        """Whether both describe the same process."""
        if other is None:
            return False
        return (self.machine, self.pid, self.started) == (other.machine, other.pid, other.started)

    def has_ended(self) -> bool | None:
        """Whether the process has ended; None when it runs on another machine, where this process cannot see it."""
        if self.machine != _machine():
            return None
        return start_time(self.pid) != self.started

    def is_on_another_kernel(self) -> bool:
        """Whether it surely ran on another machine than this process: not in a container of this one, nor before this
        one was restarted."""
        here, there = _machine().split()[0], (self.machine or "").split()
        return bool(there) and there[0] != here and self.host != socket.gethostname()


def describe_myself(slot: str) -> WorkerIdentity:
    """The identity of this process, a worker on ``slot`` (Slot.name)."""
    pid = os.getpid()
    return WorkerIdentity(socket.gethostname(), _machine(), pid, start_time(pid), slot, round(time.time(), 1))


@cache
def _machine() -> str:
    """The namespace of this process's pid: this boot of this kernel, this pid namespace.

    A host name would not do: containers share one, and a restarted container has another.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot. Pids are reused; together with this one is unique.

    None when there is no such process, or when it is a zombie: ended, and not yet reaped by its parent.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def is_suspended(pid: int) -> bool:
    """Whether the process is stopped (SIGSTOP) or waits for a disk.

    Either may last for ever; a disk that works answers within milliseconds.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] in "TD"
    except OSError:
        return False
