"""Trials whose process has died are taken back, once, and those of living ones are not."""

import signal
from dataclasses import replace

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from maskcls.system.errors import UserError
from search.database.connect import GRACE_SECONDS
from search.policy.stopping import StoppingCriteria
from search.storage.failures import MAX_WORKER_DEATHS
from search.storage.orphans import requeue_orphaned
from tests.helpers.queue import MYSELF, complete, start, states, taken
from tests.helpers.search import DROPOUT

TAKER = """
import sys, time
from tests.helpers.search import DROPOUT
from search.policy.stopping import StoppingCriteria
from search.policy.policy import Policy
from search.system.processes import describe_myself
from search.database.connect import load_study, open_storage
from search.storage.queue import next_trial
study = load_study(open_storage(sys.argv[1], create=False), "s")
trial = next_trial(study, Policy(DROPOUT, 0), StoppingCriteria(100), describe_myself("cpu.0"))
trial.report(0.25, 1)
print(trial.number, flush=True)
time.sleep(100)
"""


def test_trials_of_a_killed_process_are_taken_back_at_once_and_those_of_others_are_not(
    study: optuna.Study, url: str
) -> None:
    taken(study)
    taken(study, worker=replace(MYSELF, machine="another"))
    worker = start(TAKER, url)
    assert worker.stdout is not None
    number = int(worker.stdout.readline())
    try:
        assert requeue_orphaned(study) == []
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert requeue_orphaned(study) == [number]
    assert requeue_orphaned(study) == []
    assert states(study) == ["RUNNING", "RUNNING", "WAITING"]
    assert taken(study).number == number
    assert study.get_trials()[number].intermediate_values == {1: 0.25}


def test_a_process_that_only_has_the_number_of_a_dead_one_does_not_keep_its_trial(study: optuna.Study) -> None:
    taken(study, worker=replace(MYSELF, started=1))
    assert requeue_orphaned(study) == [0]


def age_heartbeats(study: optuna.Study, seconds: float) -> None:
    with study._storage._backend.engine.begin() as connection:  # type: ignore[attr-defined]
        ago = f"datetime('now', '-{seconds} seconds')"
        connection.execute(sqlalchemy.text(f"UPDATE trial_heartbeats SET heartbeat = {ago}"))


def test_a_trial_of_another_machine_is_taken_back_once_its_worker_was_silent_for_long(study: optuna.Study) -> None:
    taken(study, worker=replace(MYSELF, machine="another"))
    age_heartbeats(study, GRACE_SECONDS - 10)
    assert requeue_orphaned(study) == []
    age_heartbeats(study, GRACE_SECONDS + 10)
    assert requeue_orphaned(study) == [0]
    assert taken(study, worker=replace(MYSELF, machine="a third")).number == 0
    assert requeue_orphaned(study) == []  # its old heartbeat does not count against the new worker


def test_two_machines_do_not_write_into_one_sqlite_file(study: optuna.Study) -> None:
    boot, namespace = str(MYSELF.machine).split()
    taken(study, worker=replace(MYSELF, machine=f"{boot} pid:[1]", host="a container of this machine"))
    taken(study, worker=replace(MYSELF, machine=f"another-boot {namespace}"))  # this machine, before a restart
    taken(study)
    taken(study, worker=replace(MYSELF, machine="another-boot pid:[1]", host="far"))
    had = states(study)
    with pytest.raises(UserError, match=r"SQLite file, and far works on it .*PostgreSQL \(python -m search.serve\)"):
        taken(study)
    assert states(study) == had
    age_heartbeats(study, GRACE_SECONDS + 10)
    taken(study)  # that machine has ended


def test_a_trial_begun_by_other_means_is_completed_and_run(study: optuna.Study) -> None:
    study.ask()
    assert requeue_orphaned(study) == [0]
    trial = taken(study)
    assert trial.number == 0
    assert trial.params.keys() == DROPOUT.baseline.keys()


def test_a_trial_that_kills_its_process_again_and_again_is_not_run_for_ever(study: optuna.Study) -> None:
    complete(study)
    for _ in range(3 * MAX_WORKER_DEATHS):
        if states(study)[-1] == "FAIL":
            break
        taken(study, StoppingCriteria(2), worker=replace(MYSELF, started=1))
        requeue_orphaned(study)
    trial = study.get_trials()[1]
    assert trial.state == TrialState.FAIL
    assert "process died" in trial.user_attrs["error"]


def test_deaths_do_not_add_up_while_a_trial_gets_on(study: optuna.Study) -> None:
    for step in range(1, MAX_WORKER_DEATHS + 3):
        taken(study, StoppingCriteria(1), worker=replace(MYSELF, started=1)).report(0.5, step)
        requeue_orphaned(study)
    assert "failures" not in study.get_trials()[0].user_attrs
    assert study.get_trials()[0].user_attrs["interruptions"] == MAX_WORKER_DEATHS + 2
