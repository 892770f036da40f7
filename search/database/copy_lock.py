"""The lock of a copy: one command at a time copies a study into a database under one name.

A copy takes many transactions, so the lock of a turn (study_lock.py) cannot hold it together. On an SQLite file it is a
lock file of its own beside it, for all names; on a server a lock of another connection, which ends with the process.
"""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy
import sqlalchemy.exc

from maskcls.system.errors import UserError
from maskcls.system.lock import try_file
from search.database.reconnecting import Patience, ReconnectingStorage
from search.database.study_lock import lock_of, mysql_holder, mysql_lock, postgres_holder
from search.database.timeouts import connect_args
from search.system.storage_url import shown_url

SUFFIX = ".copy"
"""Follows the name of the lock of turns in that of the lock of copies."""

COPIES = 1 << 32
"""Added to PostgreSQL's key of a study's turns."""

KEEP = "SET LOCAL idle_in_transaction_session_timeout = 0"
"""PostgreSQL must not end the transaction that holds the lock, in which nothing happens until the copy is made."""

KEEP_CONNECTION = "SET SESSION wait_timeout = 31536000"
"""MySQL must not end the connection that holds the lock, silent as it is: seconds, the most that a server takes."""


@contextmanager
def copying(storage: ReconnectingStorage, name: str) -> Iterator[None]:
    """Nobody else copies a study to this name in the database.

    Raises UserError at once when somebody does, and DatabaseError when the database stays away.
    """
    with _in_file(storage, name) if storage.is_file else _on_server(storage, name):
        yield


def _refused(storage: ReconnectingStorage, name: str, holder: str) -> UserError:
    return UserError(
        f"Another search.copy is copying to {shown_url(storage.url)} ({holder}). Let it end; then give this command"
        f" again if {name!r} is not there."
    )


@contextmanager
def _in_file(storage: ReconnectingStorage, name: str) -> Iterator[None]:
    file = lock_of(Path(str(storage.engine.url.database)))
    taken = try_file(file.with_name(file.name + SUFFIX))
    if isinstance(taken, str):
        raise _refused(storage, name, taken)
    try:
        yield
    finally:
        os.close(taken)


@contextmanager
def _on_server(storage: ReconnectingStorage, name: str) -> Iterator[None]:
    # the storage's own engine has one connection, which the copy needs
    options = {"poolclass": sqlalchemy.NullPool, "connect_args": connect_args(storage.url)}
    engine = sqlalchemy.create_engine(storage.url, **options)
    connection, holder = _try(storage, engine, name)
    try:
        if holder:
            raise _refused(storage, name, holder)
        yield
    finally:
        with suppress(sqlalchemy.exc.SQLAlchemyError):  # a connection that was lost has released it
            connection.close()


def _try(storage: ReconnectingStorage, engine: sqlalchemy.Engine, name: str) -> tuple[sqlalchemy.Connection, str]:
    """A connection that holds the lock until it is closed; or, in words, who else holds it."""
    patience = Patience(storage)
    while True:
        try:
            connection = engine.connect()
            holder = _take(connection, name)
        except sqlalchemy.exc.SQLAlchemyError as error:
            patience.wait(error)
        else:
            patience.succeeded()
            return connection, holder


def _take(connection: sqlalchemy.Connection, name: str) -> str:
    """Take the lock; returns who else holds it, in words, or nothing."""
    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.text(KEEP))
        key = COPIES + zlib.crc32(name.encode())
        take = sqlalchemy.text("SELECT pg_try_advisory_xact_lock(:key)")  # of the transaction: pgbouncer keeps that
        if connection.execute(take, {"key": key}).scalar():
            return ""
        return postgres_holder(connection, key) or "another process"
    connection.execute(sqlalchemy.text(KEEP_CONNECTION))
    lock = mysql_lock(connection, name) + SUFFIX
    if connection.execute(sqlalchemy.text("SELECT GET_LOCK(:lock, 0)"), {"lock": lock}).scalar():
        return ""
    return mysql_holder(connection, lock)
