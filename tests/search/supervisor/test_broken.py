"""Workers that lose their GPU: each is replaced, a GPU that fails again and again is given up, the others go on.

The workers are toys; the fate of each process of a slot is written down beforehand.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import search.gpus.gpu_holders
import search.supervisor.supervisor
from search.database.connect import create_study, default_url, open_storage
from search.gpus.slots import Slot
from search.study.record import KEY, Stored
from search.supervisor.command import MAX_BROKEN, Command
from search.supervisor.pool import WorkerPool
from search.supervisor.supervisor import Supervisor
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
mps, diary = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "in turns"), pathlib.Path(order["runs"], "diary").open("a")
print("begins", order["slot"], mps, file=diary, flush=True)
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
    elif word == "lingers":
        time.sleep(1)
    elif word == "dies":
        os._exit(9)
    elif word == "broken":
        print("ends", order["slot"], file=diary, flush=True)
        tell("ended", {broken!r}, {cause!r})
        os._exit(1)
    elif word == "refused":
        tell("ended", {refused!r}, "There is no device cuda:0: torch sees 0 GPUs.")
        sys.exit()
    elif word == "unwilling":
        tell("ended", {refused!r}, "There are no photos.")
        sys.exit()
tell("ended", {nothing_left!r}, "--n-trials 3")
"""


GPU = "GPU-aaaa1111"


@pytest.fixture(autouse=True)
def common(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The locks of workers in a folder of the test's own."""
    monkeypatch.setattr(search.gpus.gpu_holders, "COMMON", tmp_path)
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)


def command(tmp_path: Path, fates: Mapping[str, Sequence[str]], mps: str = "") -> Supervisor:
    """A supervisor of workers with these fates, process after process, by the name of their slot.

    ``mps``: the directory of the daemon through which they share their only GPU.
    """
    stored = Stored(TOY_STUDY, "synthetic", "hash", {"source": "scratch"}, "scratch", "auto", False, 0)
    create_study(open_storage(default_url(tmp_path), create=True), "toy", {KEY: stored.to_json()})
    (tmp_path / "fates").write_text(json.dumps(fates))
    slots = [Slot(name, "cuda:0", name.split(".")[0], 1, GPU if mps else "", len(fates), mps) for name in fates]
    script = TOY.format(cause=CAUSE, broken=BROKEN, refused=REFUSED, nothing_left=NOTHING_LEFT)
    pool = WorkerPool(slots, arguments=("-c", script))
    pool.start(slots[0])
    pool.start_others()
    order = replace(order_for(tmp_path, 3), requested=stored, workers=len(slots))
    return Supervisor(pool, Command(order, None, lambda *_: None))


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
    assert supervisor.command.outcome.kind == NOTHING_LEFT
    output = capsys.readouterr().out
    assert output.count(f"Worker cuda:0.0 (process {first.process.pid}) lost its GPU and is replaced: {CAUSE}\n") == 1
    assert output.count(CAUSE) == 2  # also in the trial's line


def test_a_gpu_that_fails_again_and_again_is_given_up_and_the_other_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fates = {"cuda:0.0": [lost(trial) for trial in range(9)], "cuda:1.1": ["9 waits complete"]}
    supervisor = command(tmp_path, fates)
    assert supervisor.run() == 0
    assert supervisor.command.outcome.kind == NOTHING_LEFT
    assert processes(tmp_path, "cuda:0.0") == MAX_BROKEN
    assert f"cuda:0 is not used any more, since it failed 3 times in a row: {CAUSE}" in capsys.readouterr().out


def test_when_the_last_gpu_is_given_up_so_is_the_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supervisor = command(tmp_path, {"cuda:0.0": [lost(trial) for trial in range(9)]})
    assert supervisor.run() == 1
    assert supervisor.command.outcome.kind == GAVE_UP
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


def test_one_fault_that_reaches_all_workers_of_a_gpu_counts_once_and_their_successors_wait(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """MPS ends all clients of a GPU at a fault, and takes nobody new while one of them is there."""
    fates = {f"cuda:0.{slot}": [lost(slot), f"{slot} complete"] for slot in range(3)}
    fates["cuda:0.2"][0] = "2 fails lingers broken"
    supervisor = command(tmp_path, fates, mps="/run/mps")
    assert supervisor.run() == 0
    assert supervisor.command.outcome.kind == NOTHING_LEFT
    assert [processes(tmp_path, slot) for slot in fates] == [2, 2, 2]
    assert capsys.readouterr().out.count("lost its GPU and is replaced") == 3
    diary = (tmp_path / "diary").read_text().splitlines()
    began = [f"begins {slot} /run/mps" for slot in fates]
    assert sorted(diary[:6]) == [*began, *(f"ends {slot}" for slot in fates)]
    assert sorted(diary[6:]) == began


def test_a_successor_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.supervisor.supervisor, "FAULT_SECONDS", 0.1)
    fates = {"cuda:0.0": [lost(0), lost(2), "3 complete"], "cuda:0.1": ["1 waits complete"]}
    assert command(tmp_path, fates, mps="/run/mps").run() == 0
    assert processes(tmp_path, "cuda:0.0") == 3  # cuda:0.1 ends once it has seen them


def test_a_gpu_whose_faults_go_on_is_given_up_under_mps_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fates = {f"cuda:0.{slot}": [lost(3 * process + slot) for process in range(9)] for slot in range(2)}
    assert command(tmp_path, fates, mps="/run/mps").run() == 1
    assert [processes(tmp_path, slot) for slot in fates] == [MAX_BROKEN, MAX_BROKEN]
    assert f"every GPU failed again and again, at last cuda:0: {CAUSE}" in capsys.readouterr().out


@pytest.mark.parametrize("fate", ["refused", "broken", "dies"])
def test_workers_that_cannot_use_mps_work_without_it(
    fate: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fates = {f"cuda:0.{slot}": [f"unplanned {fate}", f"{slot} complete"] for slot in range(3)}
    supervisor = command(tmp_path, fates, mps="/run/mps")
    assert supervisor.run() == 0
    assert supervisor.command.outcome.kind == NOTHING_LEFT
    begun = [line for line in (tmp_path / "diary").read_text().splitlines() if line.startswith("begins")]
    assert sorted(begun) == sorted(f"begins {slot} {how}" for slot in fates for how in ("/run/mps", "in turns"))
    output = capsys.readouterr().out
    assert output.count(f"so new workers on {GPU} take turns.") == 1


def test_what_mps_has_no_part_in_is_refused_with_it_too(tmp_path: Path) -> None:
    supervisor = command(tmp_path, {"cuda:0.0": ["unplanned unwilling"], "cuda:0.1": ["1 complete"]}, mps="/run/mps")
    with pytest.raises(SystemExit):
        supervisor.run()
    assert (supervisor.command.outcome.kind, supervisor.command.outcome.cause) == (REFUSED, "There are no photos.")
    assert processes(tmp_path, "cuda:0.0") == 1
