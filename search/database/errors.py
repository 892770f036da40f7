"""What is wrong with the database: the cause beneath Optuna's message, and whether it may pass by itself.

Optuna says of every error that it happened "during the commit ... due to invalid data, e.g. exceeding max length",
which is hardly ever so.
"""

import sqlalchemy.exc
from optuna.exceptions import StorageInternalError

from maskcls.system.errors import OutsideError, chain, one_line


class DatabaseError(OutsideError, StorageInternalError):
    """The database cannot be used. The message names the database and the cause."""


TRANSIENT_STATES = ("08", "40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03", "57P05", "25P03", "25006")
"""SQLSTATEs, or their prefixes, of a restart, a failover, an idle timeout, a deadlock or too many connections
(https://www.postgresql.org/docs/current/errcodes-appendix.html). A standby that is not promoted yet answers 25006, a
read-only transaction."""

TRANSIENT_MYSQL = (1020, 1040, 1053, 1205, 1213, 1290, 2002, 2003, 2006, 2013, 2055)
"""MySQL's error numbers for the same: changed meanwhile, too many connections, shutdown, lock timeout, deadlock,
read-only, connection refused or lost. It has an SQLSTATE too, but one for most of its errors (HY000)."""

PERMANENT_TEXTS = ("authentication failed", "does not exist", "pg_hba.conf", "no password supplied", "not permitted")
"""Parts of the message when a connection is refused for good: without a connection the driver has no SQLSTATE."""

CROWDED_STATE, CROWDED_MYSQL = "53300", 1040
CROWDED_TEXTS = ("too many clients", "too many connections", "remaining connection slots")
"""Too many connections: as an SQLSTATE, as MySQL's number, and in texts of refused connections, without either."""

LOST_IN_TRANSACTION = "8s2b"
"""SQLAlchemy's code for "can't reconnect until the transaction is rolled back"."""

LOCKED_TEXTS = ("database is locked", "database table is locked", "database schema is locked")
"""SQLite's messages after it has waited read_only.BUSY_SECONDS."""

CLEARER_TEXTS = {
    "database is locked": "another program has locked it",
    "database table is locked": "another program has locked it",
    "readonly database": "it may not be written to (attempt to write a readonly database)",
    "due to lock timeout": "another program holds a lock in it (lock timeout)",
    "no such table": "its tables are missing",
    "unable to open database file": "its file cannot be opened (unable to open database file)",
}
"""Part of a database's message that says too little -> ours in its place."""


def reason(error: BaseException) -> str:
    """The innermost cause in one line, without the messages and links around it; no full stop at its end."""
    driver = _driver_error(error)
    innermost = driver if driver is not None else list(chain(error))[-1]
    text = one_line(str(innermost).partition("(Background")[0].partition("\tIs the server")[0]).rstrip(". ")
    clearer = next((clearer for part, clearer in CLEARER_TEXTS.items() if part in text), None)
    return clearer or text or type(innermost).__name__


def is_transient(error: BaseException) -> bool:
    """Whether a later try may succeed: the server is away, or another program holds a lock."""
    if isinstance(error, DatabaseError):
        return False  # waited for already
    return any(_is_transient(cause) for cause in chain(error) if isinstance(cause, sqlalchemy.exc.SQLAlchemyError))


def is_crowded(error: BaseException) -> bool:
    """Whether the server has too many clients, or its pool in this process has no connection left: it is not away."""
    if isinstance(error, DatabaseError):
        return False  # waited for already
    return any(_is_crowded(cause) for cause in chain(error) if isinstance(cause, sqlalchemy.exc.SQLAlchemyError))


def _is_crowded(error: sqlalchemy.exc.SQLAlchemyError) -> bool:
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return True  # the pool's
    if not isinstance(error, sqlalchemy.exc.DBAPIError) or type(error.orig).__module__.startswith("sqlite3"):
        return False
    number = next(iter(getattr(error.orig, "args", ())), None)
    if sqlstate(error) == CROWDED_STATE or number == CROWDED_MYSQL:
        return True
    return any(part in str(error.orig).lower() for part in CROWDED_TEXTS)


def sqlstate(error: sqlalchemy.exc.DBAPIError) -> str | None:
    """The SQLSTATE, five characters; None where the driver has none (psycopg: sqlstate, psycopg2: pgcode)."""
    state: str | None = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return state


def _driver_error(error: BaseException) -> BaseException | None:
    database_errors = [cause for cause in chain(error) if isinstance(cause, sqlalchemy.exc.DBAPIError)]
    return next((cause.orig for cause in reversed(database_errors) if cause.orig is not None), None)


def _is_transient(error: sqlalchemy.exc.SQLAlchemyError) -> bool:
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
    number = next(iter(getattr(error.orig, "args", ())), None)
    if isinstance(number, int):
        return number in TRANSIENT_MYSQL
    if state is not None:
        return state.startswith(TRANSIENT_STATES)
    if not isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError):
        return False
    return not any(part in text for part in PERMANENT_TEXTS)
