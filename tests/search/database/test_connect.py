"""The study database: how it is opened, and trials handed out, told and taken back."""

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
import sqlalchemy
from optuna.storages._rdb import models

import search.database.connect
from maskcls.system.errors import UserError
from search.database.connect import (
    backend_of,
    create_study,
    default_url,
    has_study,
    load_study,
    may_exist,
    open_storage,
    open_to_read,
)
from search.database.errors import DatabaseError
from search.database.read_only import NoStudiesError
from search.storage.failures import cause_outside
from tests.helpers.training import one_line

WRITERS = """
import os, sys, traceback
from optuna.trial import TrialState
from search.database.connect import load_study, open_storage
from search.storage.outcomes import finish

def write():
    study = load_study(open_storage(sys.argv[1], create=False), "s")
    for _ in range(2):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        for step in range(1, 11):
            trial.report(step / 10, step)
        finish(study, trial, TrialState.COMPLETE, 1.0)

children = []
for _ in range(16):  # forked once all is loaded: sixteen processes that load it take a minute
    children.append(os.fork())
    if children[-1] == 0:
        try:
            write()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture
def study(url: str) -> optuna.Study:
    return create_study(open_storage(url, create=True), "s", {"question": "Does it?"})


def start(script: str, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True)


def cannot_open(url: str, create: bool = True) -> str:
    with pytest.raises(UserError) as caught:
        open_storage(url, create)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_readers_and_writers_do_not_wait_for_each_other(url: str, tmp_path: Path) -> None:
    storage = open_storage(url, create=True)
    with storage.engine.connect() as one, storage.engine.connect() as two:
        for connection in (one, two):
            assert connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar() == "wal"
            assert connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar() == 1  # NORMAL
            assert connection.execute(sqlalchemy.text("PRAGMA busy_timeout")).scalar() == 10_000
    with sqlite3.connect(tmp_path / "studies.db") as other:  # the mode stays in the file
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_is_made_in_a_folder_that_is_there_and_in_no_other(tmp_path: Path) -> None:
    url = default_url(tmp_path / "runs")
    assert not may_exist(url)
    assert f"There is no folder {tmp_path}/runs" in cannot_open(url)
    (tmp_path / "runs").mkdir()
    open_storage(url, create=True)
    assert may_exist(url)
    assert (tmp_path / "runs" / "studies.db").is_file()


def test_a_password_is_not_repeated() -> None:
    assert "secret" not in cannot_open("mysql+nosuchdriver://me:secret@host/db")


ENDS_SOON = """
from maskcls.system.console import run_command
from search.database.connect import create_study, open_storage

def main(url: str):
    study = create_study(open_storage(url, create=True), "s", {})
    for _ in range(20):
        study.tell(study.ask(), 0.5)

