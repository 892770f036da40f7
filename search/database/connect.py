"""The study database: SQLite by default, PostgreSQL or MySQL by URL."""

import atexit
import logging
import random
import sqlite3
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial

from maskcls.system.errors import UserError, nearest, one_line
from maskcls.system.liveness import beat
from maskcls.system.lock import hold_file
from maskcls.system.printable import one_printable_line
from search.database import mysql
from search.database.errors import is_crowded, is_transient, reason
from search.database.filesystem import check_local
from search.database.optuna_internals import trial_id, uncached_storage
from search.database.read_only import (
    BUSY_SECONDS,
    TABLES,
    check_readable,
    check_tables,
    is_writable,
    reader_of,
    tables_of,
)
from search.database.reconnecting import PATIENCE_SECONDS, ReconnectingStorage
from search.database.server_pool import POOL_OPTIONS, close_when_idle
from search.database.study_lock import lock_of
from search.database.timeouts import begin_transactions, connect_args
from search.system.shell import place_options
from search.system.storage_url import EXAMPLE, check_url, hide_secrets, shown_url

logger = logging.getLogger(__name__)

OPEN_SECONDS = 2
"""Pause between two tries to open a database that is away."""

TABLES_KEY = 1936288364
"""Key of the advisory lock under which tables are created."""

HEARTBEAT_SECONDS = 20
"""How often a worker stores a heartbeat of its trial: for machines where its pid means nothing."""

GRACE_SECONDS = 120
"""A worker on another machine without a heartbeat for so long counts as dead."""


def default_url(runs: Path) -> str:
    """The URL of studies.db in the folder of the studies, where they are stored by default."""
    return sqlalchemy.URL.create("sqlite", database=str(runs / "studies.db")).render_as_string()


def place_of(url: str, runs: Path) -> str:
    """The --runs and --storage options of a printed command about a study in the database at ``url``; empty for the
    defaults."""
    return place_options(runs, url if url != default_url(runs) else None)


def open_storage(
    url: str, create: bool, patience: float = PATIENCE_SECONDS, waits: bool = False, slot: str = ""
) -> ReconnectingStorage:
    """The database, open for writing; ``patience``: seconds to wait whenever it goes away later.

    ``waits``: wait that long now too, for a server that another process of this command has just used. A server with
    too many clients is waited for in any case. ``slot``: of a worker, shown in the server's list of clients.
    Raises UserError when the database cannot be opened, is not a study database, or does not exist and ``create`` is
    false.
    """

    def open_() -> ReconnectingStorage:
        path = _sqlite_path(url)
        return _open_server(url, create, patience, slot) if path is None else _open_sqlite(url, path, create, patience)

    return _opened(url, open_, patience, waits)


def open_to_read(url: str, patience: float = PATIENCE_SECONDS, waits: bool = False) -> ReconnectingStorage:
    """The database, open for reading: nothing is created, no lock is taken, and no write permission is needed.

    Only to undo a transaction that was cut off does it take the lock; that needs write permission.
    Raises NoStudiesError for a database that is not complete yet, UserError when there is no study database.
    """

    def open_() -> ReconnectingStorage:
        path = _sqlite_path(url)
        if path is None:
            return _open_server(url, False, patience)
        _check_file(path)
        _check_before_reading(path)
        options = {"creator": reader_of(path), "poolclass": sqlalchemy.NullPool}
        return _open(url, patience, skip_table_creation=True, engine_kwargs=options)

    return _opened(url, open_, patience, waits)


def open_as_allowed(url: str, patience: float = PATIENCE_SECONDS) -> ReconnectingStorage:
    """open_storage where this user may write to the database, else open_to_read; raises UserError as they do."""
    path = _sqlite_path(url) if _is_url(url) else None
    if path is not None and path.exists() and not is_writable(path):
        return open_to_read(url, patience)
    return open_storage(url, create=False, patience=patience)


