"""A worker on an engine's machine: what it is told, what it tells, and that it never outlives its task.

The workers here are toys of a few lines.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

import search.engines.remote_worker
from search.database.connect import create_study, load_study, open_storage
from search.engines.messages import Assignment, Message, Orders, Said, Started
from search.engines.remote_worker import order_here, run_worker, slot_here
from search.gpus.gpus import Gpu
from search.storage.failures import failures_of
from search.study.record import KEY
from search.system.clock import uptime
from search.system.processes import start_time
from search.worker.messages import NOTHING_LEFT, Outcome, Planned, TrialBegan, TrialEnded, WorkOrder
from tests.helpers.processes import wait_for
from tests.helpers.search import order_for

TOY = """
import json, os, signal, sys, time
events = os.fdopen(int(sys.argv[1]), "w")
def tell(*event):
    print(json.dumps(event), file=events, flush=True)
order = json.loads(sys.stdin.readline())
"""

NAP = 'tell("trial_began", 3, dict(lr=0.1)); '
"""What a toy does first that is to be stopped in its trial."""


class Command:
    """The command's side: it remembers what it was told, and has its orders changed when a message comes."""

    def __init__(self, orders: Orders = Orders(), changes: dict[type, Orders] | None = None) -> None:
        self.orders, self.changes = orders, changes or {}
        self.heard: list[Message] = []

    def __call__(self, messages: Sequence[Message]) -> Orders:
        self.heard += messages
        for message in messages:
            self.orders = self.changes.get(type(message), self.orders)
        return self.orders

    def pid(self) -> int:
        (started,) = [message for message in self.heard if isinstance(message, Started)]
        return started.pid


def assignment(tmp_path: Path, then: str, order: WorkOrder | None = None) -> Assignment:
    return Assignment(2, order or order_for(tmp_path, 3), time.time(), 1, 0.0, ("-c", TOY + then))


def test_the_command_hears_what_the_worker_prints_and_does(tmp_path: Path) -> None:
    then = f'print("the plan"); tell("planned"); {NAP}tell("trial_ended", 3, "COMPLETE", 0.5, "")'
    command = Command()
    ended = run_worker(assignment(tmp_path, f'{then}; tell("ended", {NOTHING_LEFT!r}, "--n-trials 3")'), "n1", command)
    started, *rest = command.heard
    assert isinstance(started, Started)
    assert (started.node, started.gpu) == ("n1", "")
    assert Said("the plan") in rest
    assert [message for message in rest if not isinstance(message, Said)] == [
        Planned(),
        TrialBegan(3, {"lr": 0.1}),
        TrialEnded(3, TrialState.COMPLETE, 0.5),
    ]
    assert (ended.outcome, ended.death, ended.trial) == (Outcome(NOTHING_LEFT, "--n-trials 3"), None, 3)


def test_a_worker_in_a_trial_hears_why_to_stop(tmp_path: Path) -> None:
    command = Command(changes={TrialBegan: Orders(stop="Ctrl-C", is_planned=True)})
    then = f'{NAP}line = sys.stdin.readline().strip(); tell("ended", "stopped", line)'
    assert run_worker(assignment(tmp_path, then), "n1", command).outcome == Outcome("stopped", "Ctrl-C")


def test_a_worker_in_a_trial_stops_at_once_by_the_signal(tmp_path: Path) -> None:
    command = Command(changes={TrialBegan: Orders(stop="Ctrl-C", now=True)})
    obey = r"""def obey(*_):
    os.write(int(sys.argv[1]), b'["ended", "stopped"]\n')
    os._exit(0)
signal.signal(signal.SIGUSR1, obey)
"""
    then = f"{obey}{NAP}time.sleep(60)"
    assert run_worker(assignment(tmp_path, then), "n1", command).outcome == Outcome("stopped")


def test_one_that_does_not_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.engines.remote_worker, "PATIENCE_SECONDS", 0.1)
    command = Command(changes={TrialBegan: Orders(stop="Ctrl-C", now=True)})
    then = f"signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n{NAP}time.sleep(60)"
    ended = run_worker(assignment(tmp_path, then), "n1", command)
    assert ended.death is not None
    assert ended.death.how == "SIGKILL"


