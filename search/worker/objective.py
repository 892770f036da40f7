"""One trial: from the parameters that Optuna suggests, through training, to a verdict. Where the two meet."""

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
import torch
from optuna.trial import TrialState

from maskcls.config import TrainConfig
from maskcls.run.commit import delete_run_files
from maskcls.run.record import RECORD, WEIGHTS, read_record
from maskcls.run.result import Result
from maskcls.scoring.metrics import Scores
from maskcls.system.errors import UserError, one_line
from maskcls.system.files import write_text
from maskcls.system.provenance import commit, versions
from maskcls.system.redact import redacted
from maskcls.training.loop import DivergedError, evaluation_stops
from maskcls.training.numerics import describe_device
from maskcls.training.revision import REVISION
from maskcls.training.run_folder import draw_best, train_into
from search.answer.notes import show_trial
from search.database.connect import backend_of
from search.database.optuna_internals import read_trial, trial_id
from search.storage.failures import CRASH, DIVERGED, MAX_TRIES, OUT_OF_MEMORY, UNREADABLE, cause_outside, crashes_of
from search.storage.outcomes import TakenOverError, fail_trial, finish, report, requeue
from search.storage.retention import remove_large_files
from search.study import attributes
from search.study.attributes import FILES_OF, IN_VAIN, REPEAT, REVISION_KEY, id_of, part_f1, repeat_of, seed_of
from search.study.record import Stored, check_photos
from search.study.space import values_of
from search.worker.job import Job, StopStudyError

logger = logging.getLogger(__name__)


@dataclass
class Verdict:
    """How a trial ended, or that it waits."""

    state: TrialState
    value: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """For the database."""
    result: Result | None = None
    """None of a trial that diverged, or waits."""
    picture: Path | None = None
    """Its confusion matrix, not in its place yet."""


def run_trial(job: Job, trial: optuna.Trial) -> TrialState:
    """Run a trial to its verdict and tell it; WAITING when it goes back into the queue.

    Raises KeyboardInterrupt when told to stop at once and StopStudyError when no other trial would do better, with
    the trial back in the queue.
    """
    values = values_of(job.setup.stored.study.space, trial.params)
    more = {name: trial.user_attrs[name] for name in (REPEAT, IN_VAIN) if name in trial.user_attrs}
    job.watcher.trial_began(trial.number, {**values, **more})
    try:
        verdict = _train(job, trial, values)
        if verdict.state == TrialState.WAITING:
            requeue(job.study, trial, job.worker)
        else:
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
        lost = job.ground.why_failed()
        if lost:
            raise StopStudyError(lost) from error
        return _failed(job, trial, error)
    if verdict.state != TrialState.WAITING:
        # only now: cut off before, the trial goes on from its files to the same verdict
        remove_large_files(job.study.get_trials(deepcopy=False), job.setup.folder, job.keep)
    job.watcher.trial_ended(trial.number, verdict.state, verdict.value)
    return verdict.state


def _record(job: Job, trial: optuna.Trial, verdict: Verdict) -> None:
    """Tell the verdict, with all that belongs to it, unless the trial is another worker's by now."""

    def tell() -> None:
        job.check_ground()
        for key, value in verdict.facts.items():
            trial.set_user_attr(key, value)
        if verdict.picture is not None and verdict.result is not None:
            picture = job.setup.trial_folder(trial.number) / "confusion.png"
            if verdict.picture.exists():  # else an earlier try has moved it
                verdict.picture.replace(picture)
            show_trial(trial, verdict.result, picture, job.setup.runs / "artifacts")

    finish(job.study, trial, verdict.state, verdict.value, job.worker, tell)


def _failed(job: Job, trial: optuna.Trial, error: Exception) -> TrialState:
    """Note what went wrong; the trial is tried again later or is over."""
    text = f"{type(error).__name__}: {error}"
    outside = cause_outside(error)
    if outside:
        backend_of(job.study).patience = 0  # it has been waited for, if it is the database
        with contextlib.suppress(optuna.exceptions.StorageInternalError):  # or it is on the same disk
            requeue(job.study, trial, job.worker)  # else its process is seen to be gone
        raise StopStudyError(outside) from error
    _keep_traceback(job.setup.trial_folder(trial.number))
    if isinstance(error, UnreadableDataError):
        fail_trial(job.study, trial, UNREADABLE, str(error), job.worker)
        raise StopStudyError(str(error)) from error
    kind = OUT_OF_MEMORY if isinstance(error, torch.OutOfMemoryError) else CRASH
    state = fail_trial(job.study, trial, kind, text, job.worker)
    job.watcher.trial_ended(trial.number, state, None, one_line(text))
    return state


