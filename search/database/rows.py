"""Statements on Optuna's tables where its own storage needs many: a trial is stored, and trials are read, by one
statement for each table, whatever the number of their values.

Optuna stores each value by two to three statements, and reads each row as an object of its own: to take a trial in a
turn took a server 52 statements and takes 13 (benchmarks/README.md). The rows are the same, so that Optuna and its
dashboard read what is stored here, and the other way round.
"""

import json
import sys
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Session

IDS_AT_ONCE = 500
"""Trials whose values are read by one statement: databases limit its parameters, and the rows take memory."""


def add_trial(session: Session, study_id: int, template: FrozenTrial) -> models.TrialModel:
    """A new trial with all of the template but its number, and with a first heartbeat if it is running; the study's
    row is locked.

    Unlike Optuna's own, without a look for an earlier trial whose distributions are incompatible: a study's space is
    checked as a whole (search.study.record.check_same).
    """
    row = models.TrialModel(
        study_id=study_id,
        number=None,
        state=template.state,
        datetime_start=template.datetime_start,
        datetime_complete=template.datetime_complete,
    )
    session.add(row)
    session.flush()  # gives it its id; on SQLite it also keeps others from adding trials
    trial_id = int(row.trial_id)
    of_trial = {"trial_id": trial_id}
    _insert(session, models.TrialValueModel, [of_trial | _value(*each) for each in enumerate(template.values or ())])
    params = [_param(name, value, template.distributions[name]) for name, value in template.params.items()]
    _insert(session, models.TrialParamModel, [of_trial | param for param in params])
    for model, attributes in (
        (models.TrialUserAttributeModel, template.user_attrs),
        (models.TrialSystemAttributeModel, template.system_attrs),
    ):
        _insert(session, model, _attribute_rows("trial_id", trial_id, attributes))
    scores = template.intermediate_values.items()
    _insert(session, models.TrialIntermediateValueModel, [of_trial | _score(*each) for each in scores])
    if template.state == TrialState.RUNNING:
        session.execute(sqlalchemy.insert(models.TrialHeartbeatModel).values(of_trial))
    row.number = row.count_past_trials(session)
    return row


