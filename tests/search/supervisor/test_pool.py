"""Waiting workers: they load beside the first one, work once the plan is stored, and never outlive a command.

The workers here are toys of a few lines that tell what real ones tell; real ones are in test_service.py.
"""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from search.database.connect import create_study, default_url, open_storage
from search.gpus.slots import Slot
from search.study.record import KEY, Stored
from search.supervisor.command import Command
from search.supervisor.pool import WorkerPool
from search.supervisor.supervisor import Supervisor
from search.worker.messages import GO, NOTHING_LEFT, REFUSED, STOPPED
from tests.helpers.search import TOY_STUDY, order_for

TOY = """
import json, os, signal, sys
events = os.fdopen(int(sys.argv[1]), "w")
def tell(*event):
    print(json.dumps(event), file=events, flush=True)
line = sys.stdin.readline()
if not line:
    sys.exit()
order = json.loads(line)
folder = {folder!r}
open(folder + "/order-" + order["slot"] + "-" + str(os.getpid()), "w").close()
if order["plan"]:
    {planning}
    tell("planned")
elif order["waits"]:
    line = sys.stdin.readline()
    if line != "{go}\\n":
        sys.exit(line)
    open(folder + "/go-" + order["slot"] + "-" + str(os.getpid()), "w").close()
tell("ended", {nothing_left!r}, "--n-trials 3")
"""


ALL_HAVE_ORDERS = """import glob, time
    end = time.time() + 30
    while len(glob.glob(folder + '/order-*')) < 3 and time.time() < end: time.sleep(.01)
"""
"""Of a plan: wait until the others have read their orders."""


def command(tmp_path: Path, planning: str, workers: int = 3) -> tuple[Supervisor, WorkerPool]:
    """A supervisor and its pool; ``planning`` is what the first worker does before it says that it has planned."""
    stored = Stored(TOY_STUDY, "synthetic", "hash", {"source": "scratch"}, "scratch", "auto", False, 0)
    create_study(open_storage(default_url(tmp_path), create=True), "toy", {KEY: stored.to_json()})
    slots = [Slot(f"cpu.{index}", "cpu", "", 1) for index in range(workers)]
    script = TOY.format(folder=str(tmp_path), planning=planning, go=GO, nothing_left=NOTHING_LEFT)
    pool = WorkerPool(slots, arguments=("-c", script))
    pool.start(slots[0])
    pool.start_others()
    order = replace(order_for(tmp_path, 3), requested=stored, workers=workers)
    return Supervisor(pool, Command(order, None, lambda *_: None)), pool


def slots_that_had(word: str, tmp_path: Path) -> list[str]:
    """The slots of the processes that read an order, or the word to go."""
    return sorted(path.name.split("-")[1] for path in tmp_path.glob(f"{word}-*"))


def test_all_make_ready_at_once_and_go_once_the_plan_is_stored(tmp_path: Path) -> None:
    """The first one plans only when the others have read their orders: they do not come after the plan."""
    supervisor, pool = command(tmp_path, ALL_HAVE_ORDERS + "    time.sleep(.3); assert not glob.glob(folder + '/go-*')")
    processes = [worker.process for worker in pool.workers]
    assert len(processes) == 3
    assert supervisor.run() == 0
    assert slots_that_had("order", tmp_path) == ["cpu.0", "cpu.1", "cpu.2"]
    assert slots_that_had("go", tmp_path) == ["cpu.1", "cpu.2"]
    assert [process.returncode for process in processes] == [0, 0, 0]


def test_a_refused_plan_ends_those_that_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supervisor, pool = command(tmp_path, f"tell('ended', {REFUSED!r}, 'no such thing'); sys.exit()")
    processes = [worker.process for worker in pool.workers]
    with pytest.raises(SystemExit) as ended:
        supervisor.run()
    assert ended.value.code == 2
    assert "error: no such thing" in capsys.readouterr().err
    assert slots_that_had("go", tmp_path) == []
    assert [process.returncode for process in processes] == [0, -signal.SIGKILL, -signal.SIGKILL]


def test_a_planner_that_somebody_stops_ends_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supervisor, pool = command(tmp_path, f"tell('ended', {STOPPED!r}, ''); sys.exit()")
    processes = [worker.process for worker in pool.workers]
    assert supervisor.run() == 1
    assert "No worker could start: the plan was not made." in capsys.readouterr().out
    assert all(process.returncode is not None for process in processes)


def test_a_planner_that_dies_is_replaced_by_one_that_plans(tmp_path: Path) -> None:
    dies_once = "import pathlib; mark = pathlib.Path(folder, 'died'); seen = mark.exists(); mark.touch()\n"
    dies_once += "    if not seen: os.kill(os.getpid(), signal.SIGKILL)"
    supervisor, _ = command(tmp_path, dies_once)
    assert supervisor.run() == 0
    assert slots_that_had("order", tmp_path) == ["cpu.0", "cpu.0", "cpu.1", "cpu.2"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_is_killed_while_it_waits_is_replaced_and_goes(tmp_path: Path, number: signal.Signals) -> None:
    kills = ALL_HAVE_ORDERS + "    (path,) = glob.glob(folder + '/order-cpu.1-*')\n"
    kills += f"    os.kill(int(path.split('-')[-1]), {int(number)}); time.sleep(.5)"
    supervisor, _ = command(tmp_path, kills)
    assert supervisor.run() == 0
    assert slots_that_had("order", tmp_path) == ["cpu.0", "cpu.1", "cpu.1", "cpu.2"]
    assert {"cpu.2"} <= set(slots_that_had("go", tmp_path)) <= {"cpu.1", "cpu.2"}  # the new one may come after the plan
