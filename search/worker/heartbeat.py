"""A worker's heartbeat: shows the database and the supervisor that its training makes progress."""

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
"""How long a check waits until its heartbeat is in the database."""


class HeartbeatThread(threading.Thread):
    """Watches the beats of the training (liveness.beats).

    While they come, the supervisor gets Moved. The trial's heartbeat in the database stops once there has been no beat
    for ``stall`` seconds; from then on any worker may take the trial over. A hung worker is killed by its supervisor,
    and exits by itself when the supervisor is dead (``is_alone``) or hung too.
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
        """Set the id of the running trial; None when none runs."""
        self.trial_id = trial_id

    def run(self) -> None:
        """Check until the process ends."""
        last_check = time.monotonic()
        while True:
            time.sleep(self.interval)
            now = time.monotonic()
            # a process that was suspended for hours did not hang that long
            self.check(min(now - last_check, 2 * self.interval))
            last_check = now

    def check(self, seconds: float) -> None:
        """Pass on that there is progress, or exit when the process hangs and nothing else ends it.

        ``seconds``: time since the last check.
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
            logger.info(f"no progress for {self.still_seconds:.0f} s, and no supervisor ends this process: it exits")
            faulthandler.dump_traceback()
            os._exit(1)

    def _beat(self) -> None:
        """Record the heartbeat in a thread: a lost database may take minutes, and the supervisor needs its events."""
        trial_id = self.trial_id
        if self.storage is None or trial_id is None or (self.writer is not None and self.writer.is_alive()):
            return
        self.writer = threading.Thread(target=self._record, args=(self.storage, trial_id), daemon=True)
        self.writer.start()
        self.writer.join(WRITE_SECONDS)

    def _record(self, storage: RDBStorage, trial_id: int) -> None:
        try:
            storage.record_heartbeat(trial_id)
        except Exception as error:  # a database may be out of reach for a while
            logger.info(f"heartbeat not recorded: {one_line(error)}")