def _insert(session: Session, model: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        session.execute(sqlalchemy.insert(model).values(list(rows)))


def _param(name: str, value: Any, domain: BaseDistribution) -> dict[str, Any]:
    internal = domain.to_internal_repr(value)
    return {"param_name": name, "param_value": internal, "distribution_json": distribution_to_json(domain)}


def _value(objective: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"objective": objective, "value": stored, "value_type": kind}


def _score(step: int, score: float) -> dict[str, Any]:
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(score)
    return {"step": step, "intermediate_value": stored, "intermediate_value_type": kind}


def _attribute_rows(owner: str, owner_id: int, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``owner``: the column with the id of the trial or study that has them."""
    return [{owner: owner_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


def set_user_attributes(session: Session, trial_id: int, attributes: Mapping[str, Any]) -> None:
    """Store these attributes of a trial, in place of earlier ones of their names.

    The trial's row is locked, so that its worker cannot end it meanwhile. Raises KeyError when there is no such trial,
    UpdateFinishedTrialError when it has ended.
    """
    state = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True).state
    if state.is_finished():
        raise UpdateFinishedTrialError(f"Trial {trial_id} has ended and cannot be changed.")
    if attributes:
        _put(session, models.TrialUserAttributeModel, _attribute_rows("trial_id", trial_id, attributes))


def set_user_attribute_of_studies(session: Session, key: str, values: Mapping[int, Any]) -> None:
    """Store this attribute of several studies, by their ids, in place of earlier values.

    Raises KeyError when there is no such study.
    """
    for study_id in sorted(values):  # held, so that nobody deletes one of them meanwhile
        models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
    rows = [row for each, value in values.items() for row in _attribute_rows("study_id", each, {key: value})]
    _put(session, models.StudyUserAttributeModel, rows)


def _put(session: Session, model: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert attributes' rows, or change those that are there."""
    dialect = session.get_bind().dialect.name
    owner, *_ = rows[0]
    if dialect in ("mysql", "mariadb"):
        put = mysql.insert(model).values(list(rows))
        session.execute(put.on_duplicate_key_update(value_json=put.inserted.value_json))
        return
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    into = insert(model).values(list(rows))
    unique = [getattr(model, owner), model.key]
    session.execute(into.on_conflict_do_update(index_elements=unique, set_={"value_json": into.excluded.value_json}))


def state_and_attribute(trial_id: int, key: str) -> sqlalchemy.Select[Any]:
    """The statement that reads a trial's state and, as JSON, one of its user attributes; None in its place."""
    attribute = models.TrialUserAttributeModel
    same = sqlalchemy.and_(attribute.trial_id == models.TrialModel.trial_id, attribute.key == key)
    return (
        sqlalchemy.select(models.TrialModel.state, attribute.value_json)
        .outerjoin(attribute, same)
        .where(models.TrialModel.trial_id == trial_id)
    )


def is_value_of_a_study(key: str, column: Any) -> sqlalchemy.ColumnElement[bool]:
    """The condition that this user attribute of some study is the column's text, which JSON writes as it is but for the
    quotation marks."""
    attribute = models.StudyUserAttributeModel
    text = sqlalchemy.literal('"').concat(column).concat('"')
    return sqlalchemy.exists().where(attribute.key == key, attribute.value_json == text)


def study_user_attributes(session: Session, study_id: int) -> dict[str, Any]:
    """The user attributes of a study. Raises KeyError when there are none because there is no such study."""
    attribute = models.StudyUserAttributeModel
    chosen = sqlalchemy.select(attribute.key, attribute.value_json).where(attribute.study_id == study_id)
    found = {key: json.loads(text) for key, text in session.execute(chosen)}
    if not found:
        models.StudyModel.find_or_raise_by_id(study_id, session)
    return found


def read_trials(
    session: Session,
    study_id: int,
    states: Container[TrialState] | None,
    included: Collection[int],
    greater_than: int,
) -> list[FrozenTrial]:
    """The trials of a study, by their id: those that are ``included`` and those with a greater id than that; with
    ``greater_than`` = -1, all. ``states``: only those in one of these.

    Raises KeyError when there are none because there is no such study.
    """
    trial = models.TrialModel
    chosen = sqlalchemy.select(trial).where(trial.study_id == study_id).order_by(trial.trial_id)
    if states is not None:
        chosen = chosen.where(trial.state.in_([state for state in TrialState if state in states]))
    older = [each for each in included if each <= greater_than]
    if greater_than > -1:
        is_new = trial.trial_id > greater_than
        chosen = chosen.where(sqlalchemy.or_(trial.trial_id.in_(older), is_new) if older else is_new)
    found = list(session.execute(chosen).scalars())
    if not found:
        models.StudyModel.find_or_raise_by_id(study_id, session)
    trials: list[FrozenTrial] = []
    for first in range(0, len(found), IDS_AT_ONCE):
        trials += _with_values(session, found[first : first + IDS_AT_ONCE])
    return trials


def _with_values(session: Session, found: Sequence[models.TrialModel]) -> list[FrozenTrial]:
    """Trials with all that other tables hold of them."""
    trials = {int(row.trial_id): _bare(row) for row in found}
    for trial_id, name, value, domain in _rows_of(session, trials, models.TrialParamModel):
        trial, distribution = trials[trial_id], _distribution(domain)
        trial._distributions[name] = distribution
        trial._params[name] = distribution.to_external_repr(value)
    for trial_id, objective, value, kind in _rows_of(session, trials, models.TrialValueModel):
        values = trials[trial_id]._values = trials[trial_id]._values or []
        values.extend([0.0] * (objective + 1 - len(values)))
        values[objective] = models.TrialValueModel.stored_repr_to_value(value, kind)
    for trial_id, key, value in _rows_of(session, trials, models.TrialUserAttributeModel):
        trials[trial_id]._user_attrs[sys.intern(key)] = _parsed(value)
    for trial_id, key, value in _rows_of(session, trials, models.TrialSystemAttributeModel):
        trials[trial_id]._system_attrs[sys.intern(key)] = _parsed(value)
    for trial_id, step, value, kind in _rows_of(session, trials, models.TrialIntermediateValueModel):
        score = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value(value, kind)
        trials[trial_id].intermediate_values[step] = score
    return list(trials.values())


def _bare(row: Any) -> FrozenTrial:
    """The trial of a row, without what other tables hold of it."""
    return FrozenTrial(
        number=row.number,
        state=row.state,
        value=None,
        datetime_start=row.datetime_start,
        datetime_complete=row.datetime_complete,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=int(row.trial_id),
    )


COLUMNS: dict[Any, tuple[str, ...]] = {
    models.TrialParamModel: ("param_name", "param_value", "distribution_json"),
    models.TrialValueModel: ("objective", "value", "value_type"),
    models.TrialUserAttributeModel: ("key", "value_json"),
    models.TrialSystemAttributeModel: ("key", "value_json"),
    models.TrialIntermediateValueModel: ("step", "intermediate_value", "intermediate_value_type"),
}
"""What a trial's rows hold in each table, besides its id."""


def _rows_of(session: Session, trial_ids: Iterable[int], model: Any) -> Iterable[Any]:
    """These trials' rows in a table, in the order in which they were stored."""
    columns = [getattr(model, name) for name in ("trial_id", *COLUMNS[model])]
    (key,) = sqlalchemy.inspect(model).primary_key
    return session.execute(sqlalchemy.select(*columns).where(model.trial_id.in_(list(trial_ids))).order_by(key))


@lru_cache(maxsize=1024)
def _distribution(text: str) -> BaseDistribution:
    """The distribution with this JSON, one object for all trials that have it: none is ever changed."""
    return json_to_distribution(text)


def _parsed(text: str) -> Any:
    """The value of this JSON. Of ten thousand trials most texts are the same few, and are kept once."""
    return _DECODER.decode(text)


def _shared(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys and texts are kept once, however many trials have them."""
    return {sys.intern(key): sys.intern(value) if type(value) is str else value for key, value in pairs}


_DECODER = json.JSONDecoder(object_pairs_hook=_shared)
