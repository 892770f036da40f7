"""Trials are stored and read by one statement a table, and as Optuna's own storage stores and reads them."""

import math
import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.dialects import mysql, postgresql, sqlite

from search.database.connect import (
    GRACE_SECONDS,
    backend_of,
    create_study,
    load_study,
    open_storage,
    set_attributes,
)
from search.database.optuna_internals import stale_trial_ids, store_trial, study_id, trial_id
from search.database.reconnecting import ReconnectingStorage
from search.database.rows import _seconds_since, _value_rows
from search.storage.outcomes import report
from search.study.attributes import WORKER
from tests.helpers.queue import MYSELF, complete, taken

SPACE = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "size": IntDistribution(32, 96),
    "head": CategoricalDistribution(["a", 1, None, True]),
}
FACTS = {"config": {"lr": 0.1, "nested": {"text": "a", "none": None}}, "list": [1, "a", [2.5]], "text": "ü", "nan": 0.5}


def of_state(state: TrialState, value: float | None) -> FrozenTrial:
    began = datetime(2026, 1, 2, 3, 4, 5)
    trial = create_trial(
        state=state,
        value=value,
        params={"size": 64, "head": None, "lr": 1e-3},
        distributions={name: SPACE[name] for name in ("size", "head", "lr")},
        intermediate_values={2: 0.25, 1: math.inf, 3: -math.inf},
        user_attrs=FACTS,
        system_attrs={"run": {"claim": "x"}},
    )
    trial.datetime_start = began
    trial.datetime_complete = began if state.is_finished() else None
    return trial


ALL_KINDS = [
    of_state(TrialState.COMPLETE, 0.5),
    of_state(TrialState.PRUNED, math.inf),
    of_state(TrialState.PRUNED, None),
    of_state(TrialState.FAIL, None),
    of_state(TrialState.RUNNING, None),
    of_state(TrialState.WAITING, None),
]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture
def storage(url: str) -> ReconnectingStorage:
    return open_storage(url, create=True)


@pytest.fixture
def study(storage: ReconnectingStorage) -> optuna.Study:
    create_study(storage, "s", {"question": "Does it?"})
    return load_study(storage, "s")


@pytest.fixture
def statements(storage: ReconnectingStorage) -> list[str]:
    made: list[str] = []

    def note(*arguments: Any) -> None:
        made.append(arguments[2])

    sqlalchemy.event.listen(storage.engine, "before_cursor_execute", note)
    return made


def facts(trial: FrozenTrial) -> dict[str, Any]:
    """All that a trial holds; its token is of the call that stored it."""
    system = {key: value for key, value in trial.system_attrs.items() if key != "mask-search:token"}
    return {**vars(trial), "_system_attrs": system, "params": list(trial.params.items())}


def test_optuna_reads_what_is_stored_and_stores_what_is_read(url: str, study: optuna.Study) -> None:
    theirs = optuna.load_study(study_name="s", storage=RDBStorage(url))
    for template in ALL_KINDS:
        store_trial(study, template)
        theirs.add_trial(template)
    mine, read = study.get_trials(deepcopy=False), theirs.get_trials(deepcopy=False)
    assert [facts(trial) for trial in mine] == [facts(trial) for trial in read]
    assert [trial.number for trial in mine] == list(range(12))
    for first, second, template in zip(mine[::2], mine[1::2], ALL_KINDS, strict=True):
        for trial in (first, second):
            assert (trial.state, trial.values, trial.params) == (template.state, template.values, template.params)
            assert trial.intermediate_values == template.intermediate_values
            assert (trial.user_attrs, trial.distributions) == (FACTS, template.distributions)


def test_of_a_read_that_knows_the_finished_trials_only_the_others_come_back(study: optuna.Study) -> None:
    backend = open_storage(str(study._storage._backend.url), create=False)  # type: ignore[attr-defined]
    ids = [store_trial(study, template) for template in ALL_KINDS * 200]
    got = backend._get_trials(study_id(study), None, {ids[4], ids[5], ids[-1]}, ids[-3])
    assert [trial_id(trial) for trial in got] == [ids[4], ids[5], *ids[-2:]]
    waiting = backend._get_trials(study_id(study), (TrialState.WAITING,), set(), -1)
    assert [trial.number for trial in waiting] == list(range(5, 1200, 6))
    optuna.delete_study(study_name="s", storage=backend)
    with pytest.raises(KeyError):
        backend._get_trials(study_id(study), None, set(), ids[-1])


