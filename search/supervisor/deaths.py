"""Workers that died: what killed them, whether their trial is to blame, and what becomes of it."""

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
"""Signals that a process causes itself; any other was sent from outside."""

OWN_WEIGHT = 4
"""Weight of a worker that dies by itself before its first trial; a killed one (by the kernel, when memory is short)
counts 1."""


@dataclass(frozen=True)
class Death:
    """The unplanned end of a worker."""

    how: str
    """The signal's name or the exit status."""
    is_trials_fault: bool
    """Whether its trial is to blame: the worker crashed or hung, and was not killed or suspended from outside."""
    is_own_fault: bool
    """Whether the process ended by itself, or hung."""

    @property
    def weight(self) -> int:
        """How much it counts towards MAX_FAILED_STARTS."""
        return OWN_WEIGHT if self.is_own_fault else 1


def death_of(worker: WorkerHandle) -> Death:
    """The death of a worker whose process has ended."""
    status = worker.process.returncode
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    is_trials_fault = -status in OWN_FAULT or (bool(worker.hung) and not worker.was_held)
    return Death(how, is_trials_fault, is_trials_fault or status > 0)


def free_trial(study: optuna.Study, worker: WorkerHandle, number: int, death: Death) -> FrozenTrial:
    """Requeue a dead worker's trial, or fail it when it is to blame; returns the trial as it was before.

    Raises one of presence.DATABASE_ERRORS; the next worker requeues the trial then.
    """
    trial = study.get_trials(deepcopy=False)[number]
    identity = worker_of(trial)
    # the trial may be another worker's by now, with the same pid on another machine
    is_its = identity is not None and identity.pid == worker.process.pid and identity.has_ended() is not None
    if death.is_trials_fault and identity is not None and is_its:
        fail_trial(study, trial, CRASH, worker.hung or f"its process died of {death.how}", identity)
    requeue_orphaned(study)
    return trial
