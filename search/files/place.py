"""Where the files of a trial are: on which machine, in which folder, and which of them the database has too."""

import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from maskcls.run.record import Content
from search.database.reconnecting import ReconnectingStorage
from search.files import table
from search.files.table import digest_of, holds_files, write_files
from search.study.attributes import FILES


@dataclass(frozen=True)
class TrialFiles:
    """Where the files of a trial that has ended are."""

    host: str
    """The machine that ran it, for display only."""
    folder: str
    """Its folder there, an absolute path: the weights are in it, as long as they are kept."""
    digests: Mapping[str, str]
    """Name -> SHA-256 of the files that the database has too; empty where it has no table for them."""

    def to_json(self) -> dict[str, Any]:
        """The attribute's value."""
        return {**asdict(self), "digests": dict(self.digests)}

    @property
    def place(self) -> str:
        """``HOST:FOLDER``, as scp takes it."""
        return f"{self.host}:{self.folder}"


def files_of(trial: FrozenTrial) -> TrialFiles | None:
    """Where the trial's files are; None for one that has not ended, and in a database that one machine uses."""
    values = trial.user_attrs.get(FILES)
    return None if values is None else TrialFiles(**values)


def keep_files(
    storage: ReconnectingStorage, study_id: str | None, trial: int, folder: Path, contents: Mapping[str, Content]
) -> dict[str, Any]:
    """Store the files of a trial that is about to end; returns the attribute that says where they are.

    ``folder``: the trial's; ``contents``: name -> content. In a database that one machine uses nothing is stored, and
    no attribute returned. Not in a turn: a few hundred kilobytes must not lengthen those of a hundred workers.
    """
    if study_id is None or not table.is_shared(storage):
        return {}
    digests = {}
    if holds_files(storage):
        write_files(storage, study_id, trial, contents)
        digests = {name: digest_of(content) for name, content in contents.items()}
    return {FILES: TrialFiles(socket.gethostname(), str(folder.resolve()), digests).to_json()}
