"""Workers that died: of what, by whose fault, and what becomes of the trial that they ran."""

import signal
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from search.storage.failures import CRASH
from search.storage.orphans import requeue_orphaned
from search.storage.outcomes import fail_trial
from search.study.attributes import worker_of
from search.supervisor.pool import WorkerHandle

OWN_FAULT = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
"""Signals that a process earns by what it does; any other was sent from outside."""

OWN_WEIGHT = 4
"""Among workers that fail to start, one that dies by itself counts as so many that were killed (by the kernel, when
memory is short)."""


@dataclass(frozen=True)
class Death:
    """How a worker died that did not mean to end."""

    how: str
    """The signal's name, or the exit status."""
    is_trials_fault: bool
    """Whether the trial that it ran is to blame: it crashed or hung, and was not killed or stopped from outside."""
    weight: int
    """What it counts among workers that fail to start."""


def death_of(worker: WorkerHandle) -> Death:
    """How a worker died whose process has ended."""
    status = worker.process.returncode
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    is_trials_fault = -status in OWN_FAULT or (bool(worker.hung) and not worker.was_held)
    return Death(how, is_trials_fault, OWN_WEIGHT if is_trials_fault or status > 0 else 1)


def free_trial(study: optuna.Study, worker: WorkerHandle, number: int, death: Death) -> FrozenTrial:
    """Have a dead worker's trial go on elsewhere, or fail when it is to blame; returns it as it was before.

    Raises one of presence.DATABASE_ERRORS; then the next worker takes the trial back.
    """
    trial = study.get_trials(deepcopy=False)[number]
    identity = worker_of(trial)
    is_its = identity is not None and identity.pid == worker.process.pid and identity.has_ended() is not None
    if death.is_trials_fault and identity is not None and is_its:  # else a worker elsewhere has it by now
        fail_trial(study, trial, CRASH, worker.hung or f"its process died of {death.how}", identity)
    requeue_orphaned(study)
    return trial
