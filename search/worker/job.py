"""What every trial of a study needs: its data, its weights, its device, and the worker process that runs it."""

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
from maskcls.training.numerics import resolve
from search.database.connect import backend_of
from search.database.optuna_internals import trial_id
from search.database.study_lock import holding
from search.policy.confirmation import AnyPolicy
from search.storage.folder import study_folder
from search.storage.outcomes import check_mine
from search.storage.presence import StudyPresence
from search.storage.retention import trial_folder
from search.storage.team import TeamFinder
from search.study.record import Stored
from search.system.processes import WorkerIdentity
from search.terminal.progress import Watcher


@dataclass
class StopRequest:
    """A request to stop, true once it was made; trials look at it after every evaluation."""

    reason: str = ""
    """Why to stop; empty while there is no reason."""

    def __bool__(self) -> bool:
        return bool(self.reason)


class StopStudyError(Exception):
    """Every other trial would fail too: the disk is full, the photos are unreadable, the database is gone. The message
    is the cause."""


class BrokenProcessError(Exception):
    """A CUDA error after which this process cannot use its GPU any more; another may. The message is its first line."""


@dataclass
class Setup:
    """What a study's trials need apart from the study itself, which is stored only once this is known to work."""

    name: str
    """Name under which the study is stored."""
    stored: Stored
    """The study's document: as the command requests it, later as it is stored."""
    runs: Path
    table: Table
    """The photos, with the search's split."""
    weights: Weights
    device: torch.device
    cores: int = 0
    """CPU threads for a training whose config leaves them open; 0: all."""
    home: Path | None = None
    """The stored study's folder (folder.study_folder); None: the one of its name."""
    cache: Path | None = None
    """Folder of the decoded photos; None: cache/ in ``runs``."""
    _datasets: dict[tuple[Any, ...], Dataset] = field(default_factory=dict)

    @property
    def baseline(self) -> TrainConfig:
        """The config of trial 0, with numerics unresolved."""
        return self.stored.baseline_config

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.home or self.runs / self.name

    @property
    def cache_dir(self) -> Path:
        """The folder of the decoded photos."""
        return self.cache or self.runs / "cache"

    def trial_folder(self, number: int) -> Path:
        """The folder of the trial with this number."""
        return trial_folder(self.folder, number)

    def resolve(self, config: TrainConfig) -> ResolvedConfig:
        """The config with the numerics that this worker computes with."""
        config = change(config, threads=config.threads or self.cores)
        chosen = choose_numerics(config, self.device, self.runs / "cache", lambda: self.dataset(config))
        return resolve(chosen, self.device)

    def dataset(self, config: TrainConfig) -> Dataset:
        """The decoded photos for ``config``; cached, since most trials use the same."""
        key = (*config.pixels, config.old_from, config.judge_round)
        if key not in self._datasets:
            skip, table = self.stored.skip_unreadable, with_judges(self.table, config)
            self._datasets[key] = load_dataset(table, config, self.cache_dir, skip)
        return self._datasets[key]


@dataclass
class Job:
    """A study and the process that works on it."""

    setup: Setup
    study: optuna.Study
    policy: AnyPolicy
    watcher: Watcher
    worker: WorkerIdentity
    """This process."""
    stop: StopRequest = field(default_factory=StopRequest)
    keep: int = 5
    """Number of trials whose best weights stay on the disk."""
    gpu: str = ""
    """The uuid of its GPU; empty on a CPU."""

    @cached_property
    def team(self) -> TeamFinder:
        """Finds the trials whose weights the best ensemble needs."""
        return TeamFinder(self.study, self.setup.stored, self.setup.folder)

    @cached_property
    def presence(self) -> StudyPresence:
        """The study's database and folder, as they were at the first access."""
        return StudyPresence(self.study, study_folder(self.study, self.setup.runs))

    def hold_trial(self, trial: optuna.Trial) -> AbstractContextManager[None]:
        """Lock the trial while its files are put in place, so that no other worker can take it over meanwhile.

        Entering raises TakenOverError when another worker has it, and StopStudyError when the study is gone.
        """

        def check() -> None:
            self.check_presence()
            check_mine(self.study, trial, self.worker)

        return holding(backend_of(self.study), self.study.study_name, trial_id(trial), check)

    def check_presence(self) -> None:
        """Raise StopStudyError when the study's database or folder is gone."""
        if lost := self.presence.lost():
            raise StopStudyError(lost)

    def raise_if_vanished(self, error: Exception) -> None:
        """Raise StopStudyError from ``error`` when the study is gone, which explains the error."""
        if lost := self.presence.why_failed():
            raise StopStudyError(lost) from error
