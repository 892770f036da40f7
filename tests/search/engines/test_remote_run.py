"""The command of an engine's workers: the table, who is started again, and how it ends. The engine is faked."""

import shutil
import sqlite3
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

import search.engines.remote_run
from maskcls.scoring.metrics import Scores
from search.database.connect import create_study, open_storage
from search.engines.messages import Ended, Message, Orders, Said, Started
from search.engines.remote_run import RemoteRun
from search.storage.folder import MARKER, claim_in_turn
from search.study.record import KEY
from search.supervisor.command import MAX_BROKEN, MAX_FAILED_STARTS, Command
from search.supervisor.deaths import Death
from search.worker.messages import (
    BROKEN,
    GAVE_UP,
    NOTHING_LEFT,
    REFUSED,
    STOPPED,
    Evaluated,
    Outcome,
    Planned,
    RunningTrial,
    TrialBegan,
    TrialEnded,
    WaitsFor,
    WorkOrder,
)
from tests.helpers.search import order_for

CRASH, KILLED = Death("SIGSEGV", True, True), Death("SIGKILL", False, False)
Step = Callable[["Engine"], None]


@dataclass
class Engine:
    """A Cluster whose workers do what is written down: a step is one round of the command's loop."""

    steps: list[Step]
    messages: list[tuple[int, Message]] = field(default_factory=list)
    ends: list[tuple[int, Ended | str]] = field(default_factory=list)
    submitted: list[tuple[int, bool]] = field(default_factory=list)
    """(number, whether it is to plan)."""
    withdrawn: list[int] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    orders: Orders = field(default_factory=Orders)

    def submit(self, number: int, order: WorkOrder) -> None:
        self.submitted.append((number, order.plan))

    def ended(self, seconds: float) -> list[tuple[int, Ended | str]]:
        self.steps.pop(0)(self)
        ends, self.ends = self.ends, []
        return ends

    def take(self) -> list[tuple[int, Message]]:
        messages, self.messages = self.messages, []
        return messages

    def tell(self, orders: Orders) -> None:
        self.orders = orders

    def withdraw(self, number: int) -> None:
        self.withdrawn.append(number)

    def lost_nodes(self) -> Collection[str]:
        return self.lost


def tells(number: int, *messages: Message) -> Step:
    return lambda engine: engine.messages.extend((number, message) for message in messages)


def starts(number: int, node: str = "n1", gpu: str = "") -> Step:
    return tells(number, Started(f"host-{node}", 100 + number, node, gpu))


def ends(
    number: int,
    kind: str = NOTHING_LEFT,
    cause: str = "--n-trials 3",
    death: Death | None = None,
    trial: int | None = 0,
    gpu: str = "",
) -> Step:
    outcome = None if kind == "" else Outcome(kind, cause)  # type: ignore[arg-type]
    end = Ended(outcome, death, "", trial, "host-n1", 100 + number, gpu)
    return lambda engine: engine.ends.append((number, end))


