"""When trials began and ended, in seconds since 1970, and moments that a clock's steps do not move.

Optuna stores the local time without its offset: an hour that comes twice (the end of summer time) or another machine's
time zone makes another moment of it. So trials carry their own times, and Optuna's are for those that have none.
"""

import time
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial

RUN = "mask-search:run"
"""System attribute of a trial: {"claim": names the call that took it, "began": seconds since 1970}."""

ENDED = "mask-search:ended"
"""System attribute of a trial: when it ended, in seconds since 1970."""


def run_now(claim: str) -> dict[str, Any]:
    """The RUN of a trial that begins now."""
    return {"claim": claim, "began": round(time.time(), 3)}


def began_at(trial: FrozenTrial) -> float | None:
    """When it was last begun; None for one that never was."""
    run = trial.system_attrs.get(RUN)
    if isinstance(run, dict) and isinstance(run.get("began"), int | float):
        return float(run["began"])
    return _moment(trial.datetime_start)


def ended_at(trial: FrozenTrial) -> float | None:
    """When it ended; None while it has not."""
    ended = trial.system_attrs.get(ENDED)
    if trial.state.is_finished() and isinstance(ended, int | float):
        return float(ended)
    return _moment(trial.datetime_complete)


def _moment(local: datetime | None) -> float | None:
    """Seconds since 1970 of a local time without its offset: in an hour that came twice, the later one that is past."""
    if local is None:
        return None
    twice = [local.replace(fold=fold).timestamp() for fold in (0, 1)]
    return max((moment for moment in twice if moment <= time.time() + 1), default=min(twice))


def uptime() -> float:
    """Seconds since this machine started, asleep or not: the same for all of its processes, and never set back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def moment_of(then: float) -> float:
    """What the clock, as it is set now, would have said at that uptime."""
    return time.time() - (uptime() - then)
