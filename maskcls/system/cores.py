"""How many cores and how much memory this process may use. Imports no torch: a supervisor needs it before.

The machine has so many; taskset, a container, systemd or a batch system may leave fewer.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from maskcls.system.cgroups import cgroup_files

MEMORY_INFO = Path("/proc/meminfo")

BATCH_CORES = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "PBS_NCPUS", "LSB_DJOB_NUMPROC")
"""Variables in which Slurm, Grid Engine, PBS and LSF state the cores of a job, which may not be bound to them.
The first that is set counts."""

UNLIMITED_BYTES = 2**60
"""Version 1 of cgroups writes "no limit" as the largest number of pages."""


def available_gib() -> float:
    """Memory that the machine, the container's limits and the batch system leave; infinite if none of them says."""
    return min(_machine_gib(), _batch_job_gib(), *_cgroup_gib())


def _machine_gib() -> float:
    try:
        rows = dict(line.split(":", 1) for line in MEMORY_INFO.read_text(encoding="utf-8").splitlines())
        return int(rows["MemAvailable"].split()[0]) / 2**20
    except (OSError, ValueError, KeyError):
        return math.inf


def _cgroup_gib() -> Iterator[float]:
    """Memory that each cgroup around this process, if it has a limit, leaves."""
    for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        for path in cgroup_files("memory", limit):
            with suppress(OSError, ValueError):  # ValueError: "max" is no limit
                limit_bytes, used_bytes = int(_text(path)), int(_text(path.parent / usage))
                if limit_bytes < UNLIMITED_BYTES:
                    yield max(0, limit_bytes - used_bytes + _cached_bytes(path.parent)) / 2**30


def _cached_bytes(group: Path) -> int:
    """Memory of the file cache: it counts as used, but is given up when a process needs it."""
    try:
        rows = dict(line.split() for line in _text(group / "memory.stat").splitlines())
        return int(rows.get("total_inactive_file", rows.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0


def _batch_job_gib() -> float:
    """Memory that Slurm gave the job, which it states in MiB a job or MiB a core; infinite without Slurm."""
    per_node, per_core = _variable("SLURM_MEM_PER_NODE"), _variable("SLURM_MEM_PER_CPU")
    if per_node:
        return per_node / 1024
    return per_core * num_cores() / 1024 if per_core else math.inf


def num_cores() -> int:
    """Cores that taskset, the container's quotas and the batch system leave; at least 1."""
    batch_cores = next((number for name in BATCH_CORES if (number := _variable(name))), math.inf)
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), batch_cores, *_cgroup_cores())))


def _cgroup_cores() -> Iterator[float]:
    """Cores whose time each cgroup around this process, if it has a quota, may use: quota / period, in microseconds."""
    for path in cgroup_files("cpu", "cpu.max"):
        with suppress(OSError, ValueError, ZeroDivisionError):  # ValueError: "max" is no quota
            quota, period = _text(path).split()
            yield int(quota) / int(period)
    for path in cgroup_files("cpu", "cpu.cfs_quota_us"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = _text(path), _text(path.parent / "cpu.cfs_period_us")
            if int(quota) > 0:  # -1 is no quota
                yield int(quota) / int(period)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _variable(name: str) -> int:
    """The number in an environment variable; 0 if it is not set, or holds no number."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0
