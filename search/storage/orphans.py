"""Orphaned trials, whose process has died: they are detected and requeued by the next process that looks."""

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.database.connect import set_attributes
from search.database.optuna_internals import stale_trial_ids, trial_id
from search.storage.failures import CRASH, MAX_WORKER_DEATHS, failure
from search.storage.outcomes import decide_in_turn, note_failure, put_back
from search.study.attributes import WORKER_DEATHS, worker_of
from search.system.processes import is_suspended


def requeue_orphaned(study: optuna.Study) -> list[int]:
    """Take the orphaned trials back into the queue; returns their numbers."""
    return decide_in_turn(study, lambda: take_back_orphaned(study, study.get_trials(deepcopy=False)))


def take_back_orphaned(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[int]:
    """requeue_orphaned for a caller that is in a turn already, in which it has read the ``trials``: turns are not
    nested."""
    orphaned = orphaned_trials(study, trials)
    for trial in orphaned:
        _handle_dead_worker(study, trial)
    return [trial.number for trial in orphaned]


def orphaned_trials(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those of the study's trials in state RUNNING that no process runs any more."""
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    stale = stale_trial_ids(study) if running else set()
    return [trial for trial in running if is_orphaned(trial, trial_id(trial) in stale)]


def is_orphaned(trial: FrozenTrial, is_stale: bool) -> bool:
    """Whether no process runs a trial in state RUNNING; on another machine, by the age of its heartbeat (``is_stale``).

    A trial without a worker was begun by a process that died early, or by another program. A suspended process keeps
    its trial until the heartbeat is stale; if it continues later, it finds the trial taken over.
    """
    worker = worker_of(trial)
    if worker is None:
        return True
    has_ended = worker.has_ended()
    return is_stale if has_ended is None else has_ended or (is_stale and is_suspended(worker.pid))


def _handle_dead_worker(study: optuna.Study, trial: FrozenTrial) -> None:
    """Requeue a trial whose process died; after too many deaths at one evaluation it counts as crashed."""
    last = max(trial.intermediate_values, default=0)
    deaths = trial.user_attrs.get(WORKER_DEATHS, {"evaluation": -1, "times": 0})
    times = deaths["times"] + 1 if deaths["evaluation"] == last else 1
    set_attributes(study, trial, {WORKER_DEATHS: {"evaluation": last, "times": times}})
    if times >= MAX_WORKER_DEATHS:
        error = f"its process died {times} times without reaching another evaluation"
        note_failure(study, trial, failure(CRASH, error))
    else:
        put_back(study, trial)
