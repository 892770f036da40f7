"""Processes are told apart and their end is seen, with real ones."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from optuna.trial import TrialState, create_trial

import search.system.processes
from search.storage.orphans import is_orphaned
from search.study.attributes import WORKER
from search.system.processes import WorkerIdentity, describe_myself, is_suspended, start_time

CHILD = """
import json, sys
from search.system.processes import describe_myself
print(json.dumps(describe_myself("cpu.3").to_json()), flush=True)
sys.stdin.readline()
"""

RENAMED = "import sys; open('/proc/self/comm', 'w').write('a) Z (b'); print('ready', flush=True); input()"


@pytest.fixture
def child() -> Iterator["subprocess.Popen[str]"]:
    """A process that says who it is and waits for a line."""
    process = start(CHILD)
    yield process
    process.kill()
    process.communicate()


def start(script: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> WorkerIdentity:
    assert process.stdout is not None
    identity = WorkerIdentity.from_json(json.loads(process.stdout.readline()))
    assert identity is not None
    return identity


def test_a_process_says_where_it_runs_on_which_slot_since_when(child: "subprocess.Popen[str]") -> None:
    theirs = said(child)
    assert (theirs.host, theirs.pid, theirs.slot) == (socket.gethostname(), child.pid, "cpu.3")
    assert theirs.since is not None
    assert abs(theirs.since - time.time()) < 60
    assert theirs.machine == describe_myself("cpu.0").machine


def test_the_stored_form_has_these_fields_in_this_order() -> None:
    assert list(describe_myself("cpu.0").to_json()) == ["host", "machine", "pid", "started", "slot", "since"]
    assert WorkerIdentity.from_json(None) is None


def test_a_process_that_runs_is_not_gone_and_one_that_has_ended_is(child: "subprocess.Popen[str]") -> None:
    theirs = said(child)
    assert theirs.has_ended() is False
    child.communicate("end\n")
    assert theirs.has_ended() is True


def test_a_killed_process_is_gone_though_its_parent_has_not_heard_of_it(child: "subprocess.Popen[str]") -> None:
    theirs = said(child)
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    assert os.path.exists(f"/proc/{child.pid}/stat")  # noqa: PTH110
    assert theirs.has_ended() is True
    child.wait()
    assert theirs.has_ended() is True


def test_a_stopped_process_is_not_gone(child: "subprocess.Popen[str]") -> None:
    theirs = said(child)
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert theirs.has_ended() is False


def test_a_trial_of_a_stopped_process_is_lost_once_nothing_was_heard_of_it(child: "subprocess.Popen[str]") -> None:
    trial = create_trial(state=TrialState.RUNNING, user_attrs={WORKER: said(child).to_json()})
    assert not is_orphaned(trial, is_stale=False)
    assert not is_orphaned(trial, is_stale=True)  # the machine may have slept
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert is_suspended(child.pid)
    assert not is_orphaned(trial, is_stale=False)
    assert is_orphaned(trial, is_stale=True)
    child.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, child.pid, os.WCONTINUED | os.WNOWAIT)
    assert not is_suspended(child.pid)
    assert not is_orphaned(trial, is_stale=True)
    assert not is_suspended(2**30)


def test_a_process_that_only_has_the_number_of_a_dead_one_is_another(child: "subprocess.Popen[str]") -> None:
    theirs = said(child)
    assert theirs.started is not None
    earlier = replace(theirs, started=theirs.started - 1)  # the pid was used before, by a process that has ended
    assert earlier.has_ended() is True
    assert not earlier.is_same_process(theirs)


def test_of_a_process_on_another_machine_nothing_can_be_said(child: "subprocess.Popen[str]") -> None:
    theirs = said(child)
    assert replace(theirs, machine="another boot or container").has_ended() is None
    older = WorkerIdentity.from_json({"host": "box", "pid": theirs.pid, "started": theirs.started})
    assert older is not None
    assert older.has_ended() is None
    assert not older.is_same_process(theirs)


def test_another_machine_is_told_from_a_container_and_from_this_one_before_a_restart() -> None:
    me = describe_myself("cpu.0")
    boot, namespace = str(me.machine).split(maxsplit=1)
    assert replace(me, machine=f"another-boot {namespace}", host="far").is_on_another_kernel()
    assert not replace(me, machine=f"another-boot {namespace}").is_on_another_kernel()
    assert not replace(me, machine=f"{boot} pid:[1]", host="a container").is_on_another_kernel()
    assert not replace(me, machine=None, host="of an earlier version").is_on_another_kernel()


def test_two_descriptions_of_one_process_are_the_same_whatever_its_slot(child: "subprocess.Popen[str]") -> None:
    me, theirs = describe_myself("cpu.0"), said(child)
    assert me.is_same_process(describe_myself("cpu.1"))
    assert not me.is_same_process(theirs)
    assert not me.is_same_process(replace(me, machine="another"))
    assert not me.is_same_process(None)


def test_a_name_with_brackets_and_spaces_does_not_hide_the_start() -> None:
    process = start(RENAMED)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started = start_time(process.pid)
        assert started is not None
        assert started >= (start_time(os.getpid()) or 0)
    finally:
        process.communicate("\n")
    assert start_time(process.pid) is None


def test_a_number_that_no_process_has_had_has_no_start() -> None:
    assert start_time(2**30) is None


def test_the_machine_is_this_boot_and_this_namespace() -> None:
    assert search.system.processes._machine().count("pid:[") == 1
    assert len(search.system.processes._machine()) > 40
