"""How many cores and how much memory this process may use. No imports: a supervisor needs it before torch.

The machine has so many; taskset, a container, systemd or a batch system may leave fewer.
"""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from maskcls.system.cgroups import files_of

MEMORY_INFO = Path("/proc/meminfo")

CORES_GIVEN = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "PBS_NCPUS", "LSB_DJOB_NUMPROC")
"""What a batch system says that the job was given, where it does not bind it to cores: Slurm, Grid Engine, PBS, LSF.
The first that is set counts."""

UNLIMITED_BYTES = 2**60
"""Version 1 has no word for it: its limit is then the largest number of pages."""


def available_gib() -> float:
    """Memory that the machine, the container's limits and the batch system leave; endless where none tells."""
    return min(_free_gib(), *_left_in_groups(), _batch_job_gib())


def _free_gib() -> float:
    try:
        rows = dict(line.split(":", 1) for line in MEMORY_INFO.read_text(encoding="utf-8").splitlines())
        return int(rows["MemAvailable"].split()[0]) / 2**20
    except (OSError, ValueError, KeyError):
        return math.inf


def _left_in_groups() -> Iterator[float]:
    """GiB that each group around this process may still take; none is endless, so that there always is one."""
    yield math.inf
    for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
        for path in files_of("memory", limit):
            try:
                most, now = int(path.read_text(encoding="utf-8")), int((path.parent / used).read_text(encoding="utf-8"))
            except (OSError, ValueError):  # "max"
                continue
            if most < UNLIMITED_BYTES:
                yield max(0, most - now + _cached_bytes(path.parent)) / 2**30


def _cached_bytes(group: Path) -> int:
    """Memory that holds files read: counted as used, and given up when a process needs it."""
    try:
        rows = dict(line.split() for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        return int(rows.get("total_inactive_file", rows.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0


def _batch_job_gib() -> float:
    """What Slurm gave the job, which it tells in MiB for all of it or for each core; infinite without it."""
    whole, each = _number("SLURM_MEM_PER_NODE"), _number("SLURM_MEM_PER_CPU")
    if whole:
        return whole / 1024
    return each * num_cores() / 1024 if each else math.inf


def num_cores() -> int:
    """Cores that taskset, the container's quotas and the batch system leave; at least one."""
    cores = float(len(os.sched_getaffinity(0)))
    for quota in (_quota_2, _quota_1):
        for path in files_of("cpu", "cpu.max" if quota is _quota_2 else "cpu.cfs_quota_us"):
            cores = min(cores, _or_endless(quota, path))
    given = next((number for name in CORES_GIVEN if (number := _number(name))), math.inf)
    return max(1, math.ceil(min(cores, given)))


def _or_endless(read: Callable[[Path], float], path: Path) -> float:
    try:
        return read(path)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def _quota_2(path: Path) -> float:
    """``<quota> <period>`` in microseconds, or ``max <period>``."""
    quota, period = path.read_text(encoding="utf-8").split()
    return int(quota) / int(period)


def _quota_1(path: Path) -> float:
    """Microseconds; -1: no quota."""
    quota, period = (
        int(path.read_text(encoding="utf-8")),
        int((path.parent / "cpu.cfs_period_us").read_text(encoding="utf-8")),
    )
    return quota / period if quota > 0 else math.inf


def _number(name: str) -> int:
    """An environment variable's value; 0 when it is not set, or no number."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0
