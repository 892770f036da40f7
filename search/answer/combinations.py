"""One stored trial for mask, gender and age each: all trios of them, judged by the trials' stored predictions.

Shape suffixes: N photos, P people, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from maskcls.labels import CLASS_NAMES, NUM_CLASSES, PARTS, encode, part_of
from maskcls.model.composite import FILES, marginal_log_prob
from maskcls.run.record import WEIGHTS, sha256
from maskcls.scoring.counts import Counts, Floats, count
from maskcls.scoring.metrics import confusion_matrix, f1_per_class
from maskcls.scoring.predictions import Predictions
from maskcls.system.errors import UserError
from search.database.connect import load_study
from search.policy.history import best_first
from search.storage.folder import study_folder
from search.storage.predictions import StudyPredictions
from search.storage.retention import trial_folder
from search.study.attributes import WEIGHTS_DIGEST
from search.study.record import Stored, read_search


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
    def task(self) -> str:
        """What its study predicts."""
        return _task(self.stored)

    @property
    def name(self) -> str:
        """For people."""
        return f"trial {self.trial.number} of {self.study}"

    def classes(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """(true_N, predicted_N) within the part; a model of all 18 classes answers with its most likely part."""
        label_N = self.predictions.label_N
        true_N = label_N if self.task == part else np.asarray(part_of(label_N, part))
        return true_N, marginal_log_prob(self.predictions.log_prob_NK, self.task, part).argmax(1)

    def macro_f1(self, part: str) -> float:
        """Macro F1 over the classes of the part alone."""
        return float(f1_per_class(confusion_matrix(*self.classes(part), len(CLASS_NAMES[part]))).mean())

    def counts(self) -> Counts:
        """Its own task's counts, person by person."""
        known = self.predictions
        return count(known.person_N, known.label_N, known.log_prob_NK.argmax(1), self.task)


def _task(stored: Stored) -> str:
    return stored.baseline_config.task


def find_candidates(storage: RDBStorage, name: str, part: str, runs: Path) -> list[Candidate]:
    """The complete trials of a study that can answer for ``part``, in their order: those that have their weights.

    Raises UserError when there are none, or when the study answers something else.
    """
    study = load_study(storage, name)
    stored = read_search(study)
    if _task(stored) not in (part, "all"):
        raise UserError(
            f"--{part} takes a study of {part} or of all 18 classes; study {name!r} predicts {_task(stored)}."
        )
    trials = study.get_trials(deepcopy=False)
    complete = best_first(trials)
    if not complete:
        raise UserError(f"Study {name!r} has no complete trial yet; go on with it: python -m search.run.")
    shelf = StudyPredictions(study_folder(study, runs), _task(stored))
    with_files = [
        trial
        for trial in sorted(complete, key=lambda trial: trial.number)
        if all((trial_folder(shelf.folder, trial.number) / file).is_file() for file in FILES)
    ]
    candidates = _with_predictions(name, stored, with_files, shelf)
    if not candidates:
        foreign = next((f"{shelf.why_missing(trial)}. " for trial in with_files if trial.number in shelf.foreign), "")
        raise UserError(
            f"{foreign}No complete trial of study {name!r} has its weights and predictions under {shelf.folder}; name"
            " the --runs folder where it ran, or go on with it with a larger --keep."
        )
    return candidates


def _with_predictions(
    name: str, stored: Stored, trials: Sequence[FrozenTrial], shelf: StudyPredictions
) -> list[Candidate]:
    return [
        Candidate(name, stored, trial, trial_folder(shelf.folder, trial.number), predictions)
        for trial in trials
        if (predictions := shelf.predictions(trial)) is not None
    ]


def check_weights(model: Candidate) -> None:
    """Raise UserError when the weights in the trial's folder are not the ones that it has written."""
    digest = model.trial.user_attrs.get(WEIGHTS_DIGEST)  # older trials have none
    if digest is not None and sha256(model.folder / WEIGHTS) != digest:
        raise UserError(
            f"{model.folder / WEIGHTS} is not the file that {model.name} wrote: its digest is another one. Bring it"
            " back, or move it away to have the trial left out."
        )


def check_same_photos(ours: Candidate, theirs: Candidate) -> None:
    """Raise UserError unless both were judged by the same photos with the same labels."""
    our_split, their_split = ours.stored.split, theirs.stored.split
    if our_split != their_split:
        raise UserError(
            f"Models are compared on the same people, and study {ours.study!r} has split {our_split} and"
            f" {theirs.study!r} {their_split}; run both on one folder with the same people, split_seed and label fixes."
        )
    if not same_photos(ours, theirs):
        sizes = " and ".join(f"{model.name} ({len(model.predictions.path_N)} photos)" for model in (ours, theirs))
        raise UserError(f"Models are compared on the same photos, and those of {sizes} differ; run one of them again.")


