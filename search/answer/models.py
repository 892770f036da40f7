"""What search.compare is asked to compare: ``STUDY:TRIAL``, or the folder of a trained model."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from maskcls.config import load_config
from maskcls.labels import CLASS_NAMES
from maskcls.run.record import check_file
from maskcls.scoring.counts import Counts, count
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import Resamples
from maskcls.system.errors import UserError, some

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from search.policy.history import Configuration
    from search.storage.predictions import StudyPredictions

PREDICTION_FILES = ("valid.npz", "predictions.npz")
"""What training leaves in its folder, and what maskcls.evaluate -o does."""


@dataclass(frozen=True)
class ComparedModel:
    """One trained model with its predictions."""

    name: str
    task: str
    predictions: Predictions
    configuration: str
    """Names its knobs; two sides of one setting differ in the training seed at most."""
    runs: Mapping[str, tuple[Predictions, ...]]
    """Setting -> its complete runs, of the whole study where the model is a trial; they tell of the spread between
    seeds. A model in a folder has itself alone."""
    unfinished: str = ""
    """Of a trial that is not complete, what became of it: ``was stopped after 8 of 12 evaluations``. It is no run."""
    confirms: str | None = None
    """Of a trial of a confirmation, the study that is confirmed."""

    def counts(self, part: str | None = None) -> Counts:
        """The model's counts, person by person; of a part of all 18 classes, or of its own task."""
        return self.count_run(self.predictions, part)

    def count_run(self, run: Predictions, part: str | None = None) -> Counts:
        """The same of any run of its task."""
        return count(run.person_N, run.label_N, run.log_prob_NK.argmax(1), self.task, part)


def find_model(text: str, storage: str | None, runs: Path) -> ComparedModel:
    """The model that ``text`` names. Raises UserError when there is none, or when it has no stored predictions."""
    folder = Path(text)
    if os.path.isdir(folder):  # noqa: PTH112 - False too for what is too long for a path
        trial = _trial_in(folder, storage, runs)
        return _model_in(folder) if trial is None else _model_of_trial(*trial, storage, runs)
    study, colon, number = text.rpartition(":")
    if not colon or not number.isdecimal():
        raise UserError(f"{text} is neither a folder nor STUDY:TRIAL, for example dropout:7.")
    return _model_of_trial(study, int(number), storage, runs)


def _trial_in(folder: Path, storage: str | None, runs: Path) -> tuple[str, int] | None:
    """(study, trial) whose folder this is; None for any other, and where its study is not in the database.

    Named by where it lies: in the copy of a study (--from), [origin] tells of the study that was copied.
    """
    import optuna

    from search.database.connect import default_url, load_study, may_exist, open_to_read
    from search.storage.folder import study_folder
    from search.storage.retention import trial_folder
    from search.study.record import is_made_here

    config, home = folder / "config.toml", folder.resolve()
    if not config.is_file() or not (folder / PREDICTION_FILES[0]).is_file() or runs.resolve() not in home.parents:
        return None
    origin = load_config(config)[1]
    number = origin.get("trial")
    if "study" not in origin or not isinstance(number, int) or trial_folder(home.parent, number) != home:
        return None
    url = storage or default_url(runs)
    if not may_exist(url):
        return None
    opened = open_to_read(url)
    for name in optuna.get_all_study_names(opened):
        # deleted meanwhile, another study's folder, a name that no folder can have, a disk that does not answer
        with suppress(UserError, OSError):
            study = load_study(opened, name)
            if is_made_here(study) and study_folder(study, runs).resolve() == home.parent:
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
        task = load_config(config)[0].task
    elif predictions.log_prob_NK.shape[1] == len(CLASS_NAMES["all"]):
        task = "all"
    else:
        raise UserError(f"{folder} has no config.toml, which says of which task its predictions are.")
    return ComparedModel(str(folder), task, predictions, str(folder), {str(folder): (predictions,)})


def _load(path: Path) -> Predictions:
    try:
        return Predictions.load(path)
    except Exception as error:  # numpy and zipfile each have their own for a broken file
        raise UserError(
            f"{path} does not hold predictions: {type(error).__name__}. Evaluate the model again."
        ) from error


