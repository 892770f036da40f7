"""What is wrong with the database: the cause beneath Optuna's words, and whether it may pass by itself.

Optuna says of every error that it happened "during the commit ... due to invalid data, e.g. exceeding max length",
which is hardly ever so.
"""

from collections.abc import Iterator

import sqlalchemy.exc
from optuna.exceptions import StorageInternalError

from maskcls.system.errors import OutsideError, one_line


class DatabaseError(OutsideError, StorageInternalError):
    """The database cannot be used. Its text names the database and the cause."""


PASSING_STATES = ("08", "40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03", "57P05", "25P03", "25006")
"""SQLSTATEs, or their beginnings, that a restart, a failover, an idle timeout, a deadlock or a crowd leaves behind
(https://www.postgresql.org/docs/current/errcodes-appendix.html). 25006, a read-only transaction, is what a standby says
before it has been promoted."""

PASSING_MYSQL = (1040, 1053, 1205, 1213, 1290, 2002, 2003, 2006, 2013, 2055)
"""MySQL's numbers for the same: too many connections, shutdown, lock timeout, deadlock, read-only, connection refused
or lost."""

LASTING_TEXTS = ("authentication failed", "does not exist", "pg_hba.conf", "no password supplied", "not permitted")
"""Texts of a connection that is refused for good. The driver gives no SQLSTATE before there is a connection."""

LOST_IN_TRANSACTION = "8s2b"
"""SQLAlchemy's code for "can't reconnect until the transaction is rolled back"."""

LOCKED_TEXTS = ("database is locked", "database table is locked", "database schema is locked")
"""SQLite's, after it has waited connect.BUSY_SECONDS."""

WORDS = {
    "database is locked": "another program has locked it",
    "database table is locked": "another program has locked it",
    "readonly database": "it may not be written to (attempt to write a readonly database)",
    "due to lock timeout": "another program holds a lock in it (lock timeout)",
    "no such table": "its tables are missing",
    "unable to open database file": "its file cannot be opened (unable to open database file)",
}
"""Texts of the databases that say too little, and ours."""


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what is beneath it, the outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def reason(error: BaseException) -> str:
    """The innermost cause in a line, without Optuna's, SQLAlchemy's and their links; no full stop at its end."""
    driver = _driver_error(error)
    innermost = driver if driver is not None else list(chain(error))[-1]
    text = one_line(str(innermost).partition("(Background")[0].partition("\tIs the server")[0]).rstrip(". ")
    found = next((words for part, words in WORDS.items() if part in text), None)
    return found or text or type(innermost).__name__


def is_passing(error: BaseException) -> bool:
    """Whether the same may go well in a while: the server is away, or somebody holds a lock."""
    if isinstance(error, DatabaseError):
        return False  # waited for already
    return any(_passes(found) for found in chain(error) if isinstance(found, sqlalchemy.exc.SQLAlchemyError))


def sqlstate(error: sqlalchemy.exc.DBAPIError) -> str | None:
    """The five characters that say what went wrong; None where the driver has none (sqlstate: psycopg, pgcode: 2)."""
    state: str | None = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return state


def _driver_error(error: BaseException) -> BaseException | None:
    found = [one.orig for one in chain(error) if isinstance(one, sqlalchemy.exc.DBAPIError) and one.orig is not None]
    return found[-1] if found else None


def _passes(error: sqlalchemy.exc.SQLAlchemyError) -> bool:
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return True  # the pool's
    if isinstance(error, sqlalchemy.exc.PendingRollbackError):
        return error.code == LOST_IN_TRANSACTION
    if not isinstance(error, sqlalchemy.exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    text, state = str(error.orig), sqlstate(error)
    if any(part in text for part in LOCKED_TEXTS):
        return True
    if type(error.orig).__module__.startswith("sqlite3"):
        return False
    if state is not None:
        return any(state.startswith(begin) for begin in PASSING_STATES)
    if not isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError):
        return False
    number = next(iter(getattr(error.orig, "args", ())), None)
    if isinstance(number, int):
        return number in PASSING_MYSQL
    return not any(part in text for part in LASTING_TEXTS)
