"""When trials began and ended, in seconds since 1970, and times that survive a change of the clock.

Optuna stores local time without its offset, which is ambiguous at the end of summer time and across time zones. So
trials carry their own times, and Optuna's serve only those that have none.
"""

import time
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial

RUN = "mask-search:run"
"""System attribute of a trial: {"claim": the call that took it, "began": seconds since 1970}."""

ENDED = "mask-search:ended"
"""System attribute of a trial: when it ended, in seconds since 1970."""


def run_now(claim: str) -> dict[str, Any]:
    """The RUN attribute of a trial that begins now."""
    return {"claim": claim, "began": round(time.time(), 3)}


def began_at(trial: FrozenTrial) -> float | None:
    """When a trial last began, in seconds since 1970; None for one that never did."""
    run = trial.system_attrs.get(RUN)
    if isinstance(run, dict) and isinstance(run.get("began"), int | float):
        return float(run["began"])
    return _seconds_of(trial.datetime_start)


def ended_at(trial: FrozenTrial) -> float | None:
    """When a trial ended, in seconds since 1970; None while it has not."""
    ended = trial.system_attrs.get(ENDED)
    if trial.state.is_finished() and isinstance(ended, int | float):
        return float(ended)
    return _seconds_of(trial.datetime_complete)


def _seconds_of(local: datetime | None) -> float | None:
    """Seconds since 1970 of a local time without its offset; of an ambiguous one, the latest that is past."""
    if local is None:
        return None
    candidates = [local.replace(fold=fold).timestamp() for fold in (0, 1)]
    return max((seconds for seconds in candidates if seconds <= time.time() + 1), default=min(candidates))


def uptime() -> float:
    """Seconds since this machine booted, suspended or not: the same for all of its processes, and never set back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def time_at(uptime_seconds: float) -> float:
    """What the clock, as it is set now, would have shown at that uptime, in seconds since 1970."""
    return time.time() - (uptime() - uptime_seconds)
