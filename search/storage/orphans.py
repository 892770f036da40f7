"""Orphaned trials, whose process has died: they are detected and requeued by the next process that looks."""

import contextlib
from collections.abc import Sequence

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from maskcls.system.errors import UserError
from search.database.connect import GRACE_SECONDS, set_attributes
from search.database.optuna_internals import stale_trial_ids, stale_trial_ids_in, trial_id
from search.database.reconnecting import ReconnectingStorage
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


def check_one_machine(storage: ReconnectingStorage, study_id: int, name: str, trials: Sequence[FrozenTrial]) -> None:
    """Raise UserError when another machine runs one of these trials of a study and the database is an SQLite file.

    Its locks, and the memory that its readers and writers share, are those of one kernel: two damage the file
    (https://www.sqlite.org/wal.html), whatever file system says that it is a local one.
    """
    if storage.engine.dialect.name != "sqlite":
        return
    running = {trial_id(trial): worker_of(trial) for trial in trials if trial.state == TrialState.RUNNING}
    away = {key: worker for key, worker in running.items() if worker is not None and worker.is_on_another_kernel()}
    stale = stale_trial_ids_in(storage, study_id) if away else set()
    for worker in (worker for key, worker in away.items() if key not in stale):
        raise UserError(
            f"Study {name!r} is stored in an SQLite file, and {worker.host} works on it (process"
            f" {worker.pid}); the writes of two machines would damage the file. Store studies of several machines in"
            f" PostgreSQL (python -m search.serve), or come back {GRACE_SECONDS} s after that machine has ended."
        )


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
    """Requeue a trial whose process died; after too many deaths at one evaluation it counts as crashed.

    Nothing is to be done where the process has ended the trial after all since it was read.
    """
    last = max(trial.intermediate_values, default=0)
    deaths = trial.user_attrs.get(WORKER_DEATHS, {"evaluation": -1, "times": 0})
    times = deaths["times"] + 1 if deaths["evaluation"] == last else 1
    with contextlib.suppress(UpdateFinishedTrialError):  # those below take it as ended too
        set_attributes(study, trial, {WORKER_DEATHS: {"evaluation": last, "times": times}})
    if times >= MAX_WORKER_DEATHS:
        error = f"its process died {times} times without reaching another evaluation"
        note_failure(study, trial, failure(CRASH, error))
    else:
        put_back(study, trial)
