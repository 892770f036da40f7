"""Workers that hang, are stopped or cannot be heard, and studies that vanish: the supervisor ends, and leaves nobody.

The workers are toys that run one trial of a stored study; what becomes of the trial is read from the database.
"""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

import search.supervisor.display
import search.supervisor.hung
import search.supervisor.shutdown
import search.supervisor.supervisor
from search.database.connect import GRACE_SECONDS, create_study, default_url, load_study, open_storage
from search.gpus.slots import Slot
from search.storage.failures import failures_of
from search.study.record import KEY, Stored
from search.supervisor.command import Command
from search.supervisor.pool import WorkerPool
from search.supervisor.supervisor import Supervisor
from search.terminal.progress import PlainWatcher
from search.worker.messages import NOTHING_LEFT, STOPPED
from tests.helpers.search import TOY_STUDY, order_for

TOY = """
import json, os, pathlib, shutil, signal, sys, time
events = os.fdopen(int(sys.argv[1]), "w")
def tell(*event):
    print(json.dumps(event), file=events, flush=True)
order = json.loads(sys.stdin.readline())
{first}
from optuna.trial import TrialState
from search.system.processes import describe_myself
from search.database.connect import backend_of, load_study, open_storage
from search.study.attributes import WORKER
study = load_study(open_storage(order["url"], create=False), order["name"])
tell("moves")
if order["plan"]:
    tell("planned")
waiting = study.get_trials(states=(TrialState.WAITING,))
trial_id = waiting[0]._trial_id if waiting else study._storage.create_new_trial(study._study_id)
backend_of(study).record_heartbeat(trial_id)
study._storage.set_trial_user_attr(trial_id, WORKER, describe_myself(order["slot"]).to_json())
study._storage.set_trial_state_values(trial_id, TrialState.RUNNING)
tell("trial_began", 0, dict())
if not pathlib.Path(order["runs"], "second").exists():
    pathlib.Path(order["runs"], "second").touch()
    while not os.path.exists(order["runs"] + ".seen"): time.sleep(.02)
    {then}
study._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5])
tell("trial_ended", 0, "COMPLETE", 0.5, "")
tell("ended", {nothing_left!r}, "--n-trials 1")
"""

