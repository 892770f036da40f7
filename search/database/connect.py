"""The study database: SQLite by default, PostgreSQL or MySQL by URL."""

import atexit
import logging
import sqlite3
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage

from maskcls.system.errors import UserError, nearest, one_line
from maskcls.system.liveness import beat
from maskcls.system.lock import hold_file
from maskcls.system.printable import one_printable_line
from search.database.errors import is_passing, reason
from search.database.filesystem import check_local
from search.database.optuna_internals import uncached_storage
from search.database.read_only import check_readable, check_tables, is_writable, reader_of, tables_of
from search.database.reconnecting import PATIENCE_SECONDS, ReconnectingStorage
from search.database.study_lock import lock_of
from search.database.timeouts import connect_args, limit_lock_waits
from search.system.storage_url import EXAMPLE, check_url, hide_secrets, shown_url

logger = logging.getLogger(__name__)

BUSY_SECONDS = 10
"""How long a writer waits for another one before SQLite calls the database locked; Patience then tries again."""

OPEN_SECONDS = 2
"""Between two tries to open a database that is away."""

TABLES_KEY = 1936288364
"""Key of the advisory lock under which tables are made."""

HEARTBEAT_SECONDS = 20
"""How often a worker says that it still runs its trial; for workers on other machines, whose pid says nothing here."""

GRACE_SECONDS = 120
"""A worker on another machine that was not heard of for so long is taken for dead."""


def default_url(runs: Path) -> str:
    """Where studies are stored when nothing else is said."""
    return sqlalchemy.URL.create("sqlite", database=str(runs / "studies.db")).render_as_string()


def open_storage(
    url: str, create: bool, patience: float = PATIENCE_SECONDS, waits: bool = False
) -> ReconnectingStorage:
    """The database, to be written to; ``patience`` in seconds, for when it goes away later.

    ``waits``: somebody has just had it open, so a server that is away now is waited for as well.
    Raises UserError when it cannot be opened, is no study database, or is not there and ``create`` is false.
    """
    return _opened(lambda: _open_to_write(url, create, patience), patience if waits else 0)


def _opened(open_: Callable[[], ReconnectingStorage], patience: float) -> ReconnectingStorage:
    """What opens, tried again for so many seconds while what keeps it from it may pass."""
    began, is_said = time.monotonic(), False
    while True:
        try:
            return open_()
        except UserError as error:
            cause = error.__cause__
            if cause is None or not is_passing(cause) or time.monotonic() - began >= patience:
                raise
            if not is_said:
                is_said = True
                logger.warning(f"waiting for the database, for {patience / 60:.0f} minutes at most: {reason(cause)}")
        beat()
        time.sleep(OPEN_SECONDS)


def _open_to_write(url: str, create: bool, patience: float) -> ReconnectingStorage:
    with _explaining_errors(url):
        path = _sqlite_path(url)
        if path is None:
            return _closed_at_exit(_open_server(url, create, patience))
        return _closed_at_exit(_open_sqlite(url, path, create, patience))


def open_to_read(url: str, patience: float = PATIENCE_SECONDS, waits: bool = False) -> ReconnectingStorage:
    """The database, for a command that only reads: it makes nothing, takes no lock, and needs no right to write.

    Only where a transaction was cut off does it take the lock, to have SQLite undo it; that needs the right to write.
    Raises NoStudiesError for a database that is not completely made, UserError when there is no study database.
    """
    return _opened(lambda: _open_to_read(url, patience), patience if waits else 0)


def _open_to_read(url: str, patience: float) -> ReconnectingStorage:
    with _explaining_errors(url):
        path = _sqlite_path(url)
        if path is None:
            return _closed_at_exit(_open_server(url, False, patience))
        _check_file(path)
        _check_before_reading(path)
        options = {"creator": reader_of(path), "poolclass": sqlalchemy.NullPool}
        return _closed_at_exit(_open(url, patience, skip_table_creation=True, engine_kwargs=options))


def open_as_allowed(url: str, patience: float = PATIENCE_SECONDS) -> ReconnectingStorage:
    """The database, to be written to where that is allowed, else to be read. Raises UserError as those two do."""
    path = _sqlite_path(url) if is_url(url) else None
    if path is not None and path.exists() and not is_writable(path):
        return open_to_read(url, patience)
    return open_storage(url, create=False, patience=patience)


