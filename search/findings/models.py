"""The models that search.compare compares, each named by ``STUDY:TRIAL`` or by its folder."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskcls.config import load_config
from maskcls.labels import ALL, LabelSpace
from maskcls.run.record import check_file
from maskcls.scoring.counts import Counts, count
from maskcls.scoring.predictions import PREDICTED_TASK, Predictions
from maskcls.system.errors import UserError, listed, some
from maskcls.tasks.declared import task_from_json, task_of_origin
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import Task

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from search.storage.predictions import StudyPredictions

PREDICTION_FILES = ("valid.npz", "predictions.npz")
"""Written by training, and by maskcls.evaluate -o."""


@dataclass(frozen=True)
class ComparedModel:
    """One trained model with its predictions."""

    name: str
    space: LabelSpace
    """What it predicts."""
    predictions: Predictions
    configuration: str
    """Key of its configuration in ``runs``; two models with the same key differ at most in the training seed."""
    runs: Mapping[str, tuple[Predictions, ...]]
    """Configuration -> its complete runs in the trial's whole study. A model in a folder has only itself."""
    unfinished: str = ""
    """For a trial that is not complete, and so no run: ``was stopped after 8 of 12 evaluations``."""
    confirms: str | None = None
    """For a trial of a confirmation, the study that is confirmed."""
    confirms_team: bool = False
    """For a trial of a confirmation, whether it is a team of the study's models that is confirmed."""
    study: str = ""
    """For a training of a round, its study."""
    rounds_say: str | None = None
    """For a training of a round, the verdict of its study's rounds; None before the first look at them."""
    task: Task = MASK_TASK
    """What it was trained for, and what it is judged by."""

    def counts(self, part: str = ALL) -> Counts:
        """The model's counts, person by person, over its classes or those of one factor of the label."""
        return self.count_run(self.predictions, part)

    def count_run(self, run: Predictions, part: str = ALL) -> Counts:
        """The counts of any run with the same classes."""
        return count(run.person_N, run.label_N, run.log_prob_NK.argmax(1), self.space, part, self.task.metric)


def find_model(text: str, storage: str | None, runs: Path) -> ComparedModel:
    """The model that ``text`` names. Raises UserError when there is none, or when it has no predictions."""
    folder = Path(text)
    if os.path.isdir(folder):  # noqa: PTH112 - also False for a text too long for a path
        trial = _trial_in(folder, storage, runs)
        return _model_in(folder) if trial is None else _model_of_trial(*trial, storage, runs)
    study, colon, number = text.rpartition(":")
    if not colon or not number.isdecimal():
        raise UserError(f"{text} is neither a folder nor STUDY:TRIAL, for example dropout:7.")
    return _model_of_trial(study, int(number), storage, runs)


def _trial_in(folder: Path, storage: str | None, runs: Path) -> tuple[str, int] | None:
    """(study, trial) whose folder this is; None for any other folder, and when the database has no such study.

    The study is found by the folder's place: in a copy of a study (--from), [origin] names the original.
    """
    import optuna

    from search.database.connect import default_url, load_study, may_exist, open_to_read
    from search.storage.folder import study_folder
    from search.storage.retention import trial_folder
    from search.study.record import is_made_here

    config, place = folder / "config.toml", folder.resolve()
    if not config.is_file() or not (folder / PREDICTION_FILES[0]).is_file() or runs.resolve() not in place.parents:
        return None
    origin = load_config(config)[1]
    number = origin.get("trial")
    if "study" not in origin or not isinstance(number, int) or trial_folder(place.parent, number) != place:
        return None
    url = storage or default_url(runs)
    if not may_exist(url):
        return None
    opened = open_to_read(url)
    for name in optuna.get_all_study_names(opened):
        # the study was deleted meanwhile, its folder is another's or cannot exist, or the disk does not answer
        with suppress(UserError, OSError):
            study = load_study(opened, name)
            if is_made_here(study) and study_folder(study, runs).resolve() == place.parent:
                return name, number
    return None


def _model_in(folder: Path) -> ComparedModel:
    path = next((folder / name for name in PREDICTION_FILES if (folder / name).is_file()), None)
    if path is None:
        raise UserError(
            f"{folder} holds no predictions ({' or '.join(PREDICTION_FILES)}); maskcls.train and evaluate write them."
        )
    check_file(folder, path.name)
    predictions = _load(path)
    config = folder / "config.toml"
    if config.is_file():
        trained, origin = load_config(config)
        task = task_of_origin(origin, config)
        space = task.predicted(trained)
    elif (folder / PREDICTED_TASK).is_file():
        task, space = _predicted_task(folder / PREDICTED_TASK)
    elif predictions.log_prob_NK.shape[1] == MASK_TASK.space.num_classes:
        task, space = MASK_TASK, MASK_TASK.space
    else:
        raise UserError(f"{folder} has no config.toml, which names the task of its predictions.")
    own = {str(folder): (predictions,)}
    return ComparedModel(str(folder), space, predictions, str(folder), own, task=task)


