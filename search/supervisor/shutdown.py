"""How the workers of a command come to their end: asked to, then at once, then killed. None is waited for for ever."""

import signal
import time
from dataclasses import dataclass

from maskcls.system.console import say
from search.supervisor.pool import KILL_SECONDS, WorkerHandle, WorkerPool
from search.system.signals import STOP_NOW

STOP_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}

GRACE_SECONDS = 120
"""How long the running trials may take to their next evaluation once --timeout has passed or another worker gave up.
After a signal there is no limit: whoever sent it can send another."""

PATIENCE_SECONDS = 10
"""How long a worker that was told to stop at once may take before it is killed."""


@dataclass
class Shutdown:
    """Whether and why a pool is to stop, and how far it has got."""

    pool: WorkerPool
    reason: str = ""
    """Why the workers were told to stop; empty while they are not."""
    num_signals: int = 0
    """How many stop signals have come."""
    is_now: bool = False
    """Whether the workers were told to stop at once, and not after their time was up."""
    is_announced: bool = False
    """Whether the terminal says that a signal has come."""
    at_once_from: float | None = None
    """When (time.monotonic) those that still run are told to stop at once."""
    kill_from: float | None = None
    """When those that still run are killed."""

    def request(self, reason: str, but: WorkerHandle | None = None, now: bool = False) -> None:
        """Have all of them stop after their evaluation, or ``now``; ``but`` one, which ends by itself."""
        self.reason, self.is_now = self.reason or reason, self.is_now or now
        self._stop_at_once_by(time.monotonic() + (0 if now else GRACE_SECONDS))
        for worker in self.pool.workers:
            if worker is not but:
                worker.send(f"{reason}\n")

    def on_signal(self, number: int, is_planned: bool) -> None:
        """A signal has come. Only system calls here: Python may be in the middle of writing a line.

        The first one asks, the second one stops the workers at once, a third one the supervisor too.
        Raises KeyboardInterrupt on that, and on any before there is a study (``is_planned``).
        """
        self.num_signals += 1
        if not is_planned or self.num_signals > 2:  # nothing has begun, or the supervisor itself is stuck
            raise KeyboardInterrupt
        reason = STOP_SIGNALS[signal.Signals(number)]
        self.reason = self.reason or reason
        for worker in self.pool.workers:
            if not worker.has_begun_trial:
                worker.process.kill()  # it has nothing to finish
            elif self.num_signals == 1:
                worker.send(f"{reason}\n")
        if self.num_signals == 2:
            self.is_now = True
            self._stop_at_once_by(time.monotonic())

    def _stop_at_once_by(self, when: float) -> None:
        self.at_once_from = when if self.at_once_from is None else min(self.at_once_from, when)

    def escalate(self) -> None:
        """Do what is due by now."""
        if self.num_signals and not self.is_announced:
            self.is_announced = True
            say(f"\n{self.reason}: the running trials finish their evaluation first; once more to stop at once.")
        now = time.monotonic()
        if self.at_once_from is not None and now >= self.at_once_from and self.kill_from is None:
            self.kill_from = now + PATIENCE_SECONDS
            if self.pool.workers and not self.is_now:
                say(f"{self.reason}: the trials that still run are stopped, and go on from their last evaluation.")
            for worker in self.pool.workers:
                worker.process.send_signal(STOP_NOW)
        if self.kill_from is not None and now >= self.kill_from:
            for worker in list(self.pool.workers):
                self.pool.kill(worker, is_overdue=now >= self.kill_from + KILL_SECONDS)
