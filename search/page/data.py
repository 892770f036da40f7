"""The material of a report: the study, its answer, and the predictions of the baseline and of the best trial."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.config import TrainConfig
from maskcls.labels import ALL, LabelSpace
from maskcls.scoring.counts import Counts, Floats, count
from maskcls.scoring.intervals import Estimate, interval
from maskcls.scoring.metrics import confusion_matrix
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples, resample
from maskcls.scoring.reweighting import Prior, groups_of, parse_prior, weights_of
from search.answer.answer import Answer
from search.findings.evidence import answer_of
from search.policy.history import best_trial, configuration_of
from search.policy.stopping import FINISHED
from search.storage.folder import study_folder
from search.storage.predictions import StudyPredictions, predictions_of
from search.study.attributes import baseline_among, is_baseline, level_of, round_of
from search.study.record import Stored, read_search
from search.study.space import values_of


@dataclass(frozen=True)
class ReportOptions:
    """The options of search.report."""

    runs: Path = Path("runs")
    storage: str | None = None
    """As given; None: the default database."""
    data: Path | None = None
    """Folder of the photos; None: the one stored with the study."""
    photos: bool = True
    """Whether to show photos and their file names."""
    prior: str | None = None
    """As given: NAME=SHARE of classes of the groups, separated by commas."""
    cache: Path | None = None
    """--cache of the study's command; None: cache/ in ``runs``."""


@dataclass(frozen=True)
class TrialPredictions:
    """A trial with its stored predictions."""

    trial: FrozenTrial
    predictions: Predictions
    space: LabelSpace
    """What the trial's model predicts."""
    metric: str
    """What it is judged by."""

    @property
    def name(self) -> str:
        """``the baseline (trial 0)``, ``trial 12``, ``trial 30 (drop_rate = 0.7)`` of a round."""
        number, level = self.trial.number, level_of(self.trial)
        if is_baseline(self.trial):
            return f"the baseline (trial {number})"
        return f"trial {number}" if level is None else f"trial {number} ({level})"

    @cached_property
    def predicted_N(self) -> np.ndarray:
        """Predicted classes, 0..K-1."""
        return np.asarray(self.predictions.log_prob_NK.argmax(1))

    @cached_property
    def confusion_KK(self) -> np.ndarray:
        """Confusion matrix in photos: row true class, column predicted class."""
        return confusion_matrix(self.predictions.label_N, self.predicted_N, self.space.num_classes)

    @property
    def people(self) -> np.ndarray:
        """Names of the people, sorted."""
        return np.unique(np.asarray(self.predictions.person_N, dtype=str))

    def counts(self, part: str = ALL) -> Counts:
        """Counts by person: of the classes, or of those of one factor of the label."""
        predictions = self.predictions
        return count(predictions.person_N, predictions.label_N, self.predicted_N, self.space, part, self.metric)


