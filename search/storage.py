"""The study database: SQLite by default, PostgreSQL or MySQL by URL."""

import atexit
import sqlite3
import warnings
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage

from maskcls.errors import UserError, nearest, one_line
from maskcls.lock import hold
from search.address import EXAMPLE, check_url, hide_secrets, shown_url
from search.filesystem import network_filesystem

BUSY_SECONDS = 60
"""How long a writer waits for another one before SQLite calls the database locked."""

HEARTBEAT_SECONDS = 20
"""How often a worker says that it still runs its trial; for workers on other machines, whose pid says nothing here."""

GRACE_SECONDS = 120
"""A worker on another machine that was not heard of for so long is taken for dead."""


def default_url(runs: Path) -> str:
    """Where studies are stored when nothing else is said."""
    return sqlalchemy.URL.create("sqlite", database=str(runs / "studies.db")).render_as_string()


def open_storage(url: str, create: bool) -> RDBStorage:
    """The database. Raises UserError when it cannot be opened, or is not there and ``create`` is false."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    hide_secrets(url)
    check_url(url)
    try:
        path = _sqlite_path(url)
        storage = _open(url) if path is None else _open_sqlite(url, path, create)
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"The storage {shown_url(url)} needs a driver that is not installed ({one_line(error).rstrip('.')})."
            " For PostgreSQL: pip install 'mask-search[postgres]' and postgresql+psycopg://..."
        ) from error
    except Exception as error:  # every driver has its own family
        reason = one_line(str(error).partition("(Background")[0]).rstrip(". ")
        raise UserError(f"The storage {shown_url(url)} cannot be opened: {reason}. {EXAMPLE}") from error
    _engines.add(storage.engine)
    if path is not None:
        sqlalchemy.event.listen(storage.engine, "connect", _tune_connection)
        storage.engine.dispose()  # those opened before
    return storage


_engines: weakref.WeakSet[sqlalchemy.Engine] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """The last process that closes an SQLite database moves what stands in its log into the file that people copy."""
    for engine in _engines:
        with suppress(Exception):  # one that cannot be reached any more is no reason to leave the others open
            engine.dispose()


def _open(url: str, **options: Any) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of heartbeats
        return RDBStorage(url, heartbeat_interval=HEARTBEAT_SECONDS, grace_period=GRACE_SECONDS, **options)


def is_there(url: str) -> bool:
    """Whether the database can hold anything yet; one that is not a file has to be asked."""
    try:
        path = _sqlite_path(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # a UserError, or a port that is no number
        return True  # opening it says what is wrong
    return path is None or path.exists()


def _sqlite_path(url: str) -> Path | None:
    """The database's file; None for a server's."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.database in (None, "", ":memory:"):
        raise UserError(f"The storage {shown_url(url)} would be gone with this command; name a file. {EXAMPLE}")
    return Path(str(parsed.database))


def _open_sqlite(url: str, path: Path, create: bool) -> RDBStorage:
    """One process at a time, since two that make the same tables disturb each other.

    Write-ahead logging, which stays with the file: readers (the dashboard) and writers do not wait for each other.
    """
    if not create and not path.exists():
        raise UserError(f"There is no database {path}; `python -m search.run` makes one, --storage names another.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent} for the database {path.name}; make it. {EXAMPLE}")
    kind = network_filesystem(path.parent)
    if kind is not None:
        raise UserError(
            f"{path} lies on a network file system ({kind}), whose locks SQLite cannot trust: a study would be"
            " damaged. Use --storage sqlite:////a/local/path/studies.db, or --storage postgresql+psycopg://..."
        )
    with hold(path.parent):
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
        return _open(url, engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}})


def _tune_connection(connection: Any, _: Any) -> None:
    """With WAL, a commit that survives a crash of the program (if not of the machine) needs no fsync."""
    connection.execute("PRAGMA synchronous=NORMAL")


@contextmanager
def exclusive(storage: RDBStorage, name: str) -> Iterator[None]:
    """Wait until nobody else decides about the study of this name, and be the one who does.

    Let go of when its holder dies: by the kernel on the folder of an SQLite file, by the server when the connection
    ends. Not to be nested.
    """
    path = _sqlite_path(storage.url)
    if path is not None:
        with hold(path.parent):
            yield
        return
    key = zlib.crc32(name.encode())
    take, leave = {
        "postgresql": (f"SELECT pg_advisory_lock({key})", f"SELECT pg_advisory_unlock({key})"),
        "mysql": (f"SELECT GET_LOCK('mask-search-{key}', -1)", f"SELECT RELEASE_LOCK('mask-search-{key}')"),
    }[storage.engine.dialect.name]
    with storage.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sqlalchemy.text(take))
        try:
            yield
        finally:
            connection.execute(sqlalchemy.text(leave))


def load_study(storage: RDBStorage, name: str) -> optuna.Study:
    """A stored study. Raises UserError with the nearest names when there is none of this name."""
    try:
        # our policy proposes; Optuna's default sampler would go through all trials for every trial object
        return optuna.load_study(study_name=name, storage=storage, sampler=RandomSampler())
    except KeyError:
        known = optuna.get_all_study_names(storage)
        listed = f" There are: {', '.join(known)}." if known else " There are none yet."
        raise UserError(f"No study named {name!r} is stored.{nearest(name, known)}{listed}") from None


def has_study(storage: RDBStorage, name: str) -> bool:
    """Whether a study of this name is stored."""
    return name in optuna.get_all_study_names(storage)


def create_study(storage: RDBStorage, name: str, attributes: dict[str, Any]) -> optuna.Study:
    """A new study with its attributes; the document goes first, without which a study is nobody's."""
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", sampler=RandomSampler())
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["macro F1"])
    return study


def backend_of(study: optuna.Study) -> RDBStorage:
    """The study's database, without the cache that Optuna puts before it."""
    storage = study._storage
    backend = getattr(storage, "_backend", storage)
    assert isinstance(backend, RDBStorage)
    return backend
