"""One trial: from the parameters that Optuna suggests, through training, to a verdict."""

import contextlib
import json
import logging
import traceback
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from optuna.trial import TrialState

from maskcls.config import TrainConfig
from maskcls.data.dataset import Dataset
from maskcls.run.checkpoint import delete_run_files
from maskcls.run.record import PREDICTIONS, RECORD, WEIGHTS, read_record
from maskcls.run.result import Result
from maskcls.scoring.metrics import Scores
from maskcls.system.errors import UserError, one_line
from maskcls.system.files import write_text
from maskcls.system.provenance import Origin
from maskcls.system.redact import redacted
from maskcls.tasks.declared import task_to_json
from maskcls.training.loop import DivergedError, evaluation_stops
from maskcls.training.numerics import describe_device, is_out_of_memory, lost_gpu, memory_of_others
from maskcls.training.revision import REVISION
from maskcls.training.run_folder import draw_best, train_into
from search.database.connect import backend_of, set_attributes
from search.database.optuna_internals import read_trial
from search.files.place import keep_files
from search.findings.notes import picture_id, show_trial
from search.storage.failures import CRASH, DIVERGED, MAX_TRIES, OUT_OF_MEMORY, UNREADABLE, cause_outside, crashes_of
from search.storage.outcomes import TakenOverError, fail_trial, finish, report, requeue
from search.storage.retention import remove_large_files
from search.study import attributes
from search.study.attributes import (
    FILES_OF,
    IN_VAIN,
    REPEAT,
    REVISION_KEY,
    ROUND,
    id_of,
    judge_round_of,
    part_f1,
    round_of,
    seed_of,
)
from search.study.record import Stored, check_photos
from search.study.space import values_of
from search.worker.job import BrokenProcessError, Job, StopStudyError

logger = logging.getLogger(__name__)


FOREIGN_GIB = 2.0
"""Memory of the GPU that is not this process's: its own context takes up to 1 GiB of it, the rest is others'."""


class UnreadableDataError(Exception):
    """The photos cannot be read, or are not those that the study began with."""


@dataclass
class Verdict:
    """How a trial ended, or that it was interrupted and waits."""

    state: TrialState
    value: float | None = None
    """The score of the best evaluation; None for a trial that waits, or diverged before its first evaluation."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Trial attributes to store."""
    result: Result | None = None
    """None for a trial that diverged or waits."""
    picture: Path | None = None
    """The picture of the confusion matrix, still under a temporary name."""


def run_trial(job: Job, trial: optuna.Trial) -> TrialState:
    """Run a trial and store its verdict; returns its state, WAITING when it goes back into the queue.

    Raises KeyboardInterrupt when told to stop at once, and StopStudyError when every other trial would fail too; the
    trial is back in the queue then. Raises BrokenProcessError, with the failure stored, when the GPU is lost.
    """
    values = values_of(job.setup.stored.study.space, trial.params)
    remarks = {name: trial.user_attrs[name] for name in (REPEAT, ROUND, IN_VAIN) if name in trial.user_attrs}
    job.watcher.trial_began(trial.number, {**values, **remarks})
    try:
        verdict = _train(job, trial, values)
        if verdict.state == TrialState.WAITING:
            requeue(job.study, trial, job.worker)
        else:
            verdict.facts |= _keep_files(job, trial, verdict)
            _record(job, trial, verdict)
    except KeyboardInterrupt:
        requeue(job.study, trial, job.worker)
        raise
    except TakenOverError as error:
        job.watcher.trial_ended(trial.number, TrialState.WAITING, None, str(error))
        return TrialState.WAITING
    except StopStudyError:
        raise
    except Exception as error:
        job.raise_if_vanished(error)
        return _handle_failure(job, trial, error)
    if verdict.state != TrialState.WAITING:
        # only now: if interrupted before, the trial needs its files to reach the same verdict again
        remove_large_files(job.study.get_trials(deepcopy=False), job.setup.folder, job.keep, job.team)
    job.watcher.trial_ended(trial.number, verdict.state, verdict.value)
    return verdict.state


