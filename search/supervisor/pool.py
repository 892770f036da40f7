"""The worker processes of a supervisor, and the pipes through which it sends orders and reads events."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace

from search.gpus.gpu_holders import lock_holder
from search.gpus.mps import end_client, shared_gpus
from search.gpus.slots import Slot
from search.worker.messages import Event, Outcome, WorkOrder, event_from_line

logger = logging.getLogger(__name__)

KILL_SECONDS = 10
"""How long a killed process may take to end."""


@dataclass
class WorkerPool:
    """The worker processes of one command; a context manager that leaves none of them behind."""

    slots: Sequence[Slot]
    arguments: Sequence[str] = ("-m", "search.worker.process")
    """Arguments of Python, followed by the descriptor for the events."""
    output: int | None = None
    """File descriptor for what workers print before they have a log; None: where this process prints."""
    workers: list["WorkerHandle"] = field(default_factory=list)
    unkillable: list["WorkerHandle"] = field(default_factory=list)
    """Killed workers that do not end, until the supervisor has replaced them."""
    without_mps: set[str] = field(default_factory=set)
    """Slot.gpu of those whose workers cannot use the daemon: new ones start without it."""
    daemons: ExitStack = field(default_factory=ExitStack)
    """Ends the daemons of MPS."""

    def __enter__(self) -> "WorkerPool":
        self.slots = self.daemons.enter_context(shared_gpus(self.slots))
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            with suppress(subprocess.TimeoutExpired):  # a dead network disk may hold it
                worker.process.wait(KILL_SECONDS)
            worker.close()
        self.daemons.close()

    def start_others(self) -> None:
        """Start a process for every slot but the first, so that all load at once, which takes seconds."""
        for slot in self.slots[1:]:
            self.start(slot)

    def start(self, slot: Slot) -> "WorkerHandle":
        """Start a process, which loads its libraries and then waits for its order."""
        if slot.gpu in self.without_mps:
            slot = replace(slot, mps="")
        read_end, write_end = os.pipe()
        holder = lock_holder(slot.gpu) if slot.gpu else None
        process = subprocess.Popen(
            [sys.executable, *self.arguments, str(write_end)],
            stdin=subprocess.PIPE,
            stdout=self.output,
            stderr=self.output,
            bufsize=0,  # each line is one system call, which a signal handler may make
            env=slot.environment(),
            pass_fds=[write_end] if holder is None else [write_end, holder],
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor alone
        )
        os.close(write_end)
        if holder is not None:
            os.close(holder)  # the process has inherited it, with its lock
        os.set_blocking(read_end, False)
        self.workers.append(WorkerHandle(slot, process, read_end))
        return self.workers[-1]

    def kill(self, worker: "WorkerHandle", is_overdue: bool) -> None:
        """Kill a process; with ``is_overdue`` it is removed even if it does not end."""
        worker.kill()
        if is_overdue and worker.process.poll() is None:
            logger.info(f"Process {worker.process.pid} was killed but does not end (a dead disk may hold it).")
            self.remove(worker)
            self.unkillable.append(worker)

    def remove(self, worker: "WorkerHandle") -> None:
        """Remove a worker from the pool."""
        worker.close()
        self.workers.remove(worker)


@dataclass
class WorkerHandle:
    """One worker process."""

    slot: Slot
    process: "subprocess.Popen[bytes]"
    events: int
    """File descriptor from which its events are read."""
    order: WorkOrder | None = None
    """The first line that it reads; before that it understands no other."""
    trial: int | None = None
    """Number of the trial that it runs."""
    last_trial: int | None = None
    """Number of the trial that it began last, also once that has ended."""
    outcome: Outcome | None = None
    """Its own report of how it ends."""
    error: str = ""
    """The error that it died of, if it could report it."""
    silent_seconds: float = 0.0
    """Time since its last event in which the supervisor itself was running."""
    has_reported: bool = False
    """Whether any event has come from it."""
    hung: str = ""
    """Why it is killed, once it has reported no progress for too long."""
    was_held: bool = False
    """Whether SIGSTOP or a dead disk held it, which is not its trial's fault."""
    has_closed_events: bool = False
    """Whether its end of the pipe is closed."""
    unread: bytes = b""
    """The beginning of an event that is not complete yet."""
    started: float = field(default_factory=time.monotonic)
    """When the process began."""
    was_killed: bool = False
    """Whether ``kill`` was called."""

    @property
    def has_begun_trial(self) -> bool:
        """Whether it has begun a trial."""
        return self.last_trial is not None

    @property
    def name(self) -> str:
        """``Worker cuda:0.1 (process 4711, trial 3)``."""
        trial = "" if self.trial is None else f", trial {self.trial}"
        return f"Worker {self.slot.name} (process {self.process.pid}{trial})"

    def assign(self, order: WorkOrder) -> None:
        """Send the order to the worker."""
        self.order = order
        self.send(order.to_line())

    def send(self, line: str) -> None:
        """Write a line to its standard input; a process that has just died does not read it."""
        assert self.process.stdin is not None
        with suppress(OSError):
            text = line.encode()
            while text:
                text = text[self.process.stdin.write(text) :]

    def kill(self) -> None:
        """Kill the process, its work on a GPU that it shares through MPS first. Not for signal handlers."""
        if self.slot.mps and not self.was_killed and self.process.poll() is None:
            end_client(self.slot, self.process.pid)
        self.was_killed = True
        self.process.kill()

    def read_events(self) -> Iterator[Event]:
        """The complete events that have arrived."""
        with suppress(BlockingIOError):
            while part := os.read(self.events, 1 << 16):
                self.unread += part
                self.silent_seconds, self.has_reported = 0.0, True
            self.has_closed_events = True
        *lines, self.unread = self.unread.split(b"\n")
        yield from map(event_from_line, lines)

    def close(self) -> None:
        """Close the pipes."""
        os.close(self.events)
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()
