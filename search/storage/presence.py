"""Whether a study still exists where it was: its database, its folder, its rows. All can vanish while it runs."""

import os
import weakref
from pathlib import Path

import optuna
import sqlalchemy
import sqlalchemy.exc

from maskcls.system.errors import UserError
from search.database.connect import backend_of
from search.database.errors import DatabaseError
from search.database.optuna_internals import study_id
from search.storage.folder import names_with_id, read_marker
from search.study.attributes import id_of

OUT_OF_REACH = (DatabaseError, optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, KeyError)
"""What a query raises when the database is out of reach, or when the study is no longer in it."""

DATABASE_ERRORS = (*OUT_OF_REACH, UserError, OSError)
"""The same, and what opening the database and waiting for its lock may raise."""


class StudyPresence:
    """A study's database file and folder as they were when the work began.

    They are held by their inodes, not by their names: a process that has a file open does not notice when it is
    removed, moved or replaced, SQLite included, and all that it writes from then on is lost.
    """

    def __init__(self, study: optuna.Study, folder: Path) -> None:
        """``folder``: the study's, created by its first worker."""
        self.study, self.folder, self.id = study, folder, id_of(study)
        self._descriptors: dict[Path, int] = {}
        weakref.finalize(self, _close, self._descriptors)
        self._missing_file()  # holds what exists now

    def lost(self) -> str:
        """What was removed, in a sentence without its full stop; empty while all exists."""
        missing = self._missing_file()
        if missing:
            return f"{missing} was removed, moved or replaced while the study ran"
        marker = read_marker(self.folder)
        # an unreadable marker says nothing: a network disk fails for a moment, and the folder itself is held
        if self.id is not None and (marker is None or marker.id not in ("", self.id)):
            return f"the study's folder {self.folder} was removed or moved while the study ran"
        return ""

    def why_failed(self) -> str:
        """The same after something has failed, when the study itself may have been deleted or renamed too."""
        lost = self.lost()
        if lost:
            return lost
        storage = backend_of(self.study)
        patience, storage.patience = storage.patience, 0  # what failed may have waited for the database already
        try:
            return self._missing_study()
        except Exception:  # a database that does not answer has another cause
            return ""
        finally:
            storage.patience = patience

    def _missing_file(self) -> str:
        """The first of the database file and the folder that was removed or replaced; empty while both exist."""
        for path, what in ((_database_file(self.study), "the database"), (self.folder, "the study's folder")):
            if path is not None and not self._is_same_file(path):
                return f"{what} {path}"
        return ""

    def _is_same_file(self, path: Path) -> bool:
        if path not in self._descriptors:
            try:
                # O_PATH keeps the inode from being reused, and does not touch SQLite's locks
                self._descriptors[path] = os.open(path, os.O_PATH)
            except OSError:
                return True  # it does not exist yet
        try:
            return os.path.samestat(os.fstat(self._descriptors[path]), path.stat())
        except FileNotFoundError:
            return False
        except OSError:
            return True  # a network disk that does not answer has lost nothing

    def _missing_study(self) -> str:
        storage = backend_of(self.study)
        if any(study_id(stored) == study_id(self.study) for stored in storage.get_all_studies()):
            return ""
        for name in names_with_id(self.id, storage) if self.id is not None else ():
            return f"the study was renamed to {name!r} while it ran; the same command with --name {name} continues it"
        return "the study was deleted while it ran"


def _database_file(study: optuna.Study) -> Path | None:
    """The file of an SQLite database; None for a server, and for a file: URI."""
    parsed = sqlalchemy.make_url(backend_of(study).url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database and not parsed.database.startswith("file:")
    return Path(str(parsed.database)) if is_file else None


def _close(descriptors: dict[Path, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)
