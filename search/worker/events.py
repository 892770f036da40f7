"""A worker's events on their way to its supervisor: a JSON line each, never waited for."""

import json
import logging
import os
import threading
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

from optuna.trial import TrialState

from maskcls.scoring.metrics import Scores

logger = logging.getLogger(__name__)

LAST_SECONDS = 5
"""How long a worker that ends waits for its last words to be taken."""


class EventWriter:
    """The watcher that passes everything on to the supervisor.

    A thread writes, since the pipe may be full: a supervisor that was suspended (Ctrl-Z) reads nothing, and its
    workers go on. A supervisor that has died is no matter; the end of the input says so as well.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.lines: SimpleQueue[bytes | None] = SimpleQueue()
        self.writer = threading.Thread(target=self._write, daemon=True)
        self.writer.start()

    def tell(self, event: str, *details: Any) -> None:
        """One event."""
        self.lines.put(json.dumps([event, *details]).encode() + b"\n")

    def close(self) -> None:
        """Have the last words written, if anybody takes them."""
        self.lines.put(None)
        self.writer.join(LAST_SECONDS)

    def _write(self) -> None:
        try:
            while (line := self.lines.get()) is not None:
                while line:
                    line = line[os.write(self.descriptor, line) :]
        except OSError:
            return  # nobody listens any more

    def trial_began(self, number: int, values: Mapping[str, Any]) -> None:
        """See live.Watcher."""
        self.tell("trial_began", number, dict(values))
        logger.info(f"trial {number}: begins")

    def evaluated(self, number: int, step: int, planned_evaluations: int, scores: Scores, is_news: bool = True) -> None:
        """See live.Watcher."""
        self.tell("evaluated", number, step, planned_evaluations, scores.to_dict(), is_news)

    def trial_ended(self, number: int, state: TrialState, value: float | None, why: str = "") -> None:
        """See live.Watcher."""
        self.tell("trial_ended", number, state.name, value, why)
        logger.info(f"trial {number}: {state.name.lower()} {why}")
