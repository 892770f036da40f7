"""A worker's heartbeat: it says, in the database and to the supervisor, that the training moves; not that it exists."""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable

from optuna.storages import RDBStorage

from maskcls.system.errors import one_line
from maskcls.system.liveness import beats
from search.database.connect import HEARTBEAT_SECONDS
from search.worker.events import EventWriter
from search.worker.messages import Moved

logger = logging.getLogger(__name__)

WRITE_SECONDS = 1
"""How long a heartbeat's way into the database is looked after."""


class HeartbeatThread(threading.Thread):
    """Looks at the pulse from time to time.

    While it moves the supervisor gets Moved. The database hears of the trial until the pulse has stood still for
    ``stall`` seconds; from then on whoever looks may take the trial. A worker that hangs is ended by its supervisor,
    and ends itself when that is gone, or stuck as well.
    """

    def __init__(self, events: EventWriter, stall: float, is_alone: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self.events, self.stall, self.is_alone = events, stall, is_alone
        self.interval = min(HEARTBEAT_SECONDS, stall / 4)  # seconds
        self.storage: RDBStorage | None = None
        self.trial_id: int | None = None
        self.writer: threading.Thread | None = None
        self.seen_beats, self.still_seconds = beats(), 0.0

    def set_trial(self, trial_id: int | None) -> None:
        """The id of the trial that runs from now on; None for none."""
        self.trial_id = trial_id

    def run(self) -> None:
        """Check until the process ends."""
        looked = time.monotonic()
        while True:
            time.sleep(self.interval)
            now = time.monotonic()
            # a process that was stopped for hours has not stood still so long by its own doing
            self.check(min(now - looked, 2 * self.interval))
            looked = now

    def check(self, seconds: float) -> None:
        """Send on what has moved, or end a process that hangs and that nothing else ends.

        ``seconds``: since the last check.
        """
        current = beats()
        if current != self.seen_beats:
            self.seen_beats, self.still_seconds = current, 0.0
            self.events.send(Moved())
        else:
            self.still_seconds += seconds
        if self.still_seconds < self.stall:
            self._beat()
        elif self.is_alone() or self.still_seconds >= 2 * self.stall:
            logger.info(
                f"nothing has moved for {self.still_seconds:.0f} s, and no supervisor ends it: this process does"
            )
            faulthandler.dump_traceback()
            os._exit(1)

    def _beat(self) -> None:
        """In a thread of its own: a database that is away may take minutes, and the supervisor hears meanwhile."""
        trial_id = self.trial_id
        if self.storage is None or trial_id is None or (self.writer is not None and self.writer.is_alive()):
            return
        self.writer = threading.Thread(target=self._record, args=(self.storage, trial_id), daemon=True)
        self.writer.start()
        self.writer.join(WRITE_SECONDS)

    def _record(self, storage: RDBStorage, trial_id: int) -> None:
        try:
            storage.record_heartbeat(trial_id)
        except Exception as error:  # a database that is out of reach for a while is no reason to end
            logger.info(f"no heartbeat: {one_line(error)}")
