"""What a worker stores of its trial: a score, its end, a failure, or its return to the queue.

A failure or a return to the queue is stored in a turn (study_lock.in_turn), a score or the end while the trial's row is
held (study_lock.on_trial). Each is stored only while the trial is this worker's: one without a heartbeat for long may
have lost it to another.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from search.database.connect import backend_of, set_attributes
from search.database.optuna_internals import forget_cache, read_trial, set_state, storage_of, trial_id
from search.database.study_lock import in_turn, on_trial
from search.storage.failures import BYSTANDER, failure, failures_of, is_bystander, may_try_again
from search.study.attributes import ERROR, FAILURE_KIND, FAILURES, INTERRUPTIONS, WORKER, interruptions_of, worker_of
from search.system.clock import ENDED
from search.system.processes import WorkerIdentity

T = TypeVar("T")


class TakenOverError(Exception):
    """Another worker has taken over this trial, since this one seemed dead."""


def decide_in_turn(study: optuna.Study, decide: Callable[[], T]) -> T:
    """The result of ``decide``, called in a turn of the study (study_lock.in_turn), which may be repeated.

    Before it is repeated, Optuna's cache is dropped: it may hold what was rolled back.
    """
    return in_turn(backend_of(study), study.study_name, decide, lambda: forget_cache(study))


def check_mine(study: optuna.Study, trial: Trial, worker: WorkerIdentity) -> None:
    """Raise TakenOverError unless the trial is running, and on this worker."""
    state, holder = backend_of(study).state_and_attribute(trial_id(trial), WORKER)
    if state != TrialState.RUNNING or not worker.is_same_process(WorkerIdentity.from_json(holder)):
        raise TakenOverError(f"trial {trial.number} was taken over while this worker sent no heartbeat")


def report(
    study: optuna.Study, trial: Trial, step: int, value: float, worker: WorkerIdentity, check: Callable[[], None]
) -> None:
    """Store a value of a trial's curve, replacing an older one of the step, which Optuna's own report would keep.

    Raises TakenOverError when another worker has taken over the trial, and whatever ``check`` raises.
    """

    def decide() -> None:
        check()
        check_mine(study, trial, worker)
        storage_of(study).set_trial_intermediate_value(trial_id(trial), step, value)

    _decide_alone(study, trial, decide)


def finish(
    study: optuna.Study,
    trial: Trial,
    state: TrialState,
    value: float | None,
    worker: WorkerIdentity | None = None,
    store_facts: Callable[[], None] = lambda: None,
) -> None:
    """End a trial. A pruned one keeps its best value too, which study.tell would replace with its last.

    Raises TakenOverError when it is not the trial of ``worker``, if given. ``store_facts`` stores more about the trial
    in the same transaction, which may be repeated.
    """
    tries = 0

    def decide() -> None:
        nonlocal tries
        tries += 1
        if tries > 1 and _has_ended(read_trial(study, trial), state, value):
            return  # the first try was committed, and only the answer was lost with the connection
        if worker is not None:
            check_mine(study, trial, worker)
        store_facts()
        end_trial(study, trial, state, value)

    _decide_alone(study, trial, decide)


def _decide_alone(study: optuna.Study, trial: Trial, decide: Callable[[], None]) -> None:
    """decide_in_turn for what concerns this trial alone, without waiting for other workers' decisions."""
    on_trial(backend_of(study), study.study_name, trial_id(trial), decide, lambda: forget_cache(study))


def _has_ended(trial: FrozenTrial, state: TrialState, value: float | None) -> bool:
    return trial.state == state and trial.values == (None if value is None else [value])


def end_trial(study: optuna.Study, trial: Trial | FrozenTrial, state: TrialState, value: float | None = None) -> None:
    """Store a final state, and when the trial ended. In a turn, or while the trial's row is held."""
    storage_of(study).set_trial_system_attr(trial_id(trial), ENDED, round(time.time(), 3))
    set_state(study, trial, state, value)


def requeue(study: optuna.Study, trial: FrozenTrial | Trial, worker: WorkerIdentity) -> None:
    """Put a trial back into the queue under its own number, unless it has ended or is another worker's by now."""

    def decide() -> None:
        stored = read_trial(study, trial)
        if worker.is_same_process(worker_of(stored)):
            put_back(study, stored)

    decide_in_turn(study, decide)


def put_back(study: optuna.Study, trial: FrozenTrial) -> None:
    """Let an interrupted trial, read in this turn, wait again; one that has ended stays so."""
    with contextlib.suppress(UpdateFinishedTrialError):
        # its worker is removed first, or the trial would look orphaned until the next one takes it
        set_attributes(study, trial, {INTERRUPTIONS: interruptions_of(trial) + 1, WORKER: None})
        set_state(study, trial, TrialState.WAITING)


def fail_trial(
    study: optuna.Study,
    trial: FrozenTrial | Trial,
    kind: str,
    error: str,
    worker: WorkerIdentity,
    lost_gpu: str = "",
) -> TrialState:
    """Store a failure, and requeue or end the trial; returns its new state. Another worker's trial is left alone.

    ``lost_gpu``: the uuid of the GPU that failed in it; a fault that reaches several trials is one's crash alone.
    """

    def decide() -> TrialState:
        stored = read_trial(study, trial)
        if not worker.is_same_process(worker_of(stored)):
            return stored.state
        failed = failure(kind, error, lost_gpu)
        if lost_gpu and is_bystander(stored, failed, study.get_trials(deepcopy=False), worker.since or 0.0):
            failed["kind"] = BYSTANDER
        return note_failure(study, stored, failed)

    return decide_in_turn(study, decide)


def note_failure(study: optuna.Study, trial: FrozenTrial, failed: dict[str, Any]) -> TrialState:
    """fail_trial for a trial that was read in this turn, with its failure (failures.failure); one that has ended stays
    so."""
    with contextlib.suppress(UpdateFinishedTrialError):
        facts = {FAILURES: [*failures_of(trial), failed], FAILURE_KIND: failed["kind"], ERROR: failed["error"]}
        set_attributes(study, trial, {**facts, WORKER: None})
        trials = study.get_trials(deepcopy=False)
        if may_try_again(trials[trial.number], trials):
            set_state(study, trial, TrialState.WAITING)
            return TrialState.WAITING
        end_trial(study, trial, TrialState.FAIL)
    return TrialState.FAIL
