"""The studies on a real MariaDB server, where this machine has one: what test_postgres.py holds of the other."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import optuna
import pytest
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from maskcls.system.errors import UserError
from search.database.connect import backend_of, create_study, load_study, open_storage, set_attributes
from search.database.copy_lock import copying
from search.database.errors import DatabaseError
from search.database.mysql import TABLES_LOCK, is_mysql
from search.files.table import create_table, digest_of, read_files, write_files
from search.policy.policy import Policy
from search.policy.stopping import FINISHED, StoppingCriteria
from search.storage.orphans import orphaned_trials
from search.storage.outcomes import finish, report
from search.storage.queue import next_trial
from search.study.record import KEY
from search.system.processes import WorkerIdentity
from tests.helpers.confirmation import stored_as
from tests.helpers.database import mariadb
from tests.helpers.database.copying import check_is_copied_once, copy_twice, make_study_to_copy
from tests.helpers.queue import MYSELF, WORKING, start
from tests.helpers.search import TOY_STUDY


@pytest.fixture(scope="module")
def server() -> Iterator[mariadb.Server]:
    with mariadb.server() as found:
        yield found


@pytest.fixture
def url(server: mariadb.Server) -> str:
    """An empty database of the test's own on the server."""
    server.execute("DROP DATABASE studies", "CREATE DATABASE studies CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    return server.url()


@pytest.fixture
def study(url: str) -> optuna.Study:
    return create_study(open_storage(url, create=True), "toy", {KEY: stored_as(TOY_STUDY).to_json()})


def take(study: optuna.Study, worker: WorkerIdentity = MYSELF) -> optuna.Trial:
    trial = next_trial(study, Policy(TOY_STUDY, 0), StoppingCriteria(9), worker)
    assert trial is not None
    return trial


def test_processes_that_begin_at_once_make_exactly_as_many_trials_as_asked_for(study: optuna.Study, url: str) -> None:
    workers = [start(WORKING, url) for _ in range(3)]
    told = [worker.communicate(timeout=120)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 3
    assert sorted(int(number) for numbers in told for number in numbers) == list(range(20))
    assert [trial.state in FINISHED for trial in study.get_trials()] == [True] * 20


def test_tables_are_made_once(url: str) -> None:
    make = "import sys\nfrom search.database.connect import open_storage\nopen_storage(sys.argv[1], create=True)"
    assert [process.wait(timeout=120) for process in [start(make, url) for _ in range(3)]] == [0] * 3


def test_a_database_that_takes_two_names_for_one_is_refused(server: mariadb.Server, url: str) -> None:
    server.execute("ALTER DATABASE studies CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    with pytest.raises(UserError, match="type: ALTER DATABASE `studies` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"):
        open_storage(url, create=True)
    server.execute("ALTER DATABASE studies CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    storage = open_storage(url, create=True)
    assert is_mysql(storage.engine)
    for name in ("toy", "Toy", "研究"):
        create_study(storage, name, {"long": "x" * 100_000})
    assert [load_study(storage, name).user_attrs["long"] for name in ("toy", "研究")] == ["x" * 100_000] * 2


def test_tables_that_another_program_has_made_get_long_attributes(url: str) -> None:
    """As does a database whose creation was cut off between its tables and their attributes."""
    theirs = RDBStorage(url)
    theirs.engine.dispose()
    study = create_study(open_storage(url, create=True), "toy", {"long": "x" * 100_000})
    trial = take(study)
    set_attributes(study, trial, {"long": "y" * 100_000})
    read = load_study(open_storage(url, create=False), "toy")
    assert (read.user_attrs["long"], read.trials[0].user_attrs["long"]) == ("x" * 100_000, "y" * 100_000)


def test_tables_made_before_the_database_got_its_collation_are_refused(server: mariadb.Server, url: str) -> None:
    server.execute("ALTER DATABASE studies CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    theirs = RDBStorage(url)
    theirs.engine.dispose()
    server.execute("ALTER DATABASE studies CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    with pytest.raises(UserError, match="has the collation utf8mb4_general_ci") as refused:
        open_storage(url, create=True)
    server.execute(str(refused.value).rpartition("type: ")[2].rstrip("."))
    storage = open_storage(url, create=True)
    for name in ("toy", "Toy"):
        create_study(storage, name, {})
    assert optuna.get_all_study_names(storage) == ["toy", "Toy"]


def test_who_waits_too_long_for_the_lock_of_tables_is_told_so(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.database.mysql.TABLES_SECONDS", 0)
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text(f"SELECT GET_LOCK('{TABLES_LOCK}', 0)")).scalar() == 1
        with pytest.raises(UserError, match="Another process has been creating the tables"):
            open_storage(url, create=True)
    engine.dispose()
    open_storage(url, create=True)


def test_a_database_may_have_any_name(server: mariadb.Server) -> None:
    name = "my-`studies"
    server.execute("CREATE DATABASE `my-``studies` CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    with pytest.raises(UserError) as refused:
        open_storage(server.url(database=quote(name)), create=True)
    server.execute(str(refused.value).rpartition("type: ")[2].rstrip("."))
    assert open_storage(server.url(database=quote(name)), create=True).get_all_studies() == []


def test_a_heartbeat_is_as_old_whatever_the_servers_time_zone(
    server: mariadb.Server, study: optuna.Study, url: str
) -> None:
    take(study, WorkerIdentity("far", "another", 1, 1, "cpu.0", None))
    server.execute("SET GLOBAL time_zone = '+05:00'")
    try:
        reader = load_study(open_storage(url, create=False), "toy")
        assert orphaned_trials(reader, reader.get_trials()) == []
        server.execute("UPDATE studies.trial_heartbeats SET heartbeat = UTC_TIMESTAMP() - INTERVAL 130 SECOND")
        assert [trial.number for trial in orphaned_trials(reader, reader.get_trials())] == [0]
    finally:
        server.execute("SET GLOBAL time_zone = SYSTEM")


def test_a_score_waits_for_a_row_that_another_program_holds(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = take(study)
    with backend_of(study).engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT @@innodb_lock_wait_timeout")).scalar() == 30
    monkeypatch.setattr("search.database.timeouts.LOCK_SECONDS", 1)
    backend_of(study).engine.dispose()
    with sqlalchemy.create_engine(backend_of(study).url).connect() as other:
        other.execute(sqlalchemy.text("SELECT * FROM trials FOR UPDATE"))
        timer = threading.Timer(2, other.rollback)
        timer.start()
        report(study, trial, 1, 0.25, MYSELF, lambda: None)
        timer.join()
    finish(study, trial, TrialState.COMPLETE, 0.25, MYSELF)
    assert study.get_trials()[0].intermediate_values == {1: 0.25}


def test_a_file_of_any_bytes_comes_back(study: optuna.Study) -> None:
    storage = backend_of(study)
    assert create_table(storage) == ""
    write_files(storage, "s", 0, {"valid.npz": b"\0\xff%s'"})
    assert read_files(storage, "s", "valid.npz", {0: digest_of(b"\0\xff%s'")}) == {0: b"\0\xff%s'"}


def test_a_file_that_the_server_does_not_take_is_refused_with_the_remedy(
    server: mariadb.Server, study: optuna.Study, url: str
) -> None:
    create_table(backend_of(study))
    content = b"\0" * (9 * 2**20)  # of which each byte takes two in a statement
    with pytest.raises(DatabaseError, match="SET GLOBAL max_allowed_packet = 33554432"):
        write_files(backend_of(study), "s", 0, {"valid.npz": content})
    server.execute("SET GLOBAL max_allowed_packet = 33554432")
    again = open_storage(url, create=False, patience=1)
    write_files(again, "s", 0, {"valid.npz": content})
    assert read_files(again, "s", "valid.npz", {0: digest_of(content)}) == {0: content}


def test_of_two_copies_at_once_the_second_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study_to_copy(tmp_path)
    second, first = copy_twice(url, tmp_path, monkeypatch)
    assert first is None
    assert "Another search.copy is copying to" in str(second)
    check_is_copied_once(url, tmp_path)


def test_a_copy_keeps_its_lock_however_long_it_takes(server: mariadb.Server, url: str) -> None:
    storage = open_storage(url, create=True)
    server.execute("SET GLOBAL wait_timeout = 1")
    try:
        with copying(storage, "toy"):
            time.sleep(2)
            with pytest.raises(UserError, match=r"Another search\.copy is copying"), copying(storage, "toy"):
                pass
        with copying(storage, "toy"):
            pass
    finally:
        server.execute("SET GLOBAL wait_timeout = 28800")
