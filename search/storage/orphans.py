"""Orphaned trials, whose process has died: seen, and taken back into the queue by whoever comes next."""

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.database.optuna_internals import set_attributes, stale_trial_ids, trial_id
from search.storage.failures import CRASH, MAX_WORKER_DEATHS, failure
from search.storage.outcomes import decide_in_turn, note_failure, put_back
from search.study.attributes import WORKER_DEATHS, worker_of
from search.system.processes import is_suspended


def requeue_orphaned(study: optuna.Study) -> list[int]:
    """Take back the orphaned trials; returns their numbers."""
    return decide_in_turn(study, lambda: take_back_orphaned(study))


def take_back_orphaned(study: optuna.Study) -> list[int]:
    """Do so in a turn that has begun already: turns are not nested."""
    orphaned = orphaned_trials(study)
    for trial in orphaned:
        _handle_dead_worker(study, trial)
    return [trial.number for trial in orphaned]


def orphaned_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The running trials that no process runs any more."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    stale = stale_trial_ids(study) if running else set()
    return [trial for trial in running if is_orphaned(trial, trial_id(trial) in stale)]


def is_orphaned(trial: FrozenTrial, is_stale: bool) -> bool:
    """Whether no process runs a running trial: seen by the process on this machine, by its heartbeat from another.

    A trial without a worker was begun by a process that died on the way, or by other means than ours. A process
    that somebody stopped is left to them until the trial's heartbeat is stale; should it go on, it finds the trial
    taken.
    """
    worker = worker_of(trial)
    if worker is None:
        return True
    gone = worker.has_ended()
    return is_stale if gone is None else gone or (is_stale and is_suspended(worker.pid))


def _handle_dead_worker(study: optuna.Study, trial: FrozenTrial) -> None:
    """Requeue a trial whose process died; one whose processes keep dying has crashed."""
    last = max(trial.intermediate_values, default=0)
    deaths = trial.user_attrs.get(WORKER_DEATHS, {"evaluation": -1, "times": 0})
    times = deaths["times"] + 1 if deaths["evaluation"] == last else 1
    set_attributes(study, trial, {WORKER_DEATHS: {"evaluation": last, "times": times}})
    if times >= MAX_WORKER_DEATHS:
        error = f"its process died {times} times without getting to another evaluation"
        note_failure(study, trial, failure(CRASH, error))
    else:
        put_back(study, trial)
