"""A trial that is interrupted on one machine and ends on another, which shares the database and no folder."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import search.files.table
import search.worker.make_job
from maskcls.data.dataset import Table
from search.database.connect import backend_of, load_study, open_to_read
from search.files.place import files_of
from search.files.table import create_table
from search.storage.folder import claim, study_folder
from search.storage.predictions import study_predictions
from search.storage.retention import holds_weights, remove_large_files, trial_folder
from search.study.attributes import FILES
from search.worker.job import Job, StopRequest, StopStudyError
from search.worker.messages import WorkOrder
from search.worker.objective import run_trial
from tests.helpers.one_process import Deaf
from tests.helpers.search import Watching, ask, make_job, make_setup, order_for, stored_trial


@pytest.fixture
def first(tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(search.files.table, "is_shared", lambda storage: True)
    (tmp_path / "first").mkdir()
    job = make_job(tmp_path / "first", synthetic_table, watcher=Watching())
    claim(job.study, job.setup.runs)
    assert create_table(backend_of(job.study)) == ""
    return job


@pytest.mark.parametrize("is_placed", [True, False])
def test_a_worker_makes_the_folder_the_studys_only_where_an_engine_placed_it(
    first: Job, tmp_path: Path, is_placed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere the command's first worker has done so, and a folder that is missing at another's start was removed."""
    order = order_for(first.setup.runs, 3)
    order = replace(order, plan=False, is_placed=is_placed, runs=str(tmp_path / "second"))
    monkeypatch.setattr(search.worker.make_job, "set_up", lambda order: replace(first.setup, runs=Path(order.runs)))
    monkeypatch.setattr(search.worker.make_job, "write_to_log", make_logs)
    job = search.worker.make_job.make_job(order, StopRequest(), Deaf())  # type: ignore[arg-type]
    assert job.setup.folder == tmp_path / "second" / "toy"
    lost = "" if is_placed else f"the study's folder {job.setup.folder} was removed or moved while the study ran"
    assert job.presence.lost() == lost


def make_logs(order: WorkOrder) -> None:
    """What a worker does to the disk before it writes to its log, which these tests' process must not write to."""
    study = load_study(open_to_read(order.url), order.name)
    (study_folder(study, Path(order.runs)) / "logs").mkdir(parents=True)


def another(job: Job, runs: Path, table: Table) -> Job:
    """The same study's work on another machine."""
    study = load_study(backend_of(job.study), "toy")
    claim(study, runs)
    far = replace(job.worker, machine="another boot", host="far")
    setup = make_setup(runs, table, job.setup.stored.study)
    return Job(setup, study, job.policy, Watching(), far)


def test_it_begins_anew_and_the_first_machine_does_not_take_its_own_files_for_the_result(
    first: Job, tmp_path: Path, synthetic_table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    stop = Watching(lambda step: setattr(first.stop, "reason", "Ctrl-C") if step == 2 else None)
    first.watcher = stop
    assert run_trial(first, ask(first)) == TrialState.WAITING
    before = stored_trial(first).intermediate_values
    assert len(before) == 2
    assert FILES not in stored_trial(first).user_attrs

    second = another(first, tmp_path / "second", synthetic_table)
    with caplog.at_level("INFO"):
        assert run_trial(second, ask(second)) == TrialState.COMPLETE
    assert sum("is missing, so it starts again" in message for message in caplog.messages) == 1
    trial = stored_trial(second)
    assert len(trial.intermediate_values) == 4
    assert {step: trial.intermediate_values[step] for step in before} == before  # the same kind of machine
    files = files_of(trial)
    assert files is not None
    assert files.folder == str(tmp_path / "second" / "toy" / "trial-0000")
    assert len(files.digests) == 2  # the predictions and the picture

    ours, theirs = (study_predictions(second.study, job.setup.folder).predictions(trial) for job in (first, second))
    assert ours is not None
    assert theirs is not None
    assert (ours.log_prob_NK == theirs.log_prob_NK).all()
    assert (trial_folder(first.setup.folder, 0) / "best.safetensors").is_file()
    assert not holds_weights(trial, first.setup.folder)
    assert holds_weights(trial, second.setup.folder)
    for job in (first, second):
        remove_large_files([trial], job.setup.folder, 5, lambda trials: set())
        assert not (trial_folder(job.setup.folder, 0) / "resume.pt").exists()
    assert not (trial_folder(first.setup.folder, 0) / "best.safetensors").exists()
    assert (trial_folder(second.setup.folder, 0) / "best.safetensors").exists()


def test_a_trial_counts_only_with_its_files(first: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise optuna.exceptions.StorageInternalError("no room for it")

    monkeypatch.setattr(search.files.place, "write_files", refused)
    with pytest.raises(StopStudyError, match="no room for it"):
        run_trial(first, ask(first))
    assert (stored_trial(first).state, stored_trial(first).value) == (TrialState.WAITING, None)
    monkeypatch.undo()
    monkeypatch.setattr(search.files.table, "is_shared", lambda storage: True)
    assert run_trial(first, ask(first)) == TrialState.COMPLETE
    assert files_of(stored_trial(first)) is not None


def test_on_one_machine_nothing_more_is_stored(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    claim(job.study, tmp_path)
    assert run_trial(job, ask(job)) == TrialState.COMPLETE
    assert FILES not in stored_trial(job).user_attrs
    assert not search.files.table.has_table(backend_of(job.study))
