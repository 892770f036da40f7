"""One trial: from the parameters that Optuna suggests, through training, to a verdict. Where the two meet."""

import contextlib
import json
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from maskcls.cli import say
from maskcls.config import TrainConfig, change
from maskcls.dataset import Dataset, Table, in_round, load_dataset
from maskcls.errors import UserError, one_line
from maskcls.files import write_text
from maskcls.loop import DivergedError, evaluation_stops
from maskcls.metrics import Scores
from maskcls.numerics import describe_device, resolve
from maskcls.probe import choose
from maskcls.provenance import commit, versions
from maskcls.result import Result
from maskcls.revision import REVISION
from maskcls.run_folder import draw_best, train_into
from maskcls.weights import Weights
from search.earlier import REVISION_KEY
from search.failures import CRASH, DIVERGED, MOST_TRIES, OUT_OF_MEMORY, UNREADABLE, crashes_of, is_of_the_disk
from search.keep import remove_parts, sweep, trial_folder
from search.live import Watcher
from search.notes import show_trial
from search.policy import AnyPolicy
from search.space import values_of
from search.stored import Stored
from search.trials import TakenOverError, check_mine, fail, finish, requeue


@dataclass
class StopRequest:
    """True once somebody wants the worker to stop; trials look at it after every evaluation."""

    reason: str = ""
    """Who asked; empty while nobody did."""

    def __bool__(self) -> bool:
        return bool(self.reason)


class StopStudyError(Exception):
    """No other trial would do better: the disk is full, or the photos cannot be read. Its text is the cause."""


@dataclass
class Setup:
    """All that a study's trials need but the study itself, which is stored only once this is known to work."""

    name: str
    """Under which the study is stored."""
    stored: Stored
    runs: Path
    table: Table
    """With the search's split."""
    weights: Weights
    device: torch.device
    cores: int = 0
    """CPU threads for a training whose config does not name a number; 0: all."""
    _datasets: dict[tuple[Any, ...], Dataset] = field(default_factory=dict)

    @property
    def baseline(self) -> TrainConfig:
        """The config of trial 0, numerics not resolved."""
        return self.stored.config(dict(self.stored.study.baseline))

    @property
    def num_evaluations(self) -> int:
        """Of a trial that nobody stops."""
        return len(evaluation_stops(self.baseline, self.table.count("train")[1]))

    @property
    def folder(self) -> Path:
        """The study's."""
        return self.runs / self.name

    def trial_folder(self, number: int) -> Path:
        """Belongs to the trial of this number for good."""
        return trial_folder(self.folder, number)

    def resolve(self, config: TrainConfig) -> TrainConfig:
        """The config with its numerics, as this worker computes."""
        config = change(config, threads=config.threads or self.cores)
        return resolve(choose(config, self.device, self.runs / "cache"), self.device)

    def dataset(self, config: TrainConfig) -> Dataset:
        """The decoded photos as ``config`` wants them; kept, since trials mostly want the same."""
        key = (config.image_size, config.crop, config.old_from, config.judge_round)
        if key not in self._datasets:
            skip, table = self.stored.skip_unreadable, in_round(self.table, config)
            self._datasets[key] = load_dataset(table, config, self.runs / "cache", skip)
        return self._datasets[key]


@dataclass
class Job:
    """A study and the process that works on it."""

    setup: Setup
    study: optuna.Study
    policy: AnyPolicy
    watcher: Watcher
    worker: dict[str, Any]
    """processes.describe_myself of this process."""
    stop: StopRequest = field(default_factory=StopRequest)
    keep: int = 5
    """Trials whose best weights stay on the disk."""