@dataclass(frozen=True)
class Material:
    """The input of every section; what takes time is computed once, when a section needs it."""

    study: optuna.Study
    stored: Stored
    answer: Answer
    options: ReportOptions
    shelf: StudyPredictions = field(init=False)

    def __post_init__(self) -> None:
        folder = study_folder(self.study, self.options.runs)
        object.__setattr__(self, "shelf", predictions_of(self.study, self.stored, folder))

    @cached_property
    def config(self) -> TrainConfig:
        """The baseline's config, numerics not resolved."""
        return self.stored.baseline_config

    @property
    def task(self) -> str:
        """What the study's models predict: ALL, or one factor of the label."""
        return self.config.task

    @property
    def space(self) -> LabelSpace:
        """The label space that the study's models predict."""
        return self.stored.space

    @cached_property
    def trials(self) -> list[FrozenTrial]:
        """All trials, in any state."""
        return self.study.get_trials(deepcopy=False)

    @cached_property
    def finished(self) -> list[FrozenTrial]:
        """Complete and pruned trials."""
        return [trial for trial in self.trials if trial.state in FINISHED]

    @cached_property
    def best(self) -> FrozenTrial | None:
        """The trial that stands for the answer: of a recipe of the rounds its latest training that has a counterpart,
        which no score has chosen; else the winner, or the best complete trial."""
        if self._pair is not None:
            return self._pair[0]
        return self.trials[self.answer.winner.trial] if self.answer.winner else best_trial(self.trials)

    @cached_property
    def baseline(self) -> FrozenTrial | None:
        """The complete baseline."""
        return baseline_among(trial for trial in self.trials if trial.state == TrialState.COMPLETE)

    @cached_property
    def other(self) -> FrozenTrial | None:
        """The trial that the best is compared with: the baseline, or for a recipe of the rounds one of the same round.

        The same people judged both. It is the reference's, or the next best side's where the reference is the best.
        """
        return self.baseline if self._pair is None else self._pair[1]

    @cached_property
    def _pair(self) -> tuple[FrozenTrial, FrozenTrial | None] | None:
        """``best`` and ``other`` of the latest round that has both; None for an answer without rounds."""
        rounds, winner = self.answer.answering, self.answer.winner
        if rounds is None or winner is None or winner.candidates:
            return None
        others = [side for index, side in enumerate(rounds.sides) if index != rounds.best]
        side = others[0] if rounds.best else max(others, key=lambda side: side.score or 0.0)
        counterparts = {round_of(self.trials[number]): self.trials[number] for number in reversed(side.trials)}
        trainings = self.shelf.with_predictions(
            self.trials[number] for number in reversed(rounds.sides[rounds.best].trials)
        )
        paired = ((trial, counterparts[round_of(trial)]) for trial in trainings if round_of(trial) in counterparts)
        return next(paired, (trainings[0], None) if trainings else None)

    @property
    def other_role(self) -> str:
        """``baseline``, or what the training of a round stands for."""
        return "baseline" if self.other is None else level_of(self.other) or "baseline"

    def values(self, trial: FrozenTrial) -> dict[str, Any]:
        """The values of a trial's hyperparameters."""
        return values_of(self.stored.study.space, trial.params)

    @cached_property
    def before(self) -> TrialPredictions | None:
        """The trial that the best is compared with, and its predictions."""
        return self._predictions_of(self.other)

    @cached_property
    def after(self) -> TrialPredictions | None:
        """The best trial with its predictions."""
        return self._predictions_of(self.best)

    def _predictions_of(self, trial: FrozenTrial | None) -> TrialPredictions | None:
        predictions = None if trial is None else self.shelf.predictions(trial)
        return (
            None
            if trial is None or predictions is None
            else TrialPredictions(trial, predictions, self.space, self.stored.task.metric)
        )

    def missing(self) -> str:
        """A sentence on why there is no pair; empty when there is one."""
        if self.best is None:
            return "No trial is complete yet."
        if self.other is None and round_of(self.best) is not None:
            return "No other side was trained in the best recipe's last round."
        if self.other is None:
            return "The baseline is not complete yet, so there is nothing to compare with."
        if self.before is None:
            return f"{self.shelf.why_missing(self.other)}."
        if self.after is None:
            return f"{self.shelf.why_missing(self.best)}."
        if self.other.number == self.best.number:
            return "The best trial is the baseline itself."
        same = np.array_equal(self.before.predictions.path_N, self.after.predictions.path_N)
        return "" if same else "The two trials were judged on different photos."

    @cached_property
    def pair(self) -> tuple[TrialPredictions, TrialPredictions] | None:
        """Before and after, judged on the same photos."""
        if self.missing() or self.before is None or self.after is None:
            return None
        return self.before, self.after

    @cached_property
    def same_configuration(self) -> str:
        """A sentence when before and after are two trainings of one configuration; else empty."""
        if self.best is None or self.other is None or self.best.number == self.other.number:
            return ""
        if configuration_of(self.best.params) != configuration_of(self.other.params):
            return ""
        return (
            f"Trial {self.best.number} is the baseline's configuration with another training seed: any difference is"
            " chance."
        )

    @cached_property
    def resamples(self) -> Resamples | None:
        """Draws of the people who judged the best trial, for all intervals; None without its predictions."""
        return None if self.after is None else resample(self.after.counts())

    def interval(self, trial: FrozenTrial) -> Estimate | None:
        """A trial's score with its interval over groups; None without predictions for the same groups."""
        model = self._predictions_of(trial)
        if model is None or self.resamples is None or not np.array_equal(model.people, self.resamples.person_P):
            return None
        return interval(model.counts(), self.resamples)

    def judged_alike(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """The trials with predictions of the very people who judged the best one."""
        models = ((trial, self._predictions_of(trial)) for trial in self.shelf.with_predictions(trials))
        resamples = self.resamples
        if resamples is None:
            return []
        return [trial for trial, model in models if model and np.array_equal(model.people, resamples.person_P)]

    @cached_property
    def prior(self) -> Prior | None:
        """The shares of --prior; None without it. Raises UserError for what is no prior of the task."""
        return None if self.options.prior is None else parse_prior(self.options.prior, self.stored.task)

    @cached_property
    def groups(self) -> dict[str, np.ndarray] | None:
        """Class of the groups that judged the best trial in each factor that they have; None without predictions."""
        if self.after is None:
            return None
        return groups_of(self.after.predictions.person_N, self.after.predictions.label_N, self.stored.task)

    @cached_property
    def weight_P(self) -> Floats | None:
        """Weights of the groups under --prior; None without it, or without the best trial's predictions."""
        return None if self.prior is None or self.groups is None else weights_of(self.prior, self.groups)


def gather(study: optuna.Study, options: ReportOptions) -> Material:
    """The material for the report of a stored study. Raises UserError for a study that is not one of our searches."""
    stored = read_search(study)
    return Material(study, stored, answer_of(study, stored, options.runs), options)
