"""The rounds of a study as its workers make them: trainings, judges, looks."""

from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from maskcls.config import TrainConfig
from maskcls.data.dataset import Table
from maskcls.run.record import PREDICTIONS
from maskcls.scoring.judges import Training
from maskcls.scoring.rounds import OWN_TUNING, estimate
from search.policy.policy import Policy
from search.policy.stopping import DECIDED, StoppingCriteria
from search.storage.looks import closed_levels, look_if_due, read_looks
from search.storage.outcomes import finish
from search.storage.predictions import predictions_of
from search.storage.queue import next_trial
from search.storage.retention import trial_folder
from search.study.attributes import LOOKS
from search.system.clock import uptime
from search.worker.job import Job
from search.worker.messages import NOTHING_LEFT, STOPPED, Outcome
from search.worker.objective import run_trial
from search.worker.rounds import judges_of, look_at_rounds, within_time
from search.worker.worker import take_trials
from tests.helpers.search import TOY_STUDY, ask, order_for
from tests.helpers.search import make_job as make_job_of


def make_job(runs: Path, table: Table) -> Job:
    """On the toy study with a step for each of its evaluations: what a training learns does not matter here."""
    return make_job_of(runs, table, replace(TOY_STUDY, fixed={**TOY_STUDY.fixed, "batch_size": 168}))


