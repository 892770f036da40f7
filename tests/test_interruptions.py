"""What becomes of a trial that is interrupted, diverges or crashes; trained in this process on drawn faces."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import FrozenTrial, TrialState
from search_fixtures import TOY_STUDY, StopAt, Watching, ask, make_job, scores_of, stored_trial

import search.objective
from maskcls.dataset import Table
from search.objective import Job, StopRequest, run_trial
from search.policy import RungPruner
from search.storage import count_finished
from search.study import Int


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, synthetic_table: Table) -> FrozenTrial:
    """A trial that nobody interrupts."""
    torch.set_num_threads(1)
    job = make_job(tmp_path_factory.mktemp("undisturbed"), synthetic_table)
    assert run_trial(job, ask(job)) == TrialState.COMPLETE
    return stored_trial(job)


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("how", ["asked", "at once", "state lost"])
def test_an_interrupted_trial_goes_on_to_the_very_same_value(
    tmp_path: Path,
    synthetic_table: Table,
    undisturbed: FrozenTrial,
    step: int,
    how: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(now: int) -> None:
        if now == step and how == "at once":
            raise KeyboardInterrupt
        if now == step:
            job.stop.reason = "Ctrl-C"

    job = make_job(tmp_path, synthetic_table, watcher=Watching(interrupt))
    trial = ask(job)
    if how == "at once":
        with pytest.raises(KeyboardInterrupt):
            run_trial(job, trial)
    else:
        assert run_trial(job, trial) == TrialState.WAITING
    assert stored_trial(job).state == TrialState.WAITING
    assert list(stored_trial(job).intermediate_values) == list(range(1, step + 1))
    assert count_finished(job.study) == 0
    state = job.setup.trial_folder(0) / "resume.pt"
    assert state.exists()
    if how == "state lost":
        state.unlink()
    job.stop, job.watcher = StopRequest(), Watching()
    again = ask(job)
    assert (again.number, again.params) == (trial.number, trial.params)
    capsys.readouterr()
    assert run_trial(job, again) == TrialState.COMPLETE
    assert ("starts again" in capsys.readouterr().out) == (how == "state lost")
    ended = stored_trial(job)
    assert ended.value == undisturbed.value
    assert ended.intermediate_values == undisturbed.intermediate_values
    assert ended.user_attrs["config"] == undisturbed.user_attrs["config"]
    assert len(job.study.get_trials()) == 1


def test_what_was_judged_before_an_interruption_is_not_judged_again(
    tmp_path: Path, synthetic_table: Table, recwarn: pytest.WarningsRecorder
) -> None:
    job = make_job(tmp_path, synthetic_table)
    job.watcher = Watching(lambda step: setattr(job.stop, "reason", "Ctrl-C" if step == 3 else ""))
    assert run_trial(job, ask(job)) == TrialState.WAITING
    job.stop, job.watcher, job.study.pruner = StopRequest(), Watching(), StopAt(2)
    assert run_trial(job, ask(job)) == TrialState.COMPLETE
    assert not [str(warning.message) for warning in recwarn if "step" in str(warning.message)]  # reported twice


def die(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_process_that_died_before_it_told_the_verdict_does_not_change_it(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table)
    job.study.pruner = StopAt(2)
    with monkeypatch.context() as patch:
        patch.setattr(search.objective, "_record", die)  # after the pruner's no
        with pytest.raises(KeyboardInterrupt):
            run_trial(job, ask(job))
    assert stored_trial(job).state == TrialState.WAITING
    assert (tmp_path / "toy" / "trial-0000" / "resume.pt").exists()
    assert run_trial(job, ask(job)) == TrialState.PRUNED
    assert list(stored_trial(job).intermediate_values) == [1, 2]
    assert not (tmp_path / "toy" / "trial-0000" / "resume.pt").exists()


def test_an_interruption_with_the_last_evaluation_comes_too_late(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    job.watcher = Watching(lambda step: setattr(job.stop, "reason", "Ctrl-C" if step == 4 else ""))
    assert run_trial(job, ask(job)) == TrialState.COMPLETE


def fewer_steps_than_evaluations(runs: Path, table: Table) -> Job:
    """Two optimizer steps in all, for eight evaluations."""
    fixed = {**TOY_STUDY.fixed, "batch_size": 256, "evaluations_per_epoch": 4}
    return make_job(runs, table, replace(TOY_STUDY, fixed=fixed))


@pytest.mark.parametrize("accident", ["interrupted", "pruned"])
def test_a_run_with_fewer_steps_than_evaluations_ends_with_its_last_one(
    tmp_path: Path, synthetic_table: Table, accident: str
) -> None:
    job = fewer_steps_than_evaluations(tmp_path, synthetic_table)
    if accident == "pruned":
        job.study.pruner = StopAt(2)
        assert 2 in RungPruner(TOY_STUDY, 8).rungs
    else:
        job.watcher = Watching(lambda step: setattr(job.stop, "reason", "Ctrl-C" if step == 2 else ""))
    assert run_trial(job, ask(job)) == TrialState.COMPLETE


@pytest.mark.parametrize(("bad_step", "value"), [(1, None), (3, 0.6)])
def test_a_trial_that_diverged_is_a_result(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, bad_step: int, value: float | None
) -> None:
    curve = (0.6, 0.3, 0.0, 0.0)
    scores_of(
        monkeypatch, lambda step: {"macro_f1": curve[step - 1], "loss": float("nan") if step == bad_step else 1.0}
    )
    job = make_job(tmp_path, synthetic_table)
    assert run_trial(job, ask(job)) == TrialState.PRUNED
    trial = stored_trial(job)
    assert (trial.state, trial.value) == (TrialState.PRUNED, value)
    assert trial.user_attrs["failure_kind"] == "diverged"
    assert "loss nan" in trial.user_attrs["error"]
    assert list(trial.intermediate_values) == list(range(1, bad_step))
    assert not (job.setup.trial_folder(0) / "resume.pt").exists()
    assert count_finished(job.study) == 1


def test_a_crash_is_kept_with_its_cause(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(step: int) -> dict[str, Any]:
        raise RuntimeError("the disk is on fire")

    scores_of(monkeypatch, crash)
    watcher = Watching()
    job = make_job(tmp_path, synthetic_table, watcher=watcher)
    with pytest.raises(RuntimeError, match="on fire"):
        run_trial(job, ask(job))
    trial = stored_trial(job)
    assert (trial.state, trial.value) == (TrialState.FAIL, None)
    assert trial.user_attrs["failure_kind"] == "crash"
    assert trial.user_attrs["error"] == "RuntimeError: the disk is on fire"
    text = (job.setup.trial_folder(0) / "crash.txt").read_text()
    assert text.startswith("Traceback")
    assert "the disk is on fire" in text
    assert watcher.ended == [(0, TrialState.FAIL, None, "the disk is on fire")]
    assert count_finished(job.study) == 0


def test_running_out_of_memory_is_a_crash_of_its_own_kind(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(step: int) -> dict[str, Any]:
        raise torch.OutOfMemoryError("no more")

    scores_of(monkeypatch, exhaust)
    job = make_job(tmp_path, synthetic_table)
    with pytest.raises(torch.OutOfMemoryError):
        run_trial(job, ask(job))
    assert stored_trial(job).state == TrialState.FAIL
    assert stored_trial(job).user_attrs["failure_kind"] == "out of memory"
    assert stored_trial(job).user_attrs.get("evaluations") is None


def test_a_combination_of_knobs_that_cannot_be_ends_its_trial(tmp_path: Path, synthetic_table: Table) -> None:
    study = replace(
        TOY_STUDY,
        nuisance={"batch_size": Int(16, 32), "micro_batch": Int(16, 32)},
        baseline={"drop_rate": 0.0, "batch_size": 32, "micro_batch": 32},
    )
    job = make_job(tmp_path, synthetic_table, study)
    job.study.enqueue_trial({"drop_rate": 0.0, "batch_size": 16, "micro_batch": 32})
    with pytest.raises(ValueError, match="must not exceed"):
        run_trial(job, ask(job))
    assert stored_trial(job).state == TrialState.FAIL
