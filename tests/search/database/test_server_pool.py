"""The connections of many processes to one server, which has few, and its clock."""

import threading
import time
from collections.abc import Iterator

import optuna
import psycopg
import pytest
import sqlalchemy
from optuna.trial import TrialState

import search.database.connect
import search.database.server_pool
from search.database.connect import create_study, load_study, open_storage
from search.database.study_lock import exclusive
from search.database.timeouts import client_name
from search.policy.policy import Policy
from search.policy.stopping import StoppingCriteria
from search.storage.orphans import requeue_orphaned
from search.storage.outcomes import finish, report
from search.storage.queue import next_trial
from search.study.attributes import WORKER
from search.system.processes import describe_myself
from tests.helpers import postgres
from tests.helpers.search import TOY_STUDY

MAX_CONNECTIONS = 8
ME, POLICY = describe_myself("cpu.7"), Policy(TOY_STUDY, 0)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.server(options=("-F", "-c", f"max_connections={MAX_CONNECTIONS}")) as found:
        yield found


@pytest.fixture
def url(server: postgres.Server) -> str:
    with connect(server, "postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS one WITH (FORCE)")
        connection.execute("CREATE DATABASE one")
    return server.url.replace("/postgres?", "/one?")


def connect(server: postgres.Server, database: str) -> "psycopg.Connection[tuple[str]]":
    return psycopg.connect(host=str(server.folder), user="postgres", dbname=database, autocommit=True)


def clients(watcher: "psycopg.Connection[tuple[str]]") -> list[str]:
    query = "SELECT application_name FROM pg_stat_activity WHERE datname = 'one'"
    return [name for (name,) in watcher.execute(query).fetchall()]


@pytest.fixture
def study(url: str) -> optuna.Study:
    create_study(open_storage(url, create=True), "toy", {})
    return load_study(open_storage(url, create=False, slot="cpu.7"), "toy")


def test_a_process_has_one_connection_for_turns_and_heartbeats_together(
    server: postgres.Server, study: optuna.Study
) -> None:
    trial = next_trial(study, POLICY, StoppingCriteria(100), ME)
    assert trial is not None
    storage = search.database.connect.backend_of(study)
    until, counts, over = time.monotonic() + 3, [], threading.Event()

    def beat() -> None:
        while not over.is_set():
            storage.record_heartbeat(trial._trial_id)
            time.sleep(0.005)

    beating = threading.Thread(target=beat)
    with connect(server, "postgres") as watcher:
        _wait_until_none(watcher)  # also of the one that created the study
        beating.start()
        step = 0
        while time.monotonic() < until:
            step += 1
            report(study, trial, step, 0.5, ME, lambda: None)
            counts.append(len(clients(watcher)))
        over.set()
        beating.join()
    assert max(counts) == 1
    assert step > 1


def test_an_idle_connection_is_closed_and_the_next_call_opens_another(
    server: postgres.Server, study: optuna.Study
) -> None:
    with connect(server, "postgres") as watcher:
        study.get_trials()
        assert [name for name in clients(watcher) if " cpu.7 " in name]
        _wait_until_none(watcher)
        assert study.get_trials() == []
        assert [name for name in clients(watcher) if " cpu.7 " in name]
        _wait_until_none(watcher)


def _wait_until_none(watcher: "psycopg.Connection[tuple[str]]") -> None:
    until = time.monotonic() + 20
    while clients(watcher):
        assert time.monotonic() < until, clients(watcher)
        time.sleep(0.05)


def test_a_connection_in_use_is_not_closed(study: optuna.Study) -> None:
    storage = search.database.connect.backend_of(study)
    with exclusive(storage, "toy"):
        time.sleep(4 * search.database.server_pool.IDLE_SECONDS)
        study.set_user_attr("said", "in the same transaction")
    assert study.user_attrs["said"] == "in the same transaction"


def test_a_server_with_too_many_clients_is_waited_for(
    server: postgres.Server, url: str, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.database.connect, "OPEN_SECONDS", 0.2)
    with connect(server, "postgres") as watcher:
        _wait_until_none(watcher)
    others = [connect(server, "postgres") for _ in range(MAX_CONNECTIONS)]
    with pytest.raises(psycopg.OperationalError, match="too many clients"):
        connect(server, "postgres")
    leave = threading.Timer(1.5, lambda: [other.close() for other in others])
    leave.start()
    began = time.monotonic()
    opened = load_study(open_storage(url, create=False), "toy")
    assert study.get_trials() == opened.get_trials() == []
    assert time.monotonic() - began > 1
    # whoever waits for its turn among clients has not been away, so the silent are not given more time
    assert search.database.connect.backend_of(study).back_since is None
    leave.join()


def test_heartbeats_of_machines_in_other_time_zones_count_alike(
    url: str, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Seoul")
    far = load_study(open_storage(url, create=False), "toy")
    trial = next_trial(far, POLICY, StoppingCriteria(100), ME)
    assert trial is not None
    far._storage.set_trial_user_attr(trial._trial_id, WORKER, {**ME.to_json(), "machine": "another"})
    for zone in ("America/New_York", "Pacific/Auckland"):
        monkeypatch.setenv("PGTZ", zone)
        here = load_study(open_storage(url, create=False), "toy")
        search.database.connect.backend_of(far).record_heartbeat(trial._trial_id)
        assert requeue_orphaned(here) == []
    with search.database.connect.backend_of(far).engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '3 minutes'"))
    assert requeue_orphaned(here) == [0]
    assert far.get_trials()[0].state == TrialState.WAITING


def test_a_client_says_its_host_and_slot() -> None:
    assert client_name("gpu-node-7", "cuda:3.1", 4711) == "mask-search gpu-node-7 cuda:3.1 4711"
    assert client_name("gpu-node-7", "", 4711) == "mask-search gpu-node-7 4711"
    long = client_name("h" * 99, "MIG-1a2b3c4d-aaaa-bbbb.2", 4194304)
    assert len(long) <= 63
    assert long.endswith(" 4194304")


def test_a_trial_ends_once_though_its_connection_is_new_each_time(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.database.server_pool, "IDLE_SECONDS", 0.001)
    for number in range(3):
        trial = next_trial(study, POLICY, StoppingCriteria(3), ME)
        assert trial is not None
        report(study, trial, 1, 0.5, ME, lambda: None)
        time.sleep(0.02)
        finish(study, trial, TrialState.COMPLETE, 0.5, ME)
        assert study.get_trials()[number].value == 0.5
