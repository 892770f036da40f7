"""A PostgreSQL server that goes away: everything is done exactly once, whenever the connection is lost."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import optuna
import psycopg
import pytest
import sqlalchemy
from optuna.trial import Trial, TrialState

import maskcls.system.lock
import search.database.reconnecting
import search.database.study_lock
from maskcls.system.errors import UserError
from search.database.connect import backend_of, create_study, load_study, open_storage
from search.database.errors import DatabaseError
from search.database.reconnecting import LostTurnError, ReconnectingStorage
from search.database.study_lock import exclusive, holding
from search.policy.policy import Policy
from search.policy.stopping import FINISHED, StoppingCriteria
from search.storage.failures import CRASH, crashes_of
from search.storage.orphans import requeue_orphaned
from search.storage.outcomes import fail_trial, finish, report, requeue
from search.storage.queue import next_trial
from search.study.attributes import INTERRUPTIONS
from search.study.record import KEY, Stored
from search.system.processes import describe_myself
from tests.helpers import postgres
from tests.helpers.search import TOY_STUDY

STORED = Stored(TOY_STUDY, "synthetic", "0123abcd", {"source": "scratch"}, "scratch", "auto", False, 0)
POLICY, ME = Policy(TOY_STUDY, 0), describe_myself("cpu.0")
MAX_STATEMENTS = 300
EVERY = 3

WORKING = """
import sys, time
from optuna.trial import TrialState
from search.policy.stopping import StoppingCriteria, count_finished
from search.policy.policy import Policy
from search.system.processes import describe_myself
from search.database.connect import load_study, open_storage
from search.study.record import read_stored
from search.storage.outcomes import finish
from search.storage.queue import next_trial
study = load_study(open_storage(sys.argv[1], create=False, waits=True), "toy")
policy, limits, me = Policy(read_stored(study).study, 0), StoppingCriteria(24), describe_myself("cpu.0")
while count_finished(study.get_trials(deepcopy=False)) < 24:
    trial = next_trial(study, policy, limits, me)
    if trial is None:
        time.sleep(0.02)
        continue
    print(trial.number, flush=True)
    for step in (1, 2, 3):
        trial.report(step / 8, step)
        time.sleep(0.05)
    finish(study, trial, TrialState.COMPLETE, 0.375, me)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.server() as found:
        yield found