def run_trial(job: Job, trial: optuna.Trial) -> TrialState:
    """Run a trial to its verdict and tell it; WAITING when it goes back into the queue.

    Raises KeyboardInterrupt when told to stop at once and StopStudyError when no other trial would do better, with
    the trial back in the queue.
    """
    values = values_of(job.setup.stored.study.space, trial.params)
    repeat = trial.user_attrs.get("repeat")
    job.watcher.trial_began(trial.number, values if repeat is None else {**values, "repeat": repeat})
    try:
        state, value = _train(job, trial, values)
        check_mine(job.study, trial, job.worker)
    except KeyboardInterrupt:
        requeue(job.study, trial, job.worker)
        raise
    except TakenOverError as error:
        job.watcher.trial_ended(trial.number, TrialState.WAITING, None, str(error))
        return TrialState.WAITING
    except Exception as error:
        return _failed(job, trial, error)
    if state == TrialState.WAITING:
        requeue(job.study, trial, job.worker)
    else:
        finish(job.study, trial, state, value)
        # only now: cut off before, the trial goes on from its files to the same verdict
        sweep(job.study.get_trials(deepcopy=False), job.setup.folder, job.keep)
    job.watcher.trial_ended(trial.number, state, value)
    return state


def _failed(job: Job, trial: optuna.Trial, error: Exception) -> TrialState:
    """Note what went wrong; the trial is tried again later or is over."""
    text = f"{type(error).__name__}: {error}"
    if is_of_the_disk(error):
        with contextlib.suppress(optuna.exceptions.StorageInternalError):  # the database is on the same disk
            requeue(job.study, trial, job.worker)  # else its process is seen to be gone
        raise StopStudyError(f"the disk: {one_line(error)}") from error
    _keep_traceback(job.setup.trial_folder(trial.number))
    if isinstance(error, UnreadableDataError):
        fail(job.study, trial, UNREADABLE, str(error), job.worker)
        raise StopStudyError(str(error)) from error
    kind = OUT_OF_MEMORY if isinstance(error, torch.OutOfMemoryError) else CRASH
    state = fail(job.study, trial, kind, text, job.worker)
    job.watcher.trial_ended(trial.number, state, None, one_line(text))
    return state


def _keep_traceback(folder: Path) -> None:
    """crash.txt, for whoever looks for the cause; when the disk is what failed, the database has a line of it."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "crash.txt", traceback.format_exc())


def _train(job: Job, trial: optuna.Trial, values: dict[str, Any]) -> tuple[TrialState, float | None]:
    config = job.setup.resolve(_asked(job.setup.stored, trial, values))
    try:
        dataset = job.setup.dataset(config)
    except UserError as error:
        raise UnreadableDataError(str(error)) from error
    trial.set_user_attr(REVISION_KEY, REVISION)
    folder = job.setup.trial_folder(trial.number)
    _make_ready(folder, crashes_of(job.study._storage.get_trial(trial._trial_id)))
    reporter = _TrialReporter(job, trial, len(evaluation_stops(config, len(dataset.train.row_N))))
    if reporter.known and not (folder / "resume.pt").exists():
        say(f"trial {trial.number}: {folder}/resume.pt is not here, so it starts again")
    try:
        config, result = train_into(
            folder,
            config,
            dataset,
            reporter,
            origin=_origin(job, trial.number, dataset.hash),
            device=job.setup.device,
            weight_file=job.setup.weights.file(config.backbone),
        )
    except DivergedError as error:
        trial.set_user_attr("failure_kind", DIVERGED)
        trial.set_user_attr("error", str(error))
        trial.set_user_attr("config", json.loads(config.model_dump_json()))
        return TrialState.PRUNED, reporter.best
    if reporter.verdict == TrialState.WAITING:
        return TrialState.WAITING, None
    _record(job, trial, config, result, dataset.hash)
    draw_best(folder, config, f"{job.setup.name}, trial {trial.number}: macro F1 {result.best.scores.macro_f1:.4f}")
    show_trial(trial, result, folder / "confusion.png", job.setup.runs / "artifacts")
    return reporter.verdict, result.best.scores.macro_f1


def _asked(stored: Stored, trial: optuna.Trial, values: dict[str, Any]) -> TrainConfig:
    """The trial's config: a replicate brings a seed of its own, a trial of a confirmation its round too."""
    repeat = trial.user_attrs.get("repeat")
    round_of = {} if repeat is None else {"judge_round": repeat}
    return stored.config({**values, **round_of}, trial.user_attrs.get("seed"))


