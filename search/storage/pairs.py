"""Links between a search and its confirmation: by the search's id, which survives a renaming, else by name."""

import optuna

from search.database.connect import backend_of, has_study, load_study
from search.policy.confirmation import SUFFIX, TEAM_SUFFIX
from search.storage.folder import names_with_id
from search.study.attributes import CONFIRMED_ID, id_of
from search.study.record import confirms, confirms_team


def confirmation_of(searched: optuna.Study, team: bool = False) -> optuna.Study | None:
    """The study that confirms this one, or a ``team`` of its models; None while there is none."""
    storage, search_id = backend_of(searched), id_of(searched)
    if search_id is not None:
        for study in storage.get_all_studies():
            is_linked = study.user_attrs.get(CONFIRMED_ID) == search_id and confirms(study) is not None
            if is_linked and confirms_team(study) == team:
                return load_study(storage, study.study_name)
    name = searched.study_name + (TEAM_SUFFIX if team else SUFFIX)
    if not has_study(storage, name):
        return None
    named = load_study(storage, name)
    confirms_it = confirms(named) == searched.study_name and named.user_attrs.get(CONFIRMED_ID) in (None, search_id)
    return named if confirms_it and confirms_team(named) == team else None


def confirmations_of(searched: optuna.Study) -> list[optuna.Study]:
    """All studies that confirm this one: its finalists, and a team of its models."""
    found = (confirmation_of(searched, team) for team in (False, True))
    return [study for study in found if study is not None]


def search_of(confirmation: optuna.Study) -> optuna.Study | None:
    """The study that this one confirms; None when it was deleted, or when this one is not a confirmation."""
    storage, search_id = backend_of(confirmation), confirmation.user_attrs.get(CONFIRMED_ID)
    names = names_with_id(search_id, storage) if search_id is not None else []
    name = confirms(confirmation)
    if search_id is None and name is not None and has_study(storage, name):
        names = [name]
    return load_study(storage, names[0]) if names else None
