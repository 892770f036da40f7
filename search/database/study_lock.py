"""A lock on a study: a decision that depends on those of other processes is made in a turn, one process at a time.

On an SQLite file a turn holds a lock file beside it. On a server it is one transaction with an advisory lock: it is
committed as a whole, or rolled back when the connection, and with it the lock, is lost, and then repeated. PostgreSQL's
lock belongs to the transaction, so it also works behind pgbouncer in transaction mode. MySQL's lock belongs to the
connection, so a proxy must pool by session there. Whoever waits for a server's lock gives the connection back every
few seconds, for those who have none, and for its own heartbeats.

What concerns one trial alone needs no turn on a server: its row is locked instead (``on_trial``, ``holding``), as
everybody locks it who changes the trial's state or attributes. So the scores and files of a hundred workers do not wait
for each other, nor for a decision.
"""

import random
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import sqlalchemy
import sqlalchemy.exc

from maskcls.system.lock import Wait, hold_file
from search.database.errors import is_transient, sqlstate
from search.database.reconnecting import LostTurnError, Patience, ReconnectingStorage
from search.database.timeouts import LOCK_SECONDS, lock_timeout

TRY_SECONDS = 2
"""How long the server waits for the lock before we look up its holder and give the connection back."""

PAUSE_SECONDS = 0.2
"""How long, at most, a process that waits for the lock does without a connection."""

LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's SQLSTATE after lock_timeout."""

T = TypeVar("T")

POSTGRES_HOLDER = """
SELECT a.pid, a.application_name, a.client_addr::text, a.xact_start::text
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND (l.classid::bigint << 32) + l.objid::bigint = :key AND l.objsubid = 1
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def in_turn(
    storage: ReconnectingStorage, name: str, decide: Callable[[], T], undone: Callable[[], None] | None = None
) -> T:
    """The result of ``decide``, called in a turn of the study of this name.

    It is called again, after ``undone``, when the connection to a server was lost: its transaction is rolled back then,
    unless only the answer to the commit was lost, which ``decide`` must detect itself.
    Raises UserError when one process keeps the lock for too long, DatabaseError when the database stays away.
    """
    return _repeated(storage, lambda: exclusive(storage, name), decide, undone)


def on_trial(
    storage: ReconnectingStorage, name: str, trial_id: int, decide: Callable[[], T], undone: Callable[[], None]
) -> T:
    """in_turn for what reads and writes one trial alone: on a server others may decide meanwhile, but none of them can
    change this trial's state. Raises what in_turn raises."""
    if storage.is_file:
        return in_turn(storage, name, decide, undone)
    return _repeated(storage, lambda: _holding_row(storage, trial_id), decide, undone)


def _repeated(
    storage: ReconnectingStorage,
    begin: Callable[[], AbstractContextManager[None]],
    decide: Callable[[], T],
    undone: Callable[[], None] | None,
) -> T:
    """The result of ``decide`` within one transaction, begun again while its connection is lost."""
    patience = Patience(storage)
    while True:
        try:
            with begin():
                result = decide()
        except LostTurnError as error:
            if undone is not None:
                undone()
            patience.wait(error)
        else:
            patience.succeeded()
            return result


@contextmanager
def _holding_row(storage: ReconnectingStorage, trial_id: int) -> Iterator[None]:
    """One transaction that holds the trial's row. Raises LostTurnError when the connection to the server is lost."""
    try:
        with storage.engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
            with storage.within(connection):
                storage.lock_trial(trial_id)
                yield
            connection.commit()
    except sqlalchemy.exc.SQLAlchemyError as error:  # from our own statements; the storage translates its own
        raise (storage.lost_turn(error) if is_transient(error) else storage.explained(error)) from error


