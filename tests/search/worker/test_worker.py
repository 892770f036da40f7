"""A worker's loop with a double in the place of training, and the study that it works on being made or found."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.trial import TrialState
from optuna_dashboard._note import get_note_from_system_attrs

import search.policy.warm_starts
import search.storage.copying
import search.worker.create
import search.worker.worker
from maskcls.data.dataset import Table
from maskcls.system.errors import UserError
from search.database.connect import default_url, has_study, load_study, open_storage
from search.policy.policy import Policy
from search.policy.stopping import count_finished
from search.storage.failures import CRASH, MIN_ATTEMPTS
from search.storage.notes import save_trial_note
from search.storage.outcomes import fail_trial, finish
from search.storage.retention import trial_folder
from search.study.attributes import is_baseline
from search.study.record import read_stored
from search.study.study import Choice, Float, Sampler, Study
from search.system.processes import describe_myself
from search.terminal.summary import show_search_summary
from search.worker.create import find_or_create
from search.worker.job import Job
from search.worker.messages import GAVE_UP, NOTHING_LEFT, STOPPED, Outcome
from search.worker.worker import take_trials
from tests.helpers.search import TOY_STUDY, Watching, ask, make_job, make_setup, order_for
from tests.helpers.training import one_line

C, P, X, D = "complete", "pruned", "crash", "diverged at once"


def fates(monkeypatch: pytest.MonkeyPatch, of_trials: Sequence[str]) -> None:
    """The next trials end like this, without training."""
    left: Iterator[str] = iter(of_trials)

    def end(job: Job, trial: optuna.Trial) -> TrialState:
        fate = next(left)
        if fate == X:
            return fail_trial(job.study, trial, CRASH, f"trial {trial.number} is cursed", job.worker)
        state = TrialState.COMPLETE if fate == C else TrialState.PRUNED
        if fate != D:
            facts = {"evaluations": 2 if fate == P else 4, "evaluations_planned": 4, "seconds": 10.0}
            for key, value in facts.items():
                trial.set_user_attr(key, value)
        finish(job.study, trial, state, None if fate == D else 0.5 + trial.number / 100)
        return state

    monkeypatch.setattr(search.worker.worker, "run_trial", end)


def find(
    runs: Path,
    table: Table,
    study: Study = TOY_STUDY,
    name: str = "toy",
    n_trials: int = 40,
    copy_of: str | None = None,
    cold: bool = True,
) -> optuna.Study:
    """Have the study made or found, as the first worker does."""
    storage = open_storage(default_url(runs), create=True)
    setup = make_setup(runs, table, study)
    setup.name = name
    find_or_create(setup, storage, order_for(runs, n_trials, copy_of, cold))
    return load_study(storage, name)


@pytest.fixture(autouse=True)
def nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.worker.create, "show_estimate", lambda *args: None)


def run_toy(monkeypatch: pytest.MonkeyPatch, runs: Path, table: Table, of_trials: Sequence[str]) -> optuna.Study:
    """The toy study with trials that ended in this way, and its summary on the terminal."""
    study = find(runs, table)
    fates(monkeypatch, of_trials)
    job = make_job_of(study, runs, table)
    assert take_trials(job, order_for(runs, len(of_trials))).kind == NOTHING_LEFT
    show_search_summary(study, read_stored(study), runs, None)
    return study


def make_job_of(study: optuna.Study, runs: Path, table: Table) -> Job:
    setup = make_setup(runs, table, read_stored(study).study)
    return Job(setup, study, Policy(setup.stored.study, 0), Watching(), describe_myself("cpu.0"))


def test_it_runs_until_the_study_has_so_many(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table)
    fates(monkeypatch, [C, P, X, C, X, P, C])
    assert take_trials(job, order_for(tmp_path, 4)) == Outcome(NOTHING_LEFT, "--n-trials 4")
    assert take_trials(job, order_for(tmp_path, 4)) == Outcome(NOTHING_LEFT, "--n-trials 4")
    trials = job.study.get_trials()
    assert count_finished(trials) == 4
    assert [trial.state for trial in trials if trial.state == TrialState.RUNNING] == []


def test_when_all_crash_it_gives_up_and_a_later_command_begins_anew(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table)
    fates(monkeypatch, [X] * MIN_ATTEMPTS)
    outcome = take_trials(job, order_for(tmp_path, 50))
    assert outcome.kind == GAVE_UP
    assert "is cursed" in outcome.cause
    assert all(trial.state == TrialState.WAITING for trial in job.study.get_trials())  # nobody was given up
    fates(monkeypatch, [C] * 5)
    later = replace(order_for(tmp_path, 5), since=1e12)
    assert take_trials(job, later).kind == NOTHING_LEFT
    assert [trial.state.name for trial in job.study.get_trials()[:5]] == ["COMPLETE"] * 5


def test_a_stop_between_two_trials_begins_no_other(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    job.stop.reason = "SIGTERM"
    assert take_trials(job, order_for(tmp_path, 3)) == Outcome(STOPPED, "SIGTERM")
    assert job.study.get_trials() == []


def test_the_baseline_is_trial_0_and_the_document_is_stored(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = run_toy(monkeypatch, tmp_path, synthetic_table, [C, P, C])
    first = study.get_trials()[0]
    assert first.params == TOY_STUDY.baseline
    assert is_baseline(first)
    assert read_stored(study).study.question == TOY_STUDY.question
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    output = capsys.readouterr().out
    assert "SYNTHETIC PHOTOS: says nothing about faces" in output
    assert "after evaluation 2, 3 of 4 keep the best 1 in 3" in output
    assert "Trials are complete, but none of their stored predictions can be used." in output
    assert f"python -m search.report --study toy --runs {tmp_path}" in output
    assert f"python -m search.export --study toy -o best.toml --runs {tmp_path}" in output


def test_a_study_in_which_everything_diverged_has_no_best(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_toy(monkeypatch, tmp_path, synthetic_table, [D, D])
    assert "No trial is complete yet." in capsys.readouterr().out


def test_what_the_plan_finds_impossible_is_not_stored(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("cannot be built")

    monkeypatch.setattr(search.worker.create, "show_estimate", refuse)
    with pytest.raises(ValueError, match="cannot be built"):
        find(tmp_path, synthetic_table)
    assert not has_study(open_storage(default_url(tmp_path), create=False), "toy")


def test_a_name_that_a_killed_process_left_without_a_study_is_filled(tmp_path: Path, synthetic_table: Table) -> None:
    storage = open_storage(default_url(tmp_path), create=True)
    optuna.create_study(storage=storage, study_name="toy", direction="maximize")
    assert read_stored(find(tmp_path, synthetic_table)).study.question == TOY_STUDY.question


def test_the_note_says_how_far_the_study_is(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = run_toy(monkeypatch, tmp_path, synthetic_table, [C, C, P])
    search.worker.create.show_study(study, read_stored(study))
    note = get_note_from_system_attrs(study._storage.get_study_system_attrs(study._study_id), None)["body"]
    assert TOY_STUDY.question in note
    assert "2 complete, 1 pruned" in note
    assert "Best of the search: trial 1, macro F1 0.5100" in note
    assert "Baseline so far: macro F1 0.5000" in note


def with_lr(low: float, high: float) -> Study:
    return replace(TOY_STUDY, nuisance={"lr": Float(low, high, log=True)})


def test_a_wider_range_goes_on_in_place_and_a_narrower_one_is_refused(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_toy(monkeypatch, tmp_path, synthetic_table, [C, C, P])
    study = find(tmp_path, synthetic_table, replace(with_lr(1e-4, 1.0), sampler=Sampler("random")))
    assert "wider ranges" in capsys.readouterr().out
    stored = read_stored(study).study
    assert stored.nuisance["lr"] == Float(1e-4, 1.0, log=True)
    assert stored.sampler == Sampler("random")
    fates(monkeypatch, [C] * 20)
    take_trials(make_job_of(study, tmp_path, synthetic_table), order_for(tmp_path, 20))
    lrs = [trial.params["lr"] for trial in study.get_trials()]
    assert max(lrs) > 1e-1
    with pytest.raises(UserError) as caught:
        find(tmp_path, synthetic_table)
    assert "lr = tuned" in one_line(caught.value)
    assert "--from" not in one_line(caught.value)


def test_another_choice_goes_on_in_a_copy_that_keeps_numbers_notes_and_files(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = find(tmp_path, synthetic_table)
    job = make_job_of(old, tmp_path, synthetic_table)
    trial = ask(job)
    (tmp_path / "picture.png").write_bytes(b"png")
    store = FileSystemArtifactStore(tmp_path)
    upload_artifact(artifact_store=store, file_path=str(tmp_path / "picture.png"), study_or_trial=trial)
    (artifact,) = get_all_artifact_meta(trial)
    old_path = f"/artifacts/{old._study_id}/{trial._trial_id}/{artifact.artifact_id}"
    save_trial_note(old, trial._trial_id, f"![picture]({old_path})")
    trial.report(0.4, 1)
    finish(old, trial, TrialState.COMPLETE, 0.4)
    ask(job)  # runs while it is copied
    home = trial_folder(tmp_path / "toy", 0)
    home.mkdir(parents=True)
    (home / "valid.npz").write_bytes(b"predictions")

    more = replace(TOY_STUDY, scientific={"drop_rate": Choice(0.0, 0.5, 0.7)})
    with pytest.raises(UserError) as caught:
        find(tmp_path, synthetic_table, more)
    assert "--name NEW --from toy" in one_line(caught.value)
    new = find(tmp_path, synthetic_table, more, name="more", copy_of="toy")
    first, second = new.get_trials()
    assert (first.number, first.value, first.intermediate_values) == (0, 0.4, {1: 0.4})
    assert first.params == TOY_STUDY.baseline
    assert second.state == TrialState.WAITING
    assert (trial_folder(tmp_path / "more", 0) / "valid.npz").read_bytes() == b"predictions"
    (copied,) = get_all_artifact_meta(first, storage=new._storage)
    assert copied.artifact_id == artifact.artifact_id
    note = get_note_from_system_attrs(new._storage.get_study_system_attrs(new._study_id), first._trial_id)["body"]
    assert note == f"![picture](/artifacts/{new._study_id}/{first._trial_id}/{artifact.artifact_id})"
    assert old.get_trials()[1].state == TrialState.RUNNING  # the old study goes its own way
    fates(monkeypatch, [C] * 9)
    take_trials(make_job_of(new, tmp_path, synthetic_table), order_for(tmp_path, 8))
    assert 0.7 in {trial.params["drop_rate"] for trial in new.get_trials()}


def test_a_copy_that_was_cut_off_is_made_anew_and_a_whole_one_goes_on(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_toy(monkeypatch, tmp_path, synthetic_table, [C, C, P, C])
    more = replace(TOY_STUDY, scientific={"drop_rate": Choice(0.0, 0.5, 0.7)})
    real, copied = search.storage.copying.copy_note, iter(range(2))

    def cut_off(*args: object) -> None:
        if next(copied, None) is None:
            raise KeyboardInterrupt
        real(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(search.storage.copying, "copy_note", cut_off)
        with pytest.raises(KeyboardInterrupt):
            find(tmp_path, synthetic_table, more, name="more", copy_of="toy")
    for _ in range(2):  # the same command, and once more when all is there
        new = find(tmp_path, synthetic_table, more, name="more", copy_of="toy")
        assert [trial.value for trial in new.get_trials()] == [0.5, 0.51, 0.52, 0.53]


def test_a_warm_start_is_never_the_baseline_or_another_one_again(tmp_path: Path, synthetic_table: Table) -> None:
    storage = open_storage(default_url(tmp_path), create=True)
    first = find(tmp_path, synthetic_table)
    job = make_job_of(first, tmp_path, synthetic_table)
    finish(first, ask(job), TrialState.COMPLETE, 0.9)  # the baseline, and the best there is
    stored = make_setup(tmp_path, synthetic_table).stored
    settings = [warm["params"] for warm in search.policy.warm_starts.choose_warm_starts(storage, stored, 100)]
    assert {"lr": 1e-2} not in settings
    assert len({setting["lr"] for setting in settings}) == len(settings)


def test_a_study_that_tunes_nothing_has_rounds_alone(tmp_path: Path, synthetic_table: Table) -> None:
    study = replace(TOY_STUDY, nuisance={}, baseline={"drop_rate": 0.0})
    job = make_job(tmp_path, synthetic_table, study)
    for _ in range(6):
        finish(job.study, ask(job), TrialState.COMPLETE, 0.5)
    trials = job.study.get_trials()
    assert [trial.params["drop_rate"] for trial in trials] == [0.0, 0.5] * 3
    assert [trial.user_attrs["round"] for trial in trials] == [0, 0, 1, 1, 2, 2]
    assert len({trial.user_attrs.get("seed") for trial in trials}) == 3


@pytest.mark.parametrize("change", [{"epochs": 3}, {"image_size": 48}])
def test_a_copy_with_another_fixed_value_is_refused(
    tmp_path: Path, synthetic_table: Table, change: dict[str, int]
) -> None:
    find(tmp_path, synthetic_table)
    other = replace(TOY_STUDY, fixed={**TOY_STUDY.fixed, **change})
    with pytest.raises(UserError) as caught:
        find(tmp_path, synthetic_table, other, name="more", copy_of="toy")
    assert next(iter(change)) in one_line(caught.value)
    with pytest.raises(UserError, match="stored already"):
        find(tmp_path, synthetic_table, copy_of="toy")


def test_a_new_study_begins_with_what_is_known_and_with_the_best_of_earlier_ones(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_toy(monkeypatch, tmp_path, synthetic_table, [C] * 24)  # later trials are better there
    study = find(tmp_path, synthetic_table, replace(TOY_STUDY, question="Again?"), name="again", cold=False)
    assert "known to work; " in capsys.readouterr().out
    warm = read_stored(study).warm
    assert 2 <= len(warm) <= 40 // 4 // 2  # a quarter of the trials, over two levels
    assert warm[0] == {"params": {"lr": 2e-3}, "from": "known to work"}
    assert any(setting["from"] == "the best of toy" for setting in warm)
    policy = Policy(TOY_STUDY, 0, warm)
    settings = [policy.propose([])]
    assert settings[0].params == TOY_STUDY.baseline
    cold = find(tmp_path, synthetic_table, replace(TOY_STUDY, question="Cold?"), name="cold", cold=True)
    assert read_stored(cold).warm == ()


def test_warm_starts_come_after_the_baseline_in_every_level(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    job.policy = Policy(TOY_STUDY, 0, [{"params": {"lr": 0.07}, "from": "known to work"}])
    for _ in range(5):
        finish(job.study, ask(job), TrialState.COMPLETE, 0.5)
    trials = job.study.get_trials()
    assert [trial.params["lr"] for trial in trials[:4]] == [1e-2, 1e-2, 0.07, 0.07]
    assert {trial.params["drop_rate"] for trial in trials[2:4]} == {0.0, 0.5}
    assert trials[2].user_attrs["role"] == "warm start"
    assert trials[4].params["lr"] != 0.07


def test_a_copy_whose_files_the_database_would_refuse_is_refused_before_any_work(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(storage: object) -> None:
        raise UserError("permission denied")

    find(tmp_path, synthetic_table)
    monkeypatch.setattr(search.worker.create, "check_may_copy", refuse)
    monkeypatch.setattr(search.worker.create, "show_plan", None)
    with pytest.raises(UserError, match="permission denied"):
        find(tmp_path, synthetic_table, name="larger", copy_of="toy")
    assert not has_study(open_storage(default_url(tmp_path), create=False), "larger")
    assert not (tmp_path / "larger").exists()