@contextmanager
def _explaining_errors(url: str) -> Iterator[None]:
    """Raise UserError, one line, for whatever goes wrong while the database is opened."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    hide_secrets(url)
    check_url(url)
    try:
        yield
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"The storage {shown_url(url)} needs a driver that is not installed ({one_line(error).rstrip('.')})."
            " For PostgreSQL: pip install 'mask-search[postgres]' and postgresql+psycopg://..."
        ) from error
    except Exception as error:  # every driver has its own family
        raise UserError(f"The storage {shown_url(url)} cannot be opened: {reason(error)}. {EXAMPLE}") from error


def _closed_at_exit(storage: ReconnectingStorage) -> ReconnectingStorage:
    """The storage, noted for _close_all."""
    _engines.add(storage.engine)
    return storage


_engines: weakref.WeakSet[sqlalchemy.Engine] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """The last process that closes an SQLite database moves what stands in its log into the file that people copy."""
    for engine in _engines:
        with suppress(Exception):  # one that cannot be reached any more is no reason to leave the others open
            engine.dispose()


def _open(url: str, patience: float, **options: Any) -> ReconnectingStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of heartbeats
        return ReconnectingStorage(
            url, patience, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE_SECONDS, **options
        )


def is_url(url: str) -> bool:
    """Whether this can be read as a storage URL at all; opening one that cannot says what is wrong."""
    try:
        sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # a port that is no number
        return False
    return True


def is_there(url: str) -> bool:
    """Whether the database can hold anything yet; one that is not a file has to be asked."""
    path = _sqlite_path(url) if is_url(url) else None
    return path is None or path.exists()


def _sqlite_path(url: str) -> Path | None:
    """The database's file; None for a server's."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.database in (None, "", ":memory:"):
        raise UserError(f"The storage {shown_url(url)} would be gone with this command; name a file. {EXAMPLE}")
    path = Path(str(parsed.database))
    return path.resolve() if path.is_symlink() else path  # SQLite's log and our lock lie beside the file itself


def _open_server(url: str, create: bool, patience: float) -> ReconnectingStorage:
    """A server's database. Connections are tried before they are used, and one that answers no more is given up."""
    # a process mostly asks one thing at a time: only one connection stays open between two questions
    options = {"pool_pre_ping": True, "pool_size": 1, "max_overflow": 9, "connect_args": connect_args(url)}
    engine = sqlalchemy.create_engine(url, **options)
    try:
        with engine.connect() as connection:
            if create and engine.dialect.name == "postgresql":  # two that make the same tables disturb each other
                connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({TABLES_KEY})"))
            if not create:
                check_tables(sqlalchemy.inspect(engine).get_table_names(), shown_url(url))
            storage = _open(url, patience, engine_kwargs=options, skip_table_creation=not create)
    finally:
        engine.dispose()
    limit_lock_waits(storage.engine)
    return storage


def _open_sqlite(url: str, path: Path, create: bool, patience: float) -> ReconnectingStorage:
    """One process at a time, since two that make the same tables disturb each other.

    Write-ahead logging, which stays with the file: readers (the dashboard) and writers do not wait for each other.
    """
    if not create:
        _check_file(path)
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent} for the database {path.name}; make it. {EXAMPLE}")
    check_local(path)
    if path.exists():
        _check_before_writing(path, create)
    with hold_file(lock_of(path), f"the lock of {path}"):
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
        try:
            check_tables(tables_of(connection), str(path), create)
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
        options = {"connect_args": {"timeout": BUSY_SECONDS}}
        storage = _open(url, patience, engine_kwargs=options, skip_table_creation=not create)
    sqlalchemy.event.listen(storage.engine, "connect", _tune_connection)
    storage.engine.dispose()  # those opened before
    return storage


def _check_before_reading(path: Path) -> None:
    """Raise UserError for a file that is no study database; undo a transaction that was cut off first."""
    try:
        check_readable(path)
    except sqlite3.OperationalError as error:
        if not _can_undo_transaction(path, error):
            raise
        check_local(path)
        with hold_file(lock_of(path), f"the lock of {path}"), closing(sqlite3.connect(path)) as connection:
            tables_of(connection)  # the first read of a connection that may write plays back the journal
        check_readable(path)


def _check_before_writing(path: Path, create: bool) -> None:
    """Raise UserError for a file that is no study database, before a lock is made beside it."""
    try:
        check_readable(path, create)
    except sqlite3.OperationalError as error:
        if not _can_undo_transaction(path, error):
            raise


def _can_undo_transaction(path: Path, error: sqlite3.OperationalError) -> bool:
    """Whether reading failed for a transaction that was cut off, or is under way, which this user may undo."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY and is_writable(path)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UserError(f"There is no database {path}; `python -m search.run` makes one, --storage names another.")


def _tune_connection(connection: Any, _: Any) -> None:
    """With WAL, a commit that survives a crash of the program (if not of the machine) needs no fsync."""
    connection.execute("PRAGMA synchronous=NORMAL")


def load_study(storage: RDBStorage, name: str) -> optuna.Study:
    """A stored study. Raises UserError with the nearest names when there is none of this name."""
    try:
        # our policy proposes; Optuna's default sampler would go through all trials for every trial object
        return optuna.load_study(study_name=name, storage=storage, sampler=RandomSampler())
    except KeyError:
        known = optuna.get_all_study_names(storage)
        listed = f" There are: {', '.join(map(one_printable_line, known))}." if known else " There are none yet."
        raise UserError(f"No study named {name!r} is stored.{nearest(name, known)}{listed}") from None


def has_study(storage: RDBStorage, name: str) -> bool:
    """Whether a study of this name is stored."""
    return name in optuna.get_all_study_names(storage)


def create_study(storage: RDBStorage, name: str, attributes: dict[str, Any]) -> optuna.Study:
    """A new study with its attributes. Its document (record.KEY) comes last, once all else is stored: without it a
    study counts as cut off, and is made anew."""
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", sampler=RandomSampler())
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["macro F1"])
    return study


def backend_of(study: optuna.Study) -> ReconnectingStorage:
    """The study's database, without the cache that Optuna puts before it."""
    storage = uncached_storage(study)
    assert isinstance(storage, ReconnectingStorage)
    return storage