def test_an_old_sqlite_takes_the_statements_of_many_trials_and_values(
    storage: ReconnectingStorage, study: optuna.Study
) -> None:
    """One before 3.32 takes 999 variables in a statement."""
    storage.engine.dispose()

    def limit(connection: sqlite3.Connection, _: Any) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)

    sqlalchemy.event.listen(storage.engine, "connect", limit)
    long = of_state(TrialState.RUNNING, None)
    long.intermediate_values = {step: step / 1000 for step in range(1000)}
    ids = [store_trial(study, long)] + [store_trial(study, of_state(TrialState.WAITING, None)) for _ in range(250)]
    many = {f"fact {number}": number for number in range(1000)}
    set_attributes(study, study.get_trials(deepcopy=False)[0], many)
    read = storage._get_trials(study_id(study), None, set(range(2000)), 2000)
    assert [trial_id(trial) for trial in read] == ids
    assert read[0].intermediate_values == long.intermediate_values
    assert read[0].user_attrs == FACTS | many


def test_a_trial_costs_as_many_statements_whatever_it_holds(study: optuna.Study, statements: list[str]) -> None:
    """Optuna's own storage makes 43 for this template, and two more for each further attribute."""
    store_trial(study, ALL_KINDS[0])
    few = len(statements)
    statements.clear()
    rich = of_state(TrialState.COMPLETE, 0.5)
    rich.set_user_attr("more", {})
    rich.set_user_attr("and more", {})
    store_trial(study, rich)
    assert len(statements) == few <= 9


def test_a_turn_makes_few_statements(study: optuna.Study, statements: list[str]) -> None:
    """Asks and ends of a turn on a server wait for each statement's answer, and all other workers wait for the turn."""
    for _ in range(2):
        complete(study)
    statements.clear()
    trial = taken(study)
    assert len(statements) <= 18  # three of them before the turn, and two to read the trial after it
    statements.clear()
    set_attributes(study, trial, {f"fact {number}": number for number in range(20)})
    assert len(statements) == 2
    statements.clear()
    report(study, trial, 1, 0.5, MYSELF, lambda: None)
    assert len(statements) == 3  # whose trial it is, its state, and the score


def test_trials_are_read_by_two_statements_whatever_their_number(study: optuna.Study, statements: list[str]) -> None:
    ids = [store_trial(study, template) for template in ALL_KINDS * 2]
    fresh = load_study(backend_of(study), "s")
    statements.clear()
    assert len(fresh.get_trials(deepcopy=False)) == 12
    assert len(statements) == 2
    statements.clear()
    wanted = fresh.get_trials()[1]
    statements.clear()
    assert facts(backend_of(study).get_trial(ids[1])) == facts(wanted)
    assert len(statements) == 2
    with pytest.raises(KeyError):
        backend_of(study).get_trial(10**6)


def test_a_score_replaces_that_of_its_step_while_the_trial_runs(study: optuna.Study) -> None:
    storage, running = backend_of(study), store_trial(study, of_state(TrialState.RUNNING, None))
    for score in (math.nan, 0.5, -math.inf, 0.25):
        storage.set_trial_intermediate_value(running, 2, score)
    storage.set_trial_intermediate_value(running, 7, math.inf)
    stored = {1: math.inf, 2: 0.25, 3: -math.inf, 7: math.inf}
    assert storage.get_trial(running).intermediate_values == stored
    assert RDBStorage(str(storage.url)).get_trial(running).intermediate_values == stored
    ended = store_trial(study, of_state(TrialState.COMPLETE, 0.5))
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_intermediate_value(ended, 2, 0.5)
    with pytest.raises(KeyError):
        storage.set_trial_intermediate_value(10**6, 2, 0.5)
    storage.set_trial_intermediate_value(running, 8, math.nan)
    assert math.isnan(storage.get_trial(running).intermediate_values[8])


def test_attributes_replace_earlier_ones_and_a_finished_trial_keeps_its_own(study: optuna.Study) -> None:
    trial = taken(study)
    set_attributes(study, trial, {"a": 1, "b": {"c": None}})
    set_attributes(study, trial, {"b": [2], "d": "x"})
    set_attributes(study, trial, {})
    stored = study.get_trials()[trial.number].user_attrs
    assert (stored["a"], stored["b"], stored["d"]) == (1, [2], "x")
    assert WORKER in stored
    complete_one = complete(study)
    with pytest.raises(UpdateFinishedTrialError):
        set_attributes(study, study.get_trials()[complete_one], {"a": 2})


