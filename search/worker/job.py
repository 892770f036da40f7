"""A study's trials and the process that works on them: what every trial of it needs."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
import torch

from maskcls.config import ResolvedConfig, TrainConfig, change
from maskcls.data.dataset import Dataset, Table, load_dataset, with_judges
from maskcls.model.weights import Weights
from maskcls.training.autotune import choose_numerics
from maskcls.training.loop import evaluation_stops
from maskcls.training.numerics import resolve
from search.database.connect import backend_of
from search.database.study_lock import holding
from search.policy.confirmation import AnyPolicy
from search.storage.folder import study_folder
from search.storage.outcomes import check_mine
from search.storage.presence import StudyPresence
from search.storage.retention import trial_folder
from search.study.record import Stored
from search.system.processes import WorkerIdentity
from search.terminal.progress import Watcher


@dataclass
class StopRequest:
    """True once the worker is to stop; trials look at it after every evaluation."""

    reason: str = ""
    """What asked for it; empty while nothing has."""

    def __bool__(self) -> bool:
        return bool(self.reason)


class StopStudyError(Exception):
    """No other trial would do better: the disk is full, the photos cannot be read, the database is gone. Its text is
    the cause."""


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
    home: Path | None = None
    """The study's folder, once it is stored (folder.study_folder); None: the one of its name."""
    _datasets: dict[tuple[Any, ...], Dataset] = field(default_factory=dict)

    @property
    def baseline(self) -> TrainConfig:
        """The config of trial 0, numerics not resolved."""
        return self.stored.baseline_config

    @property
    def planned_evaluations(self) -> int:
        """Evaluations of a trial that is not stopped."""
        return len(evaluation_stops(self.baseline, self.table.count("train")[1]))

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.home or self.runs / self.name

    def trial_folder(self, number: int) -> Path:
        """Belongs to the trial of this number for good."""
        return trial_folder(self.folder, number)

    def resolve(self, config: TrainConfig) -> ResolvedConfig:
        """The config with its numerics, as this worker computes."""
        config = change(config, threads=config.threads or self.cores)
        return resolve(choose_numerics(config, self.device, self.runs / "cache"), self.device)

    def dataset(self, config: TrainConfig) -> Dataset:
        """The decoded photos as ``config`` wants them; kept, since trials mostly want the same."""
        key = (config.image_size, config.crop, config.old_from, config.judge_round)
        if key not in self._datasets:
            skip, table = self.stored.skip_unreadable, with_judges(self.table, config)
            self._datasets[key] = load_dataset(table, config, self.runs / "cache", skip)
        return self._datasets[key]


@dataclass
class Job:
    """A study and the process that works on it."""

    setup: Setup
    study: optuna.Study
    policy: AnyPolicy
    watcher: Watcher
    worker: WorkerIdentity
    """Of this process."""
    stop: StopRequest = field(default_factory=StopRequest)
    keep: int = 5
    """Trials whose best weights stay on the disk."""

    @cached_property
    def presence(self) -> StudyPresence:
        """The database and the folder that its work goes to, as they were when they were first looked at."""
        return StudyPresence(self.study, study_folder(self.study, self.setup.runs))

    def hold_trial(self, trial: optuna.Trial) -> AbstractContextManager[None]:
        """Hold the trial for the moment in which its files take their places: no other worker can take it meanwhile.

        Raises TakenOverError when another one has, and StopStudyError when there is nothing to write into any more.
        """

        def check() -> None:
            self.check_presence()
            check_mine(self.study, trial, self.worker)

        return holding(backend_of(self.study), self.study.study_name, check)

    def check_presence(self) -> None:
        """Raise StopStudyError when there is nothing to write into any more."""
        lost = self.presence.lost()
        if lost:
            raise StopStudyError(lost)

    def raise_if_vanished(self, error: Exception) -> None:
        """Raise StopStudyError in the place of ``error`` when the study itself is gone, which explains it."""
        lost = self.presence.why_failed()
        if lost:
            raise StopStudyError(lost) from error
