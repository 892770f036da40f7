"""The study database: how it is opened, and trials handed out, told and taken back."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import optuna
import pytest
import sqlalchemy
from conftest import one_line
from optuna.trial import TrialState

import search.storage
from maskcls.errors import UserError
from search.storage import (
    WORKER,
    claim,
    count_finished,
    create_study,
    default_url,
    finish,
    has_study,
    is_there,
    load_study,
    open_storage,
    requeue,
    requeue_lost,
)

CLAIMER = """
import sys, time
from search.storage import claim, load_study, open_storage
study = load_study(open_storage(sys.argv[1], create=False), "s")
trial = study.ask()
trial.suggest_float("x", 0, 1)
claim(trial)
trial.report(0.25, 1)
print(trial.number, flush=True)
time.sleep(100)
"""

WRITER = """
import sys
from optuna.trial import TrialState
from search.storage import finish, load_study, open_storage
study = load_study(open_storage(sys.argv[1], create=False), "s")
for _ in range(2):
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    for step in range(1, 11):
        trial.report(step / 10, step)
    finish(study, trial, TrialState.COMPLETE, 1.0)
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
            assert connection.execute(sqlalchemy.text("PRAGMA busy_timeout")).scalar() == 60_000
    with sqlite3.connect(tmp_path / "studies.db") as other:  # the mode stays in the file
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_is_made_in_a_folder_that_is_there_and_in_no_other(tmp_path: Path) -> None:
    url = default_url(tmp_path / "runs")
    assert not is_there(url)
    assert f"There is no folder {tmp_path}/runs" in cannot_open(url)
    (tmp_path / "runs").mkdir()
    open_storage(url, create=True)
    assert is_there(url)
    assert (tmp_path / "runs" / "studies.db").is_file()


def test_a_password_is_not_repeated() -> None:
    assert "secret" not in cannot_open("mysql+nosuchdriver://me:secret@host/db")


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


def test_a_requeued_trial_keeps_its_number_its_parameters_and_its_reports(study: optuna.Study) -> None:
    first = study.ask()
    value = first.suggest_float("x", 0, 1)
    first.report(0.3, 1)
    first.report(0.4, 2)
    other = study.ask()
    requeue(study, first)
    assert study.get_trials()[0].state == TrialState.WAITING
    again = study.ask()
    assert (again.number, again.suggest_float("x", 0, 1)) == (0, value)
    assert study.get_trials()[0].intermediate_values == {1: 0.3, 2: 0.4}
    assert study.get_trials()[0].state == TrialState.RUNNING
    assert study.ask().number == other.number + 1


def test_a_pruned_trial_keeps_its_best_value_and_not_its_last(study: optuna.Study) -> None:
    trial = study.ask()
    for step, value in enumerate((0.3, 0.6, 0.2), start=1):
        trial.report(value, step)
    finish(study, trial, TrialState.PRUNED, 0.6)
    assert study.get_trials()[0].value == 0.6
    assert study.get_trials()[0].state == TrialState.PRUNED


def test_complete_and_pruned_trials_are_counted_and_no_others(study: optuna.Study) -> None:
    for state, value in ((TrialState.COMPLETE, 0.5), (TrialState.PRUNED, 0.4), (TrialState.PRUNED, None)):
        finish(study, study.ask(), state, value)
    finish(study, study.ask(), TrialState.FAIL, None)
    study.ask()
    requeue(study, study.ask())
    study.enqueue_trial({"x": 0.5})
    assert count_finished(study) == 3


def test_trials_of_a_killed_process_are_taken_back_and_those_of_others_are_not(study: optuna.Study, url: str) -> None:
    mine = study.ask()
    claim(mine)
    elsewhere = study.ask()
    elsewhere.set_user_attr(WORKER, {"host": "another-host", "pid": 1, "started": 1})
    worker = start(CLAIMER, url)
    assert worker.stdout is not None
    number = int(worker.stdout.readline())
    try:
        assert requeue_lost(study) == []
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert requeue_lost(study) == [number]
    assert requeue_lost(study) == []
    states = {trial.number: trial.state for trial in study.get_trials()}
    assert states == {0: TrialState.RUNNING, 1: TrialState.RUNNING, number: TrialState.WAITING}
    again = study.ask()
    assert again.number == number
    assert study.get_trials()[number].intermediate_values == {1: 0.25}


def test_a_process_that_only_has_the_number_of_a_dead_one_does_not_keep_its_trial(study: optuna.Study) -> None:
    trial = study.ask()
    trial.set_user_attr(WORKER, {"host": socket.gethostname(), "pid": os.getpid(), "started": 1})
    assert requeue_lost(study) == [0]


def test_an_unclaimed_trial_is_taken_back_in_a_while(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.ask()  # and killed before it could say who it was
    assert requeue_lost(study) == []  # it may be another process, about to
    monkeypatch.setattr(search.storage, "CLAIM_TIME", timedelta(0))
    assert requeue_lost(study) == [0]


def test_a_trial_that_has_just_ended_stays_so(study: optuna.Study) -> None:
    trial = study.ask()
    finish(study, trial, TrialState.COMPLETE, 0.5)
    requeue(study, trial)
    assert study.get_trials()[0].state == TrialState.COMPLETE


def test_four_writers_and_a_reader_at_once_lose_nothing(study: optuna.Study, url: str) -> None:
    writers = [start(WRITER, url) for _ in range(4)]
    reads = failed = 0
    while any(writer.poll() is None for writer in writers):
        with sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0) as reader:
            try:
                reader.execute("SELECT COUNT(*) FROM trial_intermediate_values").fetchone()
                reads += 1
            except sqlite3.OperationalError:
                failed += 1
        study.get_trials()
        time.sleep(0.02)
    assert [writer.returncode for writer in writers] == [0] * 4
    assert reads > 5
    assert failed == 0
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(8))
    assert all(trial.intermediate_values == {step: step / 10 for step in range(1, 11)} for trial in trials)
