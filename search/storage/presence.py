"""Whether the study is still where it was: its database, its folder, its rows. All of them can go while it runs."""

import os
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import sqlalchemy
import sqlalchemy.exc

from maskcls.system.errors import UserError
from search.database.errors import DatabaseError

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
    """Of an SQLite database; None for a server's, and for a name that is no plain path."""
    parsed = sqlalchemy.make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database and not parsed.database.startswith("file:")
    return Path(str(parsed.database)) if is_file else None
