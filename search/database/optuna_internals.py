"""Optuna's private names that this service uses, each behind a function of ours.

Any version may drop them, so they stand here (tests/test_optuna_internals.py), and pyproject.toml bounds the version.
Only reconnecting.py has others: its storage overrides methods of Optuna's and queries its tables.

Most functions go through the study's storage, which caches finished trials, not to the database beneath.
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
    """The storage that the study reads and writes through, its cache included."""
    return study._storage


def uncached_storage(study: optuna.Study) -> BaseStorage:
    """The study's storage without the cache that Optuna puts in front of a database."""
    backend: BaseStorage = getattr(study._storage, "_backend", study._storage)
    return backend


def forget_cache(study: optuna.Study) -> None:
    """Drop the study's cache of trials, so that the next read goes to the database."""
    study._storage = get_storage(uncached_storage(study))


def study_id(study: optuna.Study | FrozenStudy) -> int:
    """The study's id in its database."""
    return study._study_id


def study_system_attributes(study: optuna.Study) -> dict[str, Any]:
    """The study's system attributes, where Optuna and its dashboard keep theirs."""
    return study._storage.get_study_system_attrs(study._study_id)


def set_study_system_attributes(study: optuna.Study, attributes: Mapping[str, Any]) -> None:
    """Store system attributes of a study, one after the other."""
    for key, value in attributes.items():
        study._storage.set_study_system_attr(study._study_id, key, value)


def trial_id(trial: Trial | FrozenTrial) -> int:
    """The trial's id, unique in its database; its number is unique in its study only."""
    return trial._trial_id


def read_trial(study: optuna.Study, trial: Trial | FrozenTrial) -> FrozenTrial:
    """The trial as it is stored now."""
    return study._storage.get_trial(trial._trial_id)


def set_state(study: optuna.Study, trial: Trial | FrozenTrial, state: TrialState, value: float | None = None) -> None:
    """Store a trial's state, and its final value if any. Raises UpdateFinishedTrialError when it has ended."""
    study._storage.set_trial_state_values(trial._trial_id, state, None if value is None else [value])


def store_trial(study: optuna.Study, template: FrozenTrial) -> int:
    """Store a new trial in one transaction, all of the template but its number; returns its id."""
    return study._storage.create_new_trial(study._study_id, template)


def stale_trial_ids(study: optuna.Study) -> set[int]:
    """Ids of the running trials whose heartbeat is older than the storage's grace period."""
    backend = uncached_storage(study)
    assert isinstance(backend, BaseHeartbeat)
    return stale_trial_ids_in(backend, study._study_id)


def stale_trial_ids_in(storage: BaseHeartbeat, study_id: int) -> set[int]:
    """stale_trial_ids of the study of this id; none when it is not there any more."""
    return set(storage._get_stale_trial_ids(study_id))


def table_names() -> set[str]:
    """Names of the tables in Optuna's schema."""
    from optuna.storages._rdb import models  # loads SQLAlchemy, which is not needed to read a study file

    return set(models.BaseModel.metadata.tables)


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether the distribution contains the value. Raises ValueError for a value of another type."""
    return distribution._contains(distribution.to_internal_repr(value))