def _opened(url: str, open_: Callable[[], ReconnectingStorage], patience: float, waits: bool) -> ReconnectingStorage:
    """The result of ``open_``, repeated for ``patience`` seconds while the server has too many clients, and with
    ``waits`` after every transient error.

    Raises a UserError of one line for any other error.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    hide_secrets(url)
    check_url(url)
    began, is_logged = time.monotonic(), False
    while True:
        try:
            return open_()
        except UserError:
            raise
        except ImportError as error:
            raise UserError(
                f"The storage {shown_url(url)} needs a driver that is not installed ({one_line(error).rstrip('.')})."
                " For PostgreSQL: pip install 'mask-search[postgres]' and postgresql+psycopg://...; for MySQL and"
                " MariaDB: pip install 'mask-search[mysql]' and mysql+pymysql://..."
            ) from error
        except Exception as error:  # every driver has its own exceptions
            may_wait = is_crowded(error) or (waits and is_transient(error))
            if not may_wait or time.monotonic() - began >= patience:
                raise UserError(f"The storage {shown_url(url)} cannot be opened: {reason(error)}. {EXAMPLE}") from error
            if not is_logged:
                is_logged = True
                logger.warning(f"waiting for the database, {patience / 60:.0f} minutes at most: {reason(error)}")
        beat()
        time.sleep(OPEN_SECONDS * random.uniform(0.5, 1))  # not all at once


_engines: weakref.WeakSet[sqlalchemy.Engine] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Close all databases: the last process to close an SQLite file moves its log into the file, which users copy."""
    for engine in _engines:
        with suppress(Exception):  # a database that is out of reach must not keep the others open
            engine.dispose()


def _open(url: str, patience: float, **options: Any) -> ReconnectingStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # about heartbeats
        storage = ReconnectingStorage(
            url, patience, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE_SECONDS, **options
        )
    _engines.add(storage.engine)
    return storage


def _is_url(url: str) -> bool:
    """Whether the URL can be parsed; opening one that cannot raises an error that says why."""
    try:
        sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # ValueError: a port that is not a number
        return False
    return True


def is_sqlite(url: str) -> bool:
    """Whether the URL is of an SQLite file; False also for one that cannot be parsed."""
    return _is_url(url) and sqlalchemy.make_url(url).get_backend_name() == "sqlite"


def may_exist(url: str) -> bool:
    """Whether the database may exist: False only for an SQLite file that does not."""
    path = _sqlite_path(url) if _is_url(url) else None
    return path is None or path.exists()


def _sqlite_path(url: str) -> Path | None:
    """The file of an SQLite database; None for a server."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.database in (None, "", ":memory:"):
        raise UserError(f"The storage {shown_url(url)} would be lost when this command ends; name a file. {EXAMPLE}")
    path = Path(str(parsed.database))
    return path.resolve() if path.is_symlink() else path  # SQLite's log and our lock lie beside the real file


def _open_server(url: str, create: bool, patience: float, slot: str = "") -> ReconnectingStorage:
    """A server's database."""
    options = {**POOL_OPTIONS, "connect_args": connect_args(url, slot)}
    if sqlalchemy.make_url(url).get_backend_name() in mysql.DIALECTS:
        options["isolation_level"] = mysql.ISOLATION_LEVEL
    several = {**options, "max_overflow": 9}
    engine = sqlalchemy.create_engine(url, **options)
    try:
        with engine.connect() as connection:
            tables = set(sqlalchemy.inspect(connection).get_table_names())
            if not create:
                check_tables(tables, shown_url(url))
            elif not tables >= TABLES:  # only a process that creates them has several connections
                if engine.dialect.name == "postgresql":  # two processes must not create the same tables
                    connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({TABLES_KEY})"))
                if mysql.is_mysql(engine):
                    mysql.begin_tables(connection)
                _open(url, patience, engine_kwargs=several).engine.dispose()
            if create and mysql.is_mysql(engine):
                mysql.complete_tables(connection)
    finally:
        engine.dispose()
    # Optuna checks the version of the tables on a second connection
    storage = _open(url, patience, engine_kwargs=options, skip_table_creation=True, skip_compatibility_check=True)
    if storage.get_current_version() != storage.get_head_version():
        _open(url, patience, engine_kwargs=several, skip_table_creation=True).engine.dispose()  # says what is wrong
    storage.engine.dispose()  # the connection from before the listeners
    begin_transactions(storage.engine)
    close_when_idle(storage.engine)
    return storage


