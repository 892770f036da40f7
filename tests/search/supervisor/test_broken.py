"""Workers that lose their GPU: each is replaced, a GPU that fails again and again is given up, the others go on.

The workers are toys; the fate of each process of a slot is written down beforehand.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from search.database.connect import create_study, default_url, open_storage
from search.study.record import KEY, Stored
from search.supervisor.pool import WorkerPool
from search.supervisor.slots import Slot
from search.supervisor.supervisor import MAX_BROKEN, Supervisor
from search.worker.messages import BROKEN, GAVE_UP, NOTHING_LEFT, REFUSED
from tests.helpers.search import TOY_STUDY, order_for

CAUSE = "CUDA error: an illegal memory access was encountered"

TOY = """
import json, os, pathlib, sys, time
events = os.fdopen(int(sys.argv[1]), "w")
def tell(*event):
    print(json.dumps(event), file=events, flush=True)
line = sys.stdin.readline()
if not line:
    sys.exit()
order = json.loads(line)
begun = pathlib.Path(order["runs"], order["slot"])
with begun.open("a") as file:
    file.write("x")
words = json.loads(pathlib.Path(order["runs"], "fates").read_text())[order["slot"]][begun.stat().st_size - 1].split()
if "unplanned" not in words:
    if order["plan"]:
        tell("planned")
    elif order["waits"]:
        sys.stdin.readline()
for word in words:
    if word.isdecimal():
        trial = int(word)
        tell("trial_began", trial, dict())
    elif word == "complete":
        tell("trial_ended", trial, "COMPLETE", 0.5)
    elif word == "fails":
        tell("trial_ended", trial, "WAITING", None, {cause!r})
    elif word == "waits":
        while pathlib.Path(order["runs"], "cuda:0.0").read_text() != "xxx": time.sleep(.02)
        time.sleep(.3)
    elif word == "broken":
        tell("ended", {broken!r}, {cause!r})
        os._exit(1)
    elif word == "refused":
        tell("ended", {refused!r}, "There is no device cuda:0")
        sys.exit()
tell("ended", {nothing_left!r}, "--n-trials 3")
"""


def command(tmp_path: Path, fates: Mapping[str, Sequence[str]]) -> Supervisor:
    """A supervisor of workers with these fates, process after process, by the name of their slot."""
    stored = Stored(TOY_STUDY, "synthetic", "hash", {"source": "scratch"}, "scratch", "auto", False, 0)
    create_study(open_storage(default_url(tmp_path), create=True), "toy", {KEY: stored.to_json()})
    (tmp_path / "fates").write_text(json.dumps(fates))
    slots = [Slot(name, "cuda:0", name.split(".")[0], 1) for name in fates]
    script = TOY.format(cause=CAUSE, broken=BROKEN, refused=REFUSED, nothing_left=NOTHING_LEFT)
    pool = WorkerPool(slots, arguments=("-c", script))
    pool.start(slots[0])
    pool.start_others()
    order = replace(order_for(tmp_path, 3), requested=stored, workers=len(slots))
    return Supervisor(pool, order, None, lambda *_: None)


def processes(tmp_path: Path, slot: str) -> int:
    """How many processes the slot has had."""
    return len((tmp_path / slot).read_text())


def lost(trial: int) -> str:
    """The fate of a process that crashes in this trial and has lost its GPU."""
    return f"{trial} fails broken"


def test_a_worker_that_has_lost_its_gpu_is_replaced_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = command(tmp_path, {"cuda:0.0": [lost(0), "1 complete"]})
    (first,) = supervisor.pool.workers
    assert supervisor.run() == 0
    assert supervisor.outcome.kind == NOTHING_LEFT
    output = capsys.readouterr().out
    assert output.count(f"Worker cuda:0.0 (process {first.process.pid}) lost its GPU and is replaced: {CAUSE}\n") == 1
    assert output.count(CAUSE) == 2  # also in the trial's line


def test_a_gpu_that_fails_again_and_again_is_given_up_and_the_other_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fates = {"cuda:0.0": [lost(trial) for trial in range(9)], "cuda:1.1": ["9 waits complete"]}
    supervisor = command(tmp_path, fates)
    assert supervisor.run() == 0
    assert supervisor.outcome.kind == NOTHING_LEFT
    assert processes(tmp_path, "cuda:0.0") == MAX_BROKEN
    assert f"cuda:0 is not used any more, since it failed 3 times in a row: {CAUSE}" in capsys.readouterr().out


def test_when_the_last_gpu_is_given_up_so_is_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supervisor = command(tmp_path, {"cuda:0.0": [lost(trial) for trial in range(9)]})
    assert supervisor.run() == 1
    assert supervisor.outcome.kind == GAVE_UP
    assert processes(tmp_path, "cuda:0.0") == MAX_BROKEN
    assert f"every GPU failed again and again, at last cuda:0: {CAUSE}" in capsys.readouterr().out


def test_one_bad_trial_does_not_give_up_its_gpu(tmp_path: Path) -> None:
    supervisor = command(tmp_path, {"cuda:0.0": [*[lost(0)] * 3, lost(1), "2 complete"]})
    assert supervisor.run() == 0
    assert processes(tmp_path, "cuda:0.0") == 5


def test_a_trial_that_ends_well_clears_its_gpu(tmp_path: Path) -> None:
    fates = [lost(0), lost(1), f"2 complete {lost(3)}", lost(4), "5 complete"]
    supervisor = command(tmp_path, {"cuda:0.0": fates})
    assert supervisor.run() == 0
    assert processes(tmp_path, "cuda:0.0") == 5


def test_workers_that_share_a_gpu_lose_it_together(tmp_path: Path) -> None:
    fates = {"cuda:0.0": [lost(0), lost(2), lost(3), lost(9)], "cuda:0.1": [f"1 waits {lost(1)}", "4 complete"]}
    supervisor = command(tmp_path, fates)
    assert supervisor.run() == 1
    assert (processes(tmp_path, "cuda:0.0"), processes(tmp_path, "cuda:0.1")) == (3, 1)


@pytest.mark.parametrize("fate", ["refused", "broken"])
def test_a_gpu_that_is_gone_after_a_failure_refuses_nobody_else(
    fate: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fates = {"cuda:0.0": [lost(0), fate, fate, "1 complete"], "cuda:1.1": ["9 waits complete"]}
    supervisor = command(tmp_path, fates)
    assert supervisor.run() == 0
    assert processes(tmp_path, "cuda:0.0") == MAX_BROKEN
    assert "cuda:0 is not used any more" in capsys.readouterr().out


def test_a_planner_that_loses_its_gpu_is_replaced_but_not_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "once").mkdir()
    supervisor = command(
        tmp_path / "once", {"cuda:0.0": ["unplanned broken", "0 complete"], "cuda:1.1": ["1 complete"]}
    )
    assert supervisor.run() == 0
    (tmp_path / "ever").mkdir()
    assert command(tmp_path / "ever", {"cuda:0.0": ["unplanned broken"] * 9}).run() == 1
    assert f"one worker after another died before its first trial: {CAUSE}" in capsys.readouterr().out
