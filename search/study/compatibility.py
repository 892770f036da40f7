"""Why a stored study does not continue here: search.copy has copied it to another database, or it has trials that this
version would train to other numbers than the earlier version that ran them."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.config import TrainConfig, make_config
from maskcls.system.errors import UserError
from maskcls.training.revision import changed_since
from search.study.attributes import CONFIG, MOVED_TO, REVISION_KEY
from search.study.record import Stored
from search.study.space import values_of
from search.system.shell import quoted


def check_is_here(study: optuna.Study, attributes: Mapping[str, Any] | None = None) -> None:
    """Raise UserError when search.copy has copied the study to another database: it continues there, in one folder.

    ``attributes``: the study's, of a caller that has just read them.
    """
    moved = (study.user_attrs if attributes is None else attributes).get(MOVED_TO)
    if moved is not None:
        raise UserError(
            f"Study {study.study_name!r} was copied to {moved['storage']} as {moved['name']!r} and continues there;"
            " give that --storage. What is left of it here can be read, and search.delete removes it."
        )


def check_revision(study: optuna.Study, stored: Stored) -> None:
    """Raise UserError if the study has such trials: new ones could not be compared with them."""
    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.FAIL or not trial.intermediate_values:
            continue  # it has no score that others are compared with
        changed = changed_since(trial.user_attrs.get(REVISION_KEY, 1), _config(trial, stored))
        if changed:
            remedy = "Begin a new study under another --name"
            if stored.confirmation is not None:
                remedy = f"Remove the study by search.delete --study {quoted(study.study_name)} and begin again"
            raise UserError(
                f"Trial {trial.number} of {study.study_name!r} was trained by an earlier version, which {changed};"
                f" new trials cannot be compared with it. {remedy}."
            )


def _config(trial: FrozenTrial, stored: Stored) -> TrainConfig:
    """The config that the trial was trained with; if none is stored, the one of its parameters."""
    if CONFIG in trial.user_attrs:
        return make_config(trial.user_attrs[CONFIG])
    return stored.config(values_of(stored.study.space, trial.params))
