"""Trials that an earlier version trained to other numbers than this one would: nobody goes on beside them."""

import optuna
from optuna.trial import FrozenTrial, TrialState

from maskcls.config import TrainConfig, make_config
from maskcls.system.errors import UserError
from maskcls.training.revision import changed_since
from search.study.attributes import CONFIG, REVISION_KEY
from search.study.record import Stored
from search.study.space import values_of


def check_revision(study: optuna.Study, stored: Stored) -> None:
    """Raise UserError when the study holds such trials."""
    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.FAIL or not trial.intermediate_values:
            continue  # it has no number that others are compared with
        changed = changed_since(trial.user_attrs.get(REVISION_KEY, 1), _config(trial, stored))
        if changed:
            remedy = "Begin anew under another --name"
            if stored.confirmation is not None:
                remedy = f"Remove the study by `python -m search.delete --study {study.study_name}` and begin anew"
            raise UserError(
                f"Trial {trial.number} of {study.study_name!r} was trained by an earlier version, which {changed};"
                f" it cannot be compared with a trial of now. {remedy}."
            )


def _config(trial: FrozenTrial, stored: Stored) -> TrainConfig:
    """As it went through, else as it was asked for."""
    if CONFIG in trial.user_attrs:
        return make_config(trial.user_attrs[CONFIG])
    return stored.config(values_of(stored.study.space, trial.params))