def test_an_attribute_of_several_studies_is_stored_of_all_or_none(
    storage: ReconnectingStorage, study: optuna.Study
) -> None:
    other = create_study(storage, "t", {"question": "Does that?"})
    first, second = study_id(study), study_id(other)
    storage.set_user_attr_of_studies("question", {first: "Why?", second: {"how": 1}})
    assert (study.user_attrs["question"], other.user_attrs["question"]) == ("Why?", {"how": 1})
    with pytest.raises(KeyError):
        storage.set_user_attr_of_studies("question", {first: "Who?", second + 1: "Who?"})
    assert study.user_attrs == {"question": "Why?"}


def test_a_running_trial_has_a_heartbeat_from_its_first_moment(
    storage: ReconnectingStorage, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = store_trial(study, ALL_KINDS[4])
    store_trial(study, ALL_KINDS[5])
    assert stale_trial_ids(study) == set()
    monkeypatch.setattr(storage, "grace_period", -1)
    assert stale_trial_ids(study) == {running}


def test_stale_trials_are_those_that_optuna_finds(storage: ReconnectingStorage, study: optuna.Study) -> None:
    other = create_study(storage, "t", {"question": "Does that?"})
    silent, late, foreign = (store_trial(each, of_state(TrialState.RUNNING, None)) for each in (study, study, other))
    without, ended = (store_trial(study, of_state(TrialState.RUNNING, None)) for _ in range(2))
    for trial, seconds in ((silent, GRACE_SECONDS + 5), (late, GRACE_SECONDS - 30), (foreign, 10**6), (ended, 10**6)):
        age_heartbeat(storage, trial, f"datetime('now', '-{seconds} seconds')")
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"DELETE FROM trial_heartbeats WHERE trial_id = {without}"))
    storage.set_trial_state_values(ended, TrialState.COMPLETE, [0.5])
    assert storage._get_stale_trial_ids(study_id(study)) == [silent]
    assert RDBStorage._get_stale_trial_ids(storage, study_id(study)) == [silent]
    storage.record_heartbeat(silent)
    storage.record_heartbeat(without)
    assert stale_trial_ids(study) == set()
    age_heartbeat(storage, without, f"datetime('now', '-{GRACE_SECONDS + 5} seconds')")
    assert stale_trial_ids(study) == {without}


def age_heartbeat(storage: ReconnectingStorage, trial: int, when: str) -> None:
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"UPDATE trial_heartbeats SET heartbeat = {when} WHERE trial_id = {trial}"))


def test_statements_are_written_in_the_words_of_each_database() -> None:
    """Where a MariaDB is found, test_mariadb.py runs them."""
    words = {}
    for dialect in (mysql.dialect(), postgresql.dialect(), sqlite.dialect()):
        age = _seconds_since(models.TrialHeartbeatModel.heartbeat, dialect.name)
        words[dialect.name] = f"{age.compile(dialect=dialect)} {_value_rows(dialect.name).compile(dialect=dialect)}"
    assert "timestampdiff(SECOND, trial_heartbeats.heartbeat, now())" in words["mysql"]
    assert "EXTRACT(epoch FROM" in words["postgresql"]
    assert "strftime('%s'" in words["sqlite"] or "strftime(?" in words["sqlite"]
    assert [text.count(" IN (") + text.count("ANY (") for text in words.values()] == [5, 5, 5]
    assert ["ANY (" in text for text in words.values()] == [False, True, False]


@pytest.mark.parametrize("key", [WORKER, "no such attribute"])
def test_a_state_and_an_attribute_are_read_together(
    key: str, storage: ReconnectingStorage, study: optuna.Study, statements: list[str]
) -> None:
    trial = taken(study)
    statements.clear()
    stored = study.get_trials()[trial.number].user_attrs.get(key)
    statements.clear()
    assert storage.state_and_attribute(trial_id(trial), key) == (TrialState.RUNNING, stored)
    assert len(statements) == 1
    with pytest.raises(KeyError):
        storage.state_and_attribute(10**6, key)


def test_the_attributes_of_a_study_are_read_at_once(
    storage: ReconnectingStorage, study: optuna.Study, statements: list[str]
) -> None:
    study.set_user_attr("more", {"a": [1, None]})
    statements.clear()
    assert study.user_attrs == {"question": "Does it?", "more": {"a": [1, None]}}
    assert len(statements) == 1
    with pytest.raises(KeyError):
        storage.get_study_user_attrs(10**6)


def test_trials_share_what_they_have_in_common(study: optuna.Study) -> None:
    for template in ALL_KINDS[:2]:
        store_trial(study, template)
    one, other = load_study(study._storage._backend, "s").get_trials(deepcopy=False)  # type: ignore[attr-defined]
    assert one.distributions["lr"] is other.distributions["lr"]
    same: Callable[[FrozenTrial], Any] = lambda trial: next(iter(trial.user_attrs["config"]))  # noqa: E731
    assert same(one) is same(other)
