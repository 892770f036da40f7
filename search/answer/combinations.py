"""One stored trial for mask, gender and age each: all trios of them, judged by what the trials said already.

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
from maskcls.model.composite import FILES, within
from maskcls.run.record import WEIGHTS, sha256
from maskcls.scoring.counts import Counts, Floats, count
from maskcls.scoring.metrics import confusion, f1_per_class
from maskcls.scoring.predictions import Predictions
from maskcls.system.errors import UserError
from search.database.connect import load_study
from search.policy.history import best_trials
from search.storage.folder import study_folder
from search.storage.predictions import Shelf
from search.storage.retention import trial_folder
from search.study.attributes import WEIGHTS_DIGEST
from search.study.record import Stored, read_search


@dataclass(frozen=True)
class Candidate:
    """A trained model of a study, with what it said of the validation photos."""

    study: str
    stored: Stored
    trial: FrozenTrial
    folder: Path
    """The trial's."""
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
        found = self.predictions
        true_N = found.label_N if self.task == part else np.asarray(part_of(found.label_N, part))
        return true_N, within(found.log_prob_NK, self.task, part).argmax(1)

    def macro_f1(self, part: str) -> float:
        """Of the part alone."""
        return float(f1_per_class(confusion(*self.classes(part), len(CLASS_NAMES[part]))).mean())

    def counts(self) -> Counts:
        """Of its own task, person by person."""
        found = self.predictions
        return count(found.person_N, found.label_N, found.log_prob_NK.argmax(1), self.task)


def _task(stored: Stored) -> str:
    return stored.config(dict(stored.study.baseline)).task


def candidates(storage: RDBStorage, name: str, part: str, runs: Path) -> list[Candidate]:
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
    complete = best_trials(trials, len(trials))
    if not complete:
        raise UserError(f"Study {name!r} has no complete trial yet; go on with it: python -m search.run.")
    shelf = Shelf(study_folder(study, runs), _task(stored))
    whole = [
        trial
        for trial in sorted(complete, key=lambda trial: trial.number)
        if all((trial_folder(shelf.folder, trial.number) / file).is_file() for file in FILES)
    ]
    found = _with_predictions(name, stored, whole, shelf)
    if not found:
        foreign = next((f"{shelf.why_not(trial)}. " for trial in whole if trial.number in shelf.foreign), "")
        raise UserError(
            f"{foreign}No complete trial of study {name!r} has its weights and predictions under {shelf.folder}; name"
            " the --runs folder where it ran, or go on with it with a larger --keep."
        )
    return found


def _with_predictions(name: str, stored: Stored, trials: Sequence[FrozenTrial], shelf: Shelf) -> list[Candidate]:
    found = []
    for trial in trials:
        predictions = shelf.predictions(trial)
        if predictions is not None:
            found.append(Candidate(name, stored, trial, trial_folder(shelf.folder, trial.number), predictions))
    return found


def check_weights(one: Candidate) -> None:
    """Raise UserError when the weights in the trial's folder are not the ones that it has written."""
    digest = one.trial.user_attrs.get(WEIGHTS_DIGEST)  # older trials have none
    if digest is not None and sha256(one.folder / WEIGHTS) != digest:
        raise UserError(
            f"{one.folder / WEIGHTS} is not the file that {one.name} wrote: its digest is another one. Bring it back,"
            f" or move it away to have the trial left out."
        )


def check_same_photos(ours: Candidate, theirs: Candidate) -> None:
    """Raise UserError unless both were judged by the same photos with the same labels."""
    here, there = ours.stored.split, theirs.stored.split
    if here != there:
        raise UserError(
            f"Models are compared on the same people, and study {ours.study!r} has split {here} and {theirs.study!r}"
            f" {there}; run both on one folder with the same people, split_seed and label fixes."
        )
    if not same_photos(ours, theirs):
        sizes = " and ".join(f"{one.name} ({len(one.predictions.path_N)} photos)" for one in (ours, theirs))
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
    shelf = Shelf(study_folder(study, runs), _task(stored))
    found = _with_predictions(name, stored, trials, shelf)
    if not found:
        foreign = next((f"{shelf.why_not(trial)}. " for trial in trials), "") if shelf.foreign else ""
        raise UserError(
            f"{foreign}Trial {number} of study {name!r} has no predictions under {shelf.folder}; name another."
        )
    return found[0]


