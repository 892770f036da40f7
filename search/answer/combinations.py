"""Compositions of stored trials, one for each factor of the label, judged by the trials' stored predictions.

Shape suffixes: N photos, P people, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
from optuna.storages import RDBStorage

from maskcls.labels import ALL
from maskcls.scoring.counts import Counts, count
from maskcls.scoring.tables import Table, tabulate
from maskcls.system.errors import UserError, count_of, listed, nearest
from maskcls.tasks.task import Task
from search.answer.candidates import (
    Candidate,
    check_same_photos,
    each_once,
    find_trained,
    same_photos,
    with_predictions,
)
from search.database.connect import load_study
from search.policy.history import best_first
from search.storage.folder import study_folder
from search.storage.predictions import predictions_of
from search.study.attributes import judge_round_of, judged_by_study
from search.study.record import read_search


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
    models = with_predictions(name, stored, trials, shelf)
    if not models:
        foreign = next((f"{shelf.why_missing(trial)}. " for trial in trials), "") if shelf.foreign else ""
        raise UserError(
            f"{foreign}Trial {number} of study {name!r} has no predictions under {shelf.folder}; name another."
        )
    return models[0]


def find_singles(like: Candidate, names: Sequence[str], storage: RDBStorage, runs: Path) -> list[Candidate]:
    """The complete trials of the whole label in the studies ``names`` that were judged on the photos of ``like``, each
    model once."""
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
            singles += [model for model in with_predictions(name, stored, complete, shelf) if same_photos(model, like)]
    return each_once(singles)


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
