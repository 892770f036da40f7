"""One record of a run, history.json: its evaluations, and by their digests the files that belong to them.

commit.EvaluationStore writes it. Users of a trained model's file can check that it is the one that the training wrote.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maskcls.run.result import Evaluation
from maskcls.system.errors import UserError

RECORD, WEIGHTS, PREDICTIONS, STATE = "history.json", "best.safetensors", "valid.npz", "resume.pt"

Content = bytes | memoryview
"""Content of a file."""


@dataclass(frozen=True)
class Stamp:
    """What a file must be to belong to a record."""

    digest: str
    """SHA-256, in hex."""
    size: int
    """Bytes."""
    evaluation: int
    """Step of the evaluation that it was made at."""


@dataclass(frozen=True)
class Record:
    """What a run's folder holds: the evaluations so far, and the stamps of their files."""

    planned_evaluations: int
    """Evaluations of the whole run; 0 in a legacy record."""
    attempt: str
    """Token of the attempt that wrote it: its files may still be staged under names that begin with it."""
    identity: Mapping[str, Any]
    """What the run's result depends on; a run of another identity does not go on from here."""
    evaluations: tuple[Evaluation, ...]
    files: Mapping[str, Stamp]
    """Name to stamp."""

    @property
    def is_complete(self) -> bool:
        """Whether all planned evaluations were made."""
        return len(self.evaluations) == self.planned_evaluations

    @property
    def is_legacy(self) -> bool:
        """Whether it was a plain list of evaluations, from before files had stamps (maskcls.run.legacy)."""
        return self.planned_evaluations == 0

    def to_json(self) -> str:
        """The text of history.json."""
        evaluations = [evaluation.to_dict() for evaluation in self.evaluations]
        files = {name: asdict(stamp) for name, stamp in self.files.items()}
        values = {
            "planned": self.planned_evaluations,
            "attempt": self.attempt,
            "identity": self.identity,
            "files": files,
        }
        return json.dumps({**values, "evaluations": evaluations}, indent=1)


class UnusableRunError(Exception):
    """A run cannot go on from what its folder holds. The text says why in a few words, for a sentence that goes on."""


def read_record(folder: Path) -> Record | None:
    """The folder's record; None when it has none. Raises UnusableRunError for one that cannot be read."""
    try:
        values = json.loads((folder / RECORD).read_bytes())
        if isinstance(values, list):
            return Record(0, "", {}, tuple(map(Evaluation.from_dict, values)), {})
        return Record(
            planned_evaluations=int(values["planned"]),
            attempt=str(values["attempt"]),
            identity=dict(values["identity"]),
            evaluations=tuple(map(Evaluation.from_dict, values["evaluations"])),
            files={name: Stamp(**stamp) for name, stamp in values["files"].items()},
        )
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # JSON of another shape, or none
        raise UnusableRunError(f"its {RECORD} is damaged") from error


def stamp_of(content: Content, evaluation: int) -> Stamp:
    """Stamp of a file's content, made at the evaluation of this step."""
    return Stamp(hashlib.sha256(content).hexdigest(), memoryview(content).nbytes, evaluation)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def matches(path: Path, stamp: Stamp) -> bool:
    """Whether the file is there and is the stamped one."""
    try:
        return path.stat().st_size == stamp.size and sha256(path) == stamp.digest
    except FileNotFoundError:
        return False


def check_file(folder: Path, name: str) -> None:
    """Raise UserError when a file of a trained model is there but is not the one that its training has recorded.

    A folder from before there were stamps, or whose record is gone, says nothing of its files.
    """
    try:
        record = read_record(folder)
    except UnusableRunError:
        return
    stamp = record.files.get(name) if record is not None else None
    if stamp is not None and (folder / name).exists() and not matches(folder / name, stamp):
        raise UserError(
            f"{folder / name} is not the file that the training wrote: its digest is not the one in {RECORD}."
            " Bring the file back, or train again into another folder."
        )
