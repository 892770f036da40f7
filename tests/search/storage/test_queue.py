"""Trials handed out to workers, told and taken back; no training."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search.database.connect import GRACE_SECONDS, create_study, exclusive, load_study, open_storage
from search.policy.policy import Policy
from search.policy.stopping import StoppingCriteria, count_finished, epochs_spent, trials_since_best
from search.storage.failures import CRASH, FIRST, LAST, MOST_DEATHS, OUT_OF_MEMORY, TOO_MANY, failure, reason_to_give_up
from search.storage.queue import IN_VAIN, WORKER, TakenOverError, fail_trial, finish, next_trial, requeue, requeue_lost
from search.system.processes import WorkerIdentity, describe_myself
from tests.helpers.search import DROPOUT

POLICY = Policy(DROPOUT, 0)
MYSELF = describe_myself("cpu.0")

TAKER = """
import sys, time
from tests.helpers.search import DROPOUT
from search.policy.stopping import StoppingCriteria
from search.policy.policy import Policy
from search.system.processes import describe_myself
from search.database.connect import load_study, open_storage
from search.storage.queue import next_trial
study = load_study(open_storage(sys.argv[1], create=False), "s")
trial = next_trial(study, Policy(DROPOUT, 0), StoppingCriteria(100), 1, describe_myself("cpu.0"))
trial.report(0.25, 1)
print(trial.number, flush=True)
time.sleep(100)
"""

WORKER_OF_MANY = """
import random, sys, time
from optuna.trial import TrialState
from tests.helpers.search import DROPOUT
from search.storage.failures import CRASH
from search.policy.stopping import StoppingCriteria, reached
from search.policy.policy import Policy
from search.system.processes import describe_myself
from search.database.connect import load_study, open_storage
from search.storage.queue import fail_trial, finish, next_trial
study = load_study(open_storage(sys.argv[1], create=False), "s")
policy, limits, me = Policy(DROPOUT, 0), StoppingCriteria(12), describe_myself("cpu.0")
while not reached(limits, study.get_trials(deepcopy=False), 1):
    trial = next_trial(study, policy, limits, 1, me)
    if trial is None:
        time.sleep(0.05)
    elif random.random() < 0.2:
        fail_trial(study, trial, CRASH, "cursed", me)
    else:
        finish(study, trial, TrialState.COMPLETE, 0.5)
