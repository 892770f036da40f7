"""Deciding about a study one at a time: every decision that rests on what the others have decided is made in a turn.

On an SQLite file a turn is a lock file beside it. On a server it is one transaction with a lock of its own: what is
done in it is kept as a whole, or undone as a whole when the connection is lost with the lock, and then done again. As
the lock belongs to the transaction it also holds behind a pgbouncer that hands out connections by the transaction.
MySQL's locks belong to the connection, so a proxy that hands those out must keep one for a session there.
"""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import sqlalchemy
import sqlalchemy.exc

from maskcls.system.lock import Wait, hold_file
from search.database.errors import is_passing, sqlstate
from search.database.reconnecting import LostTurnError, Patience, ReconnectingStorage

TRY_SECONDS = 2
"""How long the server waits for the lock before we look who has it."""

LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's state after lock_timeout."""

T = TypeVar("T")

POSTGRES_HOLDER = """
SELECT a.pid, a.application_name, a.client_addr::text, a.xact_start::text
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 0 AND l.objid::bigint = :key AND l.objsubid = 1
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def in_turn(
    storage: ReconnectingStorage, name: str, decide: Callable[[], T], undone: Callable[[], None] | None = None
) -> T:
    """What ``decide`` returns, called while nobody else decides about the study of this name.

    Called again, after ``undone``, when the connection to a server was lost meanwhile: whatever it had done is undone,
    except when the very last word, the commit, was lost on its way. It must be able to tell.
    Raises UserError when one process does not let go of the lock, DatabaseError when the database stays away.
    """
    patience = Patience(storage)
    while True:
        try:
            with exclusive(storage, name):
                result = decide()
        except LostTurnError as error:
            if undone is not None:
                undone()
            patience.wait(error)
        else:
            patience.over()
            return result


@contextmanager
def exclusive(storage: ReconnectingStorage, name: str) -> Iterator[None]:
    """Wait until nobody else decides about the study of this name, and be the one who does. Not to be nested.

    Let go of when its holder dies: by the kernel on the lock file, by the server when the connection ends. Raises
    LostTurnError when the connection to a server is lost in it.
    """
    if storage.is_file:
        path = Path(str(storage.engine.url.database))
        with hold_file(lock_of(path), f"the lock of {path}", storage.lock_seconds):
            yield
        return
    try:
        with storage.engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
            leave = _take(connection, name, storage.lock_seconds)
            try:
                with storage.within(connection):
                    yield
                connection.commit()
            finally:
                leave()
    except sqlalchemy.exc.SQLAlchemyError as error:  # of the lock's own statements; the storage's are translated
        raise (storage.lost_turn(error) if is_passing(error) else storage.explained(error)) from error


@contextmanager
def holding(storage: ReconnectingStorage, name: str, check: Callable[[], None]) -> Iterator[None]:
    """Be the one who decides, as ``check`` finds things, while files take their places.

    Nothing may be written to the database in it: a connection that is lost at its end is taken to have undone nothing.
    """
    patience, is_held, is_done = Patience(storage), False, False
    while True:
        try:
            with exclusive(storage, name):
                check()
                is_held = True
                patience.over()
                yield
                is_done = True
        except LostTurnError as error:
            if is_held and not is_done:
                raise
            if not is_held:
                patience.wait(error)
                continue
        return


def lock_of(path: Path) -> Path:
    """The lock file of an SQLite database, beside the file itself whatever links lead there, as SQLite's own are."""
    path = path.resolve()
    return path.with_name(f".{path.name}.lock")


def _take(connection: sqlalchemy.Connection, name: str, limit: float) -> Callable[[], None]:
    """Get the lock, in the transaction that stays open; returns what gives it back once that has ended."""
    wait = Wait(f"the turn of study {name}", limit)
    if connection.dialect.name == "postgresql":
        _take_of_postgres(connection, zlib.crc32(name.encode()), wait)
        return lambda: None
    return _take_of_mysql(connection, f"mask-search-{zlib.crc32(name.encode())}", wait)


def _take_of_postgres(connection: sqlalchemy.Connection, key: int, wait: Wait) -> None:
    while True:
        try:
            connection.execute(sqlalchemy.text(f"SET LOCAL lock_timeout = '{TRY_SECONDS}s'"))
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            connection.execute(sqlalchemy.text("SET LOCAL lock_timeout = '30s'"))
            return
        except sqlalchemy.exc.OperationalError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            connection.rollback()
        holder = connection.execute(sqlalchemy.text(POSTGRES_HOLDER), {"key": key}).first()
        connection.rollback()
        if holder is not None:
            pid, program, place, since = holder
            wait.check(f"{program or 'a program'} ({place or 'local'}, server process {pid}, since {since})")


def _take_of_mysql(connection: sqlalchemy.Connection, lock: str, wait: Wait) -> Callable[[], None]:
    asked = sqlalchemy.text("SELECT GET_LOCK(:lock, :seconds)")
    while not connection.execute(asked, {"lock": lock, "seconds": TRY_SECONDS}).scalar():
        holder = connection.execute(sqlalchemy.text("SELECT IS_USED_LOCK(:lock)"), {"lock": lock}).scalar()
        wait.check(f"connection {holder}")
    connection.commit()  # what is read from here on is of now

    def leave() -> None:
        with suppress(sqlalchemy.exc.SQLAlchemyError):  # a lost connection has given it back
            connection.execute(sqlalchemy.text("SELECT RELEASE_LOCK(:lock)"), {"lock": lock})

    return leave
