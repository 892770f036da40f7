"""A study and its folder: they know each other by an id that both keep, whatever the study is called by now.

The id is an attribute of the study and stands in study.json in its folder, with the database that the study is stored
in. So a study that was renamed in the dashboard keeps its folder, and no study writes into another one's.

Studies from before there were ids have the folder of their name; the next command that writes gives them one.
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
from search.database.connect import backend_of, default_url, has_study, may_exist, open_to_read
from search.storage.predictions import shelf_of
from search.study.attributes import STUDY_ID, id_of
from search.study.names import folder_in, is_name
from search.study.record import is_made_here

logger = logging.getLogger(__name__)

MARKER = "study.json"


@dataclass(frozen=True)
class Marker:
    """What study.json says."""

    id: str
    """Empty in a file that is damaged, or that the disk does not give now."""
    study: str
    """Its name when it was made."""
    storage: str
    """The database, without user and password: a path (relative to the folder of the studies where it lies in there)
    or the address of a server."""


def read_marker(folder: Path) -> Marker | None:
    """Whose folder it is; None when it does not say so. Never raises: a disk may fail to answer for a while."""
    try:
        values = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return Marker(str(values["id"]), str(values["study"]), str(values["storage"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError):
        return Marker("", "", "")


def study_folder(study: optuna.Study, runs: Path) -> Path:
    """The study's folder, or where it will be. Raises UserError when that is another study's, or may be."""
    found = _by_id(study, runs)
    if found is not None:
        return found
    usual = folder_in(runs, study.study_name)
    there = read_marker(usual)
    if there is not None:
        raise _taken(usual, there)
    return usual


def _by_id(study: optuna.Study, runs: Path) -> Path | None:
    """The folder that has the study's id; None when there is none, or when the study has no id."""
    mine = id_of(study)
    if mine is None:
        return None
    # anybody may have changed the name: one that leads elsewhere, or is too long, is no folder's
    near = [runs / study.study_name] if is_name(study.study_name) else []
    candidates = [*near, *sorted(path.parent for path in runs.glob(f"*/{MARKER}"))]
    found = [folder for folder in candidates if (there := read_marker(folder)) is not None and there.id == mine]
    if found and found[:1] != near and len(found) > 1:
        both = " and ".join(map(str, found[:2]))
        raise UserError(f"Both {both} are folders of study {study.study_name!r}, copies it seems; move one away.")
    return found[0] if found else None


def make_folder(name: str, storage: RDBStorage, runs: Path) -> str:
    """A folder for a study that is about to be stored under this name; returns its id. Under the study's lock.

    What a study that is stored no more has left there is set aside. Raises UserError when the folder is another's.
    """
    usual = folder_in(runs, name)
    if is_in_the_way(name, storage, runs):
        _set_aside(usual)
    mine = uuid4().hex
    _mark(usual, Marker(mine, name, _place_of(storage, runs)))
    return mine


def claim(study: optuna.Study, runs: Path) -> Path:
    """The folder of a stored study, for who is about to write into it: with an id where it had none. Under its lock.

    Raises UserError when the folder is another's, or when its predictions are not those of the study's trials.
    """
    found = _by_id(study, runs)
    if found is not None:
        _check_is_one(study)
        return found
    storage, usual = backend_of(study), folder_in(runs, study.study_name)
    if read_marker(usual) is not None:
        if is_in_the_way(study.study_name, storage, runs):
            _set_aside(usual)
    else:
        _check_is_its(study, usual)
    mine = id_of(study) or uuid4().hex
    study.set_user_attr(STUDY_ID, mine)
    _mark(usual, Marker(mine, study.study_name, _place_of(storage, runs)))
    return usual


def _check_is_one(study: optuna.Study) -> None:
    """Raise UserError when two stored studies share the id, and so the folder."""
    names = owners(study.user_attrs[STUDY_ID], backend_of(study))
    if len(names) > 1:
        raise UserError(
            f"Studies {' and '.join(map(repr, names))} are one and the same, copied in the database, and have one"
            " folder. Delete one in the dashboard; search.run --from makes a copy with a folder of its own."
        )


