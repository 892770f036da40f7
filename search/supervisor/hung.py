"""Workers that hang: found by what they say of their progress, and ended so that their trials go on elsewhere."""

import logging

from search.answer.format import duration
from search.supervisor.pool import KILL_SECONDS, WorkerHandle, WorkerPool
from search.system.processes import STALL_SECONDS, is_held
from search.system.signals import SHOW_STACK

logger = logging.getLogger(__name__)

PLANS = 4
"""How many times as long the plan may stand still: it downloads weights."""

STACK_SECONDS = 1
"""How long a worker that hangs has to write down where."""


def watch(crew: WorkerPool, seconds: float, is_planned: bool) -> None:
    """End the workers that have told of no progress for too long, in seconds of the supervisor's own.

    ``seconds``: since the last look. A machine that was suspended is no reason: then neither side was running.
    """
    for member in list(crew.members):
        limit = _limit(member, is_planned)
        before, member.silent = member.silent, member.silent + seconds
        if member.silent < limit:
            member.hangs = ""
        if before < limit / 3 <= member.silent:
            logger.info(
                f"{_who(member)} has told of no progress for {duration(limit / 3)}; it is ended at {duration(limit)}."
            )
        if not member.hangs and member.silent >= limit:
            member.is_held = is_held(member.process.pid)
            held = "was held up by SIGSTOP or a dead disk"
            member.hangs = f"it {held if member.is_held else 'hung'} for {duration(limit)}"
            logger.info(f"{_who(member)} is ended: {member.hangs}.")
            member.process.send_signal(SHOW_STACK)  # into its log
        elif member.hangs and member.silent >= limit + STACK_SECONDS:
            crew.kill(member, is_over=member.silent >= limit + STACK_SECONDS + KILL_SECONDS)


def _limit(member: WorkerHandle, is_planned: bool) -> float:
    """Seconds; torch and timm may lie on a slow disk, so a worker that still loads has long."""
    asked = STALL_SECONDS if member.order is None else member.order.stall
    if not member.has_spoken:
        return max(asked, STALL_SECONDS)
    return asked if is_planned else PLANS * asked


def _who(member: WorkerHandle) -> str:
    trial = "" if member.trial is None else f", trial {member.trial}"
    return f"Worker {member.slot.name} (process {member.process.pid}{trial})"
