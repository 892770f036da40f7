"""Sends a worker's events to its supervisor, one JSON line each, without blocking the training."""

import logging
import os
import threading
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

from optuna.trial import TrialState

from maskcls.scoring.metrics import Scores
from search.worker.messages import Evaluated, Event, TrialBegan, TrialEnded, event_to_line

logger = logging.getLogger(__name__)

LAST_SECONDS = 5
"""How long a worker that ends waits until its last events are written."""


class EventWriter:
    """The watcher that passes everything on to the supervisor.

    A thread writes, since a suspended supervisor (Ctrl-Z) reads nothing and the pipe may fill up; its workers must not
    stop for that. The end of the standard input, not an error here, shows that the supervisor has died.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.lines: SimpleQueue[bytes | None] = SimpleQueue()
        self.writer = threading.Thread(target=self._write, daemon=True)
        self.writer.start()

    def send(self, event: Event) -> None:
        """Queue the event for the writing thread."""
        self.lines.put(event_to_line(event))

    def close(self) -> None:
        """Wait up to LAST_SECONDS until the last events are written."""
        self.lines.put(None)
        self.writer.join(LAST_SECONDS)

    def _write(self) -> None:
        try:
            while (line := self.lines.get()) is not None:
                while line:
                    line = line[os.write(self.descriptor, line) :]
        except OSError:
            return  # the supervisor has died

    def trial_began(self, number: int, values: Mapping[str, Any]) -> None:
        """See progress.Watcher."""
        self.send(TrialBegan(number, dict(values)))
        logger.info(f"trial {number}: begins")

    def evaluated(self, number: int, step: int, planned_evaluations: int, scores: Scores, is_news: bool = True) -> None:
        """See progress.Watcher."""
        self.send(Evaluated(number, step, planned_evaluations, scores, is_news))

    def trial_ended(self, number: int, state: TrialState, value: float | None, why: str = "") -> None:
        """See progress.Watcher."""
        self.send(TrialEnded(number, state, value, why))
        logger.info(f"trial {number}: {state.name.lower()} {why}")
