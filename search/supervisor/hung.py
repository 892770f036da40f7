"""Finds workers that report no progress, and kills them so that other workers continue their trials."""

import logging

from search.answer.format import duration
from search.supervisor.pool import KILL_SECONDS, WorkerHandle, WorkerPool
from search.system.processes import STALL_SECONDS, is_suspended
from search.system.signals import SHOW_STACK

logger = logging.getLogger(__name__)

PLAN_STALLS = 4
"""How many times ``stall`` the planner may take without progress: it downloads weights."""

STACK_SECONDS = 1
"""How long a hung worker has to log where it hangs."""


def end_hung_workers(pool: WorkerPool, seconds: float, is_planned: bool) -> None:
    """Warn of workers without progress, and kill those whose time is up.

    ``seconds``: time since the last call in which the supervisor itself was running, since on a suspended machine no
    worker is. ``is_planned``: whether the study is stored.
    """
    for worker in list(pool.workers):
        limit = _limit_seconds(worker, is_planned)
        before = worker.silent_seconds
        silent = worker.silent_seconds = before + seconds
        if silent < limit:
            worker.hung = ""
        if before < limit / 3 <= silent:
            logger.info(
                f"{worker.name} has made no progress for {duration(limit / 3)}; it is killed after {duration(limit)}."
            )
        if not worker.hung and silent >= limit:
            worker.was_held = is_suspended(worker.process.pid)
            how = "was held up by SIGSTOP or a dead disk" if worker.was_held else "hung"
            worker.hung = f"it {how} for {duration(limit)}"
            logger.info(f"{worker.name} is killed: {worker.hung}.")
            worker.process.send_signal(SHOW_STACK)  # into its log
        elif worker.hung and silent >= limit + STACK_SECONDS:
            pool.kill(worker, is_overdue=silent >= limit + STACK_SECONDS + KILL_SECONDS)


def _limit_seconds(worker: WorkerHandle, is_planned: bool) -> float:
    """How long the worker may be silent; longer while it loads torch and timm, maybe from a slow disk."""
    stall = STALL_SECONDS if worker.order is None else worker.order.stall
    if not worker.has_reported:
        return max(stall, STALL_SECONDS)
    return stall if is_planned else PLAN_STALLS * stall
