"""The folder of a study, found by an id that both hold, whatever the study's name is.

The id is an attribute of the study and stands in study.json in its folder, together with the study's database. So a
study that is renamed in the dashboard keeps its folder, and no study writes into another's.

A study from before there were ids has the folder of its name; the next command that writes gives it an id.
"""

import json
import logging
import os
import secrets
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import optuna
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL

from maskcls.system.errors import UserError
from maskcls.system.files import write_text
from search.database.connect import backend_of, default_url, has_study, load_study, may_exist, open_to_read
from search.database.reconnecting import ReconnectingStorage
from search.database.study_lock import in_turn
from search.storage.predictions import study_predictions
from search.study.attributes import STUDY_ID, id_of
from search.study.compatibility import check_is_here
from search.study.names import folder_in, is_name
from search.study.record import is_made_here

logger = logging.getLogger(__name__)

MARKER = "study.json"


@dataclass(frozen=True)
class Marker:
    """The contents of study.json."""

    id: str
    """Empty when the file is damaged, or cannot be read now."""
    study: str
    """The study's name when the folder was created."""
    storage: str
    """The database, without user and password: a path (relative to the folder of the studies when it lies in there) or
    the address of a server."""


def read_marker(folder: Path) -> Marker | None:
    """The folder's marker; None when it has none. Never raises: a disk may be unavailable for a while."""
    try:
        values = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return Marker(str(values["id"]), str(values["study"]), str(values["storage"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError):
        return Marker("", "", "")


def study_folder(study: optuna.Study, runs: Path) -> Path:
    """The study's folder, or where it will be. Raises UserError when that is another study's, or may be."""
    folder = _by_id(study, runs)
    if folder is not None:
        return folder
    default = folder_in(runs, study.study_name)
    marker = read_marker(default)
    if marker is not None:
        raise _taken(default, marker)
    return default


def _by_id(study: optuna.Study, runs: Path) -> Path | None:
    """The folder that has the study's id; None when there is none, or when the study has no id."""
    study_id = id_of(study)
    if study_id is None:
        return None
    # the dashboard may have renamed the study to anything: not every name is the name of a folder
    named = [runs / study.study_name] if is_name(study.study_name) else []
    candidates = [*named, *sorted(path.parent for path in runs.glob(f"*/{MARKER}"))]
    folders = [path for path in candidates if (marker := read_marker(path)) is not None and marker.id == study_id]
    if folders and folders[:1] != named and len(folders) > 1:
        both = " and ".join(map(str, folders[:2]))
        raise UserError(f"Both {both} are folders of study {study.study_name!r}, copies it seems; move one away.")
    return folders[0] if folders else None


def make_folder(name: str, storage: RDBStorage, runs: Path) -> str:
    """Create the folder of a study that is about to be stored under this name; returns its id. In a turn.

    What a deleted study has left there is set aside. Raises UserError when the folder is another study's.
    """
    folder = folder_in(runs, name)
    if has_deleted_study(name, storage, runs):
        _set_aside(folder)
    study_id = uuid4().hex
    _write_marker(folder, Marker(study_id, name, address_of(storage, runs)))
    return study_id


def claim_in_turn(storage: ReconnectingStorage, name: str, runs: Path) -> Path:
    """claim for the study of this name, in a turn of its own: on a machine that is about to begin to work on it.

    Raises what claim and in_turn raise.
    """
    return in_turn(storage, name, lambda: claim(load_study(storage, name), runs))


def claim(study: optuna.Study, runs: Path) -> Path:
    """The folder of a stored study that is about to be written to; gives it an id if it has none. In a turn.

    Raises UserError when the folder is another study's, when its predictions are not those of the study's trials, and
    for a study that continues in another database.
    """
    check_is_here(study)
    folder = _by_id(study, runs)
    if folder is not None:
        _check_id_is_unique(study)
        return folder
    storage, default = backend_of(study), folder_in(runs, study.study_name)
    if read_marker(default) is None:
        _check_predictions(study, default)
    elif has_deleted_study(study.study_name, storage, runs):
        _set_aside(default)
    study_id = id_of(study) or uuid4().hex
    study.set_user_attr(STUDY_ID, study_id)
    _write_marker(default, Marker(study_id, study.study_name, address_of(storage, runs)))
    return default


def _check_id_is_unique(study: optuna.Study) -> None:
    """Raise UserError when two stored studies share the id, and so the folder."""
    names = names_with_id(study.user_attrs[STUDY_ID], backend_of(study))
    if len(names) > 1:
        raise UserError(
            f"Studies {' and '.join(map(repr, names))} share one id and one folder: one was copied in the database."
            " Delete one in the dashboard; search.run --from makes a copy with its own folder."
        )


def has_deleted_study(name: str, storage: RDBStorage, runs: Path) -> bool:
    """Whether the folder for a study of this name holds trials of a study that is no longer stored.

    Raises UserError when the folder's study is stored, or may be stored in another database.
    """
    folder = folder_in(runs, name)
    marker = read_marker(folder)
    has_trials = any(folder.glob("trial-*"))
    if marker is None:
        if has_trials and not _is_beside(storage, runs):  # only the database beside the folder can tell its study
            check_has_no_namesake(folder, name, storage, runs)
            raise UserError(
                f"{folder} holds trials of an unknown study. Move it away, or give a new --name or another --runs."
            )
        return has_trials
    if not marker.id:
        raise _taken(folder, marker)
    for stored_name in names_with_id(marker.id, storage):
        raise UserError(f"{folder} is the folder of study {stored_name!r}. Give that name, or a new --name.")
    if marker.storage != address_of(storage, runs) and _may_be_stored(marker, runs):
        raise _taken(folder, marker)
    return has_trials


def _taken(folder: Path, marker: Marker) -> UserError:
    if not marker.id:
        return UserError(f"{folder / MARKER}, which names the folder's study, cannot be read; move the folder away.")
    where = marker.storage if "://" in marker.storage else folder.parent / marker.storage
    return UserError(
        f"{folder} is the folder of another study {marker.study!r}, stored in {where}."
        " Give the --runs folder that goes with this --storage, or a new --name."
    )


def check_has_no_namesake(folder: Path, name: str, storage: RDBStorage, runs: Path) -> None:
    """Raise UserError when the database beside a folder without a marker has a study of its name.

    The folder is taken for that study's, so a study of the same name in another ``storage`` must not use it.
    """
    url = default_url(runs)
    if not _is_beside(storage, runs) and may_exist(url) and has_study(open_to_read(url), name):
        raise UserError(
            f"{folder} is the folder of another study {name!r}, the one in {runs}/studies.db."
            " Give the --runs folder that goes with this --storage."
        )


def _is_beside(storage: RDBStorage, runs: Path) -> bool:
    """Whether ``storage`` is the database in the folder of the studies."""
    url: URL = storage.engine.url
    is_file = url.get_backend_name() == "sqlite" and url.database is not None
    return is_file and Path(str(url.database)).resolve() == (runs / "studies.db").resolve()


def _check_predictions(study: optuna.Study, folder: Path) -> None:
    """Raise UserError when a folder without a marker holds predictions that are not those of the study's trials."""
    stored = study_predictions(study, folder)
    for trial in study.get_trials(deepcopy=False):
        if not stored.path_of(trial).exists():
            continue  # what the database has is not the folder's, and to read all of it would take the turn too long
        if stored.predictions(trial) is None and trial.number in stored.foreign:
            raise UserError(
                f"{folder} holds files of another study: {stored.why_missing(trial)}."
                " Give the --runs folder where the study ran; where there is none, move this one away."
            )


def names_with_id(study_id: str, storage: RDBStorage) -> list[str]:
    """The names of the studies with this id, of which there may be two; without incomplete ones.

    The dashboard renames a study by storing a copy and deleting the original.
    """
    return [study.study_name for study in storage.get_all_studies() if id_of(study) == study_id and is_made_here(study)]


def _may_be_stored(marker: Marker, runs: Path) -> bool:
    """Whether the marker's database holds its study; True also when the database cannot be read."""
    path = runs / marker.storage  # an absolute path stays as it is
    if "://" in marker.storage or not os.path.isfile(path):  # noqa: PTH113 - returns False when the disk fails
        return True
    query = "SELECT 1 FROM study_user_attributes WHERE key = ? AND value_json = ?"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            return connection.execute(query, (STUDY_ID, json.dumps(marker.id))).fetchone() is not None
    except sqlite3.Error:
        return True


def address_of(storage: RDBStorage, runs: Path) -> str:
    """The database, as Marker.storage has it."""
    url: URL = storage.engine.url
    if url.get_backend_name() == "sqlite":
        path, home = Path(str(url.database)).resolve(), runs.resolve()
        return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)
    host = url.host or url.query.get("host", "")
    return f"{url.get_backend_name()}://{host}{f':{url.port}' if url.port else ''}/{url.database}"


def hand_over(study: optuna.Study, folder: Path, runs: Path) -> None:
    """Write into the folder that it is this stored study's now: a copy in another database, with the same id."""
    study_id = id_of(study)
    assert study_id is not None
    _write_marker(folder, Marker(study_id, study.study_name, address_of(backend_of(study), runs)))


def _write_marker(folder: Path, marker: Marker) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MARKER, json.dumps(asdict(marker), indent=1))


def _set_aside(folder: Path) -> None:
    aside = folder.with_name(f"{folder.name}.set-aside-{secrets.token_hex(4)}")
    folder.rename(aside)
    logger.info(f"{folder} held trials of a study that is no longer stored; they are in {aside} now.")
