"""The stored predictions of a study's trials, counted person by person; each is read once."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from maskcls.run.record import PREDICTIONS
from maskcls.scoring.counts import Counts, count
from maskcls.scoring.metrics import SCORE_TOLERANCE, score
from maskcls.scoring.predictions import Predictions
from search.policy.stopping import FINISHED
from search.storage.failures import has_diverged
from search.storage.retention import trial_folder
from search.study.record import read_stored


@dataclass
class Shelf:
    """Predictions of one study's trials. A trial's may be missing: its first evaluation is yet to come, or somebody
    has tidied up. Those that are not what the trial was judged by are as good as missing."""

    folder: Path
    """The study's."""
    task: str
    foreign: dict[int, float] = field(default_factory=dict)
    """Trial -> macro F1 of the predictions in its folder, where the trial's stored value is another."""
    _predictions: dict[int, Predictions | None] = field(default_factory=dict)
    _counts: dict[int, Counts] = field(default_factory=dict)

    def predictions(self, trial: FrozenTrial) -> Predictions | None:
        """Those of the evaluation that judges the trial; None when there are none, when they cannot be read, or when
        a finished trial's stored value is not what they score."""
        if trial.number not in self._predictions:
            found = _load(self.path_of(trial))
            self._predictions[trial.number] = self._checked(trial, found)
        return self._predictions[trial.number]

    def _checked(self, trial: FrozenTrial, found: Predictions | None) -> Predictions | None:
        if found is None or trial.state not in FINISHED:
            return found
        try:
            value = score(found.log_prob_NK, found.label_N, self.task).macro_f1
        except (ValueError, IndexError):  # of another task's classes
            value = float("nan")
        if any(abs(value - known) <= SCORE_TOLERANCE for known in _values(trial)):
            return found
        self.foreign[trial.number] = value
        return None

    def why_not(self, trial: FrozenTrial, name: str = "") -> str:
        """Why a trial (of the study ``name``, to be said) has no predictions, in a sentence without its point."""
        if trial.number in self.foreign:
            known = "no value" if trial.value is None else f"{trial.value:.4f}"
            return (
                f"The predictions of trial {trial.number} in {self.folder} are not those that it was judged by: they"
                f" score {self.foreign[trial.number]:.4f}, and {known} is stored"
            )
        if name:
            state = trial.state.name.lower()
            if self.path_of(trial).exists():
                return (
                    f"The predictions of trial {trial.number} of {name} ({state}), {self.path_of(trial)}, are damaged"
                )
            return f"Trial {trial.number} of {name} ({state}) has no predictions under {self.folder}"
        return f"The stored predictions of trial {trial.number} ({PREDICTIONS}) are not in {self.folder}"

    def path_of(self, trial: FrozenTrial) -> Path:
        """The file of a trial's predictions, whether it is there or not."""
        return trial_folder(self.folder, trial.number) / PREDICTIONS

    def with_predictions(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Those whose predictions are there."""
        return [trial for trial in trials if self.predictions(trial) is not None]

    def counts(self, trial: FrozenTrial) -> Counts:
        """The counts of a trial whose predictions are there."""
        if trial.number not in self._counts:
            found = self.predictions(trial)
            assert found is not None
            self._counts[trial.number] = count(found.person_N, found.label_N, found.log_prob_NK.argmax(1), self.task)
        return self._counts[trial.number]


def shelf_of(study: optuna.Study, folder: Path) -> Shelf:
    """The shelf of a stored study whose folder that is (folder.study_folder)."""
    stored = read_stored(study)
    return Shelf(folder, stored.baseline_config.task)


def _values(trial: FrozenTrial) -> list[float]:
    """What the predictions of a finished trial may score: its value; any that was reported, where it diverged."""
    values = [] if trial.value is None else [trial.value]
    if has_diverged(trial):  # its last evaluation may be kept, and its best the value
        values += trial.intermediate_values.values()
    return values


def _load(path: Path) -> Predictions | None:
    """None for a file that is cut off too: one broken file must not keep the others from speaking."""
    try:
        return Predictions.load(path)
    except Exception:  # numpy and zipfile each have their own
        return None