def _keep_traceback(folder: Path) -> None:
    """crash.txt, for whoever looks for the cause; when the disk is what failed, the database has a line of it."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "crash.txt", redacted(traceback.format_exc()))


def _train(job: Job, trial: optuna.Trial, values: dict[str, Any]) -> Verdict:
    config = job.setup.resolve(_asked(job.setup.stored, trial, values))
    try:
        dataset = job.setup.dataset(config)
        check_photos(job.setup.stored, dataset, job.setup.name)
    except UserError as error:
        raise UnreadableDataError(str(error)) from error
    trial.set_user_attr(REVISION_KEY, REVISION)
    folder = job.setup.trial_folder(trial.number)
    crashes = crashes_of(read_trial(job.study, trial))
    with job.mine(trial):
        _make_ready(folder, crashes)
    reporter = _TrialReporter(job, trial, len(evaluation_stops(config, len(dataset.train.row_N))))
    if reporter.known and not (folder / RECORD).exists():
        logger.info(f"trial {trial.number}: {folder / RECORD} is not here, so it starts again")
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
            guard=partial(job.mine, trial),
        )
    except DivergedError as error:
        facts = {
            attributes.FAILURE_KIND: DIVERGED,
            attributes.ERROR: str(error),
            attributes.CONFIG: json.loads(config.model_dump_json()),
        }
        return Verdict(TrialState.PRUNED, reporter.best, facts)
    if reporter.verdict == TrialState.WAITING:
        return Verdict(TrialState.WAITING)
    value = result.best.scores.macro_f1
    # not to be taken for a file in its place while this worker may have lost the trial
    picture = folder / f".{uuid4().hex}.confusion.png"
    draw_best(folder, config, f"{job.setup.name}, trial {trial.number}: macro F1 {value:.4f}", picture)
    facts = _facts(job, folder, config, result, origin)
    return Verdict(reporter.verdict, value, facts, result, picture)


def _asked(stored: Stored, trial: optuna.Trial, values: dict[str, Any]) -> TrainConfig:
    """The trial's config: a replicate brings a seed of its own, one of a confirmation its repeat's judges too."""
    repeat = repeat_of(trial)
    judges = {} if repeat is None else {"judge_round": repeat}
    return stored.config({**values, **judges}, seed_of(trial))


def _make_ready(folder: Path, crashes: int) -> None:
    """The last try of a trial that crashes begins anew: the state that it goes on from may be what crashes it."""
    if crashes >= MAX_TRIES - 1:
        delete_run_files(folder)


class UnreadableDataError(Exception):
    """The photos cannot be read any more."""


class _TrialReporter:
    """Tells the trial of every evaluation once, and asks whether it should go on."""

    def __init__(self, job: Job, trial: optuna.Trial, planned_evaluations: int) -> None:
        self.job, self.trial, self.planned_evaluations = job, trial, planned_evaluations
        self.known = dict(trial.storage.get_trial(trial_id(trial)).intermediate_values)
        """As stored, by this sitting or an earlier one."""
        self.last_known = max(self.known, default=0)
        self.heard: dict[int, float] = {}
        """Of this very run, which a sitting that goes on hears again from its beginning."""
        self.verdict = TrialState.COMPLETE

    @property
    def best(self) -> float | None:
        """The best value of this run so far."""
        return max(self.heard.values(), default=None)

    def __call__(self, step: int, scores: Scores) -> bool:
        value = self.heard[step] = scores.macro_f1
        is_news = self.known.get(step) != value  # a run that began again may have come to others
        if is_news:
            report(self.job.study, self.trial, step, value, self.job.worker, self.job.check_ground)
            self.known[step] = value
        self.job.watcher.evaluated(self.trial.number, step, self.planned_evaluations, scores, is_news)
        if step == self.planned_evaluations:
            return True
        # the last step of an earlier sitting is judged again: its process may have died before it told the verdict
        if step >= self.last_known and not self._should_continue():
            self.verdict = TrialState.PRUNED
            return False
        if self.job.stop:
            self.verdict = TrialState.WAITING
            return False
        return True

    def _should_continue(self) -> bool:
        stored = self.trial.storage.get_trial(trial_id(self.trial))
        return self.job.policy.should_continue(self.job.study, stored, self.planned_evaluations)


def _origin(job: Job, trial: optuna.Trial, split: str) -> dict[str, Any]:
    """Where a trained folder or an exported config came from. ``split``: of the trial's own table."""
    mine = trial.user_attrs.get(FILES_OF) or id_of(job.study)
    return {
        "made_by": "search.confirm" if job.setup.stored.confirmation else "search.run",
        "study": job.setup.name,
        **({} if mine is None else {"study_id": mine}),
        "trial": trial.number,
        "data": job.setup.stored.data,
        "split": split,
        "weights_option": job.setup.stored.weights_option,
        "weights": job.setup.stored.weights,
        "weights_commits": job.setup.weights.commits,
        "revision": REVISION,
        "commit": commit(),
        "versions": versions(),
    }


def _facts(job: Job, folder: Path, config: TrainConfig, result: Result, origin: dict[str, Any]) -> dict[str, Any]:
    """What one needs to judge the trial, and to run it again."""
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
