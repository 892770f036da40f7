"""Commands that only read: without a right to write, on a disk that is full, beside a run, and without a trace."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import search.database.filesystem
from maskcls.system.errors import UserError
from search.database.connect import create_study, default_url, load_study, open_as_allowed, open_storage, open_to_read
from search.database.errors import DatabaseError
from search.database.read_only import has_log
from search.storage.outcomes import finish

WRITER = """
import os, sys
from search.database.connect import create_study, open_storage
study = create_study(open_storage(sys.argv[1], create=True), "killed", {})
for _ in range(3):
    study.ask()
print("written", flush=True)
sys.stdin.readline()
os._exit(9)  # as a kill does it: the log stays
"""

READER = """
import os, sys
from search.database.connect import load_study, open_to_read
def read():
    return len(load_study(open_to_read(sys.argv[1]), sys.argv[2]).trials)
read()  # what Python loads it may not be allowed to load later
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(read())
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def url(runs: Path) -> str:
    """A database that nobody has open, with one study of one trial."""
    code = (
        "import sys\nfrom maskcls.system.console import run_command\n"
        "from search.database.connect import create_study, open_storage\n"
        "def main(url: str):\n    study = create_study(open_storage(url, create=True), 's', {})\n"
        "    study.tell(study.ask(), 0.5)\nrun_command(main)"
    )
    subprocess.run([sys.executable, "-c", code, default_url(runs)], check=True)
    return default_url(runs)


def state_of(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        path.name: (path.stat().st_size, path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.iterdir()
        if not path.name.endswith("-shm")  # the shared memory of those who have it open
    }


def read(url: str, name: str = "s") -> int:
    return len(load_study(open_to_read(url), name).get_trials())


def test_reading_leaves_no_trace(url: str, runs: Path) -> None:
    before, names = state_of(runs), set(os.listdir(runs))  # noqa: PTH208
    assert read(url) == 1
    with pytest.raises(UserError, match="No study named 'other'"):
        read(url, "other")
    assert state_of(runs) == before
    assert set(os.listdir(runs)) == names  # noqa: PTH208


def test_nothing_can_be_written_by_what_was_opened_to_read(url: str, runs: Path) -> None:
    before = state_of(runs)
    study = load_study(open_to_read(url), "s")
    with pytest.raises(DatabaseError, match="it may not be written to") as caught:
        study.set_user_attr("mine", 1)
    assert "exceeding max length" not in str(caught.value)
    assert state_of(runs) == before


@pytest.fixture
def killed(runs: Path) -> str:
    """The database of a writer that is up, and later killed with all in the log."""
    url = default_url(runs)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "written\n"
    try:
        assert read(url, "killed") == 3  # beside it
    finally:
        writer.communicate("\n")
    return url


def test_what_a_killed_writer_left_in_the_log_is_read_and_stays_there(killed: str, runs: Path) -> None:
    assert has_log(runs / "studies.db")
    before = state_of(runs)
    assert read(killed, "killed") == 3
    assert state_of(runs) == before
    assert len(load_study(open_storage(killed, create=False), "killed").get_trials()) == 3


def test_a_log_without_its_shared_memory_is_read_where_one_may_write_beside_it(killed: str, runs: Path) -> None:
    (runs / "studies.db-shm").unlink()
    assert read(killed, "killed") == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
@pytest.mark.parametrize("logged", [False, True])
def test_another_user_reads_what_he_may_not_write(
    logged: bool, tmp_path: Path, request: pytest.FixtureRequest, runs: Path
) -> None:
    url = request.getfixturevalue("killed" if logged else "url")
    for folder in [runs, *runs.parents]:
        if folder.stat().st_mode & 0o005 != 0o005 and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    before = state_of(runs)
    words = [sys.executable, "-c", READER, url, "killed" if logged else "s"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.returncode) == ("3\n" if logged else "1\n", 0), ended.stderr
    assert state_of(runs) == before


def test_a_later_look_sees_what_was_written_meanwhile(url: str) -> None:
    study = load_study(open_to_read(url), "s")
    assert len(study.get_trials()) == 1
    writer = load_study(open_storage(url, create=False), "s")
    trial = writer.ask()
    finish(writer, trial, TrialState.COMPLETE, 0.75)
    assert [found.value for found in study.get_trials()] == [0.5, 0.75]


@pytest.mark.parametrize("statement", ["CREATE TABLE mine (x)", "CREATE TABLE studies (x)"])
def test_the_database_of_another_program_is_named_and_not_touched(statement: str, runs: Path) -> None:
    with sqlite3.connect(runs / "other.db") as connection:
        connection.execute(statement)
        connection.execute("CREATE TABLE more (x)")
    connection.close()
    before = state_of(runs)
    for attempt in (
        lambda: open_to_read(f"sqlite:///{runs}/other.db"),
        lambda: open_storage(f"sqlite:///{runs}/other.db", create=False),
        lambda: open_storage(f"sqlite:///{runs}/other.db", create=True),
        lambda: open_as_allowed(f"sqlite:///{runs}/other.db"),
    ):
        with pytest.raises(UserError, match=r"other\.db is not a study database"):
            attempt()
    assert state_of(runs) == before


def test_an_empty_database_holds_no_studies_yet_and_can_become_one(runs: Path) -> None:
    url = f"sqlite:///{runs}/empty.db"
    (runs / "empty.db").touch()
    with pytest.raises(UserError, match=r"holds no studies yet; `python -m search.run`"):
        open_to_read(url)
    assert (runs / "empty.db").stat().st_size == 0
    assert optuna.get_all_study_names(open_storage(url, create=True)) == []


def test_a_finished_study_on_a_network_disk_is_read_and_one_that_is_written_to_is_not(
    url: str, runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mounts").write_text(f"device / ext4 rw 0 0\ndevice {runs} nfs4 rw 0 0\n")
    with monkeypatch.context() as patched:
        patched.setattr(search.database.filesystem, "MOUNTS", tmp_path / "mounts")
        assert read(url) == 1
        with pytest.raises(UserError, match="nfs4"):
            open_storage(url, create=False)
    writer = create_study(open_storage(url, create=False), "more", {})
    writer.ask()
    monkeypatch.setattr(search.database.filesystem, "MOUNTS", tmp_path / "mounts")
    with pytest.raises(UserError, match="it is being written to"):
        read(url)
