"""search.delete: all of one study goes, and nothing of any other."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial

import search.delete
from search.database.connect import create_study, default_url, has_study, open_storage
from search.storage.files import empty_trash, move_to_trash
from search.study.attributes import WORKER
from search.study.record import KEY, Stored
from search.study.space import distributions
from search.system.processes import describe_myself
from tests.helpers.search import TOY_STUDY, complain
from tests.helpers.training import run

STORED = Stored(TOY_STUDY, "synthetic", "0123abcd", {"source": "scratch"}, "scratch", "auto", False, 0)


def make(runs: Path, name: str, picture: str | None = None) -> optuna.Study:
    """A study with two trials, their folders, and a picture of the first: its own, or one that is there already."""
    study = create_study(open_storage(default_url(runs), create=True), name, {KEY: STORED.to_json()})
    picture = picture or f"picture-of-{name}"
    meta = {"artifact_id": picture, "filename": "confusion.png", "mimetype": "image/png", "encoding": None}
    add(study, TrialState.COMPLETE, system_attrs={f"artifacts:{picture}": json.dumps(meta)})
    add(study, TrialState.COMPLETE)
    for number in range(2):
        home = runs / name / f"trial-{number:04d}"
        home.mkdir(parents=True)
        (home / "valid.npz").write_bytes(b"x" * 2**20)
    (runs / "artifacts").mkdir(exist_ok=True)
    (runs / "artifacts" / picture).touch()
    return study


def add(
    study: optuna.Study, state: TrialState, system_attrs: dict[str, Any] | None = None, **user_attrs: object
) -> None:
    study.add_trial(
        create_trial(
            state=state,
            value=0.5 if state == TrialState.COMPLETE else None,
            params={"drop_rate": 0.0, "lr": 1e-2},
            distributions=distributions(TOY_STUDY.space),
            user_attrs=user_attrs,
            system_attrs=system_attrs,
        )
    )


def names(runs: Path) -> list[str]:
    return optuna.get_all_study_names(open_storage(default_url(runs), create=False))


def folders(runs: Path) -> list[str]:
    return sorted(path.name for path in runs.iterdir() if path.is_dir())


def pictures(runs: Path) -> list[str]:
    return sorted(path.name for path in (runs / "artifacts").iterdir())


def delete(runs: Path, name: str = "mine", *words: str) -> int:
    return run(search.delete.main, "--study", name, "--runs", runs, "--yes", *words)


def test_the_study_its_folder_and_its_pictures_go_and_another_stays_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, "mine")
    other = make(tmp_path, "mine2")
    assert delete(tmp_path) == 0
    shown = capsys.readouterr().out
    assert f"trials    2 complete; in sqlite:///{tmp_path}/studies.db" in shown
    assert f"folder    {tmp_path}/mine, 2.0 MiB" in shown
    assert f"pictures  1 in {tmp_path}/artifacts" in shown
    assert shown.endswith("Study mine is deleted.\n")
    assert names(tmp_path) == ["mine2"]
    assert pictures(tmp_path) == ["picture-of-mine2"]
    assert len(other.get_trials()) == 2
    assert len(list((tmp_path / "mine2").rglob("valid.npz"))) == 2
    assert folders(tmp_path) == ["artifacts", "mine2"]


def test_pictures_that_a_copy_of_the_study_shows_stay_until_it_goes_too(tmp_path: Path) -> None:
    make(tmp_path, "mine")
    (shared,) = pictures(tmp_path)
    make(tmp_path, "copy", shared)
    assert delete(tmp_path) == 0
    assert pictures(tmp_path) == [shared]
    assert delete(tmp_path, "copy") == 0
    assert pictures(tmp_path) == []


@pytest.mark.parametrize(("answer", "stays"), [("y", False), ("n", True), ("", True)])
def test_it_asks_on_a_terminal(tmp_path: Path, answer: str, stays: bool) -> None:
    make(tmp_path, "mine")
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "search.delete", "--study", "mine", "--runs", str(tmp_path)]
    process = subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, text=True)
    os.write(ours, f"{answer}\n".encode())
    shown, _ = process.communicate(timeout=60)
    os.close(theirs)
    os.close(ours)
    assert "Delete study mine for good? [y/N]" in shown
    assert process.returncode == (1 if stays else 0)
    assert ("Nothing was deleted." in shown) == stays
    assert (names(tmp_path) == ["mine"]) == stays
    assert (tmp_path / "mine").is_dir() == stays


def test_without_a_terminal_and_without_yes_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, "mine")
    with Path(os.devnull).open(encoding="utf-8") as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        told = complain(monkeypatch, capsys, search.delete.main, "--study", "mine", "--runs", str(tmp_path))
    assert "no terminal to ask on; use --yes" in told
    assert names(tmp_path) == ["mine"]


def test_a_study_that_runs_is_refused_and_a_ghost_is_no_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study, me = make(tmp_path, "mine"), describe_myself("cpu.0").to_json()
    add(study, TrialState.RUNNING, **{WORKER: me})
    told = complain(monkeypatch, capsys, search.delete.main, "--study", "mine", "--runs", str(tmp_path), "--yes")
    assert f"trial 2 on {me['host']}, process {os.getpid()} (cpu.0)" in told
    assert names(tmp_path) == ["mine"]
    study._storage.set_trial_user_attr(study.get_trials()[2]._trial_id, WORKER, {**me, "started": -1})
    assert delete(tmp_path) == 0


def test_a_command_that_was_cut_off_is_finished_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "mine")
    with monkeypatch.context() as patch:
        patch.setattr(optuna, "delete_study", lambda **_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert delete(tmp_path) == 130
    assert names(tmp_path) == ["mine"]
    assert delete(tmp_path) == 0
    assert folders(tmp_path) == ["artifacts"]


def test_of_a_folder_that_is_a_link_only_the_link_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "mine")
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "mine").rename(elsewhere)
    (tmp_path / "mine").symlink_to(elsewhere)
    assert delete(tmp_path) == 0
    assert "the link only" in capsys.readouterr().out
    assert not (tmp_path / "mine").is_symlink()
    assert len(list(elsewhere.rglob("valid.npz"))) == 2


@pytest.mark.parametrize("name", ["artifacts", "../outside", "cache"])
def test_a_study_of_another_making_has_no_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    runs = tmp_path / "runs"
    (runs / name).mkdir(parents=True)
    (runs / name / "precious").touch()
    create_study(open_storage(default_url(runs), create=True), name, {})
    assert delete(runs, name) == 0
    assert not has_study(open_storage(default_url(runs), create=False), name)
    assert (runs / name / "precious").exists()


def test_a_folder_of_the_same_name_in_another_database_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path, "mine")
    url = f"sqlite:///{tmp_path}/other.db"
    create_study(open_storage(url, create=True), "mine", {KEY: STORED.to_json()})
    words = ("--study", "mine", "--runs", str(tmp_path), "--yes", "--storage", url)
    assert "is the folder of another study 'mine'" in complain(monkeypatch, capsys, search.delete.main, *words)
    assert has_study(open_storage(url, create=False), "mine")
    assert (tmp_path / "mine").is_dir()


def test_emptying_the_trash_leaves_every_study_and_a_users_own_folders_alone(tmp_path: Path) -> None:
    own = ["mine", ".hidden", "a-b_c.d", "~keep~mine", f"~mine~{'0' * 32}"]
    for name in own:
        (tmp_path / name).mkdir()
    (tmp_path / "thrown").mkdir()
    move_to_trash(tmp_path / "thrown")
    assert len(folders(tmp_path)) == len(own) + 1
    empty_trash(tmp_path)
    assert folders(tmp_path) == sorted(own)


def test_a_study_whose_name_leaves_no_room_for_more_can_be_deleted(tmp_path: Path) -> None:
    name = "名" * 84  # 252 of 255 bytes
    make(tmp_path, name, picture="picture")
    assert run(search.delete.main, "--study", name, "--runs", str(tmp_path), "--yes") == 0
    assert names(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"artifacts"}


def test_a_study_whose_name_is_too_long_for_a_folder_can_be_deleted(tmp_path: Path) -> None:
    name = "名" * 100
    create_study(open_storage(default_url(tmp_path), create=True), name, {KEY: STORED.to_json()})
    assert run(search.delete.main, "--study", name, "--runs", str(tmp_path), "--yes") == 0
    assert names(tmp_path) == []
