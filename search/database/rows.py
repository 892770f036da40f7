"""Statements on Optuna's tables where its own storage needs many: a trial is stored by one statement for each table,
and up to IDS_AT_ONCE trials are read by two, whatever the number of their values.

Optuna stores each value by two to three statements, and reads each row as an object of its own: to take a trial in a
turn took a server 52 statements and takes 13 (benchmarks/README.md). The rows are the same, so that Optuna and its
dashboard read what is stored here, and the other way round.
"""

import json
import math
import sys
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
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

from search.database.mysql import DIALECTS

IDS_AT_ONCE = 500
"""Trials whose values are read by one statement: their rows take memory."""

SQLITE_VARIABLES = 999
"""Variables of one statement that every SQLite takes: the limit of those before 3.32
(https://www.sqlite.org/limits.html#max_variable_number)."""

_TRIALS = models.TrialModel.__table__.c


def add_trial(session: Session, study_id: int, template: FrozenTrial) -> tuple[int, int]:
    """Store a new trial with all of the template but its number, and with a first heartbeat if it is running; returns
    its id and its number. The study's row is locked.

    Unlike Optuna's own, without a look for an earlier trial whose distributions are incompatible: a study's space is
    checked as a whole (search.study.record.check_same).
    """
    trial_id, number = _add_row(session, study_id, template)
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
        _insert(session, models.TrialHeartbeatModel, [of_trial])
    return trial_id, number


def _add_row(session: Session, study_id: int, template: FrozenTrial) -> tuple[int, int]:
    """The id and the number of a new trial without values. On a server the study's locked row keeps others from adding
    trials; in an SQLite file, without such locks, the new row itself does."""
    is_file = _dialect(session) == "sqlite"
    number = -1 if is_file else _count_trials(session, study_id)
    row = {
        "study_id": study_id,
        "number": None if is_file else number,
        "state": template.state,
        "datetime_start": _stored(template.datetime_start),
        "datetime_complete": _stored(template.datetime_complete),
    }
    added = session.connection().execute(sqlalchemy.insert(models.TrialModel.__table__).values(row))
    assert added.inserted_primary_key is not None
    trial_id = int(added.inserted_primary_key[0])
    if is_file:
        number = _count_trials(session, study_id) - 1
        of_row = sqlalchemy.update(models.TrialModel.__table__).where(_TRIALS.trial_id == trial_id)
        session.execute(of_row.values(number=number))
    return trial_id, number


def _count_trials(session: Session, study_id: int) -> int:
    counted = sqlalchemy.select(sqlalchemy.func.count(_TRIALS.trial_id)).where(_TRIALS.study_id == study_id)
    return session.execute(counted).scalar_one()


def _stored(local: datetime | None) -> datetime | None:
    """A trial's local time as it is stored, in UTC without its offset."""
    return None if local is None else local.astimezone(UTC).replace(tzinfo=None)


def _dialect(session: Session) -> str:
    return session.get_bind().dialect.name


