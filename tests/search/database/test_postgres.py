"""The studies on a real PostgreSQL server: one decision at a time, exact counts, and lost trials taken back."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

import search.delete
import search.run
import search.status
from search.database.connect import GRACE_SECONDS, backend_of, create_study, load_study, open_storage
from search.database.optuna_internals import read_trial
from search.database.study_lock import exclusive
from search.policy.policy import Policy
from search.policy.stopping import FINISHED, StoppingCriteria
from search.storage.orphans import requeue_orphaned, take_back_orphaned
from search.storage.outcomes import TakenOverError, decide_in_turn, finish, put_back, report
from search.storage.queue import next_trial
from search.study.attributes import WORKER
from search.study.record import KEY, Stored
from search.system.processes import describe_myself
from tests.helpers import postgres
from tests.helpers.search import MINE, TOY_STUDY
from tests.helpers.training import run

ME = describe_myself("cpu.0")
STORED = Stored(TOY_STUDY, "synthetic", "0123abcd", {"source": "scratch"}, "scratch", "auto", False, 0)

HOLDER = """
import sys, time
from search.database.connect import open_storage
from search.database.study_lock import exclusive
with exclusive(open_storage(sys.argv[1], create=False), sys.argv[2]):
    print("held", flush=True)
    time.sleep(100)
"""

COUNTER = """
import sys, time
from pathlib import Path
from search.database.connect import open_storage
from search.database.study_lock import exclusive
storage, path = open_storage(sys.argv[1], create=False), Path(sys.argv[2])
for _ in range(25):
    with exclusive(storage, "s"):
        count = int(path.read_text())
        time.sleep(0.002)
        path.write_text(str(count + 1))
"""

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
study = load_study(open_storage(sys.argv[1], create=False), "toy")
policy, limits, me = Policy(read_stored(study).study, 0), StoppingCriteria(20), describe_myself("cpu.0")
while count_finished(study.get_trials(deepcopy=False)) < 20:
    trial = next_trial(study, policy, limits, me)
    if trial is None:
        time.sleep(0.02)
        continue
    trial.report(0.5, 1)
    finish(study, trial, TrialState.PRUNED if trial.number % 3 else TrialState.COMPLETE, 0.5)
    print(trial.number, flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.serving() as url:
        yield url


@pytest.fixture
def url(server: str) -> str:
    """A database of the test's own on the server."""
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("DROP DATABASE IF EXISTS one WITH (FORCE)"))
        connection.execute(sqlalchemy.text("CREATE DATABASE one"))
    engine.dispose()
    return server.replace("/postgres?", "/one?")


@pytest.fixture
def study(url: str) -> optuna.Study:
    return create_study(open_storage(url, create=True), "toy", {KEY: STORED.to_json()})


