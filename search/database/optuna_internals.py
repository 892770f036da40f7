"""What this service uses of Optuna's that Optuna calls private, each behind a function of ours.

Such names may go with any version, so they stand here (tests/test_optuna_internals.py), and pyproject.toml bounds the
version. Only reconnecting.py has others: its storage overrides methods of Optuna's, and asks the tables as that does.

Most functions go through the study's storage, which caches trials that have ended; the database itself is beneath.
"""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, get_storage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, Trial, TrialState


def storage_of(study: optuna.Study) -> BaseStorage:
    """The storage that the study reads and writes through, with its cache."""
    return study._storage


def uncached_storage(study: optuna.Study) -> BaseStorage:
    """The study's storage, without the cache that Optuna puts before a database."""
    backend: BaseStorage = getattr(study._storage, "_backend", study._storage)
    return backend


def forget_cache(study: optuna.Study) -> None:
    """Read everything anew from now on."""
    study._storage = get_storage(uncached_storage(study))


def study_id(study: optuna.Study | FrozenStudy) -> int:
    """The study's id in its database."""
    return study._study_id


def study_system_attributes(study: optuna.Study) -> dict[str, Any]:
    """The attributes that Optuna and its dashboard keep with the study."""
    return study._storage.get_study_system_attrs(study._study_id)


def set_study_system_attributes(study: optuna.Study, attributes: Mapping[str, Any]) -> None:
    """Store such attributes, one after the other."""
    for key, value in attributes.items():
        study._storage.set_study_system_attr(study._study_id, key, value)


def trial_id(trial: Trial | FrozenTrial) -> int:
    """The trial's id in its database, where its number counts within its study only."""
    return trial._trial_id


def read_trial(study: optuna.Study, trial: Trial | FrozenTrial) -> FrozenTrial:
    """The trial as it is stored now."""
    return study._storage.get_trial(trial._trial_id)


def set_attributes(study: optuna.Study, trial: Trial | FrozenTrial, attributes: Mapping[str, Any]) -> None:
    """Store user attributes of a trial, one after the other. Raises UpdateFinishedTrialError for one that has ended."""
    for key, value in attributes.items():
        study._storage.set_trial_user_attr(trial._trial_id, key, value)


def set_state(study: optuna.Study, trial: Trial | FrozenTrial, state: TrialState, value: float | None = None) -> None:
    """Store a trial's state, and its value when it ends with one. Raises UpdateFinishedTrialError for one that has."""
    study._storage.set_trial_state_values(trial._trial_id, state, None if value is None else [value])


def store_trial(study: optuna.Study, template: FrozenTrial) -> int:
    """Store a new trial in one go, with all that the template has but its number; returns its id."""
    return study._storage.create_new_trial(study._study_id, template)


def stale_trial_ids(study: optuna.Study) -> set[int]:
    """Ids of the running trials whose heartbeat is older than the storage's grace period."""
    backend = uncached_storage(study)
    assert isinstance(backend, BaseHeartbeat)
    return set(backend._get_stale_trial_ids(study._study_id))


def table_names() -> set[str]:
    """The tables of a database of Optuna's."""
    from optuna.storages._rdb import models  # loads SQLAlchemy, which who only reads a study's file can do without

    return set(models.BaseModel.metadata.tables)


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a parameter of the distribution can have the value. Raises ValueError for one of another type."""
    return distribution._contains(distribution.to_internal_repr(value))