def _insert(session: Session, model: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    for some in _parts(session, rows):
        session.execute(sqlalchemy.insert(model.__table__).values(some))


def _parts(session: Session, rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """The rows in as many parts as the database needs to take each by one statement; none of no rows."""
    if not rows:
        return
    at_once = SQLITE_VARIABLES // len(rows[0]) if _dialect(session) == "sqlite" else len(rows)
    for first in range(0, len(rows), at_once):
        yield list(rows[first : first + at_once])


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
    _hold_unfinished(session, trial_id)
    if attributes:
        _put(session, models.TrialUserAttributeModel, _attribute_rows("trial_id", trial_id, attributes))


def set_score(session: Session, trial_id: int, step: int, score: float) -> None:
    """Store a value of a trial's curve, in place of an earlier one of the step. Locks and raises as
    set_user_attributes."""
    _hold_unfinished(session, trial_id)
    _put(session, models.TrialIntermediateValueModel, [{"trial_id": trial_id, **_score(step, score)}])


def set_heartbeat(session: Session, trial_id: int) -> None:
    """Store that the trial's process is alive now, by the database's clock."""
    table, now = models.TrialHeartbeatModel.__table__, sqlalchemy.func.current_timestamp()
    set_now = sqlalchemy.update(table).where(table.c.trial_id == trial_id).values(heartbeat=now)
    if session.connection().execute(set_now).rowcount == 0:
        session.execute(sqlalchemy.insert(table).values(trial_id=trial_id, heartbeat=now))


def stale_trials(session: Session, study_id: int, grace: float) -> list[int]:
    """Ids of the study's running trials whose last heartbeat is more than ``grace`` seconds old, by the database's
    clock; one that never had any is not among them."""
    beats = models.TrialHeartbeatModel.__table__.c
    chosen = sqlalchemy.select(_TRIALS.trial_id).join_from(models.TrialModel.__table__, models.TrialHeartbeatModel)
    chosen = chosen.where(_TRIALS.study_id == study_id, _TRIALS.state == TrialState.RUNNING)
    age = _seconds_since(beats.heartbeat, _dialect(session))
    return list(session.execute(chosen.where(age > grace).order_by(_TRIALS.trial_id)).scalars())


def _seconds_since(column: Any, dialect: str) -> sqlalchemy.ColumnElement[Any]:
    """How long before the beginning of the transaction a time was that the database has stored by its own clock, which
    goes in whole seconds but for PostgreSQL's."""
    now = sqlalchemy.func.now()
    if dialect == "postgresql":
        return sqlalchemy.extract("epoch", sqlalchemy.cast(now, sqlalchemy.DateTime) - column)
    if dialect == "sqlite":
        seconds = [sqlalchemy.func.strftime("%s", each) for each in (now, column)]
        return sqlalchemy.cast(seconds[0], sqlalchemy.Integer) - sqlalchemy.cast(seconds[1], sqlalchemy.Integer)
    return sqlalchemy.func.timestampdiff(sqlalchemy.text("SECOND"), column, now)


def hold_trial(session: Session, trial_id: int) -> TrialState:
    """Lock the trial's row until the end of the transaction, as whoever changes its state does; returns the state.
    Raises KeyError when there is no such trial."""
    held = sqlalchemy.select(_TRIALS.state).where(_TRIALS.trial_id == trial_id).with_for_update()
    state = session.execute(held).scalar_one_or_none()
    if state is None:
        raise KeyError(f"there is no trial of the id {trial_id}")
    return state


def _hold_unfinished(session: Session, trial_id: int) -> None:
    if hold_trial(session, trial_id).is_finished():
        raise UpdateFinishedTrialError(f"Trial {trial_id} has ended and cannot be changed.")


def set_user_attribute_of_studies(session: Session, key: str, values: Mapping[int, Any]) -> None:
    """Store this attribute of several studies, by their ids, in place of earlier values.

    Raises KeyError when there is no such study.
    """
    for study_id in sorted(values):  # held, so that nobody deletes one of them meanwhile
        models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
    rows = [row for each, value in values.items() for row in _attribute_rows("study_id", each, {key: value})]
    _put(session, models.StudyUserAttributeModel, rows)


def _put(session: Session, model: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or change those that are there: a row's first two values say which one it is."""
    for some in _parts(session, rows):
        session.execute(_upsert(_dialect(session), model.__table__, some))


def _upsert(dialect: str, table: Any, rows: list[Mapping[str, Any]]) -> sqlalchemy.Insert:
    """The statement of _put."""
    first, second, *others = rows[0]
    if dialect in DIALECTS:
        put = mysql.insert(table).values(rows)
        return put.on_duplicate_key_update({name: put.inserted[name] for name in others})
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    into = insert(table).values(rows)
    changed = {name: into.excluded[name] for name in others}
    return into.on_conflict_do_update(index_elements=[table.c[first], table.c[second]], set_=changed)


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


_TRIAL_ROWS = sqlalchemy.select(
    _TRIALS.trial_id, _TRIALS.number, _TRIALS.state, _TRIALS.datetime_start, _TRIALS.datetime_complete
)


def _is_one_of_ids(column: Any, dialect: str) -> sqlalchemy.ColumnElement[bool]:
    """The condition that the column is one of the statement's parameter "ids".

    PostgreSQL gets them as one array: to write out a parameter for each takes longer than to find the rows. Others get
    them as numbers in the statement's text: SQLite limits its variables (SQLITE_VARIABLES).
    """
    if dialect == "postgresql":
        ids = sqlalchemy.bindparam("ids", type_=postgresql.ARRAY(sqlalchemy.Integer))
        return column == sqlalchemy.any_(ids)
    numbers: Any = sqlalchemy.bindparam("ids", type_=sqlalchemy.Integer(), expanding=True, literal_execute=True)
    return column.in_(numbers)


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
