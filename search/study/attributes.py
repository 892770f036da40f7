"""Names of the attributes that studies and trials are stored with, and readers of those that several modules read.

Names and values are a stored format, since databases of earlier versions are read and continued. Any attribute except a
study's document (record.KEY) may be missing: in a trial of an earlier version, in one that has not ended, and in what
was made in the dashboard. Other modules have Optuna's own: when a trial ran (system.clock), notes (storage.notes).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from search.system.processes import WorkerIdentity

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

# of a study

STUDY_ID = "id"
"""Identifies the study even after it was renamed in the dashboard; also in study.json in its folder."""

CONFIRMED_ID = "confirms_id"
"""The id of the search that a confirmation confirms; missing if that search has none."""

GROWN_FROM = "grown_from"
"""The name of the study that this one began as a copy of; None if it is no copy."""

QUESTION, COMMIT, VERSIONS, DECODER = "question", "commit", "versions", "decoder"
"""The study's question, and what it was made with (versions.creation_facts)."""

LOOKS = "looks"
"""The looks at the rounds so far (maskcls.scoring.rounds.Look as JSON), the earliest first; storage.looks has them. Of
the confirmation of a team those at its repeats; team.repeats has them."""

OWN_LOOKS = "own_looks"
"""The looks at the rounds in which each level has its own best setting, as LOOKS; the two are never pooled."""

LIMITS = "limits"
"""{"n_trials", "max_epochs", "patience"}, and "own_best" where it is true: the limits of the last command that planned;
those of search.run --join."""

MORE_ROUNDS, MORE_OWN_ROUNDS = "more_rounds", "more_own_rounds"
"""{"rounds": --repeats of the last search.confirm that added rounds to the study, "n_trials": how many trials the study
has with them}; the same of the last search.confirm --own-best."""

TEST = "test"
"""How the recommended trial did on the photos that the data holds back for a test (storage.final_test.FinalTest as
JSON); missing before, and where there are none."""

MOVED_TO = "moved_to"
"""{"storage": the address without user and password, "name"} of the database that search.copy has copied the study to,
where it continues; None again when the copying failed."""

# of a trial: its purpose

ROLE = "role"
"""One of the next six; a new configuration that the sampler proposed has none."""

ROUND = "round"
"""A training of a round; also the attribute that has the round's number, 0 for the study's first trials."""

BASELINE, WARM_START, REPEATED, REPLICATE = "baseline", "warm start", "repeat", "replicate"
CONFIRMATION = "confirmation"
"""The study's own recipe; a configuration that did well elsewhere; a proposal of the sampler that had run before, with
another seed; a configuration run again to measure the noise; a training of a finalist. Only studies of earlier versions
have the first and the fourth: the baseline is a training of round 0 today, and rounds measure the noise."""

LEVEL, PLACE, JUDGE_ROUND = "level", "place", "judge_round"
"""Of a training of a round: what it stands for, in words (policy.rounds.Arm); its place in the round's plan, from 0;
the people who judge it (TrainConfig.judge_round), the same for the whole round."""

ROUND_PLAN = "round_plan"
"""Of the first training of a round after round 0: the plan of all its trainings (policy.rounds.RoundPlan as JSON)."""

OWN_BEST = "own_best"
"""True of a training of a round in which each level has its own best setting; the others lack it."""

SINCE_BEST = "since_best"
"""Of the first training of round 1: how many trials of the search had ended without a gain (stopping.patience_used)
when it began. Missing in studies of earlier commits."""

SEED = "seed"
"""The training seed. Until the trial has ended it is stored only if it differs from the study's."""

OF, FROM = "of", "from"
"""Number of the trial whose configuration is repeated; where a warm start comes from, in words."""

FINALIST, REPEAT = "finalist", "repeat"
"""In a confirmation: index of the finalist in the plan, and number of the repeat, from 1."""

IN_VAIN = "enqueued in vain"
"""The parameters that were enqueued for the trial but are outside the space, in words."""

FILES_OF = "files_of"
"""Id of the study that a copied trial's files were begun in."""

# of a trial: its run

WORKER = "worker"
"""The process that runs the trial (processes.WorkerIdentity); None while none does."""

INTERRUPTIONS = "interruptions"
"""How often the trial's process was stopped or died."""

WORKER_DEATHS = "deaths"
"""{"evaluation": the last one made, "times": how often the trial's process has died since}."""

FAILURES = "failures"
"""A list of {"kind", "error", "when" in seconds since 1970, "process": [machine, pid, started] of
processes.WorkerIdentity}, one for each failure, the oldest first; earlier commits stored no process."""

FAILURE_KIND, ERROR = "failure_kind", "error"
"""The last failure in short; also why a trial diverged, which is no failure."""

# of a trial: its training and result

