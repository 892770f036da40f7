"""A task: the label space, how it is read from data, and in which words it is spoken of.

Not ``TrainConfig.task``, which names the part of the label that one model predicts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from maskcls.config import TrainConfig
from maskcls.labels import ALL, Factor, LabelSpace
from maskcls.system.errors import UserError, count_of, nearest

METRICS = {"macro_f1": "macro F1", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}
"""Name of a metric that models can be judged by, as it is typed -> as it is read. All are better when higher."""

BEINGS = {"person", "patient", "child", "participant", "subject", "student", "donor", "volunteer", "animal"}
"""Units of whom one says who, not which."""


def short_metric(metric: str) -> str:
    """A metric of METRICS where there is little room: ``F1``, ``accuracy``."""
    return "F1" if metric == "macro_f1" else METRICS[metric]


@dataclass(frozen=True)
class Unit:
    """What a group of photos shows, in the singular and the plural; both sides of a split have other units."""

    one: str
    many: str

    def count(self, number: int) -> str:
        """``1 person``, ``540 people``."""
        return count_of(number, self.one, self.many)

    def noun(self, number: int) -> str:
        """The word that follows a number: ``person`` for 1, else ``people``."""
        return self.one if number == 1 else self.many

    @property
    def who(self) -> str:
        """The pronoun of a clause on them: people *who* judged it, photos *that* judged it."""
        return "who" if self.one in BEINGS else "that"

    @property
    def whom(self) -> str:
        """``who`` after a preposition: none of *whom*, none of *which*."""
        return "whom" if self.one in BEINGS else "which"


PHOTO = Unit("photo", "photos")
"""The unit of data without groups: every photo is one."""


@dataclass(frozen=True)
class Source:
    """How photos and labels are found under ``--data``."""

    reader: str
    """Name of the reader in maskcls.reading: mask, folders, table or hf."""
    table: str = ""
    """Path of the table, as typed; a relative one is looked up under --data first. Empty for readers without one."""
    path: str = ""
    """The table's column with the path of every photo, relative to --data."""
    labels: tuple[str, ...] = ()
    """The table's columns that make up the label, in the order of the factors."""
    group: str = ""
    """The table's column that says which photos belong together; empty: none do."""
    split: str = ""
    """The table's column that says train, valid or test; empty: the split is drawn."""


@dataclass(frozen=True)
class Bands:
    """A factor that is cut from a number, and the hyperparameter that moves its last cut in training labels."""

    factor: str
    column: str
    """Column of the number in the table of photos."""
    cuts: tuple[int, ...]
    """The lowest number of every class but the first. Scoring never uses others."""
    hyperparameter: str
    """Field of TrainConfig that replaces the last cut in training labels."""

    def classes(self, number_N: np.ndarray, last_cut: int | None = None) -> np.ndarray:
        """int64 [N]: the class of each number. ``last_cut``: for training labels only, even one below the others."""
        *cuts, last = self.cuts
        bounds = [*cuts, last if last_cut is None else last_cut]
        return (number_N[:, None] >= np.array(bounds)).sum(axis=1, dtype=np.int64)


@dataclass(frozen=True)
class ContextWords:
    """The words for the classes of a task's context, where mistakes in the other factors are broken down by them."""

    terms: tuple[str, ...]
    """Of every class, in a list: ("mask worn", "mask incorrect", "no mask")."""
    apart: str
    """What tells the first class from the last one: "behind a mask"."""
    ends: tuple[str, str]
    """The first and the last class in a sentence: ("with the mask worn", "without one")."""

    @staticmethod
    def of(factor: Factor) -> "ContextWords":
        """The words for a factor without declared ones."""
        terms = tuple(f"{factor.noun} {name}" for name in factor.classes)
        return ContextWords(terms, f"by {factor.noun}", (f"with {terms[0]}", f"with {terms[-1]}"))


