"""The stored predictions of a study's trials, counted person by person; each is read once."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import FrozenTrial

from maskcls.counts import Counts, count
from maskcls.predictions import Predictions
from search.keep import trial_folder

PREDICTIONS = "valid.npz"


@dataclass
class Shelf:
    """Predictions of one study's trials. A trial's may be missing: its first evaluation is yet to come, or somebody
    has tidied up."""

    folder: Path
    """The study's."""
    task: str
    _predictions: dict[int, Predictions | None] = field(default_factory=dict)
    _counts: dict[int, Counts] = field(default_factory=dict)

    def predictions(self, trial: FrozenTrial) -> Predictions | None:
        """Of the evaluation that judges the trial; None when there are none, or when they cannot be read."""
        if trial.number not in self._predictions:
            self._predictions[trial.number] = _load(trial_folder(self.folder, trial.number) / PREDICTIONS)
        return self._predictions[trial.number]

    def with_predictions(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Those whose predictions are there."""
        return [trial for trial in trials if self.predictions(trial) is not None]

    def counts(self, trial: FrozenTrial) -> Counts:
        """Of a trial whose predictions are there."""
        if trial.number not in self._counts:
            found = self.predictions(trial)
            assert found is not None
            self._counts[trial.number] = count(found.person_N, found.label_N, found.log_prob_NK.argmax(1), self.task)
        return self._counts[trial.number]


def _load(path: Path) -> Predictions | None:
    """None for a file that is cut off too: one broken file must not keep the others from speaking."""
    try:
        return Predictions.load(path)
    except Exception:  # numpy and zipfile each have their own
        return None
