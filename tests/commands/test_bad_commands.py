"""What a user can get wrong with export and the dashboard, and photos that cannot be read."""

import json
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

import search.dashboard
import search.export
import search.run
from maskcls.data.dataset import Table
from maskcls.system.console import run_command
from search.database.connect import create_study, open_storage
from search.storage.outcomes import finish
from search.study.loading import load_study_file
from search.study.record import KEY
from tests.helpers.one_process import work_in_this_process
from tests.helpers.search import MINE, ask, complain, make_job, make_setup


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--study", "mine", "-o", "best.toml"), "There is no database runs/studies.db"),
        (("--study", "mine", "-o", "best.toml", "--storage", "nope"), "cannot be opened"),
        (("--study", "mien", "-o", "best.toml", "--runs", "made"), "Nearest: mine"),
        (("--study", "theirs", "-o", "best.toml", "--runs", "made"), "was not made by search.run"),
        (("--study", "mine", "-o", "best.toml", "--runs", "made"), "no complete trial to export"),
        (("--study", "mine", "-o", "best.toml", "--runs", "made", "--trial", "7"), "no finished trial 7"),
        (("--study", "mine", "-o", "best.toml", "--runs", "made", "--trial", "-1"), "trial"),
        (("--study", "mine", "--runs", "made"), "out"),
    ],
)
def test_an_export_that_cannot_be_is_one_line(
    words: tuple[str, ...],
    hint: str,
    tmp_path: Path,
    synthetic_table: Table,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "made").mkdir()
    storage = open_storage(f"sqlite:///{tmp_path}/made/studies.db", create=True)
    create_study(storage, "mine", {KEY: make_setup(tmp_path, synthetic_table).stored.to_json()})
    create_study(storage, "theirs", {})
    monkeypatch.chdir(tmp_path)
    assert hint in complain(monkeypatch, capsys, search.export.main, *words)
    assert not (tmp_path / "best.toml").exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("out", ["nowhere/best.toml", "a_folder"])
def test_an_export_to_where_it_cannot_be_written_is_one_line(
    out: str,
    tmp_path: Path,
    synthetic_table: Table,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = make_job(tmp_path, synthetic_table)
    trial = ask(job)
    trial.set_user_attr("config", json.loads(job.setup.baseline.model_dump_json()))
    trial.set_user_attr("origin", {})
    finish(job.study, trial, TrialState.COMPLETE, 0.5)
    (tmp_path / "a_folder").mkdir()
    words = ("--study", "toy", "-o", str(tmp_path / out), "--runs", str(tmp_path))
    assert out.split("/")[0] in complain(monkeypatch, capsys, search.export.main, *words)


def test_a_stored_name_in_the_place_of_a_study_file_is_told_what_to_type(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db", create=True)
    create_study(storage, "our-outcome", {KEY: make_setup(tmp_path, synthetic_table).stored.to_json()})
    words = ("--study", "our-outcome", "--runs", str(tmp_path))
    told = complain(monkeypatch, capsys, search.run.main, *words)
    assert told == (
        "error: 'our-outcome' is the name of a stored study, and --study takes a study file: give --study FILE.py"
        " --name our-outcome, or add --join to work on the study as it is stored.\n"
    )
    ours = replace(make_setup(tmp_path, synthetic_table).stored, study=load_study_file("quickstart"))
    create_study(storage, "qb", {KEY: ours.to_json()})
    told = complain(monkeypatch, capsys, search.run.main, "--study", "qb", "--runs", str(tmp_path))
    assert ": give --study quickstart --name qb, or add --join" in told
    told = complain(monkeypatch, capsys, search.run.main, "--study", "their-outcome", "--runs", str(tmp_path))
    assert told.startswith("error: No study named 'their-outcome' in studies/.")
    words = ("--study", "our-outcome", "--storage", "nope://x")
    assert complain(monkeypatch, capsys, search.run.main, *words).startswith("error: No study named 'our-outcome'")


def test_a_dashboard_that_cannot_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main = search.dashboard.main
    assert "There is no database runs/studies.db" in complain(monkeypatch, capsys, main)
    assert "port" in complain(monkeypatch, capsys, main, "--port", "99999")
    open_storage(f"sqlite:///{tmp_path}/studies.db", create=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = complain(monkeypatch, capsys, main, "--runs", str(tmp_path), "--port", port)
    assert f"Port {port} is in use" in told
    assert not (tmp_path / "runs").exists()


def test_an_unreadable_photo_is_named_and_the_remedy_works(
    tmp_path: Path,
    synthetic_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "photos"
    shutil.copytree(synthetic_folder, data)
    broken = sorted((data / "images").rglob("mask1.*"))[0]
    broken.write_bytes(broken.read_bytes()[:200])
    (tmp_path / "mine.py").write_text(MINE)
    words = ("--study", str(tmp_path / "mine.py"), "--data", str(data), "--weights", "scratch", "--n-trials", "1")
    monkeypatch.chdir(tmp_path)
    work_in_this_process(monkeypatch)
    told = complain(monkeypatch, capfd, search.run.main, *words)
    assert "1 photo in" in told
    assert broken.parent.name in told
    assert "--skip-unreadable" in told
    assert not (tmp_path / "runs" / "mine").exists()
    monkeypatch.setattr(sys, "argv", ["command", *words, "--skip-unreadable"])
    with pytest.raises(SystemExit) as ended:
        run_command(search.run.main)
    assert ended.value.code == 0
    assert "Left out 1 photo that cannot be read" in capfd.readouterr().out