@pytest.fixture
def url(server: postgres.Server) -> str:
    with psycopg.connect(host=str(server.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS one WITH (FORCE)")
        connection.execute("CREATE DATABASE one")
    return server.url.replace("/postgres?", "/one?")


@pytest.fixture
def study(url: str, monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    monkeypatch.setattr(search.database.reconnecting, "WAITS", (0.01, 0.05))
    return create_study(open_storage(url, create=True), "toy", {KEY: STORED.to_json()})


class Cutter:
    """Loses the connection at one statement: before it is sent, or, of a commit, after it was done unheard."""

    def __init__(self, storage: ReconnectingStorage) -> None:
        self.dialect, self.at, self.done = storage.engine.dialect, 0, True
        self.is_after_commit = False
        execute, commit = self.dialect.do_execute, self.dialect.do_commit
        address = storage.engine.url.query["host"]

        def cut(connection: Any) -> None:
            self.done = True
            with psycopg.connect(host=str(address), user="postgres", dbname="one", autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))

        def do_execute(cursor: Any, *words: Any) -> None:
            self.at -= not self.is_after_commit
            if self.at == 0 and not self.done:
                cut(cursor.connection)
            execute(cursor, *words)

        def do_commit(connection: Any) -> None:
            driver = getattr(connection, "driver_connection", None) or connection
            self.at -= 1
            if self.at == 0 and not self.done:
                if self.is_after_commit:
                    commit(connection)
                cut(driver)
            commit(connection)  # of a connection that is cut: fails

        self.dialect.do_execute, self.dialect.do_commit = do_execute, do_commit  # type: ignore[method-assign]

    def arm(self, at: int, is_after_commit: bool) -> None:
        self.at, self.done, self.is_after_commit = at, False, is_after_commit


def at_every_statement(study: optuna.Study, act: Callable[[], None]) -> int:
    """Act again and again, with the connection lost at one statement after another (every third, as each takes a
    while), then after one commit after another; returns how many statements there are."""
    cutter = Cutter(backend_of(study))
    statements = 0
    for is_after_commit in (False, True):
        for number in range(1, MAX_STATEMENTS, 1 if is_after_commit else EVERY):
            cutter.arm(number, is_after_commit)
            act()
            if not cutter.done:
                statements = statements or number
                break
    return statements


def take(study: optuna.Study, n_trials: int = 10**6) -> Trial:
    trial = next_trial(study, POLICY, StoppingCriteria(n_trials), ME)
    assert trial is not None
    return trial


def test_a_trial_is_made_once_whenever_the_connection_is_orphaned(study: optuna.Study) -> None:
    made = []
    assert at_every_statement(study, lambda: made.append(take(study).number)) > 10
    trials = study.get_trials()
    assert made == [trial.number for trial in trials] == list(range(len(trials)))
    assert all(trial.state == TrialState.RUNNING and trial.params for trial in trials)


def test_a_waiting_trial_is_taken_once(study: optuna.Study) -> None:
    first = take(study)

    def act() -> None:
        requeue(study, first, ME)
        again = take(study, 1)
        assert again.number == 0

    assert at_every_statement(study, act) > 10
    (trial,) = study.get_trials()
    assert trial.state == TrialState.RUNNING


def test_an_interruption_and_a_failure_count_once(study: optuna.Study) -> None:
    trial, times = take(study), []

    def interrupt() -> None:
        requeue(study, trial, ME)
        times.append(1)
        (stored,) = study.get_trials()
        assert stored.state == TrialState.WAITING
        assert stored.user_attrs[INTERRUPTIONS] == len(times)
        take(study, 1)

    at_every_statement(study, interrupt)

    def crash() -> None:
        other = take(study)
        assert fail_trial(study, other, CRASH, "cursed", ME) == TrialState.WAITING  # nothing ever succeeded
        assert crashes_of(study.get_trials()[other.number]) == 1
        study._storage.set_trial_state_values(other._trial_id, TrialState.FAIL)

    at_every_statement(study, crash)


def test_scores_ends_and_attributes_are_kept_once(study: optuna.Study) -> None:
    def act() -> None:
        trial = take(study)
        for step in (1, 2):
            trial.report(step / 4, step)
        trial.set_user_attr("seconds", 1.5)
        backend_of(study).record_heartbeat(trial._trial_id)
        finish(study, trial, TrialState.COMPLETE, 0.5, ME)

    assert at_every_statement(study, act) > 40
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(len(trials)))
    for trial in trials:
        assert (trial.state, trial.value, trial.intermediate_values) == (TrialState.COMPLETE, 0.5, {1: 0.25, 2: 0.5})
        assert trial.user_attrs["seconds"] == 1.5


def test_scores_that_a_worker_tells_in_turns_are_kept_whenever_the_connection_is_orphaned(study: optuna.Study) -> None:
    def act() -> None:
        trial = take(study)
        for step in (1, 2, 3):
            report(study, trial, step, step / 8, ME, lambda: None)
        finish(study, trial, TrialState.COMPLETE, 0.375, ME)

    assert at_every_statement(study, act) > 20
    assert all(trial.intermediate_values == {1: 0.125, 2: 0.25, 3: 0.375} for trial in study.get_trials())


def test_what_goes_wrong_while_files_take_their_places_is_told(study: optuna.Study) -> None:
    storage = backend_of(study)
    with pytest.raises(LostTurnError), holding(storage, "toy", take(study)._trial_id, lambda: None):
        raise storage.lost_turn(RuntimeError("a statement in between"))


def test_what_optuna_asks_for_is_done_once_too(study: optuna.Study) -> None:
    """The dashboard enqueues and tells; another program may use the same storage object."""

    def act() -> None:
        study.enqueue_trial({"lr": 0.01})
        trial = study.get_trials()[-1]
        backend_of(study).set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
        study.set_user_attr("note", trial.number)

    assert at_every_statement(study, act) > 10
    trials = study.get_trials()
    assert all(trial.state == TrialState.COMPLETE and trial.value == 0.5 for trial in trials)
    assert study.user_attrs["note"] == len(trials) - 1


def test_a_study_is_made_and_deleted_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.database.reconnecting, "WAITS", (0.01, 0.05))
    storage = open_storage(url, create=True)
    study = create_study(storage, "kept", {})

    def act() -> None:
        made = create_study(storage, "toy", {KEY: STORED.to_json()})
        assert made.user_attrs[KEY] == STORED.to_json()
        optuna.delete_study(study_name="toy", storage=storage)

    assert at_every_statement(study, act) > 10
    assert optuna.get_all_study_names(storage) == ["kept"]


