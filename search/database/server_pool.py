"""Connections to a database server, of which it has few (PostgreSQL: 100): a process has one at most, and none while
it trains.

The lock of a turn and all that is stored in it are one transaction on one connection; the thread that records
heartbeats waits until it is given back.
"""

import threading
import time
from contextlib import suppress
from typing import Any

import sqlalchemy

IDLE_SECONDS = 0.25
"""A connection that was not used for so long is closed: within a decision less time passes, between two evaluations
more."""

POOL_OPTIONS: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 0}
"""For create_engine. Every connection is tested before use, and replaced when it is dead."""


def close_when_idle(engine: sqlalchemy.Engine) -> None:
    """Close the engine's connection whenever it is idle; the next statement opens another."""
    watch = _Watch(engine)
    sqlalchemy.event.listen(engine, "connect", watch.opened)
    sqlalchemy.event.listen(engine, "close", watch.closed)
    sqlalchemy.event.listen(engine, "checkin", watch.given_back)


class _Watch:
    """Watches one engine's connection, in a thread that lives as long as the connection is open."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.engine, self.lock = engine, threading.Lock()
        self.used, self.num_open, self.is_watched = time.monotonic(), 0, False

    def opened(self, *_: Any) -> None:
        """A connection has been opened."""
        with self.lock:
            self.used, self.num_open = time.monotonic(), self.num_open + 1
            if not self.is_watched:
                self.is_watched = True
                threading.Thread(target=self._watch, daemon=True).start()

    def closed(self, *_: Any) -> None:
        """A connection is closed."""
        with self.lock:
            self.num_open -= 1

    def given_back(self, *_: Any) -> None:
        """A transaction has ended."""
        self.used = time.monotonic()

    def _watch(self) -> None:
        while True:
            left = self.used + IDLE_SECONDS - time.monotonic()
            time.sleep(left if left > 0 else IDLE_SECONDS)
            with self.lock:
                if self.num_open == 0:
                    self.is_watched = False
                    return
            if time.monotonic() - self.used >= IDLE_SECONDS:
                self._close()

    def _close(self) -> None:
        """Close the connection, unless it is in use."""
        pool = self.engine.pool
        if isinstance(pool, sqlalchemy.QueuePool) and pool.checkedout() == 0:
            with suppress(Exception):  # lost already, and another thread is told so
                connection = self.engine.raw_connection()
                connection.invalidate()
                connection.close()