def _predicted_task(path: Path) -> tuple[Task, LabelSpace]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        task = task_from_json(values["task"])
        return task, task.space.predicted(values["part"])
    except (OSError, ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(f"{path} names no task: {type(error).__name__}. Evaluate the model again.") from None


def _load(path: Path) -> Predictions:
    try:
        return Predictions.load(path)
    except Exception as error:  # numpy and zipfile each raise their own for a broken file
        raise UserError(f"{path} holds no predictions: {type(error).__name__}. Evaluate the model again.") from error


def _model_of_trial(name: str, number: int, storage: str | None, runs: Path) -> ComparedModel:
    from search.answer.format import describe_values
    from search.database.connect import default_url, load_study, open_to_read
    from search.findings.rounds import rounds_sentence
    from search.policy.history import configuration_of, runs_by_configuration
    from search.storage.folder import study_folder
    from search.storage.predictions import predictions_of
    from search.study.attributes import level_of
    from search.study.record import read_stored
    from search.study.space import values_of

    study = load_study(open_to_read(storage or default_url(runs)), name)
    stored = read_stored(study)
    trials = study.get_trials(deepcopy=False)
    if number >= len(trials):
        raise UserError(f"Study {name} has no trial {number}; its trials are 0 to {len(trials) - 1}.")
    trial, shelf = trials[number], predictions_of(study, stored, study_folder(study, runs))
    predictions = shelf.predictions(trial)
    if predictions is None:
        raise UserError(f"{shelf.why_missing(trial, name)}.")
    values = describe_values(values_of(stored.study.space, trial.params))
    title = f"{name} trial {number} ({trial.state.name.lower()})  {values}"
    complete = {
        f"{name} {configuration}": _predictions_of(shelf, group)
        for configuration, group in runs_by_configuration(shelf.with_predictions(trials)).items()
    }
    key = f"{name} {configuration_of(trial.params)}"
    confirms = None if stored.confirmation is None else stored.confirmation["of"]
    is_of_round = level_of(trial) is not None
    said = rounds_sentence(study, stored) if is_of_round else None
    model = ComparedModel(title, stored.space, predictions, key, complete, _unfinished(trial), confirms)
    model = replace(model, confirms_team=stored.confirms_team)
    return replace(model, study=name if is_of_round else "", rounds_say=said, task=stored.task)


def _unfinished(trial: "FrozenTrial") -> str:
    from optuna.trial import TrialState

    from search.study.attributes import evaluations_of, planned_evaluations_of

    if trial.state == TrialState.COMPLETE:
        return ""
    evaluations, planned_evaluations = evaluations_of(trial), planned_evaluations_of(trial)
    if trial.state != TrialState.PRUNED or evaluations is None or planned_evaluations is None:
        return f"is not complete ({trial.state.name.lower()})"
    return f"was stopped after {evaluations} of {planned_evaluations} evaluations"


def _predictions_of(shelf: "StudyPredictions", runs: Sequence["FrozenTrial"]) -> tuple[Predictions, ...]:
    return tuple(predictions for run in runs if (predictions := shelf.predictions(run)) is not None)


def check_comparable(ours: ComparedModel, theirs: ComparedModel) -> None:
    """Raise UserError unless the two are different models of one task, judged on the same labelled photos."""
    if ours.space != theirs.space:
        a, b = (listed([factor.name for factor in model.space.factors]) for model in (ours, theirs))
        raise UserError(f"A predicts {a} and B predicts {b}; compare models of the same classes.")
    if ours.task.metric != theirs.task.metric:
        a, b = (model.task.metric_words for model in (ours, theirs))
        raise UserError(f"A is judged by {a} and B by {b}; compare alike ones.")
    our_paths, their_paths = (set(model.predictions.path_N.tolist()) for model in (ours, theirs))
    if our_paths != their_paths and (ours.confirms or theirs.confirms):
        raise UserError(
            "A and B were judged on different photos: in a confirmation every repeat has its own judges. Compare two"
            " trials of one repeat."
        )
    if our_paths != their_paths and ours.study and theirs.study:
        raise UserError(
            "A and B were judged on different photos: every round of a study has its own judges. Compare two trials of"
            " one round."
        )
    if our_paths != their_paths:
        unshared = sorted(our_paths ^ their_paths)
        raise UserError(
            f"A and B were judged on different photos: {len(our_paths & their_paths)} in common, {len(unshared)} not"
            f" ({some(unshared, 2)}). Score both with maskcls.evaluate -o on one folder of {ours.task.unit.many} new to"
            " both."
        )
    if not np.array_equal(_labels_by_path(ours), _labels_by_path(theirs)):
        raise UserError("A and B were judged with different labels of the same photos; use the same label fixes.")
    if digest(ours.predictions) == digest(theirs.predictions):
        raise UserError("A and B have the same predictions; name two different models.")


def _labels_by_path(model: ComparedModel) -> np.ndarray:
    return model.predictions.label_N[np.argsort(model.predictions.path_N)]


def digest(predictions: Predictions) -> str:
    """A digest of the predictions that does not depend on the order of the photos."""
    order_N = np.argsort(predictions.path_N)
    paths = "\n".join(predictions.path_N[order_N].tolist()).encode()
    return hashlib.sha256(paths + predictions.log_prob_NK[order_N].tobytes()).hexdigest()
