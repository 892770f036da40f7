"""What two processes may do at the same moment."""

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

import maskcls.system.lock
from maskcls.system.errors import UserError
from maskcls.system.lock import StuckError, hold, hold_file, is_held, share_folder
from search.database.connect import create_study, open_storage, open_to_read
from search.database.study_lock import exclusive, lock_of

HOLD_AND_APPEND = """
import sys, time
from pathlib import Path
from maskcls.system.lock import hold
with hold(Path(sys.argv[1])):
    text = Path(sys.argv[2]).read_text()
    time.sleep(0.2)
    Path(sys.argv[2]).write_text(text + "x")
"""

OPEN = """
import sys
from search.database.connect import open_storage
sys.stdin.readline()
open_storage(sys.argv[1], create=True)
"""


def start(code: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_link_to_a_database_has_the_lock_and_the_log_of_the_database_itself(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "studies.db", tmp_path / "link.db"
    writer = open_storage(f"sqlite:///{real}", create=True)
    link.symlink_to(real)
    assert lock_of(link) == lock_of(real)
    create_study(writer, "s", {})  # in the log still
    reader = open_to_read(f"sqlite:///{link}")
    assert [found.study_name for found in reader.get_all_studies()] == ["s"]
    with exclusive(open_storage(f"sqlite:///{link}", create=False), "s"):
        writer.lock_seconds = 0.1
        with pytest.raises(StuckError, match="held by process"), exclusive(writer, "s"):
            pass


def test_who_holds_a_folder_is_alone(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("")
    (tmp_path / "held").mkdir()
    children = [start(HOLD_AND_APPEND, str(tmp_path / "held"), str(tmp_path / "count")) for _ in range(4)]
    assert [child.wait(60) for child in children] == [0] * 4
    assert (tmp_path / "count").read_text() == "xxxx"
    assert [path.name for path in (tmp_path / "held").iterdir()] == [".lock"]


def test_a_lock_is_given_back_when_its_holder_fails(tmp_path: Path) -> None:
    for _ in range(2):
        try:
            with hold(tmp_path):
                raise ValueError
        except ValueError:
            pass


def test_processes_that_make_the_same_database_at_once_all_get_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    children = [start(OPEN, url) for _ in range(4)]
    told = [child.communicate("go\n", timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0] * 4, told
    assert optuna.get_all_study_names(open_storage(url, create=False)) == []


def test_sharers_do_not_wait_for_each_other_and_are_seen(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    share_folder(tmp_path)
    share_folder(tmp_path)
    assert is_held(tmp_path)


def test_a_lock_that_nobody_lets_go_of_is_said_named_and_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(maskcls.system.lock, "QUIET_SECONDS", 0.1)
    with (
        hold_file(tmp_path / "lock", "the lock of x.db"),
        pytest.raises(UserError, match=rf"x.db has been held by process {os.getpid()} on .*end that process"),
        hold_file(tmp_path / "lock", "the lock of x.db", 0.4),
    ):
        pass
    assert capfd.readouterr().err.count(f"waiting for the lock of x.db: held by process {os.getpid()} on ") == 1
    with hold_file(tmp_path / "lock", "the lock of x.db", 0.4):
        pass


def test_a_queue_that_moves_on_may_take_longer_than_one_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(maskcls.system.lock.time, "monotonic", lambda: now[0])
    wait = maskcls.system.lock.Wait("it", 10)
    for holder in range(5):
        now[0] += 9
        wait.check(f"process {holder}")
    now[0] += 10
    with pytest.raises(UserError):
        wait.check("process 4")


def test_a_users_own_lock_on_the_folder_is_no_hindrance(tmp_path: Path) -> None:
    """As of ``flock runs python -m search.run ...``."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with hold(tmp_path, limit=0.5):
            pass
        assert optuna.get_all_study_names(open_storage(f"sqlite:///{tmp_path}/studies.db", create=True)) == []
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(("folder", "file"), [(0o755, 0o600), (0o775, 0o660), (0o777, 0o666), (0o1777, 0o600)])
def test_whoever_may_write_into_the_folder_may_lock_it_and_nobody_else(folder: int, file: int, tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    (tmp_path / "held").chmod(folder)
    with hold(tmp_path / "held"):
        pass
    assert stat.S_IMODE((tmp_path / "held" / ".lock").stat().st_mode) == file


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"), hold(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()