HANGS = "time.sleep(600)"
IS_STOPPED = "os.kill(os.getpid(), signal.SIGSTOP)"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.supervisor.hung, "STACK_SECONDS", 0.1)
    monkeypatch.setattr(search.supervisor.shutdown, "GRACE_SECONDS", 0.3)
    monkeypatch.setattr(search.supervisor.shutdown, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(search.supervisor.supervisor, "PRESENCE_SECONDS", 0.1)


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The toy waits until the supervisor has seen its trial begin: what it then does happens while the study runs."""
    real = PlainWatcher.trial_began

    def see(watcher: PlainWatcher, number: int, values: Mapping[str, Any]) -> None:
        real(watcher, number, values)
        (tmp_path / "runs.seen").touch()

    monkeypatch.setattr(PlainWatcher, "trial_began", see)


@pytest.fixture
def pools() -> Iterator[list[WorkerPool]]:
    """Those that a test makes; nobody of them is left behind."""
    made: list[WorkerPool] = []
    yield made
    for pool in made:
        pool.__exit__()


def command(
    runs: Path, pools: list[WorkerPool], then: str, first: str = "", stall: float = 600, n_trials: int = 1
) -> Supervisor:
    stored = Stored(TOY_STUDY, "synthetic", "hash", {"source": "scratch"}, "scratch", "auto", False, 0)
    runs.mkdir(exist_ok=True)
    create_study(open_storage(default_url(runs), create=True), "toy", {KEY: stored.to_json()})
    (runs / "toy").mkdir()
    slot = Slot("cpu.0", "cpu", "", 1)
    pool = WorkerPool([slot], arguments=("-c", TOY.format(first=first, then=then, nothing_left=NOTHING_LEFT)))
    pools.append(pool)
    pool.start(slot)
    order = replace(order_for(runs, n_trials), requested=stored, stall=stall)
    return Supervisor(pool, Command(order, None, lambda *_: None))


def trial_of(runs: Path) -> FrozenTrial:
    (trial,) = load_study(open_storage(default_url(runs), create=False), "toy").get_trials()
    return trial


def test_a_worker_that_hangs_is_named_and_ended_and_its_trial_goes_on(
    tmp_path: Path, pools: list[WorkerPool], capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = command(tmp_path / "runs", pools, HANGS, stall=1.5)
    (first,) = supervisor.pool.workers
    assert supervisor.run() == 0
    output = capsys.readouterr().out
    assert f"Worker cpu.0 (process {first.process.pid}, trial 0) has made no progress for 0 s" in output
    assert "is killed: it hung for 2 s." in output
    assert "trial 0: it hung for 2 s" in output
    assert first.process.returncode == -signal.SIGUSR2  # a toy shows no stack
    trial = trial_of(tmp_path / "runs")
    assert trial.state == TrialState.COMPLETE
    assert [failure["error"] for failure in failures_of(trial)] == ["it hung for 2 s"]  # the trial's own fault


def test_a_worker_that_does_not_even_end_when_it_is_killed_is_replaced(
    tmp_path: Path, pools: list[WorkerPool], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.supervisor.hung, "KILL_SECONDS", 0.1)
    supervisor = command(
        tmp_path / "runs", pools, f"signal.signal({signal.SIGUSR2:d}, signal.SIG_IGN); {HANGS}", stall=2
    )
    (first,) = supervisor.pool.workers
    monkeypatch.setattr(first.process, "kill", lambda: None)  # as one that a dead disk holds
    try:
        assert supervisor.run() == 0
    finally:
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
    assert f"Process {first.process.pid} was killed but does not end" in capsys.readouterr().out
    trials = load_study(open_storage(default_url(tmp_path / "runs"), create=False), "toy").get_trials()
    assert [trial.state for trial in trials] == [TrialState.RUNNING, TrialState.COMPLETE]


def test_a_worker_that_somebody_stopped_is_killed_and_its_trial_is_not_to_blame(
    tmp_path: Path, pools: list[WorkerPool], capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = command(tmp_path / "runs", pools, IS_STOPPED, stall=1.5)
    (first,) = supervisor.pool.workers
    assert supervisor.run() == 0
    assert "is killed: it was held up by SIGSTOP or a dead disk for 2 s." in capsys.readouterr().out
    assert first.process.returncode == -signal.SIGKILL
    trial = trial_of(tmp_path / "runs")
    assert (trial.state, failures_of(trial), trial.user_attrs["interruptions"]) == (TrialState.COMPLETE, [], 1)


def test_a_worker_that_is_slow_but_tells_of_progress_is_left_alone(
    tmp_path: Path, pools: list[WorkerPool], capsys: pytest.CaptureFixture[str]
) -> None:
    slow = "[(time.sleep(.1), tell('moves')) for _ in range(25)]"
    supervisor = command(tmp_path / "runs", pools, slow, stall=1.5)
    assert supervisor.run() == 0
    assert "is killed: " not in capsys.readouterr().out
    assert failures_of(trial_of(tmp_path / "runs")) == []


def test_what_the_supervisor_slept_is_nobodys_silence(tmp_path: Path, pools: list[WorkerPool]) -> None:
    supervisor = command(tmp_path / "runs", pools, "", stall=1.5)
    (worker,) = supervisor.pool.workers
    supervisor.last_tick = time.monotonic() - 10**6  # a laptop was closed
    supervisor._tick()
    assert worker.silent_seconds <= 1
    assert not worker.hung


def test_a_worker_that_somebody_stops_alone_is_replaced(
    tmp_path: Path, pools: list[WorkerPool], capsys: pytest.CaptureFixture[str]
) -> None:
    requeue = "study._storage.set_trial_state_values(trial_id, TrialState.WAITING)"
    requeue += "; tell('trial_ended', 0, 'WAITING', None)"
    supervisor = command(tmp_path / "runs", pools, f"{requeue}; tell('ended', {STOPPED!r}, 'a signal'); sys.exit()")
    assert supervisor.run() == 0
    assert trial_of(tmp_path / "runs").state == TrialState.COMPLETE
    assert supervisor.command.outcome.kind == NOTHING_LEFT


def test_a_plan_that_hangs_has_longer_and_then_ends_the_command(
    tmp_path: Path, pools: list[WorkerPool], capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = command(tmp_path / "runs", pools, "", first=f"tell('moves'); {HANGS}", stall=0.3)
    assert supervisor.run() == 1
    assert "No worker could start: the plan was not made: it hung for 1 s." in capsys.readouterr().out
    assert len(supervisor.pool.workers) == 0


@pytest.mark.parametrize("then", [HANGS, IS_STOPPED, f"signal.signal(signal.SIGUSR1, signal.SIG_IGN); {HANGS}"])
def test_a_time_limit_ends_workers_that_do_not_get_to_their_evaluation(
    tmp_path: Path, pools: list[WorkerPool], then: str, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = command(tmp_path / "runs", pools, then)
    supervisor.command.timeout = 1.0
    (worker,) = supervisor.pool.workers
    assert supervisor.run() == 0
    output = capsys.readouterr().out
    assert "--timeout: trials that still run are stopped, and continue later from their last evaluation." in output
    assert "Stopped by --timeout at 0 of 1 trials. The same command continues the study." in output
    assert worker.process.poll() is not None
    assert trial_of(tmp_path / "runs").state == TrialState.WAITING


def test_a_third_signal_ends_the_supervisor_too(tmp_path: Path, pools: list[WorkerPool]) -> None:
    supervisor = command(tmp_path / "runs", pools, IS_STOPPED)
    supervisor.shutdown.on_signal(signal.SIGTERM, is_planned=True)
    supervisor.shutdown.on_signal(signal.SIGTERM, is_planned=True)
    with pytest.raises(KeyboardInterrupt):
        supervisor.shutdown.on_signal(signal.SIGTERM, is_planned=True)


def test_before_the_plan_the_first_signal_ends_it(
    tmp_path: Path, pools: list[WorkerPool], capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor = command(tmp_path / "runs", pools, "", first=f"os.kill(os.getppid(), {int(signal.SIGTERM)}); {HANGS}")
    assert supervisor.run() == 130
    assert "nothing has changed" in capsys.readouterr().out


def test_a_worker_that_closes_its_pipe_and_stays_keeps_nobody_busy(tmp_path: Path, pools: list[WorkerPool]) -> None:
    supervisor = command(tmp_path / "runs", pools, f"events.close(); {HANGS}", stall=2.0)
    (worker,) = supervisor.pool.workers
    assert supervisor.run() == 0
    assert worker.has_closed_events
    assert trial_of(tmp_path / "runs").state == TrialState.COMPLETE


VANISH = {
    "runs removed": "shutil.rmtree(order['runs'])",
    "runs moved": "os.rename(order['runs'], order['runs'] + '-moved')",
    "database removed": "os.unlink(order['runs'] + '/studies.db')",
    "database replaced": "os.rename(order['runs'] + '/studies.db', order['runs'] + '/old'); "
    "shutil.copy(order['runs'] + '/old', order['runs'] + '/studies.db')",
    "study's folder removed": "os.rmdir(order['runs'] + '/toy')",
    "study's folder replaced": "os.rmdir(order['runs'] + '/toy'); os.mkdir(order['runs'] + '/toy')",
}


@pytest.mark.parametrize(
    ("what", "ends"), [*((what, False) for what in VANISH), ("runs removed", True), ("database replaced", True)]
)
def test_a_study_whose_files_vanish_is_given_up_with_a_sentence(
    tmp_path: Path, pools: list[WorkerPool], what: str, ends: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether its worker goes on or ends as if all were well."""
    last = f"tell('ended', {NOTHING_LEFT!r}, ''); sys.exit()" if ends else HANGS
    supervisor = command(tmp_path / "runs", pools, f"{VANISH[what]}; {last}")
    assert supervisor.run() == 1
    runs = tmp_path / "runs"
    gone = f"the study's folder {runs / 'toy'}" if "folder" in what else f"the database {runs / 'studies.db'}"
    output = capsys.readouterr().out.splitlines()
    assert output[-1] == (
        f"Gave up: {gone} was removed, moved or replaced while the study ran."
        " Once it is back in its place, the same command continues."
    )
    assert len(supervisor.pool.workers) == 0


@pytest.mark.parametrize("last", [HANGS, "sys.exit(1)", "os.kill(os.getpid(), signal.SIGKILL)", ""])
def test_a_study_that_is_deleted_while_it_runs_is_given_up_with_a_sentence(
    tmp_path: Path, pools: list[WorkerPool], last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    delete = "study._storage.delete_study(study._study_id)"
    if last == HANGS:  # as the real one, which meets the error
        last = "tell('trial_ended', 0, 'COMPLETE', 0.5, ''); time.sleep(600)"
    supervisor = command(tmp_path / "runs", pools, f"{delete}; {last}")
    assert supervisor.run() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "Gave up: the study was deleted while it ran."
    assert len(supervisor.pool.workers) == 0


def test_a_database_that_stays_away_ends_it_with_a_sentence(
    tmp_path: Path, pools: list[WorkerPool], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search.supervisor.display, "AWAY_SECONDS", 0)
    spoil = "c = __import__('sqlite3').connect(order['url'][10:]); c.execute('drop table trials'); c.commit()"
    supervisor = command(tmp_path / "runs", pools, f"{spoil}; tell('trial_ended', 0, 'PRUNED', 0.5, ''); {HANGS}")
    assert supervisor.run() == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Gave up")]
    assert "no answer from the database" in line


def test_nobody_is_left_behind(tmp_path: Path, pools: list[WorkerPool]) -> None:
    supervisor = command(tmp_path / "runs", pools, "")
    pid = supervisor.pool.workers[0].process.pid
    os.kill(pid, signal.SIGSTOP)
    supervisor.pool.__exit__()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    pools.clear()


def test_what_a_worker_waits_for_is_said_once_unless_it_is_this_commands_own(
    tmp_path: Path, pools: list[WorkerPool], capsys: pytest.CaptureFixture[str]
) -> None:
    waits = (
        "[tell('waits', [[0, 'here', os.getpid(), False], [1, 'box', 7, True], [2, 'here', 8, False]]) for _ in 'ab']"
    )
    assert command(tmp_path / "runs", pools, waits).run() == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("Waiting")] == [
        "Waiting for trial 1, which runs on another machine or in another container (box, process 7); this"
        f" command takes it over after {GRACE_SECONDS} s without a heartbeat.",
        "Waiting for trial 2, which another command runs (process 8).",
    ]
