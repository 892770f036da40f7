"""python tests/helpers/engines/sleeper.py SECONDS FD: a worker that sleeps for so long in place of every training.

It plans, takes trials, reports, is stopped and ends by the service's own code and messages, so that an engine cannot
tell it from another; it loads no torch, and two cores are enough for many. Its parent is to be an engine's process.
"""

import sys
import threading
import time
from pathlib import Path

import optuna
from optuna.trial import Trial, TrialState

from maskcls.scoring.metrics import Scores
from maskcls.system.liveness import beat
from search.database.connect import create_study, has_study, load_study, open_storage
from search.engines.bound_worker import end_with_parent
from search.policy.policy import Policy
from search.storage.outcomes import finish, report, requeue
from search.storage.queue import next_trial
from search.study.record import KEY, Stored, read_stored
from search.study.study import Float, Sampler, Study
from search.system.processes import STALL_SECONDS, WorkerIdentity, describe_myself
from search.worker.events import EventWriter
from search.worker.heartbeat import HeartbeatThread
from search.worker.messages import NOTHING_LEFT, STOPPED, Outcome, Planned, WorkOrder

EVALUATIONS = 5

STUDY = Study(
    question="Which learning rate does the sleeper like?",
    scientific={},
    nuisance={"lr": Float(1e-4, 1e-2, log=True)},
    fixed={"epochs": EVALUATIONS, "evaluations_per_epoch": 1},
    baseline={"lr": 1e-3},
    synthetic=True,
    sampler=Sampler("random"),
)
STORED = Stored(STUDY, "synthetic", "0", {"source": "scratch"}, "scratch", "auto", False, 0)


def main() -> None:
    """A worker's life: the order, the plan if it is to make one, trials until none is left."""
    end_with_parent()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    events = EventWriter(int(sys.argv[2]))
    line = sys.stdin.readline()
    if line:
        events.send(work(WorkOrder.from_line(line), float(sys.argv[1]), events))
    events.close()


def work(order: WorkOrder, seconds: float, events: EventWriter) -> Outcome:
    """Take trials until nothing is left, or a line of the input says why to stop."""
    stop: list[str] = []
    threading.Thread(target=lambda: stop.append(sys.stdin.readline()), daemon=True).start()
    storage = open_storage(order.url, create=order.plan, waits=True, slot=order.slot)
    if order.plan:
        if not has_study(storage, order.name):
            create_study(storage, order.name, {KEY: order.requested.to_json()})
        print("The sleeper's plan: to sleep.", flush=True)
        events.send(Planned())
    study, me = load_study(storage, order.name), describe_myself(order.slot)
    stored = read_stored(study)
    policy = Policy(stored.study, stored.seed)
    heartbeat = HeartbeatThread(events, STALL_SECONDS, lambda: False)
    heartbeat.storage = storage
    heartbeat.start()
    while not stop:
        beat()
        trial = next_trial(study, policy, order.limits, me)
        if trial is not None:
            heartbeat.set_trial(trial._trial_id)
            sleep_through(study, trial, me, seconds, events, stop)
            heartbeat.set_trial(None)
        elif limit := policy.reached(order.limits, study.get_trials(deepcopy=False)):
            return Outcome(NOTHING_LEFT, limit)
        else:
            time.sleep(0.3)
    return Outcome(STOPPED, stop[0].strip())


def sleep_through(
    study: optuna.Study, trial: Trial, me: WorkerIdentity, seconds: float, events: EventWriter, stop: list[str]
) -> None:
    """A trial, from the evaluation on after which an earlier worker was killed."""
    events.trial_began(trial.number, trial.params)
    known, value = study._storage.get_trial(trial._trial_id).intermediate_values, 0.0
    for step in range(1, EVALUATIONS + 1):
        value = step / (EVALUATIONS + trial.number)
        if step not in known:
            time.sleep(seconds / EVALUATIONS)
            beat()
            report(study, trial, step, value, me, lambda: None)
        events.evaluated(trial.number, step, EVALUATIONS, Scores(value, value, 1.0, (), {}), step not in known)
        if stop and step < EVALUATIONS:
            requeue(study, trial, me)
            events.trial_ended(trial.number, TrialState.WAITING, None)
            return
    finish(study, trial, TrialState.COMPLETE, value, me)
    events.trial_ended(trial.number, TrialState.COMPLETE, value)


def arguments(seconds: float) -> tuple[str, ...]:
    """Of Python, to start one."""
    return (str(Path(__file__).absolute()), str(seconds))


if __name__ == "__main__":
    main()
