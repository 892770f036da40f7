"""Compositions of stored trials, one for each factor of the label, judged by the trials' stored predictions.

Shape suffixes: N photos, P people, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

from maskcls.labels import ALL
from maskcls.model.composite import marginal_log_prob
from maskcls.model.trained import has_files
from maskcls.run.record import WEIGHTS, sha256
from maskcls.scoring.counts import SCORES, Counts, count
from maskcls.scoring.metrics import confusion_matrix
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.tables import Table, tabulate
from maskcls.system.errors import UserError, count_of, listed, nearest
from maskcls.tasks.task import Task
from search.database.connect import load_study
from search.files.place import files_of
from search.policy.history import best_first
from search.storage.folder import study_folder
from search.storage.predictions import StudyPredictions, predictions_of
from search.storage.retention import holds_weights, trial_folder
from search.study.attributes import WEIGHTS_DIGEST, judge_round_of, judged_by_study
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


@dataclass(frozen=True)
class NamedStudy:
    """A study that search.compose was given for a factor of the label."""

    part: str
    """Name of the factor, as typed."""
    study: str
    """Stored name of the study."""
    option: str
    """What was typed: ``--part colour``, ``--mask``."""


def in_label_order(named: Sequence[NamedStudy], storage: RDBStorage) -> list[NamedStudy]:
    """The studies in the order of their label's factors.

    Raises UserError unless there is one for every factor, and all are of one task.
    """
    tasks = {each.study: read_search(load_study(storage, each.study)).task for each in named}
    first, *others = tasks
    task = tasks[first]
    for other in others:
        _check_same_task(first, task, other, tasks[other])
    parts = task.space.parts
    if not parts:
        raise UserError(f"Study {first!r} is of a label with one factor, so there is nothing to compose; use its best.")
    by_part = {each.part: each for each in named}
    for each in named:
        if each.part not in parts:
            hint = nearest(each.part, parts)
            raise UserError(f"{each.option} names no factor of the label.{hint} There are: {', '.join(parts)}.")
        if by_part[each.part] is not each:
            raise UserError(f"{each.option} and {by_part[each.part].option} name one factor; give one study for each.")
    if missing := [part for part in parts if part not in by_part]:
        raise UserError(f"No study for {listed(missing)}; give one for each factor: --part {missing[0]}=STUDY.")
    return [by_part[part] for part in parts]


def _check_same_task(ours: str, our_task: Task, theirs: str, their_task: Task) -> None:
    if our_task.space != their_task.space:
        raise UserError(
            f"Models of different tasks cannot be composed: study {ours!r} tells {_told(our_task)} and study {theirs!r}"
            f" {_told(their_task)}. Name studies of one task."
        )
    if our_task.metric != their_task.metric:
        raise UserError(
            f"Study {ours!r} is judged by {our_task.metric_words} and study {theirs!r} by {their_task.metric_words};"
            " compose models that are judged alike."
        )


def _told(task: Task) -> str:
    """``colour (3 classes) and shape (2)``; the names alone would not tell two tasks of the same factors apart."""
    sizes = [f"{factor.name} ({count_of(len(factor.classes), 'class', 'classes')})" for factor in task.space.factors]
    return listed(sizes)


def find_candidates(storage: RDBStorage, name: str, part: str, runs: Path, option: str = "--part") -> list[Candidate]:
    """The complete trials of a study with their weights and predictions, by number, as candidates for ``part``.

    Raises UserError when there are none, or when the study predicts another part than that of the ``option``.
    """
    study = load_study(storage, name)
    task = read_search(study).baseline_config.task
    if task not in (part, ALL):
        raise UserError(f"{option} takes a study of {part} or of the whole label; study {name!r} predicts {task}.")
    return find_trained(study, runs, kept=True)


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
    models = _with_predictions(name, stored, sorted(complete, key=lambda trial: trial.number), shelf)
    if not any(model.has_weights or not needs_weights for model in models):
        foreign = next((f"{shelf.why_missing(trial)}. " for trial in complete if trial.number in shelf.foreign), "")
        files = "weights and predictions" if needs_weights else "predictions"
        raise UserError(
            f"{foreign}No complete trial of study {name!r} has its {files} under {shelf.folder}"
            f"{f' ({elsewhere})' if elsewhere else ''}; name the --runs folder where it ran, or continue it with a"
            " larger --keep."
        )
    return models


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


def _with_predictions(
    name: str, stored: Stored, trials: Sequence[FrozenTrial], shelf: StudyPredictions
) -> list[Candidate]:
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


def find_single(text: str, like: Candidate, storage: RDBStorage, runs: Path) -> Candidate:
    """The trial that ``text`` names, STUDY:TRIAL of the whole label of the task of ``like``.

    Raises UserError when it is no such trial.
    """
    name, colon, number = text.rpartition(":")
    if not colon or not number.isdecimal():
        raise UserError(f"--against takes STUDY:TRIAL, for example recipe:7, not {text!r}.")
    study = load_study(storage, name)
    stored = read_search(study)
    task = stored.baseline_config.task
    _check_same_task(like.study, like.stored.task, name, stored.task)
    if task != ALL:
        raise UserError(f"--against takes a trial of the whole label; study {name!r} predicts only {task}.")
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.number == int(number)]
    shelf = predictions_of(study, stored, study_folder(study, runs))
    if trials and not judged_by_study(trials):
        raise UserError(
            f"Trial {number} of study {name!r} was judged by other {stored.task.unit.many}, those of round"
            f" {judge_round_of(trials[0])}, so it cannot be compared; name one of the search or of round 0."
        )
    models = _with_predictions(name, stored, trials, shelf)
    if not models:
        foreign = next((f"{shelf.why_missing(trial)}. " for trial in trials), "") if shelf.foreign else ""
        raise UserError(
            f"{foreign}Trial {number} of study {name!r} has no predictions under {shelf.folder}; name another."
        )
    return models[0]


def find_singles(like: Candidate, names: Sequence[str], storage: RDBStorage, runs: Path) -> list[Candidate]:
    """The complete trials of the whole label in the studies ``names`` that were judged on the photos of ``like``."""
    singles: list[Candidate] = []
    for name in names:
        try:
            study = load_study(storage, name)
            stored = read_search(study)
            folder = study_folder(study, runs)
        except (UserError, OSError):
            # deleted meanwhile, another program's study, a confirmation (other people judge it), or its folder is
            # another study's or unreadable
            continue
        ours, theirs = ((task.space, task.metric) for task in (stored.task, like.stored.task))
        if stored.split == like.stored.split and ours == theirs and stored.baseline_config.task == ALL:
            trials = study.get_trials(deepcopy=False)
            complete = sorted(judged_by_study(best_first(trials)), key=lambda trial: trial.number)
            shelf = predictions_of(study, stored, folder)
            singles += [model for model in _with_predictions(name, stored, complete, shelf) if same_photos(model, like)]
    return singles


class Compositions(Sequence[Counts]):
    """The counts of all compositions, the earliest trials first; each is counted on access: there may be thousands.

    A composition has a model for every factor of the label, and predicts the most likely class of each by its own.
    """

    def __init__(self, candidates: dict[str, list[Candidate]]) -> None:
        """``candidates``: factor -> its models, in the label's order.

        Raises UserError unless all were judged on the same photos.
        """
        first, *others = (model for models in candidates.values() for model in models)
        for model in others:
            check_same_photos(first, model)
        self.candidates, self._space = candidates, first.stored.task.space
        self.shape = tuple(map(len, candidates.values()))
        self.label_N = self._space.encode(*(models[0].classes(part)[0] for part, models in candidates.items()))
        self._predicted = [[model.classes(part)[1] for model in models] for part, models in candidates.items()]
        person_N = first.predictions.person_N
        self._truth = count(person_N, self.label_N, self.label_N, self._space, metric=first.stored.task.metric)
        # where the row of each photo's person begins in a flat table of people and classes
        self._row_start_N = np.unique(np.asarray(person_N, dtype=str), return_inverse=True)[1] * self._space.num_classes

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def models(self, index: int) -> dict[str, Candidate]:
        """The model of each factor."""
        numbers = np.unravel_index(index, self.shape)
        chosen = zip(self.candidates.items(), numbers, strict=True)
        return {part: models[int(number)] for (part, models), number in chosen}

    @overload
    def __getitem__(self, index: int) -> Counts: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Counts]: ...
    def __getitem__(self, index: int | slice) -> Counts | Sequence[Counts]:
        """The composition's counts, as ``counts.count`` makes them, but a hundred times faster."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        numbers = np.unravel_index(index, self.shape)
        by_part = (models[int(number)] for models, number in zip(self._predicted, numbers, strict=True))
        predicted_N = self._space.encode(*by_part)
        right_N = predicted_N == self.label_N
        return replace(
            self._truth,
            predicted_PK=self._table(self._row_start_N + predicted_N),
            true_positive_PK=self._table((self._row_start_N + predicted_N)[right_N]),
        )

    def _table(self, place_N: np.ndarray) -> Table:
        return tabulate(place_N, *self._truth.true_PK.shape)