def test_a_server_that_restarts_is_waited_for_and_nothing_is_lost_or_done_twice(
    study: optuna.Study, url: str, server: postgres.Server
) -> None:
    words = [sys.executable, "-c", WORKING, url]
    workers = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert workers[0].stdout is not None
    told = [workers[0].stdout.readline()]
    server.stop()
    time.sleep(1.5)
    server.start()
    heard = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], heard
    begun = sorted(int(number) for number in [*"".join(told).split(), *heard[0][0].split(), *heard[1][0].split()])
    assert begun == list(range(24))
    assert any("waiting for the database" in said for _, said in heard)  # the other may not have begun yet
    for _, said in heard:
        assert "Traceback" not in said
        assert "exceeding max length" not in said
    trials = study.get_trials()
    assert all(trial.state in FINISHED and trial.value == 0.375 for trial in trials)
    assert all(trial.intermediate_values == {1: 0.125, 2: 0.25, 3: 0.375} for trial in trials)
    assert len(trials) == 24


def test_connections_that_were_cut_while_idle_are_not_even_noticed(
    study: optuna.Study, url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    trial = take(study)
    cut_all(url)
    trial.report(0.5, 1)
    cut_all(url)
    finish(study, trial, TrialState.COMPLETE, 0.5, ME)
    assert study.get_trials()[0].intermediate_values == {1: 0.5}
    assert capfd.readouterr().err == ""


def cut_all(url: str) -> None:
    query = sqlalchemy.make_url(url).query
    with psycopg.connect(host=str(query["host"]), user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'one'")


def test_a_server_that_stays_away_ends_in_one_line_without_optunas_guess(
    study: optuna.Study, server: postgres.Server, url: str
) -> None:
    trial = take(study)
    backend_of(study).patience = 0.3
    server.stop()
    try:
        for act in (lambda: trial.report(0.5, 1), lambda: requeue_orphaned(study), lambda: study.get_trials()):
            with pytest.raises(DatabaseError) as caught:
                act()
            text = str(caught.value)
            assert "\n" not in text
            assert "connection" in text
            assert "exceeding max length" not in text
        with pytest.raises(UserError, match="cannot be opened"):
            open_storage(url, create=False)
    finally:
        server.start()
    backend_of(study).patience = 60
    trial.report(0.5, 1)
    assert study.get_trials()[0].intermediate_values == {1: 0.5}


def test_whoever_was_not_heard_of_while_the_server_was_away_is_not_taken_for_dead(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = take(study)
    far = replace(ME, machine="another").to_json()
    study._storage.set_trial_user_attr(trial._trial_id, "worker", far)
    storage = backend_of(study)
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = now() - interval '1 hour'"))
    storage.back_since = time.monotonic()
    assert requeue_orphaned(study) == []
    storage.back_since = time.monotonic() - 1000
    assert requeue_orphaned(study) == [0]


def test_a_turn_that_nobody_lets_go_of_is_said_and_has_an_end(
    study: optuna.Study, url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(maskcls.system.lock, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(search.database.study_lock, "TRY_SECONDS", 0.2)
    backend_of(study).lock_seconds = 0.5
    with (
        exclusive(open_storage(url, create=False), "toy"),
        pytest.raises(UserError, match=r"the turn of study toy has been held by mask-search .* end that process"),
    ):
        take(study)
    assert "waiting for the turn of study toy: held by mask-search" in capfd.readouterr().err
    assert take(study).number == 0


def test_a_table_that_somebody_has_locked_is_waited_for_and_named(
    study: optuna.Study, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.database.timeouts.LOCK_SECONDS", 0.2)
    other = load_study(open_storage(url, create=False, patience=0.5), "toy")
    with backend_of(study).engine.begin() as connection:
        connection.execute(sqlalchemy.text("LOCK TABLE trials IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(DatabaseError, match="another program holds a lock in it"):
            other.get_trials()
    assert other.get_trials() == []
