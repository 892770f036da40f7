"""The attributes that studies and trials are stored with: their names, and readers of those that several modules read.

Names and values are a format: databases of earlier versions are read, and go on. Any attribute but a study's document
(record.KEY) may be missing: from an earlier version, a trial that has not ended, and whatever somebody made in the
dashboard. What else is stored are Optuna's own attributes: when a trial ran (system.clock), notes (storage.notes).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from search.system.processes import WorkerIdentity

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# of a study

STUDY_ID = "id"
"""Names the study for good, also in study.json in its folder: the dashboard gives a study another name."""

CONFIRMED_ID = "confirms_id"
"""The id of the search that a confirmation confirms; one from before there were ids has none."""

GROWN_FROM = "grown_from"
"""The name of the study that this one began as a copy of; None for one that began as none."""

QUESTION, COMMIT, VERSIONS, DECODER = "question", "commit", "versions", "decoder"
"""What is asked, and what the study was made with (versions.creation_facts)."""

# of a trial: what it is for

ROLE = "role"
"""One of the next five; a proposal of the sampler has none."""

BASELINE, WARM_START, REPEATED, REPLICATE = "baseline", "warm start", "repeat", "replicate"
CONFIRMATION = "confirmation"
"""The study's own recipe; settings that did well elsewhere; the sampler's proposal that had run already, with another
seed; a setting run again to know the noise; a training of a finalist."""

SEED = "seed"
"""The training seed. Before the trial has ended only where it is another than the study's."""

OF, FROM = "of", "from"
"""Number of the trial whose setting is repeated; where a warm start comes from, in words."""

FINALIST, REPEAT = "finalist", "repeat"
"""In a confirmation: index of the finalist in the plan, and the round, from 1."""

IN_VAIN = "enqueued in vain"
"""What somebody enqueued for it and cannot be had, in words."""

FILES_OF = "files_of"
"""Id of the study that its files were begun in, of a trial that was copied from there."""

# of a trial: what happens to it

WORKER = "worker"
"""The process that runs it (processes.WorkerIdentity); None while none does."""

INTERRUPTIONS = "interruptions"
"""How often its process was stopped or died."""

WORKER_DEATHS = "deaths"
"""{"evaluation": the last one made, "times": how often its process has died since}."""

FAILURES = "failures"
"""A list of {"kind", "error", "when" in seconds since 1970}, one for each time it failed, the oldest first."""

FAILURE_KIND, ERROR = "failure_kind", "error"
"""The last failure in short; why a trial diverged, too, which is no failure."""

# of a trial: what it was and what came of it

REVISION_KEY = "revision"
"""The revision of the code that trains it (maskcls.training.revision); none is from before there was one."""

CONFIG, ORIGIN = "config", "origin"
"""The TrainConfig that it was trained by, numerics resolved; where that came from (objective._origin)."""

EVALUATIONS, EVALUATIONS_PLANNED, BEST_EVALUATION = "evaluations", "evaluations_planned", "best_evaluation"
"""How many were made; how many there are in a trial that is not pruned; which one its value is of, from 1."""

SECONDS, PHOTOS_PER_SECOND, PEAK_GIB, DEVICE = "seconds", "photos_per_second", "peak_gib", "device"
"""What its training took, and on what."""

ACCURACY, LOSS, F1_PER_CLASS = "accuracy", "loss", "f1_per_class"
"""Scores at the evaluation that its value is of."""

BEST_ACCURACY, BEST_LOSS = "best_accuracy", "best_loss"
"""The best ones of all evaluations."""

SPLIT = "split"
"""Hash of the table that it was trained and judged by."""

WEIGHTS_DIGEST = "weights_digest"
"""SHA-256 of best.safetensors, by which it is seen whether a file is this trial's."""


def part_f1(part: str) -> str:
    """Name of the attribute with the macro F1 of ``mask``, ``gender`` or ``age`` alone."""
    return f"f1_{part}"


class HasUserAttributes(Protocol):
    """A study or a trial, or Optuna's summary of one."""

    @property
    def user_attrs(self) -> dict[str, Any]:
        """Those that anybody may set."""


def id_of(study: HasUserAttributes) -> str | None:
    """The id that a study and its folder share; None for a study from before there were any."""
    return study.user_attrs.get(STUDY_ID)


def is_baseline(trial: HasUserAttributes) -> bool:
    """Whether the trial is the study's baseline itself; repetitions of it are replicates."""
    return trial.user_attrs.get(ROLE) == BASELINE


def is_replicate(trial: HasUserAttributes) -> bool:
    """Whether the trial repeats another's setting, for the noise."""
    return trial.user_attrs.get(ROLE) == REPLICATE


def baseline_among(trials: Iterable["FrozenTrial"]) -> "FrozenTrial | None":
    """The first baseline; None when there is none."""
    return next(filter(is_baseline, trials), None)


def seed_of(trial: HasUserAttributes) -> int | None:
    """The seed of its training; None for the study's."""
    return trial.user_attrs.get(SEED)


def repeat_of(trial: HasUserAttributes) -> int | None:
    """The round of a confirmation's trial, from 1; None for any other."""
    return trial.user_attrs.get(REPEAT)


def worker_of(trial: HasUserAttributes) -> WorkerIdentity | None:
    """The process that runs the trial; None while none of ours does."""
    return WorkerIdentity.from_json(trial.user_attrs.get(WORKER))


def interruptions_of(trial: HasUserAttributes) -> int:
    """How often its process was stopped or died."""
    return int(trial.user_attrs.get(INTERRUPTIONS, 0))


def evaluations_of(trial: HasUserAttributes) -> int | None:
    """How many evaluations its training made; None before it has ended, and of one that diverged."""
    return trial.user_attrs.get(EVALUATIONS)


def planned_evaluations_of(trial: HasUserAttributes) -> int | None:
    """How many evaluations it would have made unpruned; None before it has ended, and of one that diverged."""
    return trial.user_attrs.get(EVALUATIONS_PLANNED)