def _open_sqlite(url: str, path: Path, create: bool, patience: float) -> ReconnectingStorage:
    """An SQLite database, opened by one process at a time, since two must not create the same tables.

    Write-ahead logging, a property of the file, lets readers (the dashboard) and writers work at the same time.
    """
    if not create:
        _check_file(path)
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent} for the database {path.name}; create it. {EXAMPLE}")
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
    storage.engine.dispose()  # connections from before the listener
    return storage


def _check_before_reading(path: Path) -> None:
    """Raise UserError when the file is not a study database; undo a transaction that was cut off first."""
    try:
        check_readable(path)
    except sqlite3.OperationalError as error:
        if not _can_undo_transaction(path, error):
            raise
        check_local(path)
        with hold_file(lock_of(path), f"the lock of {path}"), closing(sqlite3.connect(path)) as connection:
            tables_of(connection)  # the first read on a connection that may write plays back the journal
        check_readable(path)


def _check_before_writing(path: Path, create: bool) -> None:
    """Raise UserError when the file is not a study database, before a lock file is created beside it."""
    try:
        check_readable(path, create)
    except sqlite3.OperationalError as error:
        if not _can_undo_transaction(path, error):
            raise


def _can_undo_transaction(path: Path, error: sqlite3.OperationalError) -> bool:
    """Whether reading failed because of a transaction that was cut off or is under way, and this user may write."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY and is_writable(path)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UserError(f"There is no database {path}; `python -m search.run` creates one, --storage names another.")


def _tune_connection(connection: Any, _: Any) -> None:
    """Commit without fsync: in a write-ahead log that survives a crash of the program, if not of the machine."""
    connection.execute("PRAGMA synchronous=NORMAL")


def load_study(storage: RDBStorage, name: str) -> optuna.Study:
    """The stored study of this name. Raises UserError with the nearest names when there is none."""
    try:
        # our policy samples; Optuna's default sampler would read all trials for every Trial object
        return optuna.load_study(study_name=name, storage=storage, sampler=RandomSampler())
    except KeyError:
        names = optuna.get_all_study_names(storage)
        listed = f" There are: {', '.join(map(one_printable_line, names))}." if names else " There are none yet."
        raise UserError(f"No study named {name!r} is stored.{nearest(name, names)}{listed}") from None


def has_study(storage: RDBStorage, name: str) -> bool:
    """Whether a study of this name is stored."""
    return name in optuna.get_all_study_names(storage)


def create_study(storage: RDBStorage, name: str, attributes: dict[str, Any], metric: str = "macro F1") -> optuna.Study:
    """A new study with its attributes; ``metric``: what its values are, in words.

    Its document (record.KEY) is stored later, last of all: a study without one counts as incomplete and is created
    anew.
    """
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", sampler=RandomSampler())
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([metric])
    return study


def set_attributes(study: optuna.Study, trial: Trial | FrozenTrial, attributes: Mapping[str, Any]) -> None:
    """Store user attributes of a trial, all at once. Raises UpdateFinishedTrialError when it has ended."""
    backend_of(study).set_trial_user_attrs(trial_id(trial), attributes)


def backend_of(study: optuna.Study) -> ReconnectingStorage:
    """The study's database, without the cache that Optuna puts in front of it."""
    storage = uncached_storage(study)
    assert isinstance(storage, ReconnectingStorage)
    return storage
