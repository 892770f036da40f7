"""How the workers of a command come to their end: asked to, then at once, then killed. Nobody waits for ever."""

import signal
import time
from dataclasses import dataclass

from maskcls.system.console import say
from search.supervisor.pool import KILL_SECONDS, WorkerHandle, WorkerPool
from search.system.signals import AT_ONCE

STOP_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}

GRACE_SECONDS = 120
"""How long the running trials may take to their next evaluation once --timeout has passed or another worker gave up.
After a signal nobody counts: whoever sent it can send another."""

PATIENCE_SECONDS = 10
"""How long a worker that was told to stop at once may take before it is killed."""


@dataclass
class Stopping:
    """Whether and why a crew is to stop, and how far it has got."""

    crew: WorkerPool
    reason: str = ""
    """Why the workers were told to stop; empty while they are not."""
    signals: int = 0
    """So many have come."""
    is_now: bool = False
    """Whether they were told so at once, and not after their time was up."""
    is_said: bool = False
    at_once: float | None = None
    """When (time.monotonic) those that still run are told to stop at once."""
    kill: float | None = None
    """When those that still run are killed."""

    def ask(self, reason: str, but: WorkerHandle | None = None, now: bool = False) -> None:
        """Have all of them stop after their evaluation, or ``now``; ``but`` one, which ends by itself."""
        self.reason, self.is_now = self.reason or reason, self.is_now or now
        self._at_once_by(time.monotonic() + (0 if now else GRACE_SECONDS))
        for member in self.crew.members:
            if member is not but:
                member.tell(f"{reason}\n")

    def heed(self, number: int, is_planned: bool) -> None:
        """A signal has come. Only system calls here: Python may be in the middle of writing a line.

        The first one asks, the second one stops the workers at once, a third one the supervisor too.
        """
        self.signals += 1
        if not is_planned or self.signals > 2:  # nothing has begun, or the supervisor itself is stuck
            raise KeyboardInterrupt
        reason = STOP_SIGNALS[signal.Signals(number)]
        self.reason = self.reason or reason
        for member in self.crew.members:
            if not member.began_one:
                member.process.kill()  # it has nothing to finish
            elif self.signals == 1:
                member.tell(f"{reason}\n")
        if self.signals == 2:
            self.is_now = True
            self._at_once_by(time.monotonic())

    def _at_once_by(self, when: float) -> None:
        self.at_once = when if self.at_once is None else min(self.at_once, when)

    def look(self) -> None:
        """Do what is due."""
        if self.signals and not self.is_said:
            self.is_said = True
            say(f"\n{self.reason}: the running trials finish their evaluation first; once more to stop at once.")
        now = time.monotonic()
        if self.at_once is not None and now >= self.at_once and self.kill is None:
            self.kill = now + PATIENCE_SECONDS
            if self.crew.members and not self.is_now:
                say(f"{self.reason}: the trials that still run are stopped, and go on from their last evaluation.")
            for member in self.crew.members:
                member.process.send_signal(AT_ONCE)
        if self.kill is not None and now >= self.kill:
            for member in list(self.crew.members):
                self.crew.kill(member, is_over=now >= self.kill + KILL_SECONDS)
