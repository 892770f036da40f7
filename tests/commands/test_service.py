"""The service as its users have it: processes that are interrupted, killed and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

import search.run
from maskcls.config import load_config
from maskcls.data.dataset import load_dataset, read_table
from maskcls.scoring.metrics import Scores
from maskcls.training.loop import fit
from search.storage.failures import crashes_of
from search.storage.retention import trial_folder
from tests.helpers.one_process import work_in_this_process
from tests.helpers.processes import end, read_until, wait_for, worker_of
from tests.helpers.search import MINE, Place, succeed
from tests.helpers.training import heed_signals

SLOW = MINE.replace('"epochs": 2', '"epochs": 20')
"""Long enough to be interrupted: twenty evaluations."""


@pytest.fixture
def place(tmp_path: Path, synthetic_folder: Path) -> Place:
    """With the slow study."""
    (tmp_path / "mine.py").write_text(SLOW)
    return Place(tmp_path, synthetic_folder)


def undisturbed(place: Place, trial: FrozenTrial) -> dict[int, float]:
    """The curve of a run of the trial's config that nobody interrupts."""
    config, _ = load_config(trial_folder(place.folder / "runs" / "mine", trial.number) / "config.toml")
    data = load_dataset(read_table(place.data, config), config, place.folder / "runs" / "cache")
    curve: dict[int, float] = {}

    def note(step: int, scores: Scores) -> bool:
        curve[step] = scores.macro_f1
        return step < max(trial.intermediate_values)

    fit(config, data, note, device=torch.device("cpu"))
    return curve


def test_whoever_is_stopped_or_killed_the_trial_ends_where_it_would_have(place: Place) -> None:
    # Ctrl-C: the evaluation is finished, the trial goes back into the queue
    process = place.start("--n-trials", "1")
    read_until(process, "evaluation 2 of 20")
    process.send_signal(signal.SIGINT)
    output, status = end(process)
    assert status == 130
    assert "Stopped by Ctrl-C at 0 of 1 trials. The same command continues the study." in output
    (trial,) = place.trials()
    assert trial.state == TrialState.WAITING
    asked_at = len(trial.intermediate_values)
    assert 2 <= asked_at < 20

    # kill -9 of the supervisor: its worker notices, and ends in the same way
    process = place.start("--n-trials", "1")
    read_until(process, f"evaluation {asked_at + 2} of 20")
    worker = worker_of(place.trials()[0])
    process.kill()
    end(process)
    wait_for(lambda: worker.has_ended() is True)
    (trial,) = place.trials()
    assert trial.state == TrialState.WAITING
    known = dict(trial.intermediate_values)
    assert asked_at + 2 <= len(known) < 20

    # kill -9 of the worker: another one takes its place and goes on
    process = place.start("--n-trials", "1")
    read_until(process, f"evaluation {len(known) + 2} of 20")
    os.kill(worker_of(place.trials()[0]).pid, signal.SIGKILL)
    output, status = end(process)
    assert "its worker died (SIGKILL)" in output
    assert status == 0

    (trial,) = place.trials()
    assert (trial.number, trial.state) == (0, TrialState.COMPLETE)
    assert known.items() <= trial.intermediate_values.items()
    assert trial.intermediate_values == undisturbed(place, trial)
    assert trial.value == trial.intermediate_values[20]  # of a round: the last evaluation
    assert trial.user_attrs["interruptions"] == 3
    assert "failures" not in trial.user_attrs


