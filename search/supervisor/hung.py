"""Workers that hang: found by what they tell of their progress, and ended so that their trials go on elsewhere."""

import logging

from search.answer.format import duration
from search.supervisor.pool import KILL_SECONDS, WorkerHandle, WorkerPool
from search.system.processes import STALL_SECONDS, is_suspended
from search.system.signals import SHOW_STACK

logger = logging.getLogger(__name__)

PLAN_STALLS = 4
"""How many times as long the plan may stand still: it downloads weights."""

STACK_SECONDS = 1
"""How long a worker that hangs has to write down where."""


def end_hung_workers(pool: WorkerPool, seconds: float, is_planned: bool) -> None:
    """Warn of workers that have told of no progress for long, and end those for which it is too long.

    ``seconds``: since the last call, of those that the supervisor itself was running. A machine that was suspended is
    no reason: then neither side was running. ``is_planned``: whether the study is stored.
    """
    for worker in list(pool.workers):
        limit = _limit_seconds(worker, is_planned)
        before, worker.silent_seconds = worker.silent_seconds, worker.silent_seconds + seconds
        now = worker.silent_seconds
        if now < limit:
            worker.hung = ""
        if before < limit / 3 <= now:
            logger.info(
                f"{_name(worker)} has told of no progress for {duration(limit / 3)}; it is ended at {duration(limit)}."
            )
        if not worker.hung and now >= limit:
            worker.was_held = is_suspended(worker.process.pid)
            how = "was held up by SIGSTOP or a dead disk" if worker.was_held else "hung"
            worker.hung = f"it {how} for {duration(limit)}"
            logger.info(f"{_name(worker)} is ended: {worker.hung}.")
            worker.process.send_signal(SHOW_STACK)  # into its log
        elif worker.hung and now >= limit + STACK_SECONDS:
            pool.kill(worker, is_overdue=now >= limit + STACK_SECONDS + KILL_SECONDS)


def _limit_seconds(worker: WorkerHandle, is_planned: bool) -> float:
    """How long it may be silent; torch and timm may lie on a slow disk, so a worker that still loads has long."""
    stall = STALL_SECONDS if worker.order is None else worker.order.stall
    if not worker.has_reported:
        return max(stall, STALL_SECONDS)
    return stall if is_planned else PLAN_STALLS * stall


def _name(worker: WorkerHandle) -> str:
    trial = "" if worker.trial is None else f", trial {worker.trial}"
    return f"Worker {worker.slot.name} (process {worker.process.pid}{trial})"
