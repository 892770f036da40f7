"""Stops the workers of a command in steps: after their evaluation, then at once, then by SIGKILL."""

import signal
import time
from dataclasses import dataclass

from maskcls.system.console import say
from search.supervisor.pool import KILL_SECONDS, WorkerHandle, WorkerPool
from search.system.signals import STOP_NOW

STOP_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}

GRACE_SECONDS = 120
"""How long running trials may take to their next evaluation once --timeout has passed or another worker gave up.
After a signal there is no limit, since a second signal stops them at once."""

PATIENCE_SECONDS = 10
"""How long a worker that was told to stop at once may take before it is killed."""


@dataclass
class Shutdown:
    """The state of a pool's shutdown."""

    pool: WorkerPool
    reason: str = ""
    """Why the workers were told to stop; empty while they were not."""
    num_signals: int = 0
    """Number of stop signals received."""
    is_now: bool = False
    """Whether stopping at once was requested, rather than due after GRACE_SECONDS."""
    is_announced: bool = False
    """Whether the terminal shows that a signal has come."""
    at_once_from: float | None = None
    """When (time.monotonic) the remaining workers are told to stop at once."""
    kill_from: float | None = None
    """When the remaining workers are killed."""

    def request(self, reason: str, but: WorkerHandle | None = None, now: bool = False) -> None:
        """Tell the workers to stop after their evaluation, or ``now``; all ``but`` one, which ends by itself."""
        self.reason, self.is_now = self.reason or reason, self.is_now or now
        self._stop_at_once_by(time.monotonic() + (0 if now else GRACE_SECONDS))
        for worker in self.pool.workers:
            if worker is not but:
                worker.send(f"{reason}\n")

    def on_signal(self, number: int, is_planned: bool) -> None:
        """Handle a stop signal, with system calls only: Python may be in the middle of writing a line.

        The first signal stops the workers after their evaluation, the second one at once. Raises KeyboardInterrupt on
        the third, and on any before the study is stored (``is_planned``).
        """
        self.num_signals += 1
        if not is_planned or self.num_signals > 2:  # nothing is stored yet, or the supervisor itself is stuck
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
        """Take the steps that are due."""
        if self.num_signals and not self.is_announced:
            self.is_announced = True
            say(f"\n{self.reason}: running trials finish their evaluation first; once more to stop at once.")
        now = time.monotonic()
        if self.at_once_from is not None and now >= self.at_once_from and self.kill_from is None:
            self.kill_from = now + PATIENCE_SECONDS
            if self.pool.workers and not self.is_now:
                say(f"{self.reason}: trials that still run are stopped, and continue later from their last evaluation.")
            for worker in self.pool.workers:
                worker.process.send_signal(STOP_NOW)
        if self.kill_from is not None and now >= self.kill_from:
            for worker in list(self.pool.workers):
                self.pool.kill(worker, is_overdue=now >= self.kill_from + KILL_SECONDS)
