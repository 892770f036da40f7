"""A real worker that waits while another one plans: it goes, stops, or ends with its supervisor, and leaves nothing."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from search.worker.job import StopRequest
from search.worker.messages import GO, STOPPED, WorkOrder
from search.worker.worker import _listen, _wait
from tests.helpers.search import order_for


def waiting(tmp_path: Path) -> WorkOrder:
    return replace(order_for(tmp_path, 3), plan=False, waits=True)


def never_ending() -> Iterator[str]:
    yield GO
    time.sleep(60)


def test_the_word_to_go_is_no_reason_to_stop() -> None:
    stop = StopRequest()
    go = threading.Event()
    _listen(stop, go, threading.Event(), never_ending())
    assert go.wait(10)
    assert not stop


def test_another_word_or_the_end_of_the_input_is_one() -> None:
    for lines, reason in ((["Ctrl-C"], "Ctrl-C"), ([], "the supervisor is gone"), ([GO], "the supervisor is gone")):
        stop = StopRequest()
        go, alone = threading.Event(), threading.Event()
        _listen(stop, go, alone, iter(lines))
        end = time.monotonic() + 10
        while not stop and time.monotonic() < end:
            time.sleep(0.01)
        assert stop.reason == reason
        assert go.is_set() == (GO in lines)
        assert alone.wait(10)


@pytest.mark.parametrize("lines", [[GO], ["Ctrl-C"]])
def test_it_waits_for_either_word_whatever_cannot_be_read_meanwhile(tmp_path: Path, lines: list[str]) -> None:
    """There is neither a database nor a dataset: the planner says so, not the one that waits."""
    stop, go = StopRequest(), threading.Event()
    _listen(stop, go, threading.Event(), iter(lines))
    assert _wait(waiting(tmp_path), stop, go) == (lines == [GO])
    assert list(tmp_path.iterdir()) == []


def test_it_ends_with_its_supervisor_and_leaves_nothing(tmp_path: Path) -> None:
    theirs, ours = os.pipe()
    words = [sys.executable, "-m", "search.worker.process", str(ours)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[ours])
    os.close(ours)
    output, _ = process.communicate(waiting(tmp_path).to_line().encode(), timeout=60)  # and the end of the input
    assert process.returncode == 0
    assert output == b""
    assert os.read(theirs, 1000).decode() == f'["moves"]\n["ended", "{STOPPED}", "the supervisor is gone"]\n'
    os.close(theirs)
    assert list(tmp_path.iterdir()) == []
