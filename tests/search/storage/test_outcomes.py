"""What workers tell of their trials is stored, unless the trial is another worker's by then."""

import time
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from search.storage.failures import BYSTANDER, CRASH, MAX_TRIES, failures_of
from search.storage.outcomes import TakenOverError, fail_trial, finish, requeue
from search.study.attributes import WORKER
from tests.helpers.queue import MYSELF, states, taken


def test_a_requeued_trial_keeps_its_number_its_parameters_and_its_reports(study: optuna.Study) -> None:
    first, other = taken(study), taken(study)
    first.report(0.3, 1)
    first.report(0.4, 2)
    requeue(study, first, MYSELF)
    assert study.get_trials()[0].state == TrialState.WAITING
    again = taken(study)
    assert (again.number, again.params) == (0, first.params)
    assert study.get_trials()[0].intermediate_values == {1: 0.3, 2: 0.4}
    assert study.get_trials()[0].user_attrs["interruptions"] == 1
    assert taken(study).number == other.number + 1


def test_a_pruned_trial_keeps_its_best_value_and_not_its_last(study: optuna.Study) -> None:
    trial = taken(study)
    for step, value in enumerate((0.3, 0.6, 0.2), start=1):
        trial.report(value, step)
    finish(study, trial, TrialState.PRUNED, 0.6)
    assert study.get_trials()[0].value == 0.6


def test_a_trial_that_has_just_ended_stays_so(study: optuna.Study) -> None:
    trial = taken(study)
    finish(study, trial, TrialState.COMPLETE, 0.5)
    requeue(study, trial, MYSELF)
    assert states(study) == ["COMPLETE"]


def test_a_trial_of_ours_is_ended_by_its_own_worker_only(study: optuna.Study) -> None:
    trial = taken(study)
    study._storage.set_trial_user_attr(trial._trial_id, WORKER, replace(MYSELF, pid=1).to_json())
    with pytest.raises(TakenOverError):
        finish(study, trial, TrialState.COMPLETE, 0.5, MYSELF)
    assert states(study) == ["RUNNING"]


def test_whoever_lost_a_trial_does_not_touch_it_any_more(study: optuna.Study) -> None:
    trial = taken(study)
    study._storage.set_trial_user_attr(trial._trial_id, WORKER, replace(MYSELF, pid=1).to_json())
    requeue(study, trial, MYSELF)
    assert fail_trial(study, trial, CRASH, "cursed", MYSELF) == TrialState.RUNNING
    assert states(study) == ["RUNNING"]
    assert "failures" not in study.get_trials()[0].user_attrs


def test_the_fault_of_a_gpu_does_not_use_up_the_tries_of_a_bystander(study: optuna.Study) -> None:
    """Each time the same trial breaks the GPU, and ends with it the one beside it."""
    finish(study, taken(study), TrialState.COMPLETE, 0.5)  # from then on trials fail for good
    guilty, bystander = taken(study), taken(study)
    for number in range(MAX_TRIES):
        worker = replace(MYSELF, since=time.time() - 5)
        for trial in (guilty, bystander):
            study._storage.set_trial_user_attr(trial._trial_id, WORKER, worker.to_json())
            state = fail_trial(study, trial, CRASH, "CUDA error: misaligned address", worker, "GPU-aaaa1111")
            is_last = trial is guilty and number == MAX_TRIES - 1
            assert state == (TrialState.FAIL if is_last else TrialState.WAITING)
    failures = [[failed["kind"] for failed in failures_of(trial)] for trial in study.get_trials()]
    assert failures == [[], [CRASH] * MAX_TRIES, [BYSTANDER] * MAX_TRIES]
