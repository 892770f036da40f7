"""What a worker tells of its trial: a score, how it ended, a failure, or that it goes back into the queue.

Each is decided in a turn (study_lock.in_turn), and only while the trial is this worker's: one that was not heard of for
long may have lost it to another.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from search.database.connect import backend_of
from search.database.optuna_internals import forget_cache, read_trial, set_attributes, set_state, storage_of, trial_id
from search.database.study_lock import in_turn
from search.storage.failures import failure, failures_of, may_try_again
from search.study.attributes import ERROR, FAILURE_KIND, FAILURES, INTERRUPTIONS, WORKER, interruptions_of, worker_of
from search.system.clock import ENDED
from search.system.processes import WorkerIdentity

T = TypeVar("T")


class TakenOverError(Exception):
    """Another worker runs this trial by now: this one was taken for dead."""


def decide_in_turn(study: optuna.Study, decide: Callable[[], T]) -> T:
    """What ``decide`` returns, in a turn of this study's (study_lock.in_turn); it may be called again.

    What Optuna has in its cache is forgotten then: it may have been undone.
    """
    return in_turn(backend_of(study), study.study_name, decide, lambda: forget_cache(study))


def check_mine(study: optuna.Study, trial: Trial, worker: WorkerIdentity) -> None:
    """Raise TakenOverError when another worker has the trial by now, or it has ended without us."""
    stored = read_trial(study, trial)
    if stored.state != TrialState.RUNNING or not worker.is_same_process(worker_of(stored)):
        raise TakenOverError(f"trial {trial.number} was taken over while this worker was not heard of")


def report(
    study: optuna.Study, trial: Trial, step: int, value: float, worker: WorkerIdentity, check: Callable[[], None]
) -> None:
    """Store a value of a trial's curve, over an older one of the step; Optuna's own report keeps the older one.

    Raises TakenOverError when another worker has the trial by now, and what ``check`` raises.
    """

    def decide() -> None:
        check()
        check_mine(study, trial, worker)
        storage_of(study).set_trial_intermediate_value(trial_id(trial), step, value)

    decide_in_turn(study, decide)


def finish(
    study: optuna.Study,
    trial: Trial,
    state: TrialState,
    value: float | None,
    worker: WorkerIdentity | None = None,
    tell: Callable[[], None] = lambda: None,
) -> None:
    """End a trial. A pruned one keeps its best value too, which study.tell would overwrite with its last.

    With ``worker`` only its own: raises TakenOverError when another one has the trial by now. ``tell`` writes down what
    belongs to the verdict, in the same turn; it may be called again.
    """
    tries = 0

    def decide() -> None:
        nonlocal tries
        tries += 1
        if tries > 1 and _has_ended(read_trial(study, trial), state, value):
            return  # the first try was kept, and the word of that was lost with the connection
        if worker is not None:
            check_mine(study, trial, worker)
        tell()
        end_trial(study, trial, state, value)

    decide_in_turn(study, decide)


def _has_ended(trial: FrozenTrial, state: TrialState, value: float | None) -> bool:
    return trial.state == state and trial.values == (None if value is None else [value])


def end_trial(study: optuna.Study, trial: Trial | FrozenTrial, state: TrialState, value: float | None = None) -> None:
    """Store a final state, and when it came. In a turn."""
    storage_of(study).set_trial_system_attr(trial_id(trial), ENDED, round(time.time(), 3))
    set_state(study, trial, state, value)


def requeue(study: optuna.Study, trial: FrozenTrial | Trial, worker: WorkerIdentity) -> None:
    """Back into the queue under its own number; no matter if it just ended, or is another worker's by now."""

    def decide() -> None:
        stored = read_trial(study, trial)
        if worker.is_same_process(worker_of(stored)):
            put_back(study, stored)

    decide_in_turn(study, decide)


def put_back(study: optuna.Study, trial: FrozenTrial) -> None:
    """Let an interrupted trial, as it is stored, wait; one that has ended stays so. In a turn."""
    with contextlib.suppress(UpdateFinishedTrialError):
        # its last process is forgotten first, or the trial would look orphaned again until the next one has it
        set_attributes(study, trial, {INTERRUPTIONS: interruptions_of(trial) + 1, WORKER: None})
        set_state(study, trial, TrialState.WAITING)


def fail_trial(
    study: optuna.Study, trial: FrozenTrial | Trial, kind: str, error: str, worker: WorkerIdentity
) -> TrialState:
    """Note a failure, and requeue the trial or end it; returns which. Another worker's trial is left alone."""

    def decide() -> TrialState:
        stored = read_trial(study, trial)
        if not worker.is_same_process(worker_of(stored)):
            return stored.state
        return note_failure(study, stored, failure(kind, error))

    return decide_in_turn(study, decide)


def note_failure(study: optuna.Study, trial: FrozenTrial, failed: dict[str, Any]) -> TrialState:
    """Store a failure (failures.failure) of a trial, as it is stored, and requeue or end it; returns which. In a turn.

    One that has ended stays so.
    """
    with contextlib.suppress(UpdateFinishedTrialError):
        facts = {FAILURES: [*failures_of(trial), failed], FAILURE_KIND: failed["kind"], ERROR: failed["error"]}
        set_attributes(study, trial, {**facts, WORKER: None})
        trials = study.get_trials(deepcopy=False)
        if may_try_again(trials[trial.number], trials):
            set_state(study, trial, TrialState.WAITING)
            return TrialState.WAITING
        end_trial(study, trial, TrialState.FAIL)
    return TrialState.FAIL
