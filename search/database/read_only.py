"""Reading an SQLite database without leaving a trace: without write permission, on a full or read-only disk.

With write-ahead logging a reader would create the log's shared memory, a file beside the database. While no process has
the database open there is no log, and ``immutable`` reads the file alone. When there is a log its files exist and are
read as they are (https://www.sqlite.org/wal.html#read_only_databases).
"""

import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

from maskcls.system.errors import UserError
from search.database.filesystem import network_filesystem
from search.database.optuna_internals import table_names

VERSION_TABLE = "alembic_version"
"""The last table that Optuna creates; its row is the last thing that it writes to a new database."""

TABLES = {"studies", "trials", "version_info", VERSION_TABLE}
"""Tables by which a complete database of Optuna's is recognized."""

BUSY_SECONDS = 10
"""How long SQLite waits for a lock before it reports the database as locked; reconnecting.Patience then tries again."""


class NoStudiesError(UserError):
    """The database is empty, or its tables are not all created yet."""


def reader_of(path: Path) -> Callable[[], sqlite3.Connection]:
    """A function that opens read-only connections. Each call checks anew whether the database is being written to."""

    def connect() -> sqlite3.Connection:
        mode = "mode=ro" if has_log(path) or is_being_written(path) else "mode=ro&immutable=1"
        address = f"file:{quote(os.fsencode(path.absolute()))}?{mode}"
        return sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)

    return connect


def is_being_written(path: Path) -> bool:
    """Whether a database without a write-ahead log, as other programs create them, has a transaction under way.

    Only SQLite may open the file: closing it would release all the locks that this process has on it
    (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
    """
    return path.with_name(f"{path.name}-journal").exists()


def has_log(path: Path) -> bool:
    """Whether a write-ahead log may hold changes that the database file does not have yet."""
    log = path.with_name(f"{path.name}-wal")
    try:
        return log.stat().st_size > 0
    except FileNotFoundError:
        return False


def is_writable(path: Path) -> bool:
    """Whether this user may write to the database file and to its folder."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def check_readable(path: Path, create: bool = False) -> None:
    """Raise UserError when the file is not a study database or cannot be read; the file is not changed.

    With ``create``, one without all of the tables is accepted: they are about to be created.
    """
    if not os.access(path, os.R_OK):
        raise UserError(f"You may not read {path}; ask its owner for read permission.")
    filesystem = network_filesystem(path.parent)
    if filesystem is not None and has_log(path):
        raise UserError(
            f"{path} lies on a file system ({filesystem}) that may be shared with other machines, and it is being"
            " written to; SQLite cannot read it reliably there. Use it on the machine that writes it."
        )
    check_tables(_tables(path), str(path), create)


def _tables(path: Path) -> list[str]:
    try:
        connection = reader_of(path)()
        try:
            return tables_of(connection)
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if has_log(path) and not os.access(path.parent, os.W_OK):
            raise UserError(
                f"{path} has a log ({path.name}-wal), which needs write permission in its folder to be read ({error})."
                f" Copy {path.name} and {path.name}-wal to a folder of your own, and give it by --storage."
            ) from error
        raise


def tables_of(connection: sqlite3.Connection) -> list[str]:
    """Names of the tables, without an empty version table: the database is still being created then."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    if VERSION_TABLE in tables and connection.execute(f"SELECT 1 FROM {VERSION_TABLE}").fetchone() is None:
        tables.remove(VERSION_TABLE)
    return tables


def check_tables(tables: Iterable[str], shown: str, create: bool = False) -> None:
    """Raise UserError when a database of these tables is not Optuna's, or incomplete while ``create`` is false."""
    existing = set(tables)
    if existing >= TABLES:
        return
    if not existing <= {*table_names(), VERSION_TABLE}:
        raise UserError(
            f"{shown} is not a study database: it holds other tables. Name another by --storage, for example"
            " sqlite:///runs/studies.db."
        )
    if not create:
        raise NoStudiesError(f"{shown} holds no studies yet; `python -m search.run` creates the first.")
