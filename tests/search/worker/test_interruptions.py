"""What becomes of a trial that is interrupted, diverges or crashes; trained in this process on drawn faces."""

import errno
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

import maskcls.training.loop
import search.worker.objective
from maskcls.data.dataset import Table
from maskcls.run.record import sha256
from maskcls.system.errors import is_sticky
from search.policy.stopping import count_finished
from search.storage.failures import MAX_TRIES, crashes_of, failures_of
from search.storage.folder import claim
from search.study.attributes import WORKER
from search.study.study import Int
from search.worker.job import BrokenProcessError, Job, StopRequest, StopStudyError
from search.worker.objective import FOREIGN_GIB, Verdict, run_trial
from search.worker.worker import take_trials
from tests.helpers.search import (
    TOY_STUDY,
    Watching,
    ask,
    make_job,
    make_setup,
    order_for,
    prune_at,
    scores_of,
    stored_trial,
)


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
    assert count_finished(job.study.get_trials()) == 0
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
    job.stop, job.watcher = StopRequest(), Watching()
    prune_at(job, 2)
    assert run_trial(job, ask(job)) == TrialState.COMPLETE
    assert not [str(warning.message) for warning in recwarn if "step" in str(warning.message)]  # reported twice


def die(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_process_that_died_before_it_told_the_verdict_does_not_change_it(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table)
    prune_at(job, 2)
    with monkeypatch.context() as patch:
        patch.setattr(search.worker.objective, "_record", die)  # after the pruner's no
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
        prune_at(job, 2)
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
    assert count_finished(job.study.get_trials()) == 1


def crash_with(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int = 10**6) -> None:
    """The next evaluations end in this error."""
    left = iter(range(times))

    def crash(step: int) -> dict[str, Any]:
        if next(left, None) is not None:
            raise error
        return {}

    scores_of(monkeypatch, crash)


def run_next(job: Job) -> tuple[int, TrialState]:
    trial = ask(job)
    return trial.number, run_trial(job, trial)


def test_a_crash_is_kept_with_its_cause_and_tried_again(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_with(monkeypatch, RuntimeError("the disk is on fire"), times=1)
    watcher = Watching()
    job = make_job(tmp_path, synthetic_table, watcher=watcher)
    trial = ask(job, 1)
    assert run_trial(job, trial) == TrialState.WAITING
    facts = stored_trial(job).user_attrs
    assert facts["failure_kind"] == "crash"
    assert [(failure["kind"], failure["error"]) for failure in facts["failures"]] == [
        ("crash", "RuntimeError: the disk is on fire")
    ]
    text = (job.setup.trial_folder(0) / "crash.txt").read_text()
    assert text.startswith("Traceback")
    assert "the disk is on fire" in text
    assert watcher.ended == [(0, TrialState.WAITING, None, "RuntimeError: the disk is on fire")]
    assert run_trial(job, ask(job, 1)) == TrialState.COMPLETE
    assert len(stored_trial(job).intermediate_values) == 4


def test_a_trial_that_always_crashes_is_tried_three_times_once_others_succeed(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table)
    with monkeypatch.context() as patch:
        crash_with(patch, RuntimeError("cursed"))
        assert [run_next(job) for _ in range(2)] == [(0, TrialState.WAITING), (1, TrialState.WAITING)]
        for _ in range(3):  # with nothing done yet nobody is given up
            assert run_trial(job, ask(job, 2)) == TrialState.WAITING
        assert [crashes_of(trial) for trial in job.study.get_trials()] == [3, 2]
    assert run_next(job) == (2, TrialState.COMPLETE)
    crash_with(monkeypatch, RuntimeError("cursed"))
    assert run_trial(job, ask(job, 3)) == TrialState.FAIL  # trial 1, for the third time
    assert stored_trial(job, 1).state == TrialState.FAIL
    assert stored_trial(job, 0).state == TrialState.WAITING


def test_a_damaged_state_is_said_and_the_trial_begins_anew(
    tmp_path: Path, synthetic_table: Table, undisturbed: FrozenTrial, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(tmp_path, synthetic_table)
    job.watcher = Watching(lambda step: setattr(job.stop, "reason", "Ctrl-C" if step == 2 else ""))
    run_next(job)
    job.stop, job.watcher = StopRequest(), Watching()
    (job.setup.trial_folder(0) / "resume.pt").write_bytes(b"damaged")
    assert run_trial(job, ask(job, 1)) == TrialState.COMPLETE
    assert "its resume.pt is damaged; the run starts again." in capsys.readouterr().out
    assert stored_trial(job).value == undisturbed.value
    assert crashes_of(stored_trial(job)) == 0


def test_the_last_try_of_a_crashed_trial_begins_anew(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table)
    job.watcher = Watching(lambda step: setattr(job.stop, "reason", "Ctrl-C" if step == 2 else ""))
    run_next(job)
    job.stop = StopRequest()
    with monkeypatch.context() as patch:
        patch.setattr(
            maskcls.training.loop, "load_state", lambda _: (_ for _ in ()).throw(RuntimeError("cursed state"))
        )
        assert run_trial(job, ask(job, 1)) == TrialState.WAITING
        assert run_trial(job, ask(job, 1)) == TrialState.WAITING
        job.watcher = Watching()
        assert run_trial(job, ask(job, 1)) == TrialState.COMPLETE
    assert crashes_of(stored_trial(job)) == 2


def test_running_out_of_memory_is_a_failure_of_its_own_kind_and_final(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_with(monkeypatch, torch.OutOfMemoryError("no more"))
    job = make_job(tmp_path, synthetic_table)
    assert run_next(job) == (0, TrialState.FAIL)
    assert stored_trial(job).user_attrs["failure_kind"] == "out of memory"
    assert stored_trial(job).user_attrs.get("evaluations") is None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("safetensors: I/O error: No space left on device (os error 28)"),
        OSError(errno.EROFS, "Read-only file system"),
    ],
    ids=str,
)
def test_a_full_or_read_only_disk_stops_the_study_and_loses_nothing(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    job = make_job(tmp_path, synthetic_table)
    with monkeypatch.context() as patch:
        crash_with(patch, error)
        with pytest.raises(StopStudyError, match="the disk"):
            run_next(job)
    assert stored_trial(job).state == TrialState.WAITING
    assert "failures" not in stored_trial(job).user_attrs
    assert run_next(job) == (0, TrialState.COMPLETE)


def test_photos_that_cannot_be_read_any_more_stop_the_study(
    tmp_path: Path, synthetic_table: Table, synthetic_folder: Path
) -> None:
    data = tmp_path / "photos"
    shutil.copytree(synthetic_folder, data)
    job = make_job(tmp_path, replace(synthetic_table, folder=data))
    photo = data / synthetic_table.photos["path"].iloc[0]
    photo.write_bytes(photo.read_bytes()[:100])
    with pytest.raises(StopStudyError, match="cannot be read"):
        run_next(job)
    assert stored_trial(job).user_attrs["failure_kind"] == "unreadable data"
    assert stored_trial(job).state == TrialState.WAITING


def test_a_deleted_cache_is_made_again(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    job.setup.cache = tmp_path / "cache"
    assert run_next(job)[1] == TrialState.COMPLETE
    shutil.rmtree(tmp_path / "cache")  # the mapped file lives on for who has it open
    assert run_next(job)[1] == TrialState.COMPLETE
    job.setup = replace(make_setup(tmp_path, synthetic_table), cache=tmp_path / "cache")
    assert run_next(job)[1] == TrialState.COMPLETE
    assert list((tmp_path / "cache").glob("*.npy"))


def test_a_worker_that_was_taken_for_dead_leaves_the_trial_to_the_other(tmp_path: Path, synthetic_table: Table) -> None:
    def take_over(step: int) -> None:
        if step == 2:
            job.study._storage.set_trial_user_attr(trial._trial_id, WORKER, replace(job.worker, pid=1).to_json())

    watcher = Watching(take_over)
    job = make_job(tmp_path, synthetic_table, watcher=watcher)
    trial = ask(job)
    assert run_trial(job, trial) == TrialState.WAITING
    assert "taken over" in watcher.ended[0][3]
    assert stored_trial(job).state == TrialState.RUNNING  # the other's
    assert list(stored_trial(job).intermediate_values) == [1, 2]


def test_a_worker_that_wakes_up_changes_nothing_of_its_successors(tmp_path: Path, synthetic_table: Table) -> None:
    """It slept after an evaluation; the other has the trial by now, and has gone on with it in the same folder."""

    def sleep(step: int) -> None:
        if step == 2:
            worker = replace(job.worker, pid=1)
            other = replace(job, worker=worker, watcher=Watching())
            other.study._storage.set_trial_user_attr(trial._trial_id, WORKER, worker.to_json())
            if ends:
                assert run_trial(other, trial) == TrialState.COMPLETE
            kept.update({path.name: path.read_bytes() for path in job.setup.trial_folder(0).iterdir()})
            known.update(stored_trial(job).intermediate_values)

    for ends in (False, True):
        kept, known = dict[str, bytes](), dict[int, float]()
        (tmp_path / str(ends)).mkdir()
        job = make_job(tmp_path / str(ends), synthetic_table, watcher=Watching(sleep))
        trial = ask(job)
        assert run_trial(job, trial) == TrialState.WAITING
        assert {path.name: path.read_bytes() for path in job.setup.trial_folder(0).iterdir()} == kept
        assert stored_trial(job).intermediate_values == known
        assert stored_trial(job).state == (TrialState.COMPLETE if ends else TrialState.RUNNING)


def test_a_worker_that_sleeps_before_its_verdict_does_not_tell_it(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = search.worker.objective._record

    def late(job: Job, trial: optuna.Trial, verdict: Verdict) -> None:
        job.study._storage.set_trial_user_attr(trial._trial_id, WORKER, replace(job.worker, pid=1).to_json())
        real(job, trial, verdict)

    monkeypatch.setattr(search.worker.objective, "_record", late)
    job = make_job(tmp_path, synthetic_table)
    assert run_trial(job, ask(job)) == TrialState.WAITING
    assert stored_trial(job).state == TrialState.RUNNING
    assert "evaluations" not in stored_trial(job).user_attrs
    assert not (job.setup.trial_folder(0) / "confusion.png").exists()


def test_the_weights_of_a_trial_are_known_by_their_digest(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    run_next(job)
    assert stored_trial(job).user_attrs["weights_digest"] == sha256(job.setup.trial_folder(0) / "best.safetensors")


def deleted(job: Job) -> str:
    job.study._storage.delete_study(job.study._study_id)
    return "the study was deleted while it ran"


def renamed(job: Job) -> str:
    optuna.copy_study(
        from_study_name="toy",
        from_storage=job.study._storage,
        to_storage=job.study._storage,
        to_study_name="another",
    )
    job.study._storage.delete_study(job.study._study_id)
    return "the study was renamed to 'another' while it ran"


def database_moved(job: Job) -> str:
    (job.setup.runs / "studies.db").rename(job.setup.runs / "moved.db")
    return "studies.db was removed, moved or replaced while the study ran"


def database_replaced(job: Job) -> str:
    shutil.copy(job.setup.runs / "studies.db", job.setup.runs / "copy.db")
    (job.setup.runs / "copy.db").replace(job.setup.runs / "studies.db")
    return "studies.db was removed, moved or replaced while the study ran"


def folder_moved(job: Job) -> str:
    (job.setup.runs / "toy").rename(job.setup.runs / "elsewhere")
    return "toy was removed, moved or replaced while the study ran"


def everything_removed(job: Job) -> str:
    shutil.rmtree(job.setup.runs)
    return "studies.db was removed, moved or replaced while the study ran"


@pytest.mark.parametrize(
    "accident", [deleted, renamed, database_moved, database_replaced, folder_moved, everything_removed]
)
def test_what_a_study_writes_into_may_go_while_it_runs(
    tmp_path: Path, synthetic_table: Table, accident: Callable[[Job], str]
) -> None:
    def act(step: int) -> None:
        if step == 2:
            told.append(accident(job))

    told: list[str] = []
    runs = tmp_path / "runs"
    runs.mkdir()
    job = make_job(runs, synthetic_table, watcher=Watching(act))
    claim(job.study, runs)
    with pytest.raises(StopStudyError) as caught:
        take_trials(job, order_for(runs, 3))
    assert told[0] in str(caught.value)
    assert accident is not everything_removed or not runs.exists()


def test_only_the_best_trials_and_those_that_stand_for_a_level_keep_their_weights(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.5] * 4 + [0.9] * 4 + [0.1] * 4 + [0.7] * 4)
    scores_of(monkeypatch, lambda step: {"macro_f1": next(values)})
    job = make_job(tmp_path, synthetic_table)
    job.keep = 2
    for _ in range(4):
        run_next(job)
    folders = [job.setup.trial_folder(number) for number in range(4)]
    assert [(folder / "best.safetensors").exists() for folder in folders] == [True, True, False, True]
    assert all((folder / "valid.npz").exists() for folder in folders)
    assert not any((folder / "resume.pt").exists() for folder in folders)


def test_a_combination_of_knobs_that_cannot_be_ends_its_trial(tmp_path: Path, synthetic_table: Table) -> None:
    study = replace(
        TOY_STUDY,
        nuisance={"batch_size": Int(16, 32), "micro_batch": Int(16, 32)},
        baseline={"drop_rate": 0.0, "batch_size": 32, "micro_batch": 32},
        is_stored=True,  # of before such a study was refused
    )
    job = make_job(tmp_path, synthetic_table, study)
    job.study.enqueue_trial({"drop_rate": 0.0, "batch_size": 16, "micro_batch": 32})
    run_next(job)
    assert "must not exceed" in stored_trial(job).user_attrs["error"]


ILLEGAL = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported"


def test_a_process_that_has_lost_its_gpu_takes_no_other_trial(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_with(monkeypatch, torch.AcceleratorError(ILLEGAL))
    watcher = Watching()
    job = make_job(tmp_path, synthetic_table, watcher=watcher)
    job.gpu = "GPU-aaaa1111"
    with pytest.raises(BrokenProcessError, match=r"^CUDA error: an illegal memory access was encountered$"):
        take_trials(job, order_for(tmp_path, 9))
    (trial,) = job.study.get_trials()
    assert (trial.state, trial.user_attrs[WORKER]) == (TrialState.WAITING, None)
    assert [(failed["kind"], failed["gpu"]) for failed in failures_of(trial)] == [("crash", "GPU-aaaa1111")]
    assert [ended[:2] for ended in watcher.ended] == [(0, TrialState.WAITING)]
    assert "illegal memory access" in (job.setup.trial_folder(0) / "crash.txt").read_text()


def test_a_lost_gpu_beneath_another_error_is_told_with_it(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = KeyError("made while cleaning up")
    error.__context__ = RuntimeError(ILLEGAL)
    crash_with(monkeypatch, error)
    job = make_job(tmp_path, synthetic_table)
    with pytest.raises(BrokenProcessError):
        run_next(job)
    assert is_sticky(stored_trial(job).user_attrs["error"])


def test_out_of_memory_beside_others_is_tried_again_like_a_crash(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table)
    monkeypatch.setattr(search.worker.objective, "_train", lambda *_: Verdict(TrialState.COMPLETE, 0.5))
    assert run_next(job) == (0, TrialState.COMPLETE)

    def run_out(*_: object) -> Verdict:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(search.worker.objective, "_train", run_out)
    monkeypatch.setattr(search.worker.objective, "memory_of_others", lambda device: FOREIGN_GIB + 30)
    states = [run_trial(job, ask(job, 2)) for _ in range(MAX_TRIES)]
    assert states == [TrialState.WAITING] * (MAX_TRIES - 1) + [TrialState.FAIL]
    trial = stored_trial(job, 1)
    assert trial.user_attrs["failure_kind"] == "crash"
    assert trial.user_attrs["error"].startswith("out of memory while other processes hold 32.0 GiB of the GPU: OutOf")
    monkeypatch.setattr(search.worker.objective, "memory_of_others", lambda device: FOREIGN_GIB)
    assert run_next(job) == (2, TrialState.FAIL)
    assert stored_trial(job, 2).user_attrs["failure_kind"] == "out of memory"


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_library_without_a_handle_is_short_of_memory_unless_the_gpu_is_lost(
    is_lost: bool, tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def synchronize(index: int) -> None:
        if is_lost:
            raise torch.AcceleratorError(ILLEGAL)

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 1 << 20)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    crash_with(monkeypatch, RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(h)`"))
    job = make_job(tmp_path, synthetic_table)
    if is_lost:
        with pytest.raises(BrokenProcessError, match="illegal memory access"):
            run_next(job)
    else:
        assert run_next(job) == (0, TrialState.FAIL)
    trial = stored_trial(job)
    assert trial.user_attrs["failure_kind"] == ("crash" if is_lost else "out of memory")
    assert ("illegal memory access" in trial.user_attrs["error"]) is is_lost