def at_once(*steps: Step) -> Step:
    return lambda engine: [step(engine) for step in steps] and None


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored study without trials, for the tests to copy."""
    order = order_for(tmp_path_factory.mktemp("stored"), 3)
    create_study(open_storage(order.url, create=True), "toy", {KEY: order.requested.to_json()})
    backup = Path(order.runs, "backup.db")
    with closing(sqlite3.connect(Path(order.runs, "studies.db"))) as original, closing(sqlite3.connect(backup)) as copy:
        original.backup(copy)
    return backup


@pytest.fixture
def order(tmp_path: Path, database: Path) -> WorkOrder:
    """Of three workers on a stored study."""
    shutil.copy(database, tmp_path / "studies.db")
    return replace(order_for(tmp_path, 3), workers=3)


def run(order: WorkOrder, *steps: Step, plan: bool = False) -> tuple[Engine, RemoteRun, int]:
    engine = Engine(list(steps))
    run = RemoteRun(engine, Command(replace(order, plan=plan), None, lambda *_: None))
    return engine, run, run.run()


def all_end() -> Step:
    return at_once(*(ends(number) for number in range(3)))


def test_the_first_worker_plans_and_the_others_start_after_it(
    order: WorkOrder, capsys: pytest.CaptureFixture[str]
) -> None:
    def not_yet(engine: Engine) -> None:
        assert engine.submitted == [(0, True)]

    planning = at_once(starts(0), tells(0, Said("The plan."), Planned()))
    engine, _, status = run(order, not_yet, planning, at_once(starts(1), starts(2)), all_end(), plan=True)
    assert status == 0
    assert engine.submitted == [(0, True), (1, False), (2, False)]
    assert engine.orders.is_planned  # a planner that is started again makes no second plan
    assert "The plan.\n" in capsys.readouterr().out


def test_a_trial_of_a_machine_that_died_is_interrupted_and_continues_on_another(
    order: WorkOrder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.engines.remote_run, "PRESENCE_SECONDS", 0)
    scores = Scores(0.5, 0.5, 1.0, (), {})
    engine, remote, _ = run(
        order,
        at_once(starts(0), starts(1, "n2"), tells(1, TrialBegan(0, {"lr": 0.1}), Evaluated(0, 1, 2, scores, True))),
        lambda engine: engine.lost.add("n2"),
        at_once(starts(1, "n1"), tells(1, TrialBegan(0, {"lr": 0.1}), Evaluated(0, 1, 2, scores, False))),
        tells(1, Evaluated(0, 2, 2, scores, True), TrialEnded(0, TrialState.COMPLETE, 0.5)),
        all_end(),
    )
    told = capsys.readouterr().out
    assert "trial 0: interrupted, macro F1 0.5000" in told
    assert "trial 0: its machine host-n2 died" in told
    assert "trial 0: continues from its last evaluation" in told
    assert "trial 0: complete" in told
    assert [number for number, _ in engine.submitted] == [0, 1, 2]  # the engine starts it again by itself
    assert remote.command.failed_to_start == 0


def test_a_worker_that_dies_in_a_trial_is_started_again(order: WorkOrder) -> None:
    began = at_once(*(starts(number) for number in range(3)), tells(0, TrialBegan(0, {})))
    engine, _, status = run(order, began, ends(0, "", death=CRASH), starts(0), all_end())
    assert status == 0
    assert [number for number, _ in engine.submitted] == [0, 1, 2, 0]


@pytest.mark.parametrize("plan", [True, False])
def test_workers_that_always_die_before_their_first_trial_end_the_command(
    order: WorkOrder, plan: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    dies = at_once(starts(0), ends(0, "", death=CRASH, trial=None))
    engine, _, status = run(order, *(dies for _ in range(MAX_FAILED_STARTS // CRASH.weight)), all_end(), plan=plan)
    assert status == 1
    assert "one worker after another died before its first trial (SIGSEGV)" in capsys.readouterr().out
    assert engine.submitted.count((0, plan)) == MAX_FAILED_STARTS // CRASH.weight


def test_an_engine_that_starts_a_worker_for_ever_is_stopped_too(
    order: WorkOrder, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when the machine's memory is too small: the engine kills it and starts it again, and no task ever ends."""
    _, _, status = run(order, starts(0), *(starts(0) for _ in range(MAX_FAILED_STARTS)), ends(0, STOPPED))
    assert status == 1
    assert "died before its first trial (the engine's process was killed)" in capsys.readouterr().out


def test_restarts_after_lost_machines_are_no_failure(order: WorkOrder) -> None:
    moves = [
        at_once(starts(0, f"n{number}"), lambda engine, number=number: engine.lost.add(f"n{number}"))
        for number in range(2 * MAX_FAILED_STARTS)
    ]
    _, _, status = run(order, *moves, all_end())
    assert status == 0