@contextmanager
def exclusive(storage: ReconnectingStorage, name: str) -> Iterator[None]:
    """One turn of the study of this name: waits for the lock, and holds it. Not to be nested.

    The lock is released when its holder dies: a lock file by the kernel, a server's when the connection ends.
    Raises LostTurnError when the connection to a server is lost.
    """
    if storage.is_file:
        path = Path(str(storage.engine.url.database))
        with hold_file(lock_of(path), f"the lock of {path}", storage.lock_seconds):
            yield
        return
    wait = Wait(f"the turn of study {name}", storage.lock_seconds)
    try:
        while True:
            with storage.engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
                release = _take(connection, name, wait)
                if release is None:
                    connection.invalidate()
                else:
                    try:
                        with storage.within(connection):
                            yield
                        connection.commit()
                    finally:
                        release()
                    return
            time.sleep(PAUSE_SECONDS * random.random())
    except sqlalchemy.exc.SQLAlchemyError as error:  # from the lock's own statements; the storage translates its own
        raise (storage.lost_turn(error) if is_transient(error) else storage.explained(error)) from error


@contextmanager
def holding(storage: ReconnectingStorage, name: str, trial_id: int, check: Callable[[], None]) -> Iterator[None]:
    """Nobody else can take the trial while its files are moved into place, once ``check`` has returned.

    On a server its row is held, as by ``on_trial``; else it is a turn.

    Nothing may be written to the database in it: a connection that is lost at its very end is ignored.
    """
    patience, is_held, is_done = Patience(storage), False, False
    while True:
        try:
            with exclusive(storage, name) if storage.is_file else _holding_row(storage, trial_id):
                check()
                is_held = True
                patience.succeeded()
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
    """The lock file of an SQLite database, in the folder of the file itself, not of a symbolic link to it."""
    path = path.resolve()
    return path.with_name(f".{path.name}.lock")


def _take(connection: sqlalchemy.Connection, name: str, wait: Wait) -> Callable[[], None] | None:
    """Take the lock, within the open transaction; returns a function that releases it after the transaction.

    None when another process has it for now.
    """
    if connection.dialect.name == "postgresql":
        return _take_of_postgres(connection, zlib.crc32(name.encode()), wait)
    return _take_of_mysql(connection, mysql_lock(connection, name), wait)


def mysql_lock(connection: sqlalchemy.Connection, name: str) -> str:
    """The name of MySQL's lock for what has this name; the server has one lock of a name, for all its databases."""
    return f"mask-search-{zlib.crc32(f'{connection.engine.url.database}/{name}'.encode())}"


def _take_of_postgres(connection: sqlalchemy.Connection, key: int, wait: Wait) -> Callable[[], None] | None:
    try:
        # sent together: as soon as it is held, all others wait
        wait_less, wait_again = (lock_timeout(seconds) for seconds in (TRY_SECONDS, LOCK_SECONDS))
        connection.exec_driver_sql(f"{wait_less}; SELECT pg_advisory_xact_lock({key}); {wait_again}")
        return lambda: None
    except sqlalchemy.exc.OperationalError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise
        connection.rollback()
    holder = postgres_holder(connection, key)
    connection.rollback()
    if holder is not None:
        wait.check(holder)
    return None


def postgres_holder(connection: sqlalchemy.Connection, key: int) -> str | None:
    """Who holds PostgreSQL's advisory lock with this key, in words; None when it is free."""
    holder = connection.execute(sqlalchemy.text(POSTGRES_HOLDER), {"key": key}).first()
    if holder is None:
        return None
    pid, program, address, since = holder
    return f"{program or 'a program'} ({address or 'local'}, server process {pid}, since {since})"


def mysql_holder(connection: sqlalchemy.Connection, lock: str) -> str:
    """Who holds MySQL's lock of this name, in words."""
    return f"connection {connection.execute(sqlalchemy.text('SELECT IS_USED_LOCK(:lock)'), {'lock': lock}).scalar()}"


def _take_of_mysql(connection: sqlalchemy.Connection, lock: str, wait: Wait) -> Callable[[], None] | None:
    take = sqlalchemy.text("SELECT GET_LOCK(:lock, :seconds)")
    if not connection.execute(take, {"lock": lock, "seconds": TRY_SECONDS}).scalar():
        wait.check(mysql_holder(connection, lock))
        return None
    connection.commit()  # or the transaction would read a snapshot from before the lock

    def release() -> None:
        with suppress(sqlalchemy.exc.SQLAlchemyError):  # a lost connection has released it
            connection.execute(sqlalchemy.text("SELECT RELEASE_LOCK(:lock)"), {"lock": lock})

    return release