def _train(job: Job, trial: optuna.Trial, values: dict[str, Any]) -> Verdict:
    """Train the trial's config, with its files in the trial's folder, and return the verdict."""
    unresolved = _config_of(job.setup.stored, trial, values)
    dataset = _load_photos(job, unresolved)
    config = job.setup.resolve(unresolved)
    trial.set_user_attr(REVISION_KEY, REVISION)
    folder = job.setup.trial_folder(trial.number)
    crashes = crashes_of(read_trial(job.study, trial))
    with job.hold_trial(trial):
        # the state that it would resume from may be the cause of the crashes, so its last try begins anew
        if crashes >= MAX_TRIES - 1:
            delete_run_files(folder)
    reporter = _TrialReporter(job, trial, len(evaluation_stops(config, len(dataset.train.row_N))))
    if reporter.stored_values and not (folder / RECORD).exists():
        logger.info(
            f"trial {trial.number}: {folder / RECORD} is missing, so it starts again; its checkpoint lies in the runs"
            " folder of the machine that began it, if that is another one"
        )
    origin = _origin(job, trial, dataset.hash)
    try:
        config, result = train_into(
            folder,
            config,
            dataset,
            reporter,
            origin=origin,
            device=job.setup.device,
            weight_file=job.setup.weights.file(config.backbone),
            guard=partial(job.hold_trial, trial),
        )
    except DivergedError as error:
        facts = {
            attributes.FAILURE_KIND: DIVERGED,
            attributes.ERROR: str(error),
            attributes.CONFIG: json.loads(config.model_dump_json()),
        }
        return Verdict(TrialState.PRUNED, max(reporter.values.values(), default=None), facts)
    if reporter.verdict == TrialState.WAITING:
        return Verdict(TrialState.WAITING)
    value = result.best.scores.value
    # under a temporary name, since another worker may have taken the trial over
    picture = folder / f".{uuid4().hex}.confusion.png"
    task = job.setup.stored.task
    title = f"{job.setup.name}, trial {trial.number}: {task.metric_words} {value:.4f}"
    draw_best(folder, task.predicted(config), title, picture)
    facts = _facts(job, folder, config, result, origin)
    return Verdict(reporter.verdict, value, facts, result, picture)


def _config_of(stored: Stored, trial: optuna.Trial, values: dict[str, Any]) -> TrainConfig:
    """The trial's config: with the seed and the judges of its round, or of its repeat in a confirmation.

    The value of a training of a round is its last evaluation's: the best of several is a matter of luck.
    """
    judges = judge_round_of(trial)
    own: dict[str, Any] = {} if judges is None else {"judge_round": judges}
    if round_of(trial) is not None:
        own["keep"] = "last"
    return stored.config({**values, **own}, seed_of(trial))


def _load_photos(job: Job, config: TrainConfig) -> Dataset:
    """The decoded photos of the config. Raises UnreadableDataError for unreadable photos and for other ones."""
    try:
        dataset = job.setup.dataset(config)
        check_photos(job.setup.stored, dataset, job.setup.name)
    except UserError as error:
        raise UnreadableDataError(str(error)) from error
    return dataset


class _TrialReporter:
    """Stores every evaluation of the trial and decides whether to continue; see training.reporter.Reporter."""

    def __init__(self, job: Job, trial: optuna.Trial, planned_evaluations: int) -> None:
        self.job, self.trial, self.planned_evaluations = job, trial, planned_evaluations
        self.stored_values = dict(read_trial(job.study, trial).intermediate_values)
        """Step -> value as stored, by this session or an earlier one."""
        self.last_stored_step = max(self.stored_values, default=0)
        self.values: dict[int, float] = {}
        """Step -> value of this training; a resumed one reports again from its first step."""
        self.verdict = TrialState.COMPLETE

    def __call__(self, step: int, scores: Scores) -> bool:
        value = self.values[step] = scores.value
        is_news = self.stored_values.get(step) != value  # a training that started again may have other values
        if is_news:
            report(self.job.study, self.trial, step, value, self.job.worker, self.job.check_presence)
            self.stored_values[step] = value
        self.job.watcher.evaluated(self.trial.number, step, self.planned_evaluations, scores, is_news)
        if step == self.planned_evaluations:
            return True
        # the pruner judges an earlier session's last step again, since that may have died before it stored the verdict
        if step >= self.last_stored_step and not self._should_continue(step):
            self.verdict = TrialState.PRUNED
            return False
        if self.job.stop:
            self.verdict = TrialState.WAITING
            return False
        return True

    def _should_continue(self, step: int) -> bool:
        policy, planned = self.job.policy, self.planned_evaluations
        if not policy.may_stop_at(step, planned):
            return True
        return policy.should_continue(self.job.study, read_trial(self.job.study, self.trial), planned)


def _origin(job: Job, trial: optuna.Trial, split: str) -> dict[str, Any]:
    """The origin that is written into config.toml and exported configs. ``split``: the hash of the trial's table."""
    stored = job.setup.stored
    return Origin(
        made_by="search.confirm" if stored.confirmation else "search.run",
        study=job.setup.name,
        study_id=trial.user_attrs.get(FILES_OF) or id_of(job.study),
        trial=trial.number,
        data=stored.data,
        split=split,
        task=task_to_json(stored.task),
        weights_option=stored.weights_option,
        weights=stored.weights,
        weights_commits=job.setup.weights.commits,
        revision=REVISION,
    ).to_json()