def is_in_the_way(name: str, storage: RDBStorage, runs: Path) -> bool:
    """Whether the usual folder holds trials of a study that is stored no more.

    Raises UserError when its study is stored, or when that cannot be seen from here.
    """
    usual = folder_in(runs, name)
    there = read_marker(usual)
    has_trials = any(usual.glob("trial-*"))
    if there is None:
        if has_trials:
            _check_is_nobodys(usual, name, storage, runs)
        return has_trials
    if not there.id:
        raise _taken(usual, there)
    for owner in owners(there.id, storage):
        raise UserError(f"{usual} is the folder of study {owner!r}. Give that name, or a new --name.")
    if there.storage != _place_of(storage, runs) and _may_be_stored(there, runs):
        raise _taken(usual, there)
    return has_trials


def _taken(usual: Path, there: Marker) -> UserError:
    if not there.id:
        return UserError(f"{usual / MARKER}, which says whose folder it is, cannot be read; move the folder away.")
    where = there.storage if "://" in there.storage else usual.parent / there.storage
    return UserError(
        f"{usual} is the folder of another study {there.study!r}, stored in {where}."
        " Give the --runs folder that goes with this --storage, or a new --name."
    )


def _check_is_nobodys(usual: Path, name: str, storage: RDBStorage, runs: Path) -> None:
    """Raise UserError unless a folder without an id lies beside this database: only that can tell whose it is."""
    if _is_beside(storage, runs):
        return
    check_has_no_namesake(usual, name, storage, runs)
    raise UserError(f"{usual} holds trials of an unknown study. Move it away, or give a new --name or another --runs.")


def check_has_no_namesake(folder: Path, name: str, storage: RDBStorage, runs: Path) -> None:
    """Raise UserError when a folder that does not say whose it is has the name of a study in the database beside it.

    A study of that name in another ``storage`` has nothing to do with the folder then.
    """
    url = default_url(runs)
    if not _is_beside(storage, runs) and may_exist(url) and has_study(open_to_read(url), name):
        raise UserError(
            f"{folder} is the folder of another study {name!r}, the one in {runs}/studies.db."
            " Give the --runs folder that goes with this --storage."
        )


def _is_beside(storage: RDBStorage, runs: Path) -> bool:
    """Whether it is the database in the folder of the studies."""
    url: URL = storage.engine.url
    is_file = url.get_backend_name() == "sqlite" and url.database is not None
    return is_file and Path(str(url.database)).resolve() == (runs / "studies.db").resolve()


def _check_is_its(study: optuna.Study, folder: Path) -> None:
    """Raise UserError when a folder without an id holds predictions that are not those of the study's trials."""
    shelf = shelf_of(study, folder)
    for trial in study.get_trials(deepcopy=False):
        if shelf.predictions(trial) is None and trial.number in shelf.foreign:
            raise UserError(
                f"{folder} holds files of another study: {shelf.why_not(trial)}."
                " Give the --runs folder where the study ran; where there is none, move this one away."
            )


def owners(mine: str, storage: RDBStorage) -> list[str]:
    """The names of the studies with this id; without those that are not made yet.

    The dashboard renames by storing a copy and deleting the study.
    """
    stored = [found for found in storage.get_all_studies() if id_of(found) == mine]
    return [found.study_name for found in stored if is_made_here(found)]


def _may_be_stored(there: Marker, runs: Path) -> bool:
    """Whether a study is in another database; also when that cannot be looked at."""
    path = runs / there.storage  # an absolute one stays what it is
    if "://" in there.storage or not os.path.isfile(path):  # noqa: PTH113 - False too where the disk does not answer
        return True
    query = "SELECT 1 FROM study_user_attributes WHERE key = ? AND value_json = ?"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            return connection.execute(query, (STUDY_ID, json.dumps(there.id))).fetchone() is not None
    except sqlite3.Error:
        return True


def _place_of(storage: RDBStorage, runs: Path) -> str:
    """Names the database, for Marker.storage."""
    url: URL = storage.engine.url
    if url.get_backend_name() == "sqlite":
        path, home = Path(str(url.database)).resolve(), runs.resolve()
        return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)
    host = url.host or url.query.get("host", "")
    return f"{url.get_backend_name()}://{host}{f':{url.port}' if url.port else ''}/{url.database}"


def _mark(folder: Path, marker: Marker) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MARKER, json.dumps(asdict(marker), indent=1))


def _set_aside(folder: Path) -> None:
    aside = folder.with_name(f"{folder.name}.set-aside-{secrets.token_hex(4)}")
    folder.rename(aside)
    logger.info(f"{folder} held trials of a study that is no longer stored; they are in {aside} now.")
