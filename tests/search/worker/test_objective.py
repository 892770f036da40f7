"""One trial, trained in this process on drawn faces: its verdict, and what it leaves behind."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard._note import get_note_from_system_attrs
from sklearn.metrics import f1_score

from maskcls.config import load_config
from maskcls.data.dataset import Table
from search.policy.stopping import count_finished
from search.storage.outcomes import finish
from search.worker.job import Job
from search.worker.objective import run_trial
from tests.helpers.search import ask, f1_curve, make_job, prune_at, stored_trial

PARTS = ("mask", "gender", "age")


@dataclass
class Done:
    """A trial that ended, and where."""

    job: Job
    trial: FrozenTrial
    folder: Path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, synthetic_table: Table) -> Done:
    """One undisturbed trial."""
    torch.set_num_threads(1)
    runs = tmp_path_factory.mktemp("undisturbed")
    job = make_job(runs, synthetic_table)
    assert run_trial(job, ask(job)) == TrialState.COMPLETE
    return Done(job, stored_trial(job), runs / "toy" / "trial-0000")


def test_the_value_is_macro_f1_of_the_stored_predictions(done: Done) -> None:
    with np.load(done.folder / "valid.npz") as file:
        truth, predicted = file["label_N"], file["log_prob_NK"].argmax(1)
    expected = f1_score(truth, predicted, labels=range(18), average="macro", zero_division=0)
    assert done.trial.value == pytest.approx(expected, abs=1e-12)
    assert done.trial.value == max(done.trial.intermediate_values.values())
    assert list(done.trial.intermediate_values) == [1, 2, 3, 4]
    assert 0.02 < done.trial.value < 1


def test_the_scores_of_mask_gender_and_age_are_those_of_the_best_evaluation(done: Done) -> None:
    with np.load(done.folder / "valid.npz") as file:
        truth, predicted = file["label_N"], file["log_prob_NK"].argmax(1)
    seen_as = {"mask": lambda label: label // 6, "gender": lambda label: label // 3 % 2, "age": lambda label: label % 3}
    for part, classes in zip(PARTS, (3, 2, 3), strict=True):
        both = seen_as[part](truth), seen_as[part](predicted)
        expected = f1_score(*both, labels=range(classes), average="macro", zero_division=0)
        assert done.trial.user_attrs[f"f1_{part}"] == pytest.approx(expected, abs=1e-12)


def test_a_trial_keeps_what_one_needs_to_judge_it(done: Done) -> None:
    facts = done.trial.user_attrs
    assert facts["best_evaluation"] == max(done.trial.intermediate_values.items(), key=lambda item: item[1])[0]
    assert (facts["evaluations"], facts["evaluations_planned"]) == (4, 4)
    assert 0 < facts["seconds"] < 100
    assert facts["photos_per_second"] > 10
    assert facts["peak_gib"] > 0.05
    assert len(facts["f1_per_class"]) == 18
    assert np.mean(facts["f1_per_class"]) == pytest.approx(done.trial.value)
    assert facts["best_accuracy"] >= facts["accuracy"]
    assert facts["best_loss"] <= facts["loss"]


def test_a_trial_keeps_what_one_needs_to_run_it_again(done: Done) -> None:
    config, origin = load_config(done.folder / "config.toml")
    assert json.loads(config.model_dump_json()) == done.trial.user_attrs["config"]
    assert (config.seed, config.threads, config.dtype, config.micro_batch) == (0, 1, "float32", 32)
    assert config.lr == done.trial.params["lr"]
    assert origin == done.trial.user_attrs["origin"]
    assert origin["study"] == "toy"
    assert origin["trial"] == 0
    assert origin["split"] == done.job.setup.table.hash
    assert origin["weights"] == {"source": "scratch"}
    assert origin["commit"]
    assert {"python", "torch", "timm", "optuna"} <= origin["versions"].keys()


def test_the_dashboard_has_a_note_and_a_picture(done: Done) -> None:
    storage, study_id = done.job.study._storage, done.job.study._study_id
    note = get_note_from_system_attrs(storage.get_study_system_attrs(study_id), done.trial._trial_id)["body"]
    assert f"{done.trial.value:.4f}" in note
    (artifact,) = optuna.artifacts.get_all_artifact_meta(done.trial, storage=storage)
    assert artifact.artifact_id in note
    assert artifact.filename == "confusion.png"
    assert artifact.mimetype == "image/png"
    data = (done.job.setup.runs / "artifacts" / artifact.artifact_id).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert data == (done.folder / "confusion.png").read_bytes()


def test_a_finished_trials_folder_has_its_files_and_nothing_to_resume(done: Done) -> None:
    files = {path.name for path in done.folder.iterdir()}
    assert files == {"config.toml", "best.safetensors", "valid.npz", "history.json", "confusion.png"}


def test_a_pruned_trial_is_worth_its_best_evaluation(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    f1_curve(monkeypatch, (0.3, 0.6, 0.2, 0.9))
    job = make_job(tmp_path, synthetic_table)
    for _ in range(2):
        finish(job.study, ask(job), TrialState.COMPLETE, 0.5)  # round 0
    prune_at(job, 3)
    assert run_trial(job, ask(job)) == TrialState.PRUNED
    trial = stored_trial(job, 2)
    assert (trial.state, trial.value) == (TrialState.PRUNED, 0.6)
    assert trial.intermediate_values == {1: 0.3, 2: 0.6, 3: 0.2}
    assert trial.user_attrs["best_evaluation"] == 2
    assert (trial.user_attrs["evaluations"], trial.user_attrs["evaluations_planned"]) == (3, 4)
    assert count_finished(job.study.get_trials()) == 3
    assert not (job.setup.trial_folder(2) / "resume.pt").exists()
    assert (job.setup.trial_folder(2) / "confusion.png").exists()


def test_a_training_of_a_round_is_worth_its_last_evaluation_and_is_judged_by_the_rounds_people(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    f1_curve(monkeypatch, (0.3, 0.6, 0.2, 0.4) * 2)
    job = make_job(tmp_path, synthetic_table)
    assert run_trial(job, ask(job, 4)) == TrialState.COMPLETE
    finish(job.study, ask(job, 4), TrialState.COMPLETE, 0.5)
    assert run_trial(job, ask(job, 4)) == TrialState.COMPLETE
    first, _, later = job.study.get_trials()
    assert (first.value, later.value) == (0.4, 0.4)
    facts = [(trial.user_attrs["round"], trial.user_attrs["config"]["judge_round"]) for trial in (first, later)]
    assert facts == [(0, 0), (1, 1)]
    assert first.user_attrs["split"] != later.user_attrs["split"]


def test_a_run_that_begins_again_takes_the_place_of_the_curve_that_was_stored(
    tmp_path: Path, synthetic_table: Table, done: Done
) -> None:
    job = make_job(tmp_path, synthetic_table)
    trial = ask(job)
    for step in (1, 2):  # from another machine, whose files are not here
        trial.report(0.99, step)
    assert run_trial(job, trial) == TrialState.COMPLETE
    ended = stored_trial(job)
    assert (ended.value, ended.intermediate_values) == (done.trial.value, done.trial.intermediate_values)


def test_nobody_is_pruned_after_the_last_evaluation(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    prune_at(job, 4)
    assert run_trial(job, ask(job)) == TrialState.COMPLETE
