"""What a report is about, gathered once (Material): the study, its answer, and the predictions before and after."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.config import TrainConfig
from maskcls.labels import CLASS_NAMES
from maskcls.scoring.counts import Counts, Floats, count
from maskcls.scoring.intervals import Estimate, interval
from maskcls.scoring.metrics import confusion_matrix
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples, resample
from maskcls.scoring.reweighting import groups_of, parse_prior, weights_of
from search.answer.answer import Answer
from search.answer.evidence import answer_of
from search.policy.history import best_trial, configuration_of
from search.policy.stopping import FINISHED
from search.storage.folder import study_folder
from search.storage.predictions import StudyPredictions
from search.study.attributes import baseline_among, is_baseline
from search.study.record import Stored, read_search
from search.study.space import values_of


@dataclass(frozen=True)
class ReportOptions:
    """What the command was asked for."""

    runs: Path = Path("runs")
    storage: str | None = None
    """As given; None: the default one."""
    data: Path | None = None
    """Folder of the photos, where it is another than the stored one."""
    photos: bool = True
    """Whether to show photos and their names."""
    prior: str | None = None
    """``male=0.6,old=0.25``."""


@dataclass(frozen=True)
class TrialPredictions:
    """One trained model, as its stored predictions show it."""

    trial: FrozenTrial
    predictions: Predictions
    task: str

    @property
    def name(self) -> str:
        """``the baseline (trial 0)``, ``trial 12``."""
        return f"the baseline (trial {self.trial.number})" if is_baseline(self.trial) else f"trial {self.trial.number}"

    @cached_property
    def predicted_N(self) -> np.ndarray:
        """Classes 0..K-1."""
        return np.asarray(self.predictions.log_prob_NK.argmax(1))

    @cached_property
    def confusion_KK(self) -> np.ndarray:
        """Row true class, column predicted class."""
        return confusion_matrix(self.predictions.label_N, self.predicted_N, len(CLASS_NAMES[self.task]))

    @property
    def people(self) -> np.ndarray:
        """Their names, sorted."""
        return np.unique(np.asarray(self.predictions.person_N, dtype=str))

    def counts(self, part: str | None = None) -> Counts:
        """Counts person by person; of one part of all 18 classes, or of the task's own classes."""
        found = self.predictions
        return count(found.person_N, found.label_N, self.predicted_N, self.task, part)


@dataclass(frozen=True)
class Material:
    """All that the sections are made from; what costs time is computed once, when a section asks for it."""

    study: optuna.Study
    stored: Stored
    answer: Answer
    options: ReportOptions
    shelf: StudyPredictions = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shelf", StudyPredictions(study_folder(self.study, self.options.runs), self.task))

    @cached_property
    def config(self) -> TrainConfig:
        """The baseline's, numerics not resolved."""
        return self.stored.baseline_config

    @property
    def task(self) -> str:
        """What the study's models predict."""
        return self.config.task

    @cached_property
    def trials(self) -> list[FrozenTrial]:
        """All, of any state."""
        return self.study.get_trials(deepcopy=False)

    @cached_property
    def finished(self) -> list[FrozenTrial]:
        """Complete and pruned ones."""
        return [trial for trial in self.trials if trial.state in FINISHED]

    @cached_property
    def best(self) -> FrozenTrial | None:
        """The best complete trial; the answer's, where it names one."""
        best = best_trial(self.trials)
        return self.trials[self.answer.winner.trial] if self.answer.winner else best

    @cached_property
    def baseline(self) -> FrozenTrial | None:
        """The complete baseline."""
        return baseline_among(trial for trial in self.trials if trial.state == TrialState.COMPLETE)

    def values(self, trial: FrozenTrial) -> dict[str, Any]:
        """The values of a trial's knobs."""
        return values_of(self.stored.study.space, trial.params)

    @cached_property
    def before(self) -> TrialPredictions | None:
        """The baseline's model."""
        return self._predictions_of(self.baseline)

    @cached_property
    def after(self) -> TrialPredictions | None:
        """The best trial's model."""
        return self._predictions_of(self.best)

    def _predictions_of(self, trial: FrozenTrial | None) -> TrialPredictions | None:
        found = None if trial is None else self.shelf.predictions(trial)
        return None if trial is None or found is None else TrialPredictions(trial, found, self.task)

    def missing(self) -> str:
        """Why there is no before and after, in a sentence; empty when there is."""
        if self.best is None:
            return "No trial is complete yet."
        if self.baseline is None:
            return "The baseline is not complete yet, so there is nothing to compare with."
        for trial, side in ((self.baseline, self.before), (self.best, self.after)):
            if side is None:
                return f"{self.shelf.why_missing(trial)}."
        if self.baseline.number == self.best.number:
            return "The best trial is the baseline itself."
        assert self.before is not None
        assert self.after is not None
        same = np.array_equal(self.before.predictions.path_N, self.after.predictions.path_N)
        return "" if same else "The two trials were judged by different photos."

    @cached_property
    def pair(self) -> tuple[TrialPredictions, TrialPredictions] | None:
        """Before and after, judged by the same photos."""
        if self.missing() or self.before is None or self.after is None:
            return None
        return self.before, self.after

    @cached_property
    def same_configuration(self) -> str:
        """That before and after are trainings of one recipe, in a sentence; empty when they are not."""
        if self.best is None or self.baseline is None or self.best.number == self.baseline.number:
            return ""
        if configuration_of(self.best.params) != configuration_of(self.baseline.params):
            return ""
        return (
            f"Trial {self.best.number} is the baseline's own setting with another training seed: what differs is"
            " chance."
        )

    @cached_property
    def resamples(self) -> Resamples | None:
        """Draws of the people who judged the best trial, for all intervals; None without its predictions."""
        return None if self.after is None else resample(self.after.counts())

    def interval(self, trial: FrozenTrial) -> Estimate | None:
        """The interval of a trial's macro F1, over people; None without its predictions."""
        judged = self._predictions_of(trial)
        if judged is None or self.resamples is None or not np.array_equal(judged.people, self.resamples.person_P):
            return None
        return interval(judged.counts(), self.resamples)

    @cached_property
    def weight_P(self) -> Floats | None:
        """Weights of the people under --prior."""
        if self.options.prior is None or self.after is None:
            return None
        groups = groups_of(self.after.predictions.person_N, self.after.predictions.label_N)
        return weights_of(parse_prior(self.options.prior), *groups)


def gather(study: optuna.Study, options: ReportOptions) -> Material:
    """All that the report of a stored study is made from. Raises UserError for a study that is no search of ours."""
    stored = read_search(study)
    return Material(study, stored, answer_of(study, stored, options.runs), options)
