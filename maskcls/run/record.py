"""The record of a run, history.json: its evaluations, and the digests of the files that belong to them.

``commit.EvaluationStore`` writes it; readers of a trained model check its files against it.
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
"""What a file holds."""


@dataclass(frozen=True)
class Stamp:
    """Identifies the content of a file that belongs to a record."""

    digest: str
    """SHA-256 in hex."""
    size: int
    """Size in bytes."""
    evaluation: int
    """Number of the evaluation that wrote the file."""


@dataclass(frozen=True)
class Record:
    """The evaluations of a run so far, and the stamps of their files."""

    planned_evaluations: int
    """Number of evaluations of the whole run; 0 in a legacy record."""
    attempt: str
    """Token of the attempt that wrote the record; the names of its staged files begin with it."""
    identity: Mapping[str, Any]
    """Facts that the run's result depends on; only a run of the same identity continues from this record."""
    evaluations: tuple[Evaluation, ...]
    files: Mapping[str, Stamp]
    """Stamp of every file, by its name."""

    @property
    def is_complete(self) -> bool:
        """Whether the run has made all its planned evaluations."""
        return len(self.evaluations) == self.planned_evaluations

    @property
    def is_legacy(self) -> bool:
        """Whether history.json is a plain list of evaluations without stamps (maskcls.run.legacy)."""
        return self.planned_evaluations == 0

    def to_json(self) -> str:
        """The text of history.json."""
        values = {
            "planned": self.planned_evaluations,
            "attempt": self.attempt,
            "identity": self.identity,
            "files": {name: asdict(stamp) for name, stamp in self.files.items()},
            "evaluations": [evaluation.to_dict() for evaluation in self.evaluations],
        }
        return json.dumps(values, indent=1)


class UnusableRunError(Exception):
    """A run cannot continue from its folder. The text is the reason, as a clause: "its resume.pt is damaged"."""


def read_record(folder: Path) -> Record | None:
    """The folder's record, None when it has none. Raises UnusableRunError when history.json is damaged."""
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
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # not JSON, or of another shape
        raise UnusableRunError(f"its {RECORD} is damaged") from error


def stamp_of(content: Content, evaluation: int) -> Stamp:
    """The stamp of a file with this content, written by the evaluation of this number."""
    return Stamp(hashlib.sha256(content).hexdigest(), memoryview(content).nbytes, evaluation)


def sha256(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def matches(path: Path, stamp: Stamp) -> bool:
    """Whether the file exists and has the stamped content."""
    try:
        return path.stat().st_size == stamp.size and sha256(path) == stamp.digest
    except FileNotFoundError:
        return False


def check_file(folder: Path, name: str) -> None:
    """Raise UserError when a file of a trained model exists but is not the one in the record.

    A folder without a record, or with a legacy one, passes.
    """
    try:
        record = read_record(folder)
    except UnusableRunError:
        return
    stamp = record.files.get(name) if record is not None else None
    if stamp is not None and (folder / name).exists() and not matches(folder / name, stamp):
        raise UserError(
            f"{folder / name} is not the file that the training wrote: its digest differs from the one in {RECORD}."
            " Restore the file, or train again into another folder."
        )
