"""Statements on Optuna's tables where its own storage needs many: a trial is stored, and trials are read, by one
statement for each table, whatever the number of their values.

Optuna stores each value by two to three statements, and reads each row as an object of its own: to take a trial in a
turn took a server 52 statements and takes 13 (benchmarks/README.md). The rows are the same, so that Optuna and its
dashboard read what is stored here, and the other way round.
"""

import json
import math
import sys
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from operator import itemgetter
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
    chosen = _TRIAL_ROWS.where(_TRIALS.study_id == study_id).order_by(_TRIALS.trial_id)
    if states is not None:
        chosen = chosen.where(_TRIALS.state.in_([state for state in TrialState if state in states]))
    older = [each for each in included if each <= greater_than]
    if greater_than > -1:
        is_new = _TRIALS.trial_id > greater_than
        is_older = _is_one_of_ids(_TRIALS.trial_id, _dialect(session))
        chosen = chosen.where(sqlalchemy.or_(is_older, is_new) if older else is_new)
    found = session.execute(chosen, {"ids": older} if older else {}).all()
    if not found:
        models.StudyModel.find_or_raise_by_id(study_id, session)
    trials: list[FrozenTrial] = []
    for first in range(0, len(found), IDS_AT_ONCE):
        trials += _with_values(session, found[first : first + IDS_AT_ONCE])
    return trials


def read_trial(session: Session, trial_id: int) -> FrozenTrial:
    """The trial of this id. Raises KeyError when there is none."""
    found = session.execute(_TRIAL_ROWS.where(_TRIALS.trial_id == trial_id)).all()
    if not found:
        raise KeyError(f"there is no trial of the id {trial_id}")
    return _with_values(session, found)[0]


_TRIALS = models.TrialModel.__table__.c
_TRIAL_ROWS = sqlalchemy.select(
    _TRIALS.trial_id, _TRIALS.number, _TRIALS.state, _TRIALS.datetime_start, _TRIALS.datetime_complete
)


def _dialect(session: Session) -> str:
    return session.get_bind().dialect.name


def _is_one_of_ids(column: Any, dialect: str) -> sqlalchemy.ColumnElement[bool]:
    """The condition that the column is one of the statement's parameter "ids".

    PostgreSQL gets them as one array: to write out a parameter for each takes longer than to find the rows.
    """
    if dialect == "postgresql":
        ids = sqlalchemy.bindparam("ids", type_=postgresql.ARRAY(sqlalchemy.Integer))
        return column == sqlalchemy.any_(ids)
    return column.in_(sqlalchemy.bindparam("ids", expanding=True))


def _with_values(session: Session, found: Sequence[Any]) -> list[FrozenTrial]:
    """Trials with all that other tables hold of them. ``found``: their rows of _TRIAL_ROWS."""
    trials = {row.trial_id: _bare(*row) for row in found}
    rows = session.execute(_value_rows(_dialect(session)), {"ids": list(trials)}).all()
    for table, trial_id, _, place, name, number, text, kind in sorted(rows, key=itemgetter(0, 2)):
        trial = trials[trial_id]
        if table == SCORES:
            trial.intermediate_values[place] = UNUSUAL.get(kind, number)
        elif table == PARAMS:
            trial._distributions[name] = distribution = _distribution(text)
            trial._params[name] = distribution.to_external_repr(number)
        elif table == VALUES:
            values = trial._values = trial._values or []
            values.extend([0.0] * (place + 1 - len(values)))
            values[place] = UNUSUAL.get(kind, number)
        else:
            attributes = trial._user_attrs if table == USER_ATTRIBUTES else trial._system_attrs
            attributes[sys.intern(name)] = _parsed(text)
    return list(trials.values())


def _bare(
    trial_id: int, number: int, state: TrialState, start: datetime | None, complete: datetime | None
) -> FrozenTrial:
    """The trial of a row, without what other tables hold of it."""
    return FrozenTrial(number, state, None, _local(start), _local(complete), {}, {}, {}, {}, {}, trial_id)


def _local(stored: datetime | None) -> datetime | None:
    """The local time without its offset, as trials have it, of what is stored in UTC."""
    return None if stored is None else stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


SCORES, PARAMS, VALUES, USER_ATTRIBUTES, SYSTEM_ATTRIBUTES = range(5)
COLUMNS: dict[int, tuple[Any, tuple[str | None, ...]]] = {
    SCORES: (
        models.TrialIntermediateValueModel,
        ("step", None, "intermediate_value", None, "intermediate_value_type"),
    ),
    PARAMS: (models.TrialParamModel, (None, "param_name", "param_value", "distribution_json", None)),
    VALUES: (models.TrialValueModel, ("objective", None, "value", None, "value_type")),
    USER_ATTRIBUTES: (models.TrialUserAttributeModel, (None, "key", None, "value_json", None)),
    SYSTEM_ATTRIBUTES: (models.TrialSystemAttributeModel, (None, "key", None, "value_json", None)),
}
"""The tables that hold what trials have, and of each table what it has of (place, name, number, text, kind of number).
The first two have all between them, by which a database knows the type of each."""

UNUSUAL = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
"""Numbers that Optuna stores by their kind alone."""


@cache
def _value_rows(dialect: str) -> Any:
    """The statement that reads what other tables hold of the trials "ids": rows of (table, trial's id, own id, place,
    name, number, text, kind of number).

    It is one: a statement for each table takes a client and a server twice the time, and a turn waits for each answer.
    """
    return sqlalchemy.union_all(*(_rows_of(table, dialect) for table in COLUMNS))


def _rows_of(table: int, dialect: str) -> sqlalchemy.Select[Any]:
    model, names = COLUMNS[table]
    columns = model.__table__.c
    (key,) = model.__table__.primary_key
    held = [sqlalchemy.null() if name is None else _plain(columns[name]) for name in names]
    every = [sqlalchemy.literal_column(str(table)), columns.trial_id, key, *held]
    labelled = (column.label(f"column_{number}") for number, column in enumerate(every))
    return sqlalchemy.select(*labelled).where(_is_one_of_ids(columns.trial_id, dialect))


def _plain(column: Any) -> Any:
    """The column, with the name of an enumeration's member as its text: each table has a type of its own."""
    return sqlalchemy.cast(column, sqlalchemy.String) if isinstance(column.type, sqlalchemy.Enum) else column


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