def test_killed_all_together_nothing_counts_as_running(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    process = place.start("--n-trials", "1")
    read_until(process, "evaluation 2 of 20")
    os.kill(worker_of(place.trials()[0]).pid, signal.SIGSTOP)  # so that it cannot end by itself
    process.kill()
    os.kill(worker_of(place.trials()[0]).pid, signal.SIGKILL)
    end(process)
    assert place.trials()[0].state == TrialState.RUNNING
    work_in_this_process(monkeypatch)
    succeed(search.run.main, *place.command, "--n-trials", "1")
    assert "Interrupted earlier, continuing from the last evaluation: trial 0." in capfd.readouterr().out
    assert place.trials()[0].state == TrialState.COMPLETE


def ignoring(*numbers: int) -> Callable[[], None]:
    """As ``nohup`` starts a command, or a shell one in the background."""

    def ready() -> None:
        heed_signals()
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    return ready


def test_a_signal_that_was_ignored_before_stays_ignored(place: Place) -> None:
    ignored = (signal.SIGHUP, signal.SIGINT)
    process = place.start("--n-trials", "1", ready=ignoring(*ignored))
    read_until(process, "evaluation 2 of 20")
    for number in ignored:
        process.send_signal(number)
        os.kill(worker_of(place.trials()[0]).pid, number)
    output, status = end(process)
    assert (status, place.trials()[0].state) == (0, TrialState.COMPLETE)
    assert "Stopped" not in output


@pytest.mark.parametrize("ignored", [(), (signal.SIGINT,)])
def test_a_second_signal_stops_at_once(place: Place, ignored: tuple[int, ...]) -> None:
    process = place.start("--n-trials", "1", ready=ignoring(*ignored))
    read_until(process, "evaluation 1 of 20")
    worker = worker_of(place.trials()[0])
    os.kill(worker.pid, signal.SIGSTOP)  # a worker that would not get to its next evaluation
    process.send_signal(signal.SIGTERM)
    read_until(process, "once more to stop at once")
    process.send_signal(signal.SIGTERM)
    os.kill(worker.pid, signal.SIGCONT)
    output, status = end(process)
    assert status == 130
    assert "Stopped by SIGTERM" in output
    assert worker.has_ended()
    assert place.trials()[0].state == TrialState.WAITING


def test_two_commands_of_two_workers_and_of_one_share_the_work(tmp_path: Path, synthetic_folder: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    place = Place(tmp_path, synthetic_folder)
    processes = [place.start("--n-trials", "7", "--workers", workers, "--force") for workers in ("2", "1")]
    ends = [end(process) for process in processes]
    assert [status for _, status in ends] == [0, 0], ends
    trials = place.trials()
    assert [trial.number for trial in trials] == list(range(7))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    slots = {worker_of(trial).pid for trial in trials}
    assert len(slots) >= 2
    logs = (tmp_path / "runs" / "mine" / "logs").glob("*.log")
    assert sorted(path.name for path in logs) == ["cpu.0.log", "cpu.1.log"]


def test_a_time_limit_stops_it_and_the_same_command_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    output, status = end(place.start("--n-trials", "1", "--timeout", "0"))
    assert status == 0
    assert "Stopped by --timeout at 0 of 1 trials. The same command continues the study." in output
    assert all(trial.state == TrialState.WAITING for trial in place.trials())
    work_in_this_process(monkeypatch)
    succeed(search.run.main, *place.command, "--n-trials", "1")
    assert [trial.state for trial in place.trials()] == [TrialState.COMPLETE]


def test_a_limit_of_epochs_is_counted_over_all_commands(
    tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work_in_this_process(monkeypatch)
    (tmp_path / "mine.py").write_text(MINE)
    place = Place(tmp_path, synthetic_folder)
    for limit, expected in (("3", 2), ("3", 2), ("5", 3)):
        succeed(search.run.main, *place.command, "--n-trials", "9", "--max-epochs", limit)
        assert f"--max-epochs {limit} is reached" in capsys.readouterr().out
        assert len(place.trials()) == expected


def test_the_supervisor_loads_neither_torch_nor_timm() -> None:
    modules = "search.run, search.supervisor.supervisor, search.gpus.slots, search.storage.copying"
    script = f"import sys, {modules}; print(sorted(sys.modules))"
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "'torch'" not in output
    assert "'timm'" not in output
    assert "'optuna'" in output


LOSES_ITS_GPU = """
import pathlib, sys
if "search.worker.process" in sys.orig_argv:
    import torch
    import maskcls.training.loop
    real, once = maskcls.training.loop.score, pathlib.Path({once!r})
    def score(*args):
        if not once.exists():
            once.touch()
            {lose}
        return real(*args)
    maskcls.training.loop.score = score
"""
"""A sitecustomize.py: the first evaluation of the first worker ends so."""


@pytest.mark.parametrize(
    "lose",
    [
        "raise torch.AcceleratorError('CUDA error: device-side assert triggered')",
        pytest.param(
            "torch.ones(1, device='cuda')[torch.tensor([5], device='cuda')]; torch.cuda.synchronize()",
            marks=pytest.mark.gpu,
        ),
    ],
    ids=["told", "real"],
)
def test_a_worker_that_loses_its_gpu_leaves_its_trial_to_another(
    lose: str, tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "sitecustomize.py").write_text(LOSES_ITS_GPU.format(once=str(tmp_path / "once"), lose=lose))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    place = Place(tmp_path, synthetic_folder)
    output, status = end(place.start("--n-trials", "2", "--workers", "1"))
    assert status == 0, output
    assert "lost its GPU and is replaced: CUDA error: device-side assert triggered" in output
    trials = place.trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert [crashes_of(trial) for trial in trials] == [1, 0]
    (log,) = (tmp_path / "runs" / "mine" / "logs").glob("*.log")
    assert log.read_text().count("--- worker") == 2
