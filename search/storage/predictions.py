"""The stored predictions of a study's trials, and their counts per person; each file is read once, if memory allows.

They are read from the study's folder; those of trials that ran on a machine with another folder, from the database.
"""

import io
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from maskcls.labels import LabelSpace
from maskcls.run.record import PREDICTIONS, sha256
from maskcls.scoring.counts import Counts, count
from maskcls.scoring.metrics import SCORE_TOLERANCE, score
from maskcls.scoring.predictions import Predictions
from search.database.connect import backend_of
from search.files.place import files_of
from search.files.table import read_files
from search.policy.stopping import FINISHED
from search.storage.failures import has_diverged
from search.storage.retention import trial_folder
from search.study.attributes import id_of
from search.study.record import Stored, read_stored

MAX_HELD_BYTES = 128 * 2**20
"""Log-probabilities of all trials that are kept in memory: 2,000 trials of 3,000 photos in 5 classes, or 20 in 500."""

AT_ONCE = 64
"""Trials whose files one query fetches from the database: about 15 MiB in the mask task."""


@dataclass
class StudyPredictions:
    """Predictions of a study's trials. A trial has none before its first evaluation, or when a user has deleted them;
    those that it was not judged by count as missing."""

    folder: Path
    """The study's folder."""
    space: LabelSpace
    """What the models predict."""
    metric: str = "macro_f1"
    """What they are judged by."""
    foreign: dict[int, float] = field(default_factory=dict)
    """Trial number -> score of the predictions in its folder, where it differs from the trial's stored value."""
    study: optuna.Study | None = None
    """The study, whose database may have what the folder lacks; None: the folder alone."""
    _fetched: dict[int, bytes | None] = field(default_factory=dict)
    """Trial number -> file from the database that was not looked at yet; None for a damaged one."""
    _damaged: set[int] = field(default_factory=set)
    """Numbers of the trials whose file in the database is damaged."""
    _predictions: dict[int, Predictions | None] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)
    """Trial number -> bytes of its predictions, of those that are held; the first read first."""
    _held_bytes: int = 0
    """Their sum."""
    _counts: dict[int, Counts] = field(default_factory=dict)

    def predictions(self, trial: FrozenTrial) -> Predictions | None:
        """The predictions of the evaluation that judges the trial; None when there are none, when they cannot be read,
        or when they do not score a finished trial's stored value."""
        if trial.number not in self._predictions:
            content = self.content(trial)
            found = self._checked(trial, None if content is None else _load(content))
            self._predictions[trial.number] = found
            if found is not None:
                self._sizes[trial.number] = found.log_prob_NK.nbytes
                self._held_bytes += found.log_prob_NK.nbytes
                self._make_room()
        return self._predictions[trial.number]

    def content(self, trial: FrozenTrial) -> bytes | None:
        """The trial's file: the one in the folder, unless it is an earlier run's, else the one in the database."""
        self._fetch([trial])
        fetched = self._fetched.pop(trial.number, None)
        if fetched is not None:
            return fetched
        try:
            return self.path_of(trial).read_bytes()
        except OSError:
            return None

    def _fetch(self, trials: Iterable[FrozenTrial]) -> None:
        """Read the files of these trials from the database, as far as they are there and not in the folder."""
        if self.study is None:
            return
        missing = {}
        for trial in trials:
            files = None if trial.number in self._fetched else files_of(trial)
            digest = None if files is None else files.digests.get(PREDICTIONS)
            if digest is not None and not _has_digest(self.path_of(trial), digest):
                missing[trial.number] = digest
        # the id is read for those alone: it takes a statement, and of ten thousand trials most are in the folder
        if missing and (study_id := id_of(self.study)) is not None:
            found = read_files(backend_of(self.study), study_id, PREDICTIONS, missing)
            self._fetched |= {**dict.fromkeys(missing), **found}
            self._damaged |= {number for number, content in found.items() if content is None}

    def _make_room(self) -> None:
        """Let go of the predictions that were read first, but for their counts and for the newest, while all take too
        much memory."""
        while self._held_bytes > MAX_HELD_BYTES and len(self._sizes) > 1:
            number = next(iter(self._sizes))
            oldest = self._predictions.pop(number)
            assert oldest is not None
            with suppress(ValueError):  # another task's classes, in a trial that has not ended
                self._count(number, oldest)
            self._held_bytes -= self._sizes.pop(number)

    def _checked(self, trial: FrozenTrial, predictions: Predictions | None) -> Predictions | None:
        if predictions is None or trial.state not in FINISHED:
            return predictions
        try:
            value = score(predictions.log_prob_NK, predictions.label_N, self.space, self.metric).value
        except (ValueError, IndexError):  # another task's classes
            value = float("nan")
        if any(abs(value - stored) <= SCORE_TOLERANCE for stored in _stored_values(trial)):
            return predictions
        self.foreign[trial.number] = value
        return None

    def why_missing(self, trial: FrozenTrial, name: str = "") -> str:
        """Why a trial has no predictions, in a sentence without its full stop, which may name its study."""
        if trial.number in self.foreign:
            stored = "no value" if trial.value is None else f"{trial.value:.4f}"
            return (
                f"The predictions of trial {trial.number} in {self.folder} are not those that it was judged by: they"
                f" score {self.foreign[trial.number]:.4f}, and {stored} is stored"
            )
        if name:
            state = trial.state.name.lower()
            if trial.number in self._damaged:
                return (
                    f"The predictions of trial {trial.number} of {name} ({state}) are damaged in the database: their"
                    " digest differs"
                )
            if self.path_of(trial).exists():
                return (
                    f"The predictions of trial {trial.number} of {name} ({state}), {self.path_of(trial)}, are damaged"
                )
            return f"Trial {trial.number} of {name} ({state}) has no predictions under {self.folder}{_elsewhere(trial)}"
        missing = f"The stored predictions of trial {trial.number} ({PREDICTIONS}) are not in {self.folder}"
        return f"{missing}{_elsewhere(trial)}"

    def path_of(self, trial: FrozenTrial) -> Path:
        """The file of a trial's predictions, which may not exist."""
        return trial_folder(self.folder, trial.number) / PREDICTIONS

    def with_predictions(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """The trials that have predictions."""
        found = []
        wanted = list(trials)
        for start in range(0, len(wanted), AT_ONCE):
            batch = wanted[start : start + AT_ONCE]
            known = self._counts.keys() | self._predictions.keys()
            self._fetch(trial for trial in batch if trial.number not in known)
            found += [trial for trial in batch if trial.number in self._counts or self.predictions(trial) is not None]
        return found

    def counts(self, trial: FrozenTrial) -> Counts:
        """The counts of a trial that has predictions."""
        if trial.number not in self._counts:
            stored = self.predictions(trial)
            assert stored is not None
            self._count(trial.number, stored)
        return self._counts[trial.number]

    def _count(self, number: int, stored: Predictions) -> None:
        if number not in self._counts:
            predicted_N = stored.log_prob_NK.argmax(1)
            self._counts[number] = count(stored.person_N, stored.label_N, predicted_N, self.space, metric=self.metric)


def study_predictions(study: optuna.Study, folder: Path) -> StudyPredictions:
    """The predictions of a stored study in its folder (folder.study_folder)."""
    return predictions_of(study, read_stored(study), folder)


def predictions_of(study: optuna.Study, stored: Stored, folder: Path) -> StudyPredictions:
    """The predictions of a study with its document, in its folder and its database."""
    return StudyPredictions(folder, stored.space, stored.task.metric, study=study)


def _elsewhere(trial: FrozenTrial) -> str:
    """Where the trial's files were written to, to follow that they are not here; empty where nobody has noted it."""
    files = files_of(trial)
    return "" if files is None else f"; it ran in {files.place}"


def _has_digest(path: Path, digest: str) -> bool:
    try:
        return sha256(path) == digest
    except OSError:
        return False


def _stored_values(trial: FrozenTrial) -> list[float]:
    """The values that a finished trial's predictions may score: its own, and if it diverged any reported one."""
    values = [] if trial.value is None else [trial.value]
    if has_diverged(trial):  # its value is the best evaluation's, but the files may be the last one's
        values += trial.intermediate_values.values()
    return values


def _load(content: bytes) -> Predictions | None:
    """The predictions; None for a damaged file, which must not make the others unusable."""
    try:
        return Predictions.load(io.BytesIO(content))
    except Exception:  # numpy and zipfile have exceptions of their own
        return None