def start(script: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", script, *words], stdout=subprocess.PIPE, text=True)


def test_one_process_at_a_time_decides(url: str, tmp_path: Path) -> None:
    open_storage(url, create=True)
    count = tmp_path / "count"
    count.write_text("0")
    counters = [start(COUNTER, url, str(count)) for _ in range(4)]
    assert [counter.wait(timeout=120) for counter in counters] == [0] * 4
    assert count.read_text() == "100"


def test_the_lock_of_a_killed_process_is_free(url: str) -> None:
    storage = open_storage(url, create=True)
    holder = start(HOLDER, url, "s")
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waiter = start(HOLDER, url, "s")
        with exclusive(storage, "another study"):  # does not wait for this one
            pass
        time.sleep(0.5)
        with storage.engine.connect() as connection:
            asked = "SELECT count(*) FILTER (WHERE granted), count(*) FROM pg_locks WHERE locktype = 'advisory'"
            until = time.monotonic() + 60
            while tuple(connection.execute(sqlalchemy.text(asked)).one()) != (1, 2):
                assert time.monotonic() < until
                time.sleep(0.1)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    try:
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "held\n"
    finally:
        waiter.kill()
        waiter.wait()
    with exclusive(storage, "s"):
        pass


def test_four_processes_make_exactly_as_many_trials_as_asked_for(study: optuna.Study, url: str) -> None:
    workers = [start(WORKING, url) for _ in range(4)]
    told = [worker.communicate(timeout=120)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    assert sorted(int(number) for numbers in told for number in numbers) == list(range(20))
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(20))
    assert all(trial.state in FINISHED for trial in trials)


def test_a_trial_of_a_silent_worker_on_another_machine_is_taken_back(study: optuna.Study) -> None:
    policy, me = Policy(TOY_STUDY, 0), describe_myself("cpu.0")
    far = replace(me, machine="another", host="far")
    first, second = (next_trial(study, policy, StoppingCriteria(3), far) for _ in range(2))
    assert first is not None
    assert second is not None
    first.report(0.4, 1)
    age(study, first._trial_id, GRACE_SECONDS - 30)
    assert requeue_orphaned(study) == []
    age(study, first._trial_id, GRACE_SECONDS + 30)
    assert requeue_orphaned(study) == [0]
    assert study.get_trials()[0].state == TrialState.WAITING
    assert study.get_trials()[0].user_attrs[WORKER] is None
    again = next_trial(study, policy, StoppingCriteria(3), me)
    assert again is not None
    assert (again.number, again.params) == (0, first.params)
    assert requeue_orphaned(study) == []  # its old heartbeat is forgotten
    finish(study, again, TrialState.COMPLETE, 0.5)
    assert study.get_trials()[0].intermediate_values == {1: 0.4}


def test_scores_and_the_end_are_stored_while_another_process_decides(study: optuna.Study, url: str) -> None:
    trial = next_trial(study, Policy(TOY_STUDY, 0), StoppingCriteria(1), ME)
    assert trial is not None
    holder = start(HOLDER, url, "toy")
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        report(study, trial, 1, 0.25, ME, lambda: None)
        finish(study, trial, TrialState.COMPLETE, 0.25, ME, lambda: trial.set_user_attr("fact", 1))
        held = sqlalchemy.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        with backend_of(study).engine.connect() as connection:
            assert connection.execute(held).scalar() == 1, "it has waited for the lock"
    finally:
        holder.kill()
        holder.wait()
    stored = study.get_trials()[0]
    assert (stored.state, stored.value, stored.intermediate_values) == (TrialState.COMPLETE, 0.25, {1: 0.25})
    assert stored.user_attrs["fact"] == 1


def test_a_score_that_waits_for_a_takeover_is_refused(study: optuna.Study, url: str) -> None:
    trial = next_trial(study, Policy(TOY_STUDY, 0), StoppingCriteria(1), ME)
    assert trial is not None
    other = load_study(open_storage(url, create=False), "toy")
    waiting = sqlalchemy.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor(1) as pool:
        with exclusive(backend_of(other), "toy"):
            put_back(other, read_trial(other, trial))
            score = pool.submit(report, study, trial, 1, 0.25, ME, lambda: None)
            until = time.monotonic() + 60
            while backend_of(other).scoped_session().execute(waiting).scalar() == 0:
                assert time.monotonic() < until
                time.sleep(0.05)
        with pytest.raises(TakenOverError):
            score.result(timeout=60)
    assert study.get_trials()[0].intermediate_values == {}


def test_a_trial_that_ends_while_it_is_taken_back_has_ended(study: optuna.Study) -> None:
    trial = next_trial(study, Policy(TOY_STUDY, 0), StoppingCriteria(1), ME)
    assert trial is not None
    seen = study.get_trials()
    finish(study, trial, TrialState.COMPLETE, 0.5, ME)
    del seen[0].user_attrs[WORKER]  # as of a process that died early
    decide_in_turn(study, lambda: take_back_orphaned(study, seen))
    stored = study.get_trials()[0]
    assert (stored.state, stored.value, stored.user_attrs.get("interruptions")) == (TrialState.COMPLETE, 0.5, None)


def age(study: optuna.Study, trial_id: int, seconds: int) -> None:
    """The trial's last heartbeat was so long ago."""
    statement = f"UPDATE trial_heartbeats SET heartbeat = now() - interval '{seconds} seconds' WHERE trial_id = :trial"
    with backend_of(study).engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement), {"trial": trial_id})


def test_a_study_runs_from_end_to_end(
    url: str, tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    runs = tmp_path / "runs"
    words = ["--study", tmp_path / "mine.py", "--data", synthetic_folder, "--runs", runs, "--storage", url]
    assert run(search.run.main, *words, "--weights", "scratch", "--n-trials", 3, "--device", "cpu") == 0
    trials = load_study(open_storage(url, create=False), "mine").get_trials()
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert all(trial.state in FINISHED and trial.value is not None for trial in trials)
    assert (runs / "mine" / "trial-0000" / "valid.npz").is_file()
    assert not (runs / "studies.db").exists()
    capsys.readouterr()
    place = ("--study", "mine", "--runs", runs, "--storage", url)
    assert run(search.status.main, *place) == 0
    assert "Study mine: Does dropout help the toy?" in capsys.readouterr().out
    assert run(search.delete.main, *place, "--yes") == 0
    assert optuna.get_all_study_names(open_storage(url, create=False)) == []
    assert not (runs / "mine").exists()