def same_photos(ours: Candidate, theirs: Candidate) -> bool:
    """Whether their predictions are of the same photos in the same order."""
    return np.array_equal(ours.predictions.path_N, theirs.predictions.path_N)


def find_single(text: str, storage: RDBStorage, runs: Path) -> Candidate:
    """The trial that ``STUDY:TRIAL`` names, of a study of all 18 classes. Raises UserError when it is none."""
    name, colon, number = text.rpartition(":")
    if not colon or not number.isdecimal():
        raise UserError(f"--against takes STUDY:TRIAL, for example recipe:7, not {text!r}.")
    study = load_study(storage, name)
    stored = read_search(study)
    if _task(stored) != "all":
        raise UserError(f"--against takes a trial with all 18 classes; study {name!r} predicts {_task(stored)} alone.")
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number == int(number)]
    shelf = StudyPredictions(study_folder(study, runs), _task(stored))
    models = _with_predictions(name, stored, trials, shelf)
    if not models:
        foreign = next((f"{shelf.why_missing(trial)}. " for trial in trials), "") if shelf.foreign else ""
        raise UserError(
            f"{foreign}Trial {number} of study {name!r} has no predictions under {shelf.folder}; name another."
        )
    return models[0]


def find_singles(like: Candidate, names: Sequence[str], storage: RDBStorage, runs: Path) -> list[Candidate]:
    """The complete trials with all 18 classes, of all searches stored, that the photos of ``like`` have judged."""
    singles: list[Candidate] = []
    for name in names:
        try:
            study = load_study(storage, name)
            stored = read_search(study)
            folder = study_folder(study, runs)
        except (UserError, OSError):
            # deleted meanwhile, made by another program, a confirmation, whose trials other people judge; or its folder
            # is another study's, or cannot be read
            continue
        if stored.split == like.stored.split and _task(stored) == "all":
            trials = study.get_trials(deepcopy=False)
            complete = sorted(best_first(trials), key=lambda trial: trial.number)
            shelf = StudyPredictions(folder, _task(stored))
            singles += [model for model in _with_predictions(name, stored, complete, shelf) if same_photos(model, like)]
    return singles


class Trios(Sequence[Counts]):
    """The counts of all trios, the earliest trials first. Counted when asked for: there may be thousands.

    A trio's answer is the most likely mask state, gender and age band, each by its own model.
    """

    def __init__(self, candidates: dict[str, list[Candidate]]) -> None:
        """``candidates``: those of each part. Raises UserError unless the same photos have judged them all."""
        first = candidates[PARTS[0]][0]
        for model in (model for part in PARTS for model in candidates[part]):
            check_same_photos(first, model)
        self.candidates = candidates
        self.shape = tuple(len(candidates[part]) for part in PARTS)
        self.label_N = np.asarray(encode(*(candidates[part][0].classes(part)[0] for part in PARTS)))
        self._predicted = [[model.classes(part)[1] for model in candidates[part]] for part in PARTS]

    @cached_property
    def person_N(self) -> np.ndarray:
        """Who is on the photos."""
        return self.candidates[PARTS[0]][0].predictions.person_N

    @cached_property
    def _truth(self) -> Counts:
        return count(self.person_N, self.label_N, self.label_N)

    @cached_property
    def _row_start_N(self) -> np.ndarray:
        """Where in a flat table of people and classes a person's row begins."""
        return np.unique(np.asarray(self.person_N, dtype=str), return_inverse=True)[1] * NUM_CLASSES

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def trio(self, index: int) -> dict[str, Candidate]:
        """The model of each part."""
        numbers = np.unravel_index(index, self.shape)
        return {part: self.candidates[part][int(number)] for part, number in zip(PARTS, numbers, strict=True)}

    def predicted(self, index: int) -> np.ndarray:
        """int64 [N]: class 0..17 of every photo."""
        numbers = np.unravel_index(index, self.shape)
        by_part = (models[int(number)] for models, number in zip(self._predicted, numbers, strict=True))
        return np.asarray(encode(*by_part))

    @overload
    def __getitem__(self, index: int) -> Counts: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Counts]: ...
    def __getitem__(self, index: int | slice) -> Counts | Sequence[Counts]:
        """The same as ``counts.count`` gives, a hundred times faster."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        predicted_N = self.predicted(index)
        right_N = predicted_N == self.label_N
        return replace(
            self._truth,
            predicted_PK=self._table(self._row_start_N + predicted_N),
            true_positive_PK=self._table((self._row_start_N + predicted_N)[right_N]),
        )

    def _table(self, place_N: np.ndarray) -> Floats:
        num_people = len(self._truth.person_P)
        flat = np.bincount(place_N, minlength=num_people * NUM_CLASSES)
        return flat.reshape(num_people, NUM_CLASSES).astype(np.float64)