def find_singles(like: Candidate, names: Sequence[str], storage: RDBStorage, runs: Path) -> list[Candidate]:
    """The complete trials with all 18 classes, of all searches stored, that the photos of ``like`` have judged."""
    found: list[Candidate] = []
    for name in names:
        try:
            study = load_study(storage, name)
            stored = read_search(study)
            folder = study_folder(study, runs)
        except (UserError, OSError):
            # deleted meanwhile, somebody else's, a confirmation, whose trials other people judge; or its folder is
            # another's, or cannot be looked at
            continue
        if stored.split == like.stored.split and _task(stored) == "all":
            trials = study.get_trials(deepcopy=False)
            complete = sorted(best_trials(trials, len(trials)), key=lambda trial: trial.number)
            shelf = Shelf(folder, _task(stored))
            found += [one for one in _with_predictions(name, stored, complete, shelf) if same_photos(one, like)]
    return found


class Trios(Sequence[Counts]):
    """What all trios say, person by person, the earliest trials first. Counted when asked for: there may be thousands.

    A trio's answer is the most likely mask state, gender and age band, each by its own model.
    """

    def __init__(self, members: dict[str, list[Candidate]]) -> None:
        """``members``: part -> its candidates. Raises UserError unless the same photos have judged them all."""
        first = members[PARTS[0]][0]
        for one in (one for part in PARTS for one in members[part]):
            check_same_photos(first, one)
        self.members = members
        self.shape = tuple(len(members[part]) for part in PARTS)
        said = [[one.classes(part) for one in members[part]] for part in PARTS]
        mask_N, gender_N, age_N = (found[0][0] for found in said)
        self.label_N = np.asarray(encode(mask_N, gender_N, age_N))
        self._predicted = [[predicted_N for _, predicted_N in found] for found in said]

    @cached_property
    def person_N(self) -> np.ndarray:
        """Who is on the photos."""
        return self.members[PARTS[0]][0].predictions.person_N

    @cached_property
    def _truth(self) -> Counts:
        return count(self.person_N, self.label_N, self.label_N)

    @cached_property
    def _place_N(self) -> np.ndarray:
        """Where in a flat table of people and classes a person's row begins."""
        return np.unique(np.asarray(self.person_N, dtype=str), return_inverse=True)[1] * NUM_CLASSES

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def trio(self, index: int) -> dict[str, Candidate]:
        """Part -> its model."""
        places = np.unravel_index(index, self.shape)
        return {part: self.members[part][int(place)] for part, place in zip(PARTS, places, strict=True)}

    def predicted(self, index: int) -> np.ndarray:
        """int64 [N]: class 0..17 of every photo."""
        places = np.unravel_index(index, self.shape)
        mask_N, gender_N, age_N = (said[int(place)] for said, place in zip(self._predicted, places, strict=True))
        return np.asarray(encode(mask_N, gender_N, age_N))

    @overload
    def __getitem__(self, index: int) -> Counts: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Counts]: ...
    def __getitem__(self, index: int | slice) -> Counts | Sequence[Counts]:
        """The same as ``counts.count`` gives, a hundred times faster."""
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        predicted_N = self.predicted(index)
        right_N = predicted_N == self.label_N
        return replace(
            self._truth,
            predicted_PK=self._table(self._place_N + predicted_N),
            hit_PK=self._table((self._place_N + predicted_N)[right_N]),
        )

    def _table(self, place_N: np.ndarray) -> Floats:
        num_people = len(self._truth.person_P)
        flat = np.bincount(place_N, minlength=num_people * NUM_CLASSES)
        return flat.reshape(num_people, NUM_CLASSES).astype(np.float64)
