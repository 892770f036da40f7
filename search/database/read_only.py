"""Reading an SQLite database without a trace: for a user without the right to write, on a full or read-only disk.

A reader of a database with a write-ahead log needs the log's shared memory, a file beside the database that it would
make. When nobody has the database open there is no log, and ``immutable`` reads the file as it lies. With a log, its
files are there, and are read as they are (https://www.sqlite.org/wal.html#read_only_databases).
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
"""The table that Optuna makes, and writes a row to, last of all."""

TABLES = {"studies", "trials", "version_info", VERSION_TABLE}
"""Those of Optuna's tables that tell its database from others."""

BUSY_SECONDS = 10


class NoStudiesError(UserError):
    """A database that is empty, or was not made to its end."""


def reader_of(path: Path) -> Callable[[], sqlite3.Connection]:
    """Opens connections that cannot write. Each looks anew whether somebody writes by now."""

    def connect() -> sqlite3.Connection:
        mode = "mode=ro" if has_log(path) or is_being_written(path) else "mode=ro&immutable=1"
        address = f"file:{quote(os.fsencode(path.absolute()))}?{mode}"
        return sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)

    return connect


def is_being_written(path: Path) -> bool:
    """Whether somebody writes just now to a database without a write-ahead log, which another program has made.

    Nobody but SQLite may open the file: closing it would let go of all the locks that this process has on it
    (https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
    """
    return path.with_name(f"{path.name}-journal").exists()


def has_log(path: Path) -> bool:
    """Whether a write-ahead log holds anything that the database's file does not have yet."""
    log = path.with_name(f"{path.name}-wal")
    try:
        return log.stat().st_size > 0
    except FileNotFoundError:
        return False


def is_writable(path: Path) -> bool:
    """Whether this user may write to the database: to the file, and beside it."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def check_readable(path: Path, create: bool = False) -> None:
    """Raise UserError when the file is no study database, or cannot be read as it lies; it is not changed.

    With ``create`` one without tables is to become one.
    """
    if not os.access(path, os.R_OK):
        raise UserError(f"You may not read {path}; ask its owner for the right to read it.")
    kind = network_filesystem(path.parent)
    if kind is not None and has_log(path):
        raise UserError(
            f"{path} lies on a file system ({kind}) that may be shared with other machines, and it is being written to;"
            " what SQLite would read there cannot be trusted. Use the database where it is written."
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
                f"{path} has a log ({path.name}-wal) that cannot be read without writing beside it ({error}). Copy"
                f" {path.name} and {path.name}-wal to a folder of your own, and name it by --storage."
            ) from error
        raise


def tables_of(connection: sqlite3.Connection) -> list[str]:
    """The names of the tables, without the version table while it is empty: the database is still being made then."""
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    if VERSION_TABLE in tables and connection.execute(f"SELECT 1 FROM {VERSION_TABLE}").fetchone() is None:
        tables.remove(VERSION_TABLE)
    return tables


def check_tables(tables: Iterable[str], shown: str, create: bool = False) -> None:
    """Raise UserError when a database of these tables is not Optuna's, or not yet and ``create`` is false."""
    there = set(tables)
    if there >= TABLES:
        return
    if not there <= {*table_names(), VERSION_TABLE}:
        raise UserError(
            f"{shown} is not a study database: it holds other tables. Name another by --storage, for example"
            " sqlite:///runs/studies.db."
        )
    if not create:
        raise NoStudiesError(f"{shown} holds no studies yet; `python -m search.run` makes the first.")
