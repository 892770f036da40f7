"""The trials that the best ensemble of a study needs, so that their weights stay on the disk.

Shape suffixes: N photos.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from maskcls.scoring.greedy import Library, choose_ensemble
from maskcls.scoring.predictions import Predictions
from maskcls.system.options import ENSEMBLE_SIZE
from search.storage.predictions import predictions_of
from search.study.record import Stored


@dataclass
class TeamFinder:
    """Finds the members of the best ensemble, as trial after trial ends; a trial's predictions are read once."""

    study: optuna.Study
    stored: Stored
    folder: Path
    """The study's folder."""
    _predictions: dict[int, Predictions | None] = field(default_factory=dict)

    def __call__(self, trials: Sequence[FrozenTrial]) -> set[int]:
        """Numbers of the members of the best ensemble of these complete trials, which the same people judged.

        Those without usable predictions, or with predictions of other photos than the latest, are no members. Empty for
        a confirmation, every repeat of which has its own judges.
        """
        if self.stored.confirmation is not None:
            return set()
        shelf = predictions_of(self.study, self.stored, self.folder)
        known = {trial.number for trial in trials} & self._predictions.keys()
        shelf.with_predictions(trial for trial in trials if trial.number not in known)  # together, where from a server
        read = {trial.number: shelf.predictions(trial) for trial in trials if trial.number not in known}
        self._predictions = {number: self._predictions[number] for number in known} | read
        usable = {number: said for number, said in sorted(self._predictions.items()) if said is not None}
        if not usable:
            return set()
        path_N = usable[max(usable)].path_N
        usable = {number: said for number, said in usable.items() if np.array_equal(said.path_N, path_N)}
        library = Library.of(list(usable.values()), self.stored.space, self.stored.task.metric)
        numbers = list(usable)
        return {numbers[place] for place in choose_ensemble(library, ENSEMBLE_SIZE)}
