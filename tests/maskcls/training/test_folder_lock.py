"""One training a folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskcls.system.errors import UserError
from maskcls.training.folder_lock import LOCK, lock_folder
from tests.helpers.training import one_line

HOLD = """
import sys
from pathlib import Path
from maskcls.training.folder_lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_training_into_a_folder_is_refused_and_one_after_it_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with lock_folder(folder):
        with pytest.raises(UserError) as caught, lock_folder(folder):
            pass
        assert "Another training writes into" in one_line(caught.value)
        (folder / "config.toml").touch()
    with lock_folder(folder):
        pass
    assert [path.name for path in folder.iterdir()] == ["config.toml"]


def test_a_folder_into_which_nothing_was_written_goes_and_a_users_own_stays(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    for name in ("own", "made"):
        with lock_folder(tmp_path / name):
            assert (tmp_path / name).is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_training_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError), lock_folder(tmp_path):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    assert (tmp_path / LOCK).exists()
    with lock_folder(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()