@dataclass(frozen=True)
class Task:
    """What is to be told from photos."""

    name: str
    space: LabelSpace
    source: Source
    unit: Unit = PHOTO
    context: str = ""
    """The factor by whose true class confusions of the others are broken down; empty: none."""
    metric: str = "macro_f1"
    """Name in METRICS of what models are judged by."""
    splitter: str = "pandas-streaming"
    """Name in maskcls.data.splitters of what draws the split."""
    bands: Bands | None = None
    submission: str = "labels"
    """Format of maskcls.predict's file: "labels" (path, label) or "competition" (ImageID, ans)."""
    context_words: ContextWords | None = None
    """How the classes of ``context`` are called; None: by their names."""

    @property
    def metric_words(self) -> str:
        """The metric as it is read: ``macro F1``."""
        return METRICS[self.metric]

    @property
    def short_metric(self) -> str:
        """The metric where there is little room: ``F1``."""
        return short_metric(self.metric)

    @property
    def uncounted(self) -> str:
        """What becomes of a class without photos when models are judged, in a clause."""
        return "Their F1 counts 0" if self.metric == "macro_f1" else f"They count for nothing in {self.metric_words}"

    @property
    def split_by(self) -> str:
        """What the sides of the split are told apart by: ``by person``."""
        return "as the data says" if self.splitter == "given" else f"by {self.unit.one}"

    @property
    def leak(self) -> str:
        """A clause on what the split cannot keep apart; empty where groups are known."""
        return "" if self.has_groups else "photos of one subject may be on both sides"

    @property
    def predictions_file(self) -> str:
        """Name of the file that maskcls.predict is suggested to write."""
        return "submission.csv" if self.submission == "competition" else "predictions.csv"

    @property
    def strata(self) -> tuple[str, ...]:
        """The factors by which groups are stratified."""
        return tuple(factor.name for factor in self.space.factors if factor.of_group)

    @property
    def has_groups(self) -> bool:
        """Whether photos belong together, so that a split must not part them."""
        return self.unit != PHOTO

    @property
    def meaningless(self) -> dict[str, Any]:
        """The hyperparameters that mean nothing in this task -> the value that they have to keep."""
        names = [] if self.space.parts else ["heads"]
        names += [] if self.bands is not None and self.bands.hyperparameter == "old_from" else ["old_from"]
        return {name: TrainConfig.model_fields[name].default for name in names}

    def predicted(self, config: TrainConfig) -> LabelSpace:
        """The label space that a model of this config predicts."""
        return self.space.predicted(config.task)

    def check(self, config: TrainConfig) -> None:
        """Raise UserError for a hyperparameter that means nothing in this task."""
        parts = self.space.parts
        if config.task not in (ALL, *parts):
            if not parts:
                raise UserError(
                    f"task={config.task} asks for one factor of a label of several, and the label of these photos has"
                    f" {self.space.factors[0].name} alone. Choose a study of the whole label."
                )
            only = ", ".join((ALL, *parts))
            raise UserError(f"task must be {only}, not {config.task!r}.{nearest(config.task, parts)}")
        for name, value in self.meaningless.items():
            if getattr(config, name) != value:
                needs = {"heads": "a label of several factors", "old_from": "age bands"}[name]
                raise UserError(f"{name}={getattr(config, name)} needs {needs}, which these photos lack. Leave it out.")

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a task that was read from data; a declared task is stored by its name (tasks.declared)."""
        return {
            "name": self.name,
            "factors": self.space.to_json(),
            "source": {**asdict(self.source), "labels": list(self.source.labels)},
            "unit": [self.unit.one, self.unit.many],
            "metric": self.metric,
            "splitter": self.splitter,
        }

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Task":
        """The inverse of to_json. Raises KeyError and TypeError for other values."""
        if values["metric"] not in METRICS:
            raise KeyError(values["metric"])
        source = Source(**{**values["source"], "labels": tuple(values["source"]["labels"])})
        return Task(
            name=str(values["name"]),
            space=LabelSpace.from_json(values["factors"]),
            source=source,
            unit=Unit(*values["unit"]),
            metric=str(values["metric"]),
            splitter=str(values["splitter"]),
        )

    def judged_by(self, metric: str) -> "Task":
        """The task with another metric. Raises UserError for an unknown one."""
        if metric not in METRICS:
            raise UserError(f"--metric must be one of {', '.join(METRICS)}, not {metric!r}.{nearest(metric, METRICS)}")
        return replace(self, metric=metric)


def describe(task: Task) -> dict[str, str]:
    """What makes two tasks different, by names that a user knows: the classes, the groups, the metric, the split."""
    return {
        "label": "; ".join(f"{factor.name}: {', '.join(factor.classes)}" for factor in task.space.factors),
        "group": task.source.group or task.unit.one,
        "metric": task.metric,
        "splitter": task.splitter,
    }
