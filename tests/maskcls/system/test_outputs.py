"""Files that a user names by -o: links, devices, pipes and this command's own output are written to, not replaced."""

import errno
import json
import os
import stat
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy

import search.export
import search.report
from maskcls.evaluate import main as evaluate
from maskcls.predict import main as predict
from maskcls.system import outputs
from maskcls.system.errors import UserError
from maskcls.system.outputs import check_output, check_output_folder, write_output, write_output_text
from search.database.connect import backend_of
from tests.helpers.report import Played, make_study
from tests.helpers.search import complain
from tests.helpers.training import run


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Played:
    """The best trial knows its config, as one that was run does."""
    played = make_study(tmp_path_factory.mktemp("runs"), synthetic_folder)
    best = played.study.best_trial
    config = played.stored.baseline_config.model_dump(mode="json")
    for key, value in {"config": config, "origin": {"study": "toy", "trial": best.number}}.items():
        _write_attribute(played, best._trial_id, key, value)
    return played


def _write_attribute(played: Played, trial_id: int, key: str, value: object) -> None:
    """A finished trial's, which Optuna itself would not change."""
    with backend_of(played.study).engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (:t, :k, :v)"),
            {"t": trial_id, "k": key, "v": json.dumps(value)},
        )


def export(played: Played, out: Path) -> int:
    return run(search.export.main, "--study", "toy", "--runs", played.runs, "-o", out)


def test_a_link_stays_and_its_target_gets_the_content_with_its_own_mode(played: Played, tmp_path: Path) -> None:
    real, link = tmp_path / "elsewhere" / "real.toml", tmp_path / "link.toml"
    real.parent.mkdir()
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to("elsewhere/real.toml")
    assert export(played, link) == 0
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "backbone" in tomllib.loads(real.read_text())
    assert [path.name for path in real.parent.iterdir()] == ["real.toml"]


def test_a_link_to_nothing_yet_makes_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new")
    write_output_text(tmp_path / "link", "content")
    assert (tmp_path / "new").read_text() == "content"
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_is_written_into(played: Played, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert export(played, pipe) == 0
    reader.join(10)
    assert "backbone" in tomllib.loads(read[0])
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_terminal_is_written_to(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    (tmp_path / "link").symlink_to(os.ttyname(theirs))
    write_output_text(tmp_path / "link", "content")
    assert os.read(ours, 100) == b"content"
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("to_file", [False, True])
def test_the_commands_own_output_holds_the_config_alone(
    played: Played, tmp_path: Path, name: str, to_file: bool
) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    out = tmp_path / name  # an absolute name stays
    command = [sys.executable, "-m", "search.export", "--study", "toy", "--runs", str(played.runs), "-o", str(out)]
    if to_file:
        with (tmp_path / "kept").open("w") as kept:
            kept.write("# before\n")
            kept.flush()
            ended = subprocess.run(command, stdout=kept, stderr=subprocess.PIPE, text=True, check=True)
        content = (tmp_path / "kept").read_text()
        assert content.startswith("# before\n")
    else:
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        content = ended.stdout
    assert "backbone" in tomllib.loads(content)
    assert "of toy, macro F1" in ended.stderr
    assert "Next: " not in ended.stderr  # there is nothing to train from by that name


def test_a_folder_that_only_lets_the_file_itself_be_written_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there.csv"
    there.write_text("something longer than the new text")
    inode = there.stat().st_ino

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(outputs.Path, "replace", refuse)  # a file that is mounted itself, as in a container
    write_output_text(there, "new")
    assert (there.read_text(), there.stat().st_ino) == ("new", inode)
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    with pytest.raises(OSError, match="busy"):
        write_output_text(tmp_path / "not-there.csv", "new")


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    there = tmp_path / "there.csv"
    there.write_text("old")

    def fail(part: Path) -> None:
        part.write_text("half", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_output(there, fail)
    assert there.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]


def test_what_cannot_be_written_is_told_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere/file.csv")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=r"where the link .* leads"):
        check_output(tmp_path / "link")
    with pytest.raises(UserError, match="There is no folder"):
        check_output(tmp_path / "nowhere" / "file.csv")
    with pytest.raises(UserError, match="is a folder"):
        check_output(tmp_path)
    (tmp_path / "file").touch()
    for name in ("file", "link", "file/below"):
        with pytest.raises(UserError):
            check_output_folder(tmp_path / name)
    check_output_folder(tmp_path / "new" / "below")
    for name in ("/dev/stdout", "/dev/null", str(tmp_path / "new.csv")):
        check_output(Path(name))


def test_predict_writes_through_a_link(trained: Path, synthetic_folder: Path, tmp_path: Path) -> None:
    photos = next((synthetic_folder / "images").iterdir())
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "real.csv").chmod(0o600)
    (tmp_path / "link.csv").symlink_to("real.csv")
    assert run(predict, "--model", trained, "--images", photos, "-o", tmp_path / "link.csv", "--device", "cpu") == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(pd.read_csv(tmp_path / "real.csv")) == 7
    assert stat.S_IMODE((tmp_path / "real.csv").stat().st_mode) == 0o600


def test_report_and_evaluate_write_through_links(
    played: Played, trained: Path, synthetic_folder: Path, synthetic_cache: Path, tmp_path: Path
) -> None:
    home, www = tmp_path / "out", tmp_path / "www"
    home.mkdir()
    www.mkdir()
    for name in ("report.html", "predictions.npz", "confusion.png"):
        (home / name).symlink_to(www / name)
    assert run(search.report.main, "--study", "toy", "--runs", played.runs, "-o", home) == 0
    command = ["--model", trained, "--data", synthetic_folder, "--runs", synthetic_cache.parent, "--device", "cpu"]
    assert run(evaluate, *command, "-o", home) == 0
    assert {path.name for path in www.iterdir()} == {"report.html", "predictions.npz", "confusion.png"}
    assert all((home / path.name).is_symlink() for path in www.iterdir())


def test_a_folder_is_refused_by_export(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--study", "toy", "--runs", str(played.runs), "-o", str(tmp_path))
    assert "is a folder" in complain(monkeypatch, capsys, search.export.main, *words)