REVISION_KEY = "revision"
"""The revision of the code that trained it (maskcls.training.revision); missing in trials of revision 1."""

CONFIG, ORIGIN = "config", "origin"
"""The TrainConfig that it was trained with, numerics resolved, and where that came from (objective._origin)."""

EVALUATIONS, EVALUATIONS_PLANNED, BEST_EVALUATION = "evaluations", "evaluations_planned", "best_evaluation"
"""How many were made; how many an unpruned trial has; the one that gave the trial's value, from 1."""

SECONDS, PHOTOS_PER_SECOND, PEAK_GIB, DEVICE = "seconds", "photos_per_second", "peak_gib", "device"
"""Cost of the training, and the device."""

ACCURACY, LOSS, F1_PER_CLASS = "accuracy", "loss", "f1_per_class"
"""Scores at the evaluation that gave the trial's value."""

BEST_ACCURACY, BEST_LOSS = "best_accuracy", "best_loss"
"""The best of all evaluations."""

SPLIT = "split"
"""Hash of the table of photos, labels and sides that it was trained and scored on."""

WEIGHTS_DIGEST = "weights_digest"
"""SHA-256 of best.safetensors, to tell whether a file belongs to this trial."""

FILES = "files"
"""Where the trial's files are, of one that has ended in a database that several machines share
(search.files.place.TrialFiles as JSON)."""


def part_f1(part: str) -> str:
    """The attribute's name for the macro F1 of one factor of the label alone."""
    return f"f1_{part}"


class HasUserAttributes(Protocol):
    """A study or a trial, or Optuna's summary of one."""

    @property
    def user_attrs(self) -> dict[str, Any]:
        """The attributes that are not Optuna's own."""


def id_of(study: HasUserAttributes) -> str | None:
    """The id that a study and its folder share; None for a study of an early version."""
    return study.user_attrs.get(STUDY_ID)


def is_baseline(trial: HasUserAttributes) -> bool:
    """Whether the trial is the study's baseline itself, the first training of round 0; not one of its repetitions."""
    if trial.user_attrs.get(ROLE) == BASELINE:
        return True
    return round_of(trial) == 0 and trial.user_attrs.get(PLACE) == 0


def is_replicate(trial: HasUserAttributes) -> bool:
    """Whether the trial repeats another's configuration, to measure the noise."""
    return trial.user_attrs.get(ROLE) == REPLICATE


def round_of(trial: HasUserAttributes) -> int | None:
    """The number of the round that the trial is a training of, from 0; None for any other trial."""
    return trial.user_attrs.get(ROUND)


def level_of(trial: HasUserAttributes) -> str | None:
    """What a training of a round stands for, in words; None for any other trial."""
    return trial.user_attrs.get(LEVEL)


def is_own_best(trial: HasUserAttributes) -> bool:
    """Whether the trial is a training of a round in which each level has its own best setting."""
    return bool(trial.user_attrs.get(OWN_BEST))


def judge_round_of(trial: HasUserAttributes) -> int | None:
    """The people who judge the trial (TrainConfig.judge_round); None for those of the study."""
    return trial.user_attrs.get(JUDGE_ROUND, repeat_of(trial))


def baseline_among(trials: Iterable["FrozenTrial"]) -> "FrozenTrial | None":
    """The first baseline among the trials; None if there is none."""
    return next(filter(is_baseline, trials), None)


def judged_by_study(trials: Iterable["FrozenTrial"]) -> list["FrozenTrial"]:
    """The trials that the study's own validation people judged; those of later rounds have other judges."""
    return [trial for trial in trials if not round_of(trial) or not judge_round_of(trial)]


def seed_of(trial: HasUserAttributes) -> int | None:
    """The trial's training seed; None if it is the study's."""
    return trial.user_attrs.get(SEED)


def repeat_of(trial: HasUserAttributes) -> int | None:
    """The repeat, from 1, that a trial of a confirmation belongs to; None for any other trial."""
    return trial.user_attrs.get(REPEAT)


def worker_of(trial: HasUserAttributes) -> WorkerIdentity | None:
    """The worker that runs the trial; None while none does."""
    return WorkerIdentity.from_json(trial.user_attrs.get(WORKER))


def interruptions_of(trial: HasUserAttributes) -> int:
    """How often the trial's process was stopped or died."""
    return int(trial.user_attrs.get(INTERRUPTIONS, 0))


def evaluations_of(trial: HasUserAttributes) -> int | None:
    """How many evaluations the trial made; None if it diverged or has not ended."""
    return trial.user_attrs.get(EVALUATIONS)


def planned_evaluations_of(trial: HasUserAttributes) -> int | None:
    """How many evaluations the trial would have made unpruned; None if it diverged or has not ended."""
    return trial.user_attrs.get(EVALUATIONS_PLANNED)
