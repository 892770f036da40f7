"""A search and its confirmation find each other by the search's id, whatever either is called by now; else by name."""

import optuna

from search.database.connect import backend_of, has_study, load_study
from search.policy.confirmation import SUFFIX
from search.storage.folder import owners
from search.study.attributes import CONFIRMED_ID, id_of
from search.study.record import confirms


def confirmation_of(searched: optuna.Study) -> optuna.Study | None:
    """The study that confirms this one; None while there is none."""
    storage, mine = backend_of(searched), id_of(searched)
    if mine is not None:
        for found in storage.get_all_studies():
            if found.user_attrs.get(CONFIRMED_ID) == mine and confirms(found) is not None:
                return load_study(storage, found.study_name)
    name = searched.study_name + SUFFIX
    if not has_study(storage, name):
        return None
    named = load_study(storage, name)
    is_its = confirms(named) == searched.study_name and named.user_attrs.get(CONFIRMED_ID) in (None, mine)
    return named if is_its else None


def search_of(confirmation: optuna.Study) -> optuna.Study | None:
    """The study that this one confirms; None when it is stored no more, or when this one confirms nothing."""
    storage, mine = backend_of(confirmation), confirmation.user_attrs.get(CONFIRMED_ID)
    names = owners(mine, storage) if mine is not None else []
    of = confirms(confirmation)
    if not names and mine is None and of is not None and has_study(storage, of):
        names = [of]
    return load_study(storage, names[0]) if names else None
