"""Whether a study is still where it was: its database, its folder, its rows. All of them can go while it runs."""

import os
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import sqlalchemy
import sqlalchemy.exc

from maskcls.system.errors import UserError
from search.database.connect import backend_of
from search.database.errors import DatabaseError
from search.database.optuna_internals import study_id
from search.storage.folder import owners, read_marker
from search.study.attributes import id_of

OUT_OF_REACH = (DatabaseError, optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError, KeyError)
"""What a question to the database ends in when it cannot be reached, or when the study is not in it any more."""

DATABASE_ERRORS = (*OUT_OF_REACH, UserError, OSError)
"""The same, with what opening it and waiting for its lock may end in."""


@dataclass
class Place:
    """The files that a study lives in, held by what they are and not by their names.

    Whoever has a file open goes on writing into it when it is removed, and does not notice: SQLite least of all.
    """

    url: str
    folder: Path
    """The study's; made by its first worker."""
    held: dict[Path, int] = field(default_factory=dict)
    """Descriptors, closed once nobody has the place any more."""

    def __post_init__(self) -> None:
        weakref.finalize(self, _let_go, self.held)

    def what_is_gone(self) -> str:
        """The first that was removed or replaced since it was first seen, in words; else an empty string."""
        for path, what in ((database_file(self.url), "the database"), (self.folder, "the study's folder")):
            if path is not None and not self._is_still_there(path):
                return f"{what} {path} was removed, moved or replaced"
        return ""

    def _is_still_there(self, path: Path) -> bool:
        if path not in self.held:
            try:
                # O_PATH keeps the inode from being used again, and takes no part in SQLite's locks
                self.held[path] = os.open(path, os.O_PATH)
            except OSError:
                return True  # it has not been there yet
        try:
            return os.path.samestat(os.fstat(self.held[path]), path.stat())
        except FileNotFoundError:
            return False
        except OSError:
            return True  # a network disk that does not answer is another matter


def _let_go(held: dict[Path, int]) -> None:
    for descriptor in held.values():
        os.close(descriptor)


def database_file(url: str) -> Path | None:
    """The file of an SQLite database; None for a server's, and for a name that is no plain path."""
    parsed = sqlalchemy.make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database and not parsed.database.startswith("file:")
    return Path(str(parsed.database)) if is_file else None


class StudyPresence:
    """A study's database and folder as they were when the work began.

    An SQLite file that was removed, moved or replaced can be written to on and on by who has it open, and all of that
    is lost.
    """

    def __init__(self, study: optuna.Study, home: Path) -> None:
        self.study = study
        self.place = Place(backend_of(study).url, home)
        self.place.what_is_gone()  # nothing yet: it takes hold of what is there
        self.id = id_of(study)

    def lost(self) -> str:
        """What is gone, in a sentence without its point; nothing while all is there."""
        gone = self.place.what_is_gone()
        if gone:
            return f"{gone} while the study ran"
        marker = read_marker(self.place.folder)
        # one that cannot be read says nothing: a network disk fails for a moment, and the folder is held as it was
        if self.id is not None and (marker is None or marker.id not in ("", self.id)):
            return f"the study's folder {self.place.folder} was removed or moved while the study ran"
        return ""

    def why_failed(self) -> str:
        """The same, once something has failed: then the study itself may be gone too."""
        lost = self.lost()
        if lost:
            return lost
        storage = backend_of(self.study)
        patience, storage.patience = storage.patience, 0  # whatever failed may have waited for the database itself
        try:
            return self._not_stored()
        except Exception:  # a database that cannot be asked is another matter
            return ""
        finally:
            storage.patience = patience

    def _not_stored(self) -> str:
        storage = backend_of(self.study)
        if any(study_id(found) == study_id(self.study) for found in storage.get_all_studies()):
            return ""
        for name in owners(self.id, storage) if self.id is not None else ():
            return f"the study was renamed to {name!r} while it ran; the same command with --name {name} goes on"
        return "the study was deleted while it ran"
