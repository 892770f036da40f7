"""The trained models of studies that may be put together, with their predictions of the validation photos.

Shape suffixes: N photos, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from maskcls.model.composite import marginal_log_prob
from maskcls.model.trained import has_files
from maskcls.run.record import WEIGHTS, sha256
from maskcls.scoring.counts import SCORES, Counts, count
from maskcls.scoring.metrics import confusion_matrix
from maskcls.scoring.predictions import Predictions
from maskcls.system.errors import UserError, count_of
from search.files.place import files_of
from search.policy.history import best_first
from search.storage.folder import study_folder
from search.storage.predictions import StudyPredictions, predictions_of
from search.storage.retention import holds_weights, trial_folder
from search.study.attributes import WEIGHTS_DIGEST, judged_by_study
from search.study.record import Stored, read_search

MAX_PLACES = 3
"""Places of weights that are named in one sentence."""


@dataclass(frozen=True)
class Candidate:
    """A trained model of a study, with its predictions of the validation photos."""

    study: str
    stored: Stored
    trial: FrozenTrial
    folder: Path
    """The trial's folder."""
    predictions: Predictions

    @property
    def part(self) -> str:
        """What its study predicts: ALL or one factor of the label."""
        return self.stored.baseline_config.task

    @property
    def has_weights(self) -> bool:
        """Whether its folder still holds all that makes a model."""
        return _has_model(self.trial, self.folder.parent)

    @property
    def name(self) -> str:
        """Its name as users see it."""
        return f"trial {self.trial.number} of {self.study}"

    def classes(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """(true_N, predicted_N) within the part, for a model of the whole label by the part's summed probabilities."""
        label_N, space = self.predictions.label_N, self.stored.task.space
        true_N = label_N if self.part == part else space.part_of(label_N, part)
        return true_N, marginal_log_prob(self.predictions.log_prob_NK, space, self.part, part).argmax(1)

    def score(self, part: str) -> float:
        """The task's metric over the part's classes."""
        task = self.stored.task
        confusion_KK = confusion_matrix(*self.classes(part), task.space.predicted(part).num_classes).astype(np.float64)
        return float(SCORES[task.metric](confusion_KK.sum(1), confusion_KK.sum(0), np.diagonal(confusion_KK)))

    def counts(self) -> Counts:
        """Counts over its model's classes, group by group."""
        person_N, label_N = self.predictions.person_N, self.predictions.label_N
        predicted_N = self.predictions.log_prob_NK.argmax(1)
        return count(person_N, label_N, predicted_N, self.stored.space, metric=self.stored.task.metric)


def find_trained(study: optuna.Study, runs: Path, kept: bool = False, needs_weights: bool = True) -> list[Candidate]:
    """The complete trials of a study with predictions, by number. ``kept``: only those whose weights are kept.

    Only those that the study's own people judged: a training of a later round is judged by others, and trained on some
    of these. Raises UserError when there are none, or (with ``needs_weights``) none of them has its weights.
    """
    stored, name = read_search(study), study.study_name
    complete = judged_by_study(best_first(study.get_trials(deepcopy=False)))
    if not complete:
        raise UserError(f"Study {name!r} has no complete trial yet; continue it with python -m search.run.")
    shelf = predictions_of(study, stored, study_folder(study, runs))
    elsewhere = _elsewhere(complete, shelf.folder)
    complete = [trial for trial in complete if not kept or _has_model(trial, shelf.folder)]
    models = with_predictions(name, stored, sorted(complete, key=lambda trial: trial.number), shelf)
    if not any(model.has_weights or not needs_weights for model in models):
        foreign = next((f"{shelf.why_missing(trial)}. " for trial in complete if trial.number in shelf.foreign), "")
        files = "weights and predictions" if needs_weights else "predictions"
        raise UserError(
            f"{foreign}No complete trial of study {name!r} has its {files} under {shelf.folder}"
            f"{f' ({elsewhere})' if elsewhere else ''}; name the --runs folder where it ran, or continue it with a"
            " larger --keep."
        )
    return models


def each_once(models: Sequence[Candidate]) -> list[Candidate]:
    """The models without further ones of the same weights: a copy of a study has its trials."""
    first: dict[object, Candidate] = {}
    for model in models:
        key = model.trial.user_attrs.get(WEIGHTS_DIGEST, model.name)  # trials of early versions have none
        if key not in first or (model.has_weights and not first[key].has_weights):
            first[key] = model
    return list(first.values())


def _has_model(trial: FrozenTrial, folder: Path) -> bool:
    """Whether the study's folder has all that makes a model of the trial."""
    return has_files(trial_folder(folder, trial.number)) and holds_weights(trial, folder)


def weights_elsewhere(study: optuna.Study, runs: Path) -> str:
    """Which complete trials cannot be used here, as they ran on machines with other folders: one sentence, or none."""
    complete = judged_by_study(best_first(study.get_trials(deepcopy=False)))
    elsewhere = _elsewhere(complete, study_folder(study, runs))
    return f"Not here, and so left out of {study.study_name}: {elsewhere}, if they were kept." if elsewhere else ""


def _elsewhere(trials: Sequence[FrozenTrial], folder: Path) -> str:
    """Where the weights of these trials were written to that are not here: of the first MAX_PLACES, in words."""
    away = [
        (trial.number, files.place)
        for trial in trials
        if (files := files_of(trial)) is not None
        and not _has_model(trial, folder)
        and Path(files.folder) != trial_folder(folder, trial.number).resolve()
    ]
    if not away:
        return ""
    more = f" and those of {count_of(len(away) - MAX_PLACES, 'other trial')}" if len(away) > MAX_PLACES else ""
    return f"the weights of {', '.join(f'trial {number} ({place})' for number, place in away[:MAX_PLACES])}{more}"


def with_predictions(
    name: str, stored: Stored, trials: Sequence[FrozenTrial], shelf: StudyPredictions
) -> list[Candidate]:
    """Those of the trials that have predictions, as candidates, in the given order."""
    return [
        Candidate(name, stored, trial, trial_folder(shelf.folder, trial.number), predictions)
        for trial in shelf.with_predictions(trials)
        if (predictions := shelf.predictions(trial)) is not None
    ]


def check_weights(model: Candidate) -> None:
    """Raise UserError when the weights in the trial's folder are not those that it wrote."""
    digest = model.trial.user_attrs.get(WEIGHTS_DIGEST)  # trials of early versions have none
    if digest is not None and sha256(model.folder / WEIGHTS) != digest:
        raise UserError(
            f"{model.folder / WEIGHTS} is not the file that {model.name} wrote: its digest differs. Restore the file,"
            " or move it away to leave the trial out."
        )


def check_same_photos(ours: Candidate, theirs: Candidate) -> None:
    """Raise UserError unless both were judged on the same photos with the same labels."""
    our_split, their_split, many = ours.stored.split, theirs.stored.split, ours.stored.task.unit.many
    if our_split != their_split:
        raise UserError(
            f"Models are compared on the same {many}, but study {ours.study!r} has split {our_split} and"
            f" {theirs.study!r} {their_split}; run both on one folder with the same {many}, split_seed and label fixes."
        )
    if not same_photos(ours, theirs):
        sizes = " and ".join(f"{model.name} ({len(model.predictions.path_N)} photos)" for model in (ours, theirs))
        raise UserError(f"Models are compared on the same photos, but those of {sizes} differ; run one of them again.")


def same_photos(ours: Candidate, theirs: Candidate) -> bool:
    """Whether both predict the same photos in the same order."""
    return np.array_equal(ours.predictions.path_N, theirs.predictions.path_N)
