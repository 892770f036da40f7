"""Drafts: nobody else's, gone unless put in place, swept when their maker was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from maskcls.system.large_files import Draft, remove_stale_drafts

CHILD = """
import sys, time
from pathlib import Path
from maskcls.system.large_files import Draft
with Draft(Path(sys.argv[1]) / "a.npy", 0o666):
    print("made", flush=True)
    time.sleep(60)
"""


def test_a_draft_is_gone_unless_it_was_put_in_place(tmp_path: Path) -> None:
    with Draft(tmp_path / "a.npy", 0o666) as draft:
        draft.path.write_text("half")
    assert list(tmp_path.iterdir()) == []
    with Draft(tmp_path / "a.npy", 0o666) as draft:
        draft.path.write_text("whole")
        draft.put_in_place()
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]
    assert (tmp_path / "a.npy").read_text() == "whole"


def test_two_drafts_of_one_file_have_two_names(tmp_path: Path) -> None:
    with Draft(tmp_path / "a.npy", 0o666) as one, Draft(tmp_path / "a.npy", 0o666) as other:
        assert one.path != other.path


def test_drafts_of_the_living_stay_and_those_of_the_killed_go(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "made\n"
    remove_stale_drafts(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    child.send_signal(signal.SIGKILL)
    child.communicate()
    remove_stale_drafts(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_drafts_of_other_machines_and_versions_go_once_they_are_old(tmp_path: Path) -> None:
    draft = tmp_path / "key.npy.elsewhere.1.abc.part"
    draft.touch()
    remove_stale_drafts(tmp_path)
    assert draft.exists()
    os.utime(draft, (1, 1))
    remove_stale_drafts(tmp_path)
    assert not draft.exists()
