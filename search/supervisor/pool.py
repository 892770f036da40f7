"""Worker processes as their supervisor has them: started, told, heard and forgotten."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from search.supervisor.slots import Slot
from search.worker.messages import WorkOrder

logger = logging.getLogger(__name__)

KILL_SECONDS = 10
"""How long a process may take to end once it was killed."""


@dataclass
class WorkerPool:
    """The worker processes of one command."""

    slots: Sequence[Slot]
    words: Sequence[str] = ("-m", "search.worker.process")
    """What Python is to run; the descriptor for its events follows."""
    members: list["WorkerHandle"] = field(default_factory=list)
    lost: list["WorkerHandle"] = field(default_factory=list)
    """Those that were killed and do not end, until somebody takes note."""

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody stays behind."""
        for member in self.members:
            member.process.kill()
        for member in self.members:
            with suppress(subprocess.TimeoutExpired):  # one that a dead network disk holds ends when the kernel lets it
                member.process.wait(KILL_SECONDS)
            member.close()

    def start_others(self) -> None:
        """A process for every slot but the first: loading takes seconds, so all of them load at once."""
        for slot in self.slots[1:]:
            self.start(slot)

    def start(self, slot: Slot) -> "WorkerHandle":
        """A process that loads what it needs and then waits for its order."""
        theirs, ours = os.pipe()
        process = subprocess.Popen(
            [sys.executable, *self.words, str(ours)],
            stdin=subprocess.PIPE,
            bufsize=0,  # a line is one system call, which a signal handler may make too
            env=slot.environment(),
            pass_fds=[ours],
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor alone
        )
        os.close(ours)
        os.set_blocking(theirs, False)
        self.members.append(WorkerHandle(slot, process, theirs))
        return self.members[-1]

    def kill(self, member: "WorkerHandle", is_over: bool) -> None:
        """End a process; ``is_over``: one that has not ended by now never will, and is forgotten."""
        member.process.kill()
        if is_over and member.process.poll() is None:
            logger.info(
                f"Process {member.process.pid} was killed and does not end (a dead disk may hold it); nobody waits."
            )
            self.leave(member)
            self.lost.append(member)

    def leave(self, member: "WorkerHandle") -> None:
        """Forget a process that has ended."""
        member.close()
        self.members.remove(member)


@dataclass
class WorkerHandle:
    """One worker process."""

    slot: Slot
    process: "subprocess.Popen[bytes]"
    events: int
    """File descriptor that its events come from."""
    order: WorkOrder | None = None
    """The first that it hears; before it it does not understand anything else."""
    trial: int | None = None
    """The number of the trial that it runs."""
    began_one: bool = False
    ended: str = ""
    """Why it says that it ends; see orders."""
    last_words: str = ""
    """What it died of, if it could say so."""
    silent: float = 0.0
    """Seconds since it was last heard, of those that the supervisor itself was running."""
    has_spoken: bool = False
    hangs: str = ""
    """What it is ended for, when it tells of no progress."""
    is_held: bool = False
    """Whether that was somebody's doing (SIGSTOP, a dead disk) and not its trial's."""
    is_deaf: bool = False
    """Whether its end of the pipe is closed."""
    text: bytes = b""

    def employ(self, order: WorkOrder) -> None:
        """Send it to work."""
        self.order = order
        self.tell(order.to_line())

    def tell(self, line: str) -> None:
        """Send a line; a process that has just died does not read it."""
        assert self.process.stdin is not None
        with suppress(OSError):
            text = line.encode()
            while text:
                text = text[self.process.stdin.write(text) :]

    def heard(self) -> Iterator[list[Any]]:
        """Whole events that have come in."""
        with suppress(BlockingIOError):
            while part := os.read(self.events, 1 << 16):
                self.text += part
                self.silent, self.has_spoken = 0.0, True
            self.is_deaf = True
        *lines, self.text = self.text.split(b"\n")
        yield from (json.loads(line) for line in lines)

    def close(self) -> None:
        """Close the pipes."""
        os.close(self.events)
        if self.process.stdin is not None:
            with suppress(OSError):
                self.process.stdin.close()