run_command(main)
"""


def test_a_command_that_ends_leaves_everything_in_the_one_file(url: str, tmp_path: Path) -> None:
    """It does not look for garbage at its end, so nothing but its own care closes the database."""
    assert start(ENDS_SOON, url).wait() == 0
    assert {path.name for path in tmp_path.iterdir()} == {"studies.db", ".studies.db.lock"}
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "studies.db").read_bytes())
    assert len(load_study(open_storage(f"sqlite:///{copy}", create=False), "s").trials) == 20


def test_a_missing_database_is_not_made_for_a_reader(tmp_path: Path) -> None:
    text = cannot_open(f"sqlite:///{tmp_path}/none/studies.db", create=False)
    assert f"There is no database {tmp_path}/none/studies.db" in text
    assert "search.run" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["with space.db", "per%20cent.db", "ünï.db"])
def test_a_database_of_any_name_is_one_file(tmp_path: Path, name: str) -> None:
    create_study(open_storage(url := f"sqlite:///{tmp_path}/{name}", create=True), "s", {})
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == [unquote(name)]
    assert has_study(open_storage(url, create=False), "s")


@pytest.mark.parametrize("name", ["run?", "100%41"])
def test_studies_lie_in_the_runs_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    open_storage(default_url(tmp_path / name), create=True)
    assert (tmp_path / name / "studies.db").is_file()


@pytest.mark.parametrize(
    "url",
    [
        "nosuchdialect://host/db",
        "mysql+nosuchdriver://host/db",
        "runs/studies.db",
        "",
        "sqlite:///{}/a-file/studies.db",
        "sqlite:///{}/a-folder",
        "sqlite:///{}/a-file",
        "sqlite:////proc/nothing/studies.db",
        "sqlite:///",
        "sqlite://",
        "sqlite:///:memory:",
        "redis://localhost:1",
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line(tmp_path: Path, url: str) -> None:
    (tmp_path / "a-file").write_text("no database, but long enough to have a header " * 20)
    (tmp_path / "a-folder").mkdir()
    text = cannot_open(url.format(tmp_path))
    assert "sqlite:///runs/studies.db" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-file", "a-folder"]


def test_an_unknown_study_is_told_the_nearest_and_all(study: optuna.Study, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There are none yet"):
        load_study(open_storage(f"sqlite:///{tmp_path}/empty.db", create=True), "s")
    with pytest.raises(UserError, match="No study named 't' is stored") as caught:
        load_study(study._storage, "t")
    assert "There are: s." in one_line(caught.value)


def test_sixteen_writers_and_the_dashboard_at_once_lose_nothing(study: optuna.Study, url: str) -> None:
    writers = start(WRITERS, url)
    dashboard = optuna_dashboard.wsgi(open_storage(url, create=False))
    polls = 0
    said: list[str] = []
    while writers.poll() is None:
        environ: dict[str, Any] = {"PATH_INFO": f"/api/studies/{study._study_id}", "QUERY_STRING": "after=0"}
        setup_testing_defaults(environ)
        b"".join(dashboard(environ, lambda status, *_: said.append(status)))
        polls += 1
        study.get_trials()
    assert writers.returncode == 0
    assert polls > 5
    assert set(said) == {"200 OK"}
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(32))
    assert all(trial.intermediate_values == {step: step / 10 for step in range(1, 11)} for trial in trials)


def test_a_database_that_another_program_has_locked_is_waited_for(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search.database.connect, "BUSY_SECONDS", 0.1)
    study = create_study(open_storage(url, create=True), "s", {})
    trial = study.ask()
    other = sqlite3.connect(tmp_path / "studies.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    free = threading.Timer(2, other.rollback)
    free.start()
    trial.report(0.5, 1)
    free.join()
    assert "waiting for the database" in (said := capfd.readouterr().err)
    assert "another program has locked it" in said
    assert "the database is back" in said
    assert study.get_trials()[0].intermediate_values == {1: 0.5}
    other.close()


def test_what_is_wrong_with_the_database_is_said_and_not_what_optuna_guesses(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.database.connect, "BUSY_SECONDS", 0.1)
    study = create_study(open_storage(url, create=True), "s", {})
    trial = study.ask()
    backend_of(study).patience = 0.2
    with sqlite3.connect(tmp_path / "studies.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        locked = refused(lambda: trial.report(0.5, 1))
        other.rollback()
        assert locked == "the database: another program has locked it"
        other.execute("DROP TABLE trial_intermediate_values")
        assert refused(lambda: trial.report(0.5, 1)) == "the database: its tables are missing"
    with backend_of(study).engine.connect() as connection:
        connection.execute(sqlalchemy.text("PRAGMA query_only = ON"))
        connection.commit()
    assert refused(lambda: study.set_user_attr("a", 1)).startswith("the disk: it may not be written to")
    with backend_of(study).engine.connect() as connection:
        connection.execute(sqlalchemy.text("PRAGMA query_only = OFF"))
        connection.execute(sqlalchemy.text("PRAGMA max_page_count = 1"))
        connection.commit()
    assert refused(lambda: study.set_user_attr("a", "x" * 1_000_000)) == "the disk: database or disk is full"


def refused(act: Callable[[], object]) -> str:
    """What is said of a database that cannot be used."""
    with pytest.raises(DatabaseError) as caught:
        act()
    text = str(caught.value)
    assert "exceeding max length" not in text
    assert "\n" not in text
    return cause_outside(caught.value)


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS"])
def test_a_disk_that_fails_is_no_fault_of_the_trials(code: str) -> None:
    number = getattr(errno, code)
    assert cause_outside(OSError(number, "no")).startswith("the disk: ")
    beneath = RuntimeError("a library's own")
    beneath.__cause__ = OSError(number, "no")
    assert cause_outside(beneath).startswith("the disk: ")
    assert cause_outside(RuntimeError(f"I/O error: {os.strerror(number)} (os error {number})")).startswith("the disk: ")
    assert cause_outside(RuntimeError("a bug of a library")) == ""


@pytest.fixture(params=[False, True], ids=["no tables", "a study"])
def cut_off(request: pytest.FixtureRequest, tmp_path: Path, url: str) -> bool:
    """A database as a killed command leaves it, with a rollback journal; whether it held a study before."""
    made, has_tables = tmp_path / "made.db", bool(request.param)
    if has_tables:
        create_study(open_storage(f"sqlite:///{made}", create=True), "s", {}).ask()
        search.database.connect._close_all()
    connection = sqlite3.connect(made, isolation_level=None)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA cache_size=1")  # pages of the unfinished transaction reach the file
    if not has_tables:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    connection.execute("BEGIN")
    for number in range(100):
        connection.execute("INSERT INTO alembic_version VALUES (?)", (f"{number}" * 1000,))
    for end in ("", "-journal"):
        (tmp_path / f"studies.db{end}").write_bytes((tmp_path / f"made.db{end}").read_bytes())
    connection.close()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):  # which only a connection that may write plays back
        search.database.connect.check_readable(tmp_path / "studies.db", create=True)
    return has_tables


def test_what_a_killed_command_had_begun_to_make_is_undone_and_made_anew(
    cut_off: bool, tmp_path: Path, url: str
) -> None:
    storage = open_storage(url, create=True)
    assert has_study(storage, "s") == cut_off
    assert not (tmp_path / "studies.db-journal").exists()


def test_a_reader_who_may_write_has_a_killed_commands_transaction_undone(
    cut_off: bool, tmp_path: Path, url: str
) -> None:
    if cut_off:
        assert has_study(open_to_read(url), "s")
    else:
        with pytest.raises(NoStudiesError, match="holds no studies yet"):
            open_to_read(url)
    assert not (tmp_path / "studies.db-journal").exists()


def test_a_reader_who_may_not_write_changes_nothing_of_a_killed_commands_transaction(
    cut_off: bool, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in tmp_path.glob("studies.db*")}
    monkeypatch.setattr(search.database.connect, "is_writable", lambda path: False)
    with pytest.raises(UserError, match="it may not be written to"):
        open_to_read(url)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("studies.db*")} == before
    assert not (tmp_path / ".studies.db.lock").exists()


@pytest.mark.parametrize("has_version_table", [False, True])
def test_a_database_that_another_command_is_making_holds_no_studies_yet(
    has_version_table: bool, tmp_path: Path, url: str
) -> None:
    """Optuna makes the tables first, then writes a row to each of two of them; opening to read wrote them itself."""
    engine = sqlalchemy.create_engine(url)
    models.BaseModel.metadata.create_all(engine)
    with engine.begin() as connection:
        if has_version_table:
            connection.execute(sqlalchemy.text("CREATE TABLE alembic_version (version_num TEXT)"))
    engine.dispose()
    with pytest.raises(NoStudiesError, match="holds no studies yet"):
        open_to_read(url)
    assert optuna.get_all_study_names(open_storage(url, create=True)) == []
    assert not has_study(open_to_read(url), "s")
