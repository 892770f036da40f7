"""The study database: SQLite by default, any Optuna storage URL; trials handed out, told, and taken back."""

import contextlib
import os
import socket
import sqlite3
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from maskcls.errors import UserError, nearest, one_line
from maskcls.lock import hold

EXAMPLE = "Example: sqlite:///runs/studies.db"

BUSY_SECONDS = 60
"""How long a writer waits for another one before SQLite calls the database locked."""

WORKER = "worker"
"""Trial attribute: who runs it."""

CLAIM_TIME = timedelta(minutes=1)
"""Longer than any process takes from being given a trial to writing down that it runs it."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def default_url(runs: Path) -> str:
    """Where studies are stored when nothing else is said."""
    return sqlalchemy.URL.create("sqlite", database=str(runs / "studies.db")).render_as_string()


def open_storage(url: str, create: bool) -> RDBStorage:
    """The database. Raises UserError when it cannot be opened, or is not there and ``create`` is false."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        path = _sqlite_path(url)
        storage = RDBStorage(url) if path is None else _open_sqlite(url, path, create)
    except UserError:
        raise
    except Exception as error:  # every driver has its own family
        reason = one_line(str(error).partition("(Background")[0]).rstrip(". ")
        raise UserError(f"The storage {_shown(url)} cannot be opened: {reason}. {EXAMPLE}") from error
    if path is not None:
        sqlalchemy.event.listen(storage.engine, "connect", _tune_connection)
        storage.engine.dispose()  # those opened before
    return storage


def _shown(url: str) -> str:
    """The URL without its password."""
    try:
        return sqlalchemy.make_url(url).render_as_string()
    except sqlalchemy.exc.ArgumentError:
        return repr(url)


def is_there(url: str) -> bool:
    """Whether the database can hold anything yet; one that is not a file has to be asked."""
    try:
        path = _sqlite_path(url)
    except sqlalchemy.exc.ArgumentError:
        return True  # opening it says what is wrong
    return path is None or path.exists()


def _sqlite_path(url: str) -> Path | None:
    """The database's file; None for a server's."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.database in (None, "", ":memory:"):
        raise UserError(f"The storage {url} would be gone with this command; name a file. {EXAMPLE}")
    return Path(str(parsed.database))


def _open_sqlite(url: str, path: Path, create: bool) -> RDBStorage:
    """One process at a time, since two that make the same tables disturb each other.

    Write-ahead logging, which stays with the file: readers (the dashboard) and writers do not wait for each other.
    """
    if not create and not path.exists():
        raise UserError(f"There is no database {path}; `python -m search.run` makes one, --storage names another.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {path.parent} for the database {path.name}; make it. {EXAMPLE}")
    with hold(path.parent):
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}})


def _tune_connection(connection: Any, _: Any) -> None:
    """With WAL, a commit that survives a crash of the program (if not of the machine) needs no fsync."""
    connection.execute("PRAGMA synchronous=NORMAL")


def load_study(storage: RDBStorage, name: str) -> optuna.Study:
    """A stored study. Raises UserError with the nearest names when there is none of this name."""
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        known = optuna.get_all_study_names(storage)
        listed = f" There are: {', '.join(known)}." if known else " There are none yet."
        raise UserError(f"No study named {name!r} is stored.{nearest(name, known)}{listed}") from None


def has_study(storage: RDBStorage, name: str) -> bool:
    """Whether a study of this name is stored."""
    return name in optuna.get_all_study_names(storage)


def create_study(storage: RDBStorage, name: str, attributes: dict[str, Any]) -> optuna.Study:
    """A new study with its attributes."""
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["macro F1"])
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    return study


def count_finished(study: optuna.Study) -> int:
    """Complete and pruned trials: what --n-trials counts."""
    return len(study.get_trials(deepcopy=False, states=FINISHED))


def claim(trial: optuna.Trial) -> None:
    """Write down that this process runs the trial."""
    trial.set_user_attr(WORKER, {"host": socket.gethostname(), "pid": os.getpid(), "started": _start_time(os.getpid())})


def finish(study: optuna.Study, trial: optuna.Trial, state: TrialState, value: float | None) -> None:
    """End a trial. A pruned one keeps its best value too, which study.tell would overwrite with its last."""
    study._storage.set_trial_state_values(trial._trial_id, state, None if value is None else [value])


def requeue(study: optuna.Study, trial: FrozenTrial | optuna.Trial) -> None:
    """Back into the queue under its own number, with its parameters and reports; no matter if it just ended."""
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        # its last process is forgotten first, or the trial would look lost again until the next one has claimed it
        study._storage.set_trial_user_attr(trial._trial_id, WORKER, None)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def requeue_lost(study: optuna.Study) -> list[int]:
    """Requeue the trials whose process on this host is gone; returns their numbers."""
    lost = [trial for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if _is_lost(trial)]
    for trial in lost:
        requeue(study, trial)
    return [trial.number for trial in lost]


def _is_lost(trial: FrozenTrial) -> bool:
    worker = trial.user_attrs.get(WORKER)
    if worker is None:  # nobody claimed it: its process died in the moment between
        return trial.datetime_start is None or datetime.now() - trial.datetime_start > CLAIM_TIME
    if worker["host"] != socket.gethostname():
        return False
    return _start_time(worker["pid"]) != worker["started"]


def _start_time(pid: int) -> int | None:
    """In clock ticks since boot; with the pid it names a process for good, since pids are used again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])