def test_a_refusal_ends_the_command_with_its_sentence_and_its_machine(
    order: WorkOrder, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(order, at_once(starts(0), starts(1)), ends(0, REFUSED, "No photos."), ends(1, STOPPED))
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: On host-n1: No photos.\n"


def test_a_worker_that_gives_up_stops_the_others(order: WorkOrder, capsys: pytest.CaptureFixture[str]) -> None:
    began = at_once(starts(0), starts(1), tells(1, TrialBegan(0, {})))
    engine, _, status = run(order, began, ends(0, GAVE_UP, "the disk is full"), ends(1, STOPPED))
    assert status == 1
    assert engine.orders.stop
    assert not engine.orders.now  # the others finish their evaluation
    assert "Gave up at 0 of 3 trials: On host-n1: the disk is full" in capsys.readouterr().out


def test_when_nothing_is_left_nobody_waits_for_room(order: WorkOrder) -> None:
    engine, _, status = run(order, starts(0), ends(0))
    assert status == 0
    assert engine.withdrawn == [1, 2]


def test_a_gpu_that_fails_again_and_again_is_given_up(order: WorkOrder, capsys: pytest.CaptureFixture[str]) -> None:
    fails = [
        at_once(starts(0, gpu="GPU-1"), ends(0, BROKEN, "CUDA error", death=KILLED, trial=trial, gpu="GPU-1"))
        for trial in range(MAX_BROKEN)
    ]
    engine, _, status = run(replace(order, workers=1), *fails)
    assert status == 1
    assert engine.submitted == MAX_BROKEN * [(0, False)]
    assert "a GPU failed again and again, at last on host-n1: CUDA error" in capsys.readouterr().out


def test_a_trial_that_comes_to_its_end_clears_its_gpu(order: WorkOrder) -> None:
    fails = [
        at_once(starts(0, gpu="GPU-1"), ends(0, BROKEN, "CUDA error", death=KILLED, trial=trial, gpu="GPU-1"))
        for trial in range(MAX_BROKEN - 1)
    ]
    works = at_once(
        starts(0, gpu="GPU-1"), tells(0, TrialBegan(7, {}), TrialEnded(7, TrialState.COMPLETE, 0.5)), ends(0)
    )
    _, remote, status = run(replace(order, workers=1), *fails, works)
    assert status == 0
    assert not remote.command.broken


def test_the_first_signal_lets_evaluations_finish_and_the_second_does_not(
    order: WorkOrder, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine([])
    remote = RemoteRun(engine, Command(replace(order, plan=False), None, lambda *_: None))
    seen = []
    engine.steps = [
        at_once(starts(0), starts(1), tells(0, TrialBegan(0, {})), lambda _: remote._on_signal(2)),
        at_once(lambda _: seen.append(engine.orders), lambda _: remote._on_signal(2)),
        lambda _: seen.append(engine.orders),
        at_once(ends(0, STOPPED, ""), ends(1, "", death=KILLED, trial=None)),
    ]
    assert remote.run() == 130
    assert [(orders.stop, orders.now) for orders in seen] == [("Ctrl-C", False), ("Ctrl-C", True)]
    assert engine.withdrawn == [2]
    assert len(engine.submitted) == 3  # none is started again
    told = capsys.readouterr().out
    assert told.count("running trials finish their evaluation first") == 1
    assert "Stopped by Ctrl-C at 0 of 3 trials. The same command continues the study." in told


def test_a_signal_before_the_plan_is_stored_changes_nothing(
    order: WorkOrder, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine([])
    remote = RemoteRun(engine, Command(replace(order, plan=True), None, lambda *_: None))
    engine.steps = [lambda _: remote._on_signal(15)]
    assert remote.run() == 130
    assert "Interrupted before a trial began; nothing has changed." in capsys.readouterr().out


def test_the_timeout_stops_the_workers(order: WorkOrder, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine([starts(0), ends(0, STOPPED)])
    assert RemoteRun(engine, Command(replace(order, plan=False), 0.0, lambda *_: None)).run() == 0
    assert engine.orders.stop == "--timeout"
    assert "Stopped by --timeout at 0 of 3 trials." in capsys.readouterr().out


def test_workers_that_never_answer_are_not_waited_for(
    order: WorkOrder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GRACE_SECONDS", "PATIENCE_SECONDS", "KILL_SECONDS", "SILENT_SECONDS"):
        monkeypatch.setattr(search.engines.remote_run, name, 0)
    nothing: Step = lambda engine: None  # noqa: E731
    engine = Engine([at_once(starts(0), tells(0, TrialBegan(0, {}))), nothing, nothing, nothing])
    assert RemoteRun(engine, Command(replace(order, plan=False), 0.0, lambda *_: None)).run() == 0
    assert "Gave up waiting for 1 worker without an answer." in capsys.readouterr().out


def test_a_task_that_the_engine_cannot_run_ends_the_command(
    order: WorkOrder, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, status = run(order, lambda engine: engine.ends.append((0, "No module named 'search'")))
    assert status == 1
    assert "a worker could not be run: No module named 'search'" in capsys.readouterr().out


def test_only_trials_of_other_commands_are_waited_for(order: WorkOrder, capsys: pytest.CaptureFixture[str]) -> None:
    own, other = RunningTrial(1, "host-n2", 101, True), RunningTrial(2, "elsewhere", 101, True)
    run(order, at_once(starts(0), starts(1, "n2")), tells(0, WaitsFor((own, other))), all_end())
    told = capsys.readouterr().out
    assert "Waiting for trial 2, which runs on another machine" in told
    assert "Waiting for trial 1" not in told


def test_the_machine_that_planned_may_share_no_folder_with_the_commands(
    order: WorkOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.engines.remote_run, "PRESENCE_SECONDS", 0)

    def plan(engine: Engine) -> None:
        claim_in_turn(open_storage(order.url, create=False), "toy", tmp_path / "there")
        at_once(starts(0), tells(0, Planned()))(engine)

    here = replace(order, runs=str(tmp_path / "here"))
    engine, remote, status = run(here, plan, at_once(starts(1), starts(2)), all_end(), plan=True)
    assert (status, remote.command.outcome.kind) == (0, NOTHING_LEFT)
    assert engine.submitted == [(0, True), (1, False), (2, False)]
    assert (tmp_path / "here" / "toy" / MARKER).read_text() == (tmp_path / "there" / "toy" / MARKER).read_text()


def test_a_folder_of_another_study_on_the_commands_machine_is_refused(
    order: WorkOrder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    other = order_for(tmp_path / "other", 3)
    create_study(open_storage(other.url, create=True), "toy", {KEY: other.requested.to_json()})
    claim_in_turn(open_storage(other.url, create=False), "toy", Path(other.runs))
    with pytest.raises(SystemExit) as ended:
        run(replace(order, runs=other.runs), at_once(starts(0), tells(0, Planned())), plan=True)
    assert ended.value.code == 2
    assert "toy is the folder of another study 'toy', stored in" in capsys.readouterr().err