def _facts(job: Job, folder: Path, config: TrainConfig, result: Result, origin: dict[str, Any]) -> dict[str, Any]:
    """The trial attributes needed to judge the trial and to run it again."""
    best, last = result.best, result.history[-1]
    record = read_record(folder)
    assert record is not None  # it has just been written
    return {
        **{part_f1(part): value for part, value in best.scores.f1_per_part.items()},
        attributes.ACCURACY: best.scores.accuracy,
        attributes.LOSS: best.scores.loss,
        attributes.BEST_EVALUATION: best.step,
        attributes.BEST_ACCURACY: result.best_accuracy.scores.accuracy,
        attributes.BEST_LOSS: result.best_loss.scores.loss,
        attributes.EVALUATIONS: len(result.history),
        attributes.EVALUATIONS_PLANNED: result.planned_evaluations,
        attributes.SECONDS: round(last.seconds, 2),
        attributes.PHOTOS_PER_SECOND: round(sum(e.photos_per_second for e in result.history) / len(result.history), 1),
        attributes.PEAK_GIB: round(last.peak_gib, 3),
        attributes.F1_PER_CLASS: best.scores.f1_per_class,
        attributes.SEED: config.seed,
        attributes.SPLIT: origin["split"],
        attributes.DEVICE: describe_device(job.setup.device),
        attributes.CONFIG: json.loads(config.model_dump_json()),
        attributes.ORIGIN: origin,
        attributes.WEIGHTS_DIGEST: record.files[WEIGHTS].digest,
    }


def _keep_files(job: Job, trial: optuna.Trial, verdict: Verdict) -> dict[str, Any]:
    """Store the small files that readers on other machines need, before the trial counts: its predictions, its picture.

    Returns the attribute that says where they are; nothing in a database that one machine uses.
    """
    folder = job.setup.trial_folder(trial.number)
    paths = {PREDICTIONS: folder / PREDICTIONS, picture_id(job.study, trial.number): verdict.picture}
    contents = {name: path.read_bytes() for name, path in paths.items() if path is not None and path.is_file()}
    return keep_files(backend_of(job.study), id_of(job.study), trial.number, folder, contents)


def _record(job: Job, trial: optuna.Trial, verdict: Verdict) -> None:
    """Store the verdict, its facts and its picture. Raises TakenOverError when another worker has the trial."""

    def store_facts() -> None:
        job.check_presence()
        set_attributes(job.study, trial, verdict.facts)
        if verdict.picture is not None and verdict.result is not None:
            picture = job.setup.trial_folder(trial.number) / "confusion.png"
            if verdict.picture.exists():  # else an earlier try of this function has moved it
                verdict.picture.replace(picture)
            show_trial(trial, verdict.result, picture, job.setup.runs / "artifacts")

    finish(job.study, trial, verdict.state, verdict.value, job.worker, store_facts)


def _handle_failure(job: Job, trial: optuna.Trial, error: Exception) -> TrialState:
    """Store the failure; returns whether the trial is tried again (WAITING) or has failed.

    Raises StopStudyError when every other trial would fail too, and BrokenProcessError when any other would fail in
    this process.
    """
    cause = cause_outside(error)
    if cause:
        backend_of(job.study).patience = 0  # a lost database has been waited for already
        # without this, another worker requeues the trial once it sees that the process has ended
        with contextlib.suppress(optuna.exceptions.StorageInternalError):
            requeue(job.study, trial, job.worker)
        raise StopStudyError(cause) from error
    _keep_traceback(job.setup.trial_folder(trial.number))
    if isinstance(error, UnreadableDataError):
        fail_trial(job.study, trial, UNREADABLE, str(error), job.worker)
        raise StopStudyError(str(error)) from error
    text, kind = f"{type(error).__name__}: {error}", CRASH
    if is_out_of_memory(error):
        others = memory_of_others(job.setup.device)
        if others > FOREIGN_GIB:
            # not final, since the memory may be free later
            text = f"out of memory while other processes hold {others:.1f} GiB of the GPU: {text}"
        else:
            kind = OUT_OF_MEMORY
    broken = lost_gpu(error)
    if broken and broken not in text:
        text = f"{text} ({broken})"
    state = fail_trial(job.study, trial, kind, text, job.worker, job.gpu if broken else "")
    job.watcher.trial_ended(trial.number, state, None, one_line(text))
    if broken:
        raise BrokenProcessError(broken) from error
    return state


def _keep_traceback(folder: Path) -> None:
    """Write the traceback to crash.txt; should the disk fail, the database still has its last line."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "crash.txt", redacted(traceback.format_exc()))