def _model_of_trial(name: str, number: int, storage: str | None, runs: Path) -> ComparedModel:
    from search.answer.format import describe_values
    from search.database.connect import default_url, load_study, open_to_read
    from search.policy.history import configuration_of, runs_by_configuration
    from search.storage.folder import study_folder
    from search.storage.predictions import StudyPredictions
    from search.study.record import read_stored
    from search.study.space import values_of

    study = load_study(open_to_read(storage or default_url(runs)), name)
    stored = read_stored(study)
    task = stored.baseline_config.task
    trials = study.get_trials(deepcopy=False)
    if number >= len(trials):
        raise UserError(f"Study {name} has no trial {number}; its trials are 0 to {len(trials) - 1}.")
    trial, shelf = trials[number], StudyPredictions(study_folder(study, runs), task)
    predictions = shelf.predictions(trial)
    if predictions is None:
        raise UserError(f"{shelf.why_missing(trial, name)}.")
    values = describe_values(values_of(stored.study.space, trial.params))
    title = f"{name} trial {number} ({trial.state.name.lower()})  {values}"
    every = runs_by_configuration(shelf.with_predictions(trials))
    complete = {_key(name, params): _predictions_of(shelf, group) for params, group in every.items()}
    confirms = None if stored.confirmation is None else stored.confirmation["of"]
    return ComparedModel(
        title, task, predictions, _key(name, configuration_of(trial.params)), complete, _unfinished(trial), confirms
    )


def _unfinished(trial: "FrozenTrial") -> str:
    from optuna.trial import TrialState

    from search.study.attributes import evaluations_of, planned_evaluations_of

    if trial.state == TrialState.COMPLETE:
        return ""
    done, planned_evaluations = evaluations_of(trial), planned_evaluations_of(trial)
    if trial.state != TrialState.PRUNED or done is None or planned_evaluations is None:
        return f"is not complete ({trial.state.name.lower()})"
    return f"was stopped after {done} of {planned_evaluations} evaluations"


def _key(study: str, params: "Configuration") -> str:
    return f"{study} {params}"


def _predictions_of(shelf: "StudyPredictions", runs: Sequence["FrozenTrial"]) -> tuple[Predictions, ...]:
    return tuple(predictions for run in runs if (predictions := shelf.predictions(run)) is not None)


def check_comparable(ours: ComparedModel, theirs: ComparedModel) -> None:
    """Raise UserError unless they are two, judged on the same photos, by the same task."""
    if ours.task != theirs.task:
        raise UserError(f"A predicts {ours.task} and B {theirs.task}; compare models of one task.")
    our_paths, their_paths = (set(model.predictions.path_N.tolist()) for model in (ours, theirs))
    if our_paths != their_paths and (ours.confirms or theirs.confirms):
        raise UserError(
            "A and B were judged on different photos: in a confirmation every repeat has other judges. Compare two"
            " trials of one repeat."
        )
    if our_paths != their_paths:
        unshared = sorted(our_paths ^ their_paths)
        raise UserError(
            f"A and B were judged on different photos: {len(our_paths & their_paths)} in common, {len(unshared)} not"
            f" ({some(unshared, 2)}). Have maskcls.evaluate -o score both on one folder of people new to both."
        )
    if not np.array_equal(_labels_by_path(ours), _labels_by_path(theirs)):
        raise UserError(
            "A and B were judged by different labels of the same photos; use the same label fixes for both."
        )
    if digest(ours.predictions) == digest(theirs.predictions):
        raise UserError("A and B are the same predictions; name two different ones.")


def _labels_by_path(model: ComparedModel) -> np.ndarray:
    return model.predictions.label_N[np.argsort(model.predictions.path_N)]


def digest(predictions: Predictions) -> str:
    """Alike for the same predictions, in whatever order the photos are."""
    order_N = np.argsort(predictions.path_N)
    paths = "\n".join(predictions.path_N[order_N].tolist()).encode()
    return hashlib.sha256(paths + predictions.log_prob_NK[order_N].tobytes()).hexdigest()


def same_people(runs: Sequence[Predictions], resamples: Resamples) -> bool:
    """Whether all runs were judged by the people who are resampled."""
    return all(np.array_equal(np.unique(run.person_N), resamples.person_P) for run in runs)
