"""A command's work on a study, wherever its workers run: what it knows of it, how it begins, and how it ends.

The loops are those of supervisor.py, for workers on this machine, and engines/remote_run.py, for those of an engine.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import optuna

from maskcls.system.console import say
from search.policy.stopping import FINISHED
from search.supervisor.conclusion import Summary, conclude
from search.supervisor.display import Display, open_display
from search.supervisor.shutdown import STOP_SIGNALS
from search.system.signals import handled
from search.worker.messages import (
    GAVE_UP,
    REFUSED,
    STOPPED,
    VANISHED,
    Evaluated,
    Outcome,
    TrialBegan,
    TrialEnded,
    WorkOrder,
)

MAX_BROKEN = 3
"""A GPU is given up when so many different trials in a row, or processes before their first trial, have lost it.

Only processes count that began after the last that counted: under MPS one fault ends all that are there."""

MAX_FAILED_STARTS = 12
"""Give up when workers of this total Death.weight have died in a row before their first trial."""

TICK_SECONDS = 0.25
"""How often signals and the time limit are checked."""

PRESENCE_SECONDS = 2
"""How often the presence of the study's files is checked."""

REFRESH_SECONDS = 15
"""How often the count of trials is read at least, since others work on the study too and the database may be lost."""


@dataclass
class Command:
    """One command's work on a study."""

    order: WorkOrder
    """The first worker's order; the others differ in the slot, and do not plan."""
    timeout: float | None
    """Seconds, counted from the end of the plan."""
    summary: Summary
    """Prints the summary at the end."""
    display: Display | None = None
    """None while the study is not stored."""
    outcome: Outcome = field(default_factory=lambda: Outcome(STOPPED))
    """The outcome of the first worker that ended by itself, or why none can work."""
    failed_to_start: int = 0
    """Total weight (Death.weight) of the workers that have died in a row before their first trial."""
    broken: dict[str, set[str]] = field(default_factory=dict)
    """GPU -> the trials, and the processes before their first trial, that have lost it since a trial on it last came to
    its end (messages.BROKEN)."""
    deadline: float = math.inf
    """When (time.monotonic) the timeout passes."""

    @property
    def study(self) -> optuna.Study | None:
        """None while it is not stored."""
        return None if self.display is None else self.display.presence.study

    @property
    def starts_in_vain(self) -> bool:
        """Whether too many workers have died before their first trial."""
        return self.failed_to_start >= MAX_FAILED_STARTS

    def run(self, loop: Callable[[], None], on_signal: Callable[[int], None], stop_reason: Callable[[], str]) -> int:
        """Run ``loop`` until every worker has ended, and print how; returns the exit status.

        ``on_signal`` gets the stop signals, and raises KeyboardInterrupt to end the loop. ``stop_reason`` says why the
        workers were told to stop, empty if they were not.
        """
        with handled(STOP_SIGNALS, lambda number, _: on_signal(number)):
            try:
                loop()
            except KeyboardInterrupt:
                if self.study is not None:
                    raise
                say("Interrupted before a trial began; nothing has changed.")
                return 130
            finally:
                if self.display is not None:
                    self.display.screen.__exit__(None, None, None)
        presence = None if self.display is None else self.display.presence
        return conclude(self.study, presence, self.outcome, stop_reason(), self.order, self.summary)

    def begin(self, workers: int) -> None:
        """Show the study, which is stored now, with so many workers; the timeout begins.

        Raises one of presence.DATABASE_ERRORS.
        """
        self.display = open_display(self.order, workers)
        self.order = replace(self.order, plan=False, copy_of=None)
        if self.timeout is not None:
            self.deadline = time.monotonic() + self.timeout

    def show(self, event: TrialBegan | Evaluated | TrialEnded, gpu: str | None) -> str:
        """Show an event of a trial on ``gpu`` (None if unknown); returns why to give up, empty without a reason.

        A trial that begins ends a row of failed starts, and one that ends a row of losses of its GPU.
        """
        assert self.display is not None
        if isinstance(event, TrialBegan):
            self.failed_to_start = 0
        elif isinstance(event, TrialEnded) and gpu is not None and event.state in FINISHED:
            self.broken.pop(gpu, None)
        return self.display.show(event)

    def note(self, outcome: Outcome) -> bool:
        """Note how a worker has ended by itself, or why none can work; returns whether that ends the command."""
        ends_all = outcome.kind in (REFUSED, GAVE_UP)
        if ends_all or self.outcome.kind == STOPPED:
            self.outcome = outcome
        return ends_all

    def note_vanished(self) -> str:
        """Note that the study's files are gone, as workers would go on to write into deleted ones.

        Returns why to stop at once; empty while the files are there, and when that is noted already.
        """
        lost = self.display.presence.lost() if self.display is not None else ""
        if not lost or self.outcome.kind == VANISHED:
            return ""
        self.outcome = Outcome(VANISHED, f"{lost}. Once it is back in its place, the same command continues")
        return lost

    def refresh(self, now: float) -> str:
        """Count the trials again where that is due; returns why to give up, empty without a reason."""
        if self.display is None or now - self.display.refreshed < REFRESH_SECONDS:
            return ""
        return self.display.refresh()
