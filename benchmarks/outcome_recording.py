"""A recording of outcome.py: what trained models said, after every epoch, of groups that none of them was trained on.

A file of JSON lines. The first describes the set, its splits and its configurations; each other one is a training.

Shape suffixes: E evaluations, N photos of a split's judges.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskcls.labels import Factor, LabelSpace
from maskcls.scoring.counts import Counts, count
from maskcls.system.errors import UserError

DEFAULT = 0
"""Number of the default configuration."""

Key = tuple[int, int, int]
"""(split, configuration, seed) of a training."""


@dataclass(frozen=True)
class Judges:
    """The photos that a split's models were not trained on."""

    group_N: list[str]
    label_N: list[int]
    trained_groups: int
    """Number of groups that they were trained on."""


@dataclass(frozen=True)
class Setup:
    """What all trainings of a recording have in common."""

    name: str
    classes: list[str]
    fixed: dict[str, Any]
    """Hyperparameters that are the same in every training, weights and number of epochs included."""
    backbones: list[str]
    configurations: list[dict[str, Any]]
    """Hyperparameters that differ; the first is the default."""
    seeds: int
    splits: list[Judges]

    @property
    def evaluations(self) -> int:
        """Of a training."""
        return int(self.fixed["epochs"])

    def trainings(self) -> list[Key]:
        """All trainings, in an order whose beginning is a smaller recording."""
        places = range(len(self.splits)), range(len(self.configurations)), range(self.seeds)
        return [(split, number, seed) for seed in places[2] for split in places[0] for number in places[1]]


@dataclass
class Recording:
    """A file of trainings."""

    setup: Setup
    said: dict[Key, NDArray[np.uint8]] = field(default_factory=dict)
    """The classes predicted, [E, N]; fewer rows of a training that diverged."""
    _counts: dict[tuple[Key, int], Counts] = field(default_factory=dict)

    def counts(self, key: Key, evaluation: int) -> Counts:
        """What a training said at an evaluation, counted from 1, group by group."""
        known = self._counts.get((key, evaluation))
        if known is None:
            judges = self.setup.splits[key[0]]
            space = LabelSpace((Factor("class", tuple(self.setup.classes)),))
            said_N = self.said[key][evaluation - 1].astype(np.int64)
            known = count(np.array(judges.group_N), np.array(judges.label_N), said_N, space)
            self._counts[key, evaluation] = known
        return known

    def length(self, key: Key) -> int:
        """How many evaluations a training had before its end or its divergence."""
        return len(self.said[key])


def begin(file: Path, setup: Setup) -> Recording:
    """The recording in the file, which is made where there is none. Raises UserError for that of another setup."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(setup)) + "\n", encoding="utf-8")
    recording = load(file)
    text = file.read_bytes()
    file.write_bytes(text[: text.rfind(b"\n") + 1])  # what is appended must not follow half a line
    if asdict(recording.setup) != asdict(setup):
        raise UserError(f"{file} is a recording with other options. Name another file with -o, or give those again.")
    return recording


def append(file: Path, key: Key, said_EN: Sequence[NDArray[np.int64]], photos: int) -> None:
    """Add a training to the file."""
    rows = np.array(said_EN, dtype=np.uint8).reshape(len(said_EN), photos)
    packed = base64.b64encode(zlib.compress(rows.tobytes(), 9)).decode()
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"key": key, "evaluations": len(rows), "said": packed}) + "\n")


def load(file: Path) -> Recording:
    """The recording in the file; a last line that was cut off is left out. Raises UserError where there is none."""
    if not file.is_file():
        raise UserError(f"There is no recording {file}. `python benchmarks/outcome.py record` makes one.")
    text = file.read_text(encoding="utf-8")
    first, *lines = text[: text.rfind("\n") + 1].splitlines()
    values = json.loads(first)
    setup = Setup(**{**values, "splits": [Judges(**judges) for judges in values["splits"]]})
    recording = Recording(setup)
    for line in lines:
        training = json.loads(line)
        said = np.frombuffer(zlib.decompress(base64.b64decode(training["said"])), dtype=np.uint8)
        split, configuration, seed = training["key"]
        photos = len(setup.splits[split].label_N)
        recording.said[split, configuration, seed] = said.reshape(training["evaluations"], photos)
    return recording