def _make_ready(folder: Path, crashes: int) -> None:
    """The trial's folder without what a killed process left half written.

    The last try of a trial that crashes begins anew: the state that it goes on from may be what crashes it.
    """
    remove_parts(folder)
    if crashes >= MOST_TRIES - 1:
        (folder / "resume.pt").unlink(missing_ok=True)


class UnreadableDataError(Exception):
    """The photos cannot be read any more."""


class _TrialReporter:
    """Tells the trial of every evaluation once, and asks whether it should go on."""

    def __init__(self, job: Job, trial: optuna.Trial, num_planned: int) -> None:
        self.job, self.trial, self.num_planned = job, trial, num_planned
        # of an earlier sitting; Optuna would ignore a second report of the same step, with a warning
        self.known = dict(trial.storage.get_trial(trial._trial_id).intermediate_values)
        self.last_known = max(self.known, default=0)
        self.verdict = TrialState.COMPLETE

    @property
    def best(self) -> float | None:
        """The best value reported so far."""
        return max(self.known.values(), default=None)

    def __call__(self, step: int, scores: Scores) -> bool:
        is_news = step not in self.known
        if is_news:
            check_mine(self.job.study, self.trial, self.job.worker)
            self.known[step] = scores.macro_f1
            self.trial.report(scores.macro_f1, step)
        self.job.watcher.evaluated(self.trial.number, step, self.num_planned, scores, is_news)
        if step == self.num_planned:
            return True
        # the last step of an earlier sitting is judged again: its process may have died before it told the verdict
        if step >= self.last_known and not self._goes_on():
            self.verdict = TrialState.PRUNED
            return False
        if self.job.stop:
            self.verdict = TrialState.WAITING
            return False
        return True

    def _goes_on(self) -> bool:
        stored = self.trial.storage.get_trial(self.trial._trial_id)
        return self.job.policy.goes_on(self.job.study, stored, self.num_planned)


def _origin(job: Job, number: int, split: str) -> dict[str, Any]:
    """Where a trained folder or an exported config came from. ``split``: of the trial's own table."""
    return {
        "made_by": "search.confirm" if job.setup.stored.confirmation else "search.run",
        "study": job.setup.name,
        "trial": number,
        "data": job.setup.stored.data,
        "split": split,
        "weights_option": job.setup.stored.weights_option,
        "weights": job.setup.stored.weights,
        "weights_commits": job.setup.weights.commits,
        "revision": REVISION,
        "commit": commit(),
        "versions": versions(),
    }


def _record(job: Job, trial: optuna.Trial, config: TrainConfig, result: Result, split: str) -> None:
    """What one needs to judge the trial, and to run it again, into the database."""
    best, last = result.best, result.history[-1]
    facts = {
        **{f"f1_{part}": value for part, value in best.scores.f1_per_part.items()},
        "accuracy": best.scores.accuracy,
        "loss": best.scores.loss,
        "best_evaluation": best.step,
        "best_accuracy": result.best_accuracy.scores.accuracy,
        "best_loss": result.best_loss.scores.loss,
        "evaluations": len(result.history),
        "evaluations_planned": result.num_planned,
        "seconds": round(last.seconds, 2),
        "photos_per_second": round(sum(e.photos_per_second for e in result.history) / len(result.history), 1),
        "peak_gib": round(last.peak_gib, 3),
        "f1_per_class": best.scores.f1_per_class,
        "seed": config.seed,
        "split": split,
        "device": describe_device(job.setup.device),
        "config": json.loads(config.model_dump_json()),
        "origin": _origin(job, trial.number, split),
    }
    for key, value in facts.items():
        trial.set_user_attr(key, value)
