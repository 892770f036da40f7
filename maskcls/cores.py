"""How many cores and how much memory this process may use. No imports: a supervisor needs it before torch."""

import math
import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""``<quota> <period>`` in microseconds, or ``max <period>``; containers are limited so."""


MEMORY_INFO = Path("/proc/meminfo")
MEMORY_MAX, MEMORY_NOW = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
"""Bytes that the container may take, or ``max``, and has taken."""


def available_gib() -> float:
    """Memory that the machine and the container's limit leave; endless where neither tells."""
    left = math.inf
    try:
        rows = dict(line.split(":", 1) for line in MEMORY_INFO.read_text(encoding="utf-8").splitlines())
        left = int(rows["MemAvailable"].split()[0]) / 2**20
        left = min(
            left, (int(MEMORY_MAX.read_text(encoding="utf-8")) - int(MEMORY_NOW.read_text(encoding="utf-8"))) / 2**30
        )
    except (OSError, ValueError, KeyError):
        pass
    return left


def num_cores() -> int:
    """Cores that taskset and the container's quota leave; at least one."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = CPU_MAX.read_text(encoding="utf-8").split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return allowed
