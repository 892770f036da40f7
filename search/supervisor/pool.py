"""Worker processes as their supervisor has them: started, given work, listened to and removed."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from search.supervisor.slots import Slot
from search.worker.messages import Event, Outcome, WorkOrder, event_from_line

logger = logging.getLogger(__name__)

KILL_SECONDS = 10
"""How long a process may take to end once it was killed."""


@dataclass
class WorkerPool:
    """The worker processes of one command; a context manager that leaves none of them behind."""

    slots: Sequence[Slot]
    arguments: Sequence[str] = ("-m", "search.worker.process")
    """What Python is to run; the descriptor for its events follows."""
    workers: list["WorkerHandle"] = field(default_factory=list)
    unkillable: list["WorkerHandle"] = field(default_factory=list)
    """Those that were killed and do not end, until the supervisor has replaced them."""

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            with suppress(subprocess.TimeoutExpired):  # one that a dead network disk holds ends when the kernel lets it
                worker.process.wait(KILL_SECONDS)
            worker.close()

    def start_others(self) -> None:
        """A process for every slot but the first: loading takes seconds, so all of them load at once."""
        for slot in self.slots[1:]:
            self.start(slot)

    def start(self, slot: Slot) -> "WorkerHandle":
        """A process that loads what it needs and then waits for its order."""
        theirs, ours = os.pipe()
        process = subprocess.Popen(
            [sys.executable, *self.arguments, str(ours)],
            stdin=subprocess.PIPE,
            bufsize=0,  # a line is one system call, which a signal handler may make too
            env=slot.environment(),
            pass_fds=[ours],
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor alone
        )
        os.close(ours)
        os.set_blocking(theirs, False)
        self.workers.append(WorkerHandle(slot, process, theirs))
        return self.workers[-1]

    def kill(self, worker: "WorkerHandle", is_overdue: bool) -> None:
        """End a process; ``is_overdue``: one that has not ended by now never will, and is removed all the same."""
        worker.process.kill()
        if is_overdue and worker.process.poll() is None:
            logger.info(
                f"Process {worker.process.pid} was killed and does not end (a dead disk may hold it); nobody waits."
            )
            self.remove(worker)
            self.unkillable.append(worker)

    def remove(self, worker: "WorkerHandle") -> None:
        """Take a process that has ended out of the pool."""
        worker.close()
        self.workers.remove(worker)


@dataclass
class WorkerHandle:
    """One worker process."""

    slot: Slot
    process: "subprocess.Popen[bytes]"
    events: int
    """File descriptor that its events come from."""
    order: WorkOrder | None = None
    """The first line that it reads; before it it does not understand anything else."""
    trial: int | None = None
    """The number of the trial that it runs."""
    has_begun_trial: bool = False
    """Whether it has begun any trial so far."""
    outcome: Outcome | None = None
    """How it says that it ends."""
    error: str = ""
    """What it died of, if it could say so."""
    silent_seconds: float = 0.0
    """Since its last event, of those that the supervisor itself was running."""
    has_reported: bool = False
    """Whether any event has come from it."""
    hung: str = ""
    """What it is ended for, when it tells of no progress."""
    was_held: bool = False
    """Whether that was done to it (SIGSTOP, a dead disk) and not its trial's fault."""
    has_closed_events: bool = False
    """Whether its end of the pipe is closed."""
    unread: bytes = b""
    """The beginning of an event whose end has not come yet."""

    def assign(self, order: WorkOrder) -> None:
        """Have it work."""
        self.order = order
        self.send(order.to_line())

    def send(self, line: str) -> None:
        """Write a line to its standard input; a process that has just died does not read it."""
        assert self.process.stdin is not None
        with suppress(OSError):
            text = line.encode()
            while text:
                text = text[self.process.stdin.write(text) :]

    def read_events(self) -> Iterator[Event]:
        """The events that have come in whole."""
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
