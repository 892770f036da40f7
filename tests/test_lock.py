"""What two processes may do at the same moment."""

import subprocess
import sys
from pathlib import Path

import optuna

from maskcls.lock import hold, is_held, share
from search.storage import open_storage

HOLD_AND_APPEND = """
import sys, time
from pathlib import Path
from maskcls.lock import hold
with hold(Path(sys.argv[1])):
    text = Path(sys.argv[2]).read_text()
    time.sleep(0.2)
    Path(sys.argv[2]).write_text(text + "x")
"""

OPEN = """
import sys
from search.storage import open_storage
sys.stdin.readline()
open_storage(sys.argv[1], create=True)
"""


def start(code: str, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


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
    share(tmp_path)
    share(tmp_path)
    assert is_held(tmp_path)
