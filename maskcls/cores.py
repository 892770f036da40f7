"""How many cores this process may use. No imports: the supervisor of a search needs it before torch."""

import math
import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""``<quota> <period>`` in microseconds, or ``max <period>``; containers are limited so."""


def num_cores() -> int:
    """Cores that taskset and the container's quota leave; at least one."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = CPU_MAX.read_text().split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return allowed