def test_a_look_is_made_and_stored_once_after_every_round(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    assert take_trials(job, order_for(tmp_path, 6)) == Outcome(NOTHING_LEFT, "--n-trials 6")
    trials = job.study.get_trials()
    assert [trial.user_attrs["round"] for trial in trials] == [0, 0, 1, 1, 2, 2]
    assert [trial.user_attrs["config"]["judge_round"] for trial in trials] == [0, 0, 1, 1, 2, 2]
    assert {trial.user_attrs["config"]["keep"] for trial in trials} == {"last"}
    assert all(trial.value == trial.intermediate_values[4] for trial in trials)
    looks = read_looks(job.study)
    assert [look.round for look in looks] == [1, 2]
    assert [look.trainings for look in looks] == [4, 6]
    assert looks[-1].share == 1
    assert set(looks[-1].levels) == {"drop_rate = 0.5"}
    again = take_trials(job, order_for(tmp_path, 6))
    assert again.kind == NOTHING_LEFT
    assert len(read_looks(job.study)) == 2


def test_rounds_at_its_own_best_have_looks_of_their_own(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    assert take_trials(job, order_for(tmp_path, 6)) == Outcome(NOTHING_LEFT, "--n-trials 6")
    before = job.study.user_attrs[LOOKS]
    order = replace(order_for(tmp_path, 12), limits=StoppingCriteria(12, own_best=True))
    assert take_trials(job, order) == Outcome(NOTHING_LEFT, "--n-trials 12")
    own = job.study.get_trials()[6:]
    assert [trial.user_attrs["round"] for trial in own] == [3, 3, 4, 4, 5, 5]
    assert all(trial.user_attrs["own_best"] for trial in own)
    assert job.study.user_attrs[LOOKS] == before
    looks = read_looks(job.study, own_best=True)
    assert [(look.round, look.trainings) for look in looks] == [(4, 4), (5, 6)]
    assert [look.share for look in looks] == [pytest.approx(2 / 3), 1]
    shelf = predictions_of(job.study, job.setup.stored, job.setup.folder)
    trainings = [Training(t.user_attrs["level"], t.user_attrs["round"], shelf.counts(t)) for t in own]
    known = estimate(trainings, "drop_rate = 0.0", tuning=OWN_TUNING)["drop_rate = 0.5"]
    assert looks[-1].levels["drop_rate = 0.5"].error == pytest.approx(known.error)
    assert look_at_rounds(job, StoppingCriteria(12)) is None


def test_the_look_that_a_killed_worker_did_not_make_is_made_by_the_next(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    for _ in range(4):
        run_trial(job, ask(job, 4))
    assert read_looks(job.study) == []
    limits = StoppingCriteria(4)
    assert look_at_rounds(job, limits) is not None
    assert look_at_rounds(job, limits) is None
    assert len(read_looks(job.study)) == 1


def test_a_worker_that_is_stopped_makes_the_look_that_is_due(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    for _ in range(4):
        run_trial(job, ask(job, 4))
    job.stop.reason = "the supervisor is gone"
    assert take_trials(job, order_for(tmp_path, 4)) == Outcome(STOPPED, "the supervisor is gone")
    assert len(read_looks(job.study)) == 1


def test_a_round_without_usable_trainings_is_looked_at_once(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    for _ in range(6):
        run_trial(job, ask(job, 6))
    for number in (4, 5):
        (trial_folder(job.setup.folder, number) / PREDICTIONS).unlink()
    made = look_at_rounds(job, StoppingCriteria(6))
    assert made is not None
    assert (made.round, made.trainings) == (2, 4)
    assert look_at_rounds(job, StoppingCriteria(6)) is None
    assert len(read_looks(job.study)) == 1


def test_of_two_workers_that_make_a_look_at_once_one_stores_it(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, synthetic_table)
    for _ in range(4):
        run_trial(job, ask(job, 4))
    shelf = predictions_of(job.study, job.setup.stored, job.setup.folder)
    real = shelf.with_predictions

    def slow(trials):  # type: ignore[no-untyped-def]
        monkeypatch.setattr(shelf, "with_predictions", real)
        assert look_if_due(job.study, job.policy, StoppingCriteria(4), shelf, 0.05) is not None
        return real(trials)

    monkeypatch.setattr(shelf, "with_predictions", slow)
    assert isinstance(job.policy, Policy)
    assert look_if_due(job.study, job.policy, StoppingCriteria(4), shelf, 0.05) is None
    assert len(read_looks(job.study)) == 1


def test_a_study_is_finished_once_every_level_is_decided(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    for _ in range(4):
        run_trial(job, ask(job, 4))
    look_at_rounds(job, StoppingCriteria(4))
    (look,) = job.study.user_attrs[LOOKS]
    look["levels"]["drop_rate = 0.5"]["verdict"] = "worse"
    job.study.set_user_attr(LOOKS, [look])
    assert closed_levels(job.study) == {"drop_rate = 0.5"}
    assert next_trial(job.study, job.policy, StoppingCriteria(12), job.worker) is None
    assert take_trials(job, order_for(tmp_path, 12)) == Outcome(NOTHING_LEFT, DECIDED)
    assert len(job.study.get_trials()) == 4


def test_rounds_at_its_own_best_follow_those_that_decided_every_level(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    for _ in range(4):
        run_trial(job, ask(job, 4))
    look_at_rounds(job, StoppingCriteria(4))
    (look,) = job.study.user_attrs[LOOKS]
    look["levels"]["drop_rate = 0.5"]["verdict"] = "worse"
    job.study.set_user_attr(LOOKS, [look])
    trial = next_trial(job.study, job.policy, StoppingCriteria(6, own_best=True), job.worker)
    assert trial is not None
    assert trial.user_attrs["own_best"]


def test_judges_that_would_leave_a_class_untrained_are_passed_over(synthetic_table: Table) -> None:
    photos = synthetic_table.photos
    assert judges_of(synthetic_table, TrainConfig())(1)
    old_men = photos[photos["label"] == 2]
    spared = old_men[old_men["split"] == "train"]["person"].iloc[0]
    others = set(old_men["person"]) - {spared}
    few = replace(synthetic_table, photos=photos[~photos["person"].isin(others)])
    can_judge = judges_of(few, TrainConfig())
    assert sorted(can_judge(number) for number in range(1, 6)) == [False] + [True] * 4  # he judges one of five rounds


def test_the_time_that_is_left_is_divided_by_the_speed_of_the_trials(tmp_path: Path, synthetic_table: Table) -> None:
    job = make_job(tmp_path, synthetic_table)
    order = replace(order_for(tmp_path, 9), since=uptime(), timeout=100.0, workers=2)
    assert within_time(order, [], 2).expected_epochs is None
    trial = ask(job)
    for step in range(1, 5):
        trial.report(0.5, step)
    trial.set_user_attr("seconds", 10.0)
    trial.set_user_attr("evaluations", 4)
    finish(job.study, trial, TrialState.COMPLETE, 0.5)
    found = within_time(order, job.study.get_trials(), 2).expected_epochs
    assert found == pytest.approx(2 + 100 / 10 * 2 * 2, rel=0.02)  # two epochs in ten seconds, by each of two workers
    assert within_time(replace(order, timeout=None), job.study.get_trials(), 2) == order.limits


def test_workers_of_other_commands_share_the_time_that_is_left(tmp_path: Path, synthetic_table: Table) -> None:
    """They are seen by what they train: this command has two workers, and three trials of others run besides."""
    job = make_job(tmp_path, synthetic_table)
    order = replace(order_for(tmp_path, 9), since=uptime(), timeout=100.0, workers=2)
    trial = ask(job)
    for step in range(1, 5):
        trial.report(0.5, step)
    trial.set_user_attr("seconds", 10.0)
    trial.set_user_attr("evaluations", 4)
    finish(job.study, trial, TrialState.COMPLETE, 0.5)
    for running, workers in ((1, 2), (2, 3), (3, 4)):  # and the worker that asks, which trains nothing now
        ask(job)
        trials = job.study.get_trials()
        assert sum(trial.state == TrialState.RUNNING for trial in trials) == running
        found = within_time(order, trials, 2).expected_epochs
        assert found == pytest.approx(2 + 100 / 10 * 2 * workers, rel=0.02)