"""


@pytest.fixture
def url(tmp_path: Any) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


@pytest.fixture
def study(url: str) -> optuna.Study:
    storage = open_storage(url, create=True)
    create_study(storage, "s", {"question": "Does it?"})
    return load_study(storage, "s")


def take(study: optuna.Study, limits: StoppingCriteria | None = None, worker: WorkerIdentity = MYSELF) -> Trial | None:
    return next_trial(study, POLICY, limits or StoppingCriteria(100), 2, worker)


def taken(study: optuna.Study, limits: StoppingCriteria | None = None, worker: WorkerIdentity = MYSELF) -> Trial:
    trial = take(study, limits, worker)
    assert trial is not None
    return trial


def complete(study: optuna.Study, value: float = 0.5, evaluations: int = 0) -> int:
    trial = taken(study)
    for step in range(1, evaluations + 1):
        trial.report(value, step)
    finish(study, trial, TrialState.COMPLETE, value)
    return trial.number


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


def start(script: str, url: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True, env=environment)


def test_a_new_trial_is_stored_whole_with_the_name_of_who_runs_it(study: optuna.Study) -> None:
    trial = taken(study)
    (stored,) = study.get_trials()
    assert stored.state == TrialState.RUNNING
    assert stored.params == DROPOUT.baseline == trial.params
    assert stored.user_attrs == {"role": "baseline", WORKER: MYSELF.to_json()}


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


def test_no_more_trials_begin_than_there_are_places(study: optuna.Study) -> None:
    limits = StoppingCriteria(3)
    one, two = taken(study, limits), taken(study, limits)
    finish(study, one, TrialState.COMPLETE, 0.5)
    three = taken(study, limits)
    assert take(study, limits) is None
    assert fail_trial(study, two, OUT_OF_MEMORY, "no more", MYSELF) == TrialState.FAIL
    four = taken(study, limits)  # the failed one's place
    for trial in (three, four):
        finish(study, trial, TrialState.PRUNED, 0.1)
    assert take(study, limits) is None
    assert count_finished(study.get_trials()) == 3


def test_four_workers_end_with_exactly_as_many_trials_as_asked_for(study: optuna.Study, url: str) -> None:
    workers = [start(WORKER_OF_MANY, url) for _ in range(4)]
    assert [worker.wait(timeout=120) for worker in workers] == [0] * 4
    assert count_finished(study.get_trials()) == 12
    assert not {"RUNNING", "WAITING"} & set(states(study))


def test_trials_of_a_killed_process_are_taken_back_at_once_and_those_of_others_are_not(
    study: optuna.Study, url: str
) -> None:
    taken(study)
    taken(study, worker=replace(MYSELF, machine="another"))
    worker = start(TAKER, url)
    assert worker.stdout is not None
    number = int(worker.stdout.readline())
    try:
        assert requeue_lost(study) == []
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert requeue_lost(study) == [number]
    assert requeue_lost(study) == []
    assert states(study) == ["RUNNING", "RUNNING", "WAITING"]
    assert taken(study).number == number
    assert study.get_trials()[number].intermediate_values == {1: 0.25}


def test_a_process_that_only_has_the_number_of_a_dead_one_does_not_keep_its_trial(study: optuna.Study) -> None:
    taken(study, worker=replace(MYSELF, started=1))
    assert requeue_lost(study) == [0]


def age_heartbeats(study: optuna.Study, seconds: float) -> None:
    with study._storage._backend.engine.begin() as connection:  # type: ignore[attr-defined]
        ago = f"datetime('now', '-{seconds} seconds')"
        connection.execute(sqlalchemy.text(f"UPDATE trial_heartbeats SET heartbeat = {ago}"))


def test_a_trial_of_another_machine_is_taken_back_once_its_worker_was_silent_for_long(study: optuna.Study) -> None:
    taken(study, worker=replace(MYSELF, machine="another"))
    age_heartbeats(study, GRACE_SECONDS - 10)
    assert requeue_lost(study) == []
    age_heartbeats(study, GRACE_SECONDS + 10)
    assert requeue_lost(study) == [0]
    assert taken(study, worker=replace(MYSELF, machine="a third")).number == 0
    assert requeue_lost(study) == []  # its old heartbeat does not count against the new worker


def test_a_trial_begun_by_other_means_is_completed_and_run(study: optuna.Study) -> None:
    study.ask()
    assert requeue_lost(study) == [0]
    trial = taken(study)
    assert trial.number == 0
    assert trial.params.keys() == DROPOUT.baseline.keys()


def test_what_somebody_enqueued_is_run_with_the_missing_parameters_filled_in(study: optuna.Study) -> None:
    study.enqueue_trial({"lr": 0.05, "drop_rate": 0.31})  # .31 is no level
    trial = taken(study)
    assert trial.params["lr"] == 0.05
    assert trial.params["drop_rate"] in (0.0, 0.5, 0.7)
    assert 1e-4 <= trial.params["weight_decay"] <= 1
    assert trial.user_attrs[IN_VAIN] == "drop_rate=0.31 not within 0.0 | 0.5 | 0.7"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"lr": 99.0}, "lr=99.0 not within "),
        ({"lr": "0.05"}, None),
        ({"lr": "much"}, "lr='much' not within "),
        ({"lr": [1]}, "lr=[1] not within "),
        ({"learning_rate": 0.05}, "learning_rate=0.05: no such parameter"),
    ],
)
def test_what_is_enqueued_and_cannot_be_had_is_said(
    asked: dict[str, Any], said: str | None, study: optuna.Study
) -> None:
    study.enqueue_trial(asked)
    trial = taken(study)
    assert 0 < trial.params["lr"] < 99
    if said is None:
        assert IN_VAIN not in trial.user_attrs
    else:
        assert trial.user_attrs[IN_VAIN].startswith(said)


def test_a_waiting_trial_with_parameters_that_cannot_be_had_ends_and_says_so(study: optuna.Study) -> None:
    wide = FloatDistribution(1e-6, 99, log=True)
    study.add_trial(create_trial(state=TrialState.WAITING, params={"lr": 50.0}, distributions={"lr": wide}))
    assert taken(study).number == 1
    first = study.get_trials()[0]
    assert first.state == TrialState.FAIL
    assert "lr=50.0 not within" in first.user_attrs["failures"][0]["error"]


def test_a_trial_of_ours_is_ended_by_its_own_worker_only(study: optuna.Study) -> None:
    trial = taken(study)
    study._storage.set_trial_user_attr(trial._trial_id, WORKER, replace(MYSELF, pid=1).to_json())
    with pytest.raises(TakenOverError):
        finish(study, trial, TrialState.COMPLETE, 0.5, MYSELF)
    assert states(study) == ["RUNNING"]


def test_a_trial_that_kills_its_process_again_and_again_is_not_run_for_ever(study: optuna.Study) -> None:
    complete(study)
    for _ in range(3 * MOST_DEATHS):
        if states(study)[-1] == "FAIL":
            break
        taken(study, StoppingCriteria(2), worker=replace(MYSELF, started=1))
        requeue_lost(study)
    trial = study.get_trials()[1]
    assert trial.state == TrialState.FAIL
    assert "process died" in trial.user_attrs["error"]


def test_whoever_lost_a_trial_does_not_touch_it_any_more(study: optuna.Study) -> None:
    trial = taken(study)
    study._storage.set_trial_user_attr(trial._trial_id, WORKER, replace(MYSELF, pid=1).to_json())
    requeue(study, trial, MYSELF)
    assert fail_trial(study, trial, CRASH, "cursed", MYSELF) == TrialState.RUNNING
    assert states(study) == ["RUNNING"]
    assert "failures" not in study.get_trials()[0].user_attrs


def test_deaths_do_not_add_up_while_a_trial_gets_on(study: optuna.Study) -> None:
    for step in range(1, MOST_DEATHS + 3):
        taken(study, StoppingCriteria(1), worker=replace(MYSELF, started=1)).report(0.5, step)
        requeue_lost(study)
    assert "failures" not in study.get_trials()[0].user_attrs
    assert study.get_trials()[0].user_attrs["interruptions"] == MOST_DEATHS + 2


def test_a_crashed_trial_waits_until_the_others_have_had_their_turn(study: optuna.Study) -> None:
    limits = StoppingCriteria(3)
    assert fail_trial(study, taken(study, limits), CRASH, "cursed", MYSELF) == TrialState.WAITING
    order = []
    for _ in range(3):
        trial = taken(study, limits)
        order.append(trial.number)
        finish(study, trial, TrialState.COMPLETE, 0.5)
    assert order == [1, 2, 0]


def history(fates: Sequence[str]) -> list[FrozenTrial]:
    """Trials that ended one a second in this way: C complete, X crashed."""
    trials = []
    for second, fate in enumerate(fates):
        when = time.time() + second
        state = TrialState.COMPLETE if fate == "C" else TrialState.FAIL
        trial = optuna.trial.create_trial(value=0.5 if fate == "C" else None, state=state)
        if fate == "C":
            trial.datetime_complete = datetime.fromtimestamp(when)
        else:
            trial.set_user_attr("failures", [{**failure(CRASH, f"cause {second}"), "when": when}])
        trials.append(trial)
    return trials


@pytest.mark.parametrize(
    ("fates", "cause"),
    [
        ("X" * FIRST, f"cause {FIRST - 1}"),
        ("X" * (FIRST - 1), ""),
        ("C" + "X" * FIRST, ""),
        ("C" * (LAST - TOO_MANY - 1) + "X" * (TOO_MANY + 1), f"cause {LAST - 1}"),
        ("C" * (LAST - TOO_MANY) + "X" * TOO_MANY, ""),
        ("X" * 4 + "C" * 20, ""),
    ],
)
def test_a_study_gives_up_when_all_of_the_first_or_most_of_the_last_crash(fates: str, cause: str) -> None:
    assert reason_to_give_up(history(fates), time.time() - 10) == cause


def test_crashes_before_the_command_began_do_not_count() -> None:
    assert reason_to_give_up(history("X" * 10), time.time() + 100) == ""


def test_epochs_are_counted_over_all_trials_and_limit_new_ones(study: optuna.Study) -> None:
    complete(study, evaluations=4)
    interrupted = taken(study)
    interrupted.report(0.5, 1)
    assert epochs_spent(study.get_trials(), 2) == 2.5
    assert take(study, StoppingCriteria(100, max_epochs=2.5)) is None
    assert take(study, StoppingCriteria(100, max_epochs=2.6)) is not None


def test_patience_counts_trials_since_the_last_better_best() -> None:
    def ended(values: Sequence[float]) -> list[FrozenTrial]:
        found = []
        for number, value in enumerate(values):
            trial = optuna.trial.create_trial(
                value=value,
                params={"lr": number / 100},
                distributions={"lr": optuna.distributions.FloatDistribution(0, 1)},
            )
            trial.number = number
            found.append(trial)
        return found

    assert trials_since_best(ended([0.1, 0.5, 0.4, 0.3])) == 2
    assert trials_since_best(ended([0.1, 0.5, 0.4, 0.51])) == 0
    again = ended([0.1, 0.5, 0.4, 0.51, 0.3])
    again[4].params = again[0].params  # .1 and .3: a noise of .14
    assert trials_since_best(again) == 1  # the same setting with the same seed says nothing of noise
    again[4].set_user_attr("seed", 1)
    assert trials_since_best(again) == 3


def test_only_one_at_a_time_decides_about_a_study(study: optuna.Study, url: str) -> None:
    script = (
        "import sys\nfrom search.database.connect import *\nfrom search.database.study_lock import exclusive\n"
        "with exclusive(open_storage(sys.argv[1], False), 's'): print('in')"
    )
    with exclusive(open_storage(url, create=False), "s"):
        pass
    holder = start(script + "; sys.stdout.flush(); import time; time.sleep(100)", url)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "in\n"
    other = start(script, url)
    time.sleep(1)
    assert other.poll() is None
    holder.kill()
    assert other.wait(timeout=30) == 0
    holder.wait()


def test_replicates_are_no_news_for_patience() -> None:
    trials = history("CC")
    for trial in trials:
        trial.set_user_attr("role", "replicate")
    assert trials_since_best(trials) == 0