def test_a_worker_without_a_trial_has_nothing_to_finish(tmp_path: Path) -> None:
    ended = run_worker(assignment(tmp_path, "time.sleep(60)"), "n1", Command(Orders(stop="Ctrl-C")))
    assert ended.death is not None
    assert (ended.death.how, ended.death.weight) == ("SIGKILL", 1)


def test_a_worker_that_dies_tells_of_what_and_its_trial_waits_again(tmp_path: Path) -> None:
    order = replace(order_for(tmp_path, 3), plan=False)
    create_study(open_storage(order.url, create=True), "toy", {KEY: order.requested.to_json()})
    begin = """
from optuna.trial import TrialState
from search.database.connect import load_study, open_storage
from search.study.attributes import WORKER
from search.system.processes import describe_myself
study = load_study(open_storage(order["url"], create=False), "toy")
trial_id = study._storage.create_new_trial(study._study_id)
study._storage.set_trial_user_attr(trial_id, WORKER, describe_myself(order["slot"]).to_json())
tell("trial_began", 0, dict())
os.abort()
"""
    command = Command()
    ended = run_worker(assignment(tmp_path, begin, order), "n1", command)
    assert ended.death is not None
    assert (ended.death.how, ended.death.is_trials_fault, ended.trial) == ("SIGABRT", True, 0)
    assert command.heard[-1] == TrialEnded(0, TrialState.WAITING, None, "its worker died (SIGABRT)")
    (trial,) = load_study(open_storage(order.url, create=False), "toy").get_trials()
    assert trial.state == TrialState.WAITING
    assert [failed["error"] for failed in failures_of(trial)] == ["its process died of SIGABRT"]


def test_a_worker_that_hangs_is_killed_as_by_a_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.supervisor.hung.STACK_SECONDS", 0.1)
    order = replace(order_for(tmp_path, 3), stall=0.5, plan=False)
    then = 'signal.signal(signal.SIGUSR2, signal.SIG_IGN)\ntell("moves"); time.sleep(60)'
    ended = run_worker(assignment(tmp_path, then, order), "n1", Command(Orders(is_planned=True)))
    assert ended.death is not None
    assert ended.death.is_trials_fault
    assert ended.error.startswith("it hung for")


def test_no_process_outlives_a_task_whose_command_is_gone(tmp_path: Path) -> None:
    command = Command()

    def gone(messages: Sequence[Message]) -> Orders:
        if command.heard:
            raise ConnectionError("the actor died")
        return command(messages)

    with pytest.raises(ConnectionError):
        run_worker(assignment(tmp_path, "time.sleep(60)"), "n1", gone)
    assert start_time(command.pid()) is None


def test_no_process_outlives_an_engine_that_is_killed() -> None:
    child = (
        "from search.engines.bound_worker import end_with_parent; end_with_parent(); print(1, flush=True);"
        "import time; time.sleep(60)"
    )
    parent = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=-1);"
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent, child], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert start_time(pid) is not None
        process.kill()
        wait_for(lambda: start_time(pid) is None)


def test_a_slot_says_the_host_and_is_unique_in_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "node7.cluster.local")
    assert slot_here(assignment(tmp_path, "")).name == "node7.cpu.2"


def test_a_worker_gets_the_gpu_that_the_engine_shows_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "node7")
    given = replace(assignment(tmp_path, ""), gpus=0.5, cores=4)
    monkeypatch.setattr(search.engines.remote_worker, "find_gpus", lambda: [Gpu("cuda:0", "3", "GPU-abc")])
    slot = slot_here(given)
    assert (slot.name, slot.device, slot.visible, slot.gpu) == ("node7.cuda:3.2", "cuda:0", "3", "GPU-abc")
    assert (slot.cores, slot.sharers) == (4, 2)
    monkeypatch.setattr(search.engines.remote_worker, "find_gpus", lambda: [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert slot_here(given).device == "cuda:0"  # no silent training on the CPU where nvidia-smi is missing
    assert slot_here(given).visible == "5"


def test_the_order_counts_in_this_machines_uptime_and_a_planned_study_is_not_planned_again(tmp_path: Path) -> None:
    given = replace(assignment(tmp_path, ""), began=time.time() - 100, order=replace(order_for(tmp_path, 3), since=5e9))
    order = order_here(given, slot_here(given), is_planned=False)
    assert order.since == pytest.approx(uptime() - 100, abs=1)
    assert order.plan
    assert order.is_placed
    assert not order_here(given, slot_here(given), is_planned=True).plan
