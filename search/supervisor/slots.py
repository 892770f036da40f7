"""Assigns workers to GPUs or shares of the CPU's cores, without torch, which takes seconds to load."""

import csv
import logging
import math
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskcls.system.cores import available_gib, num_cores
from maskcls.system.errors import UserError

logger = logging.getLogger(__name__)

BUSY_SHARE = 0.1
"""A GPU is in use when more than this share of its memory is taken."""

MAX_CPU_WORKERS = 4
"""Default limit: each worker proposes trials without knowing the results of those that run beside it."""

GIB_A_WORKER = 3.0
"""Free memory for each default worker. One takes 1 GiB with a small model, several with a large one."""

MIN_GIB_A_WORKER = 1.0
"""Memory that a worker takes before it loads its model; with less the kernel kills workers one after another."""


@dataclass(frozen=True)
class Slot:
    """The device and the cores of one worker."""

    name: str
    """``cuda:1`` or ``cpu``, and the number of the worker: ``cpu.0``."""
    device: str
    """torch's name for it in the worker, which sees no other GPU: cpu or cuda:0."""
    visible: str
    """CUDA_VISIBLE_DEVICES of the worker."""
    cores: int
    """CPU threads for its training."""

    def environment(self) -> dict[str, str]:
        """The environment variables of the worker's process."""
        return {**os.environ, "CUDA_VISIBLE_DEVICES": self.visible, "OMP_NUM_THREADS": str(self.cores)}


@dataclass(frozen=True)
class Gpu:
    """One GPU that this process may use."""

    name: str
    """``cuda:N`` as torch counts in this process."""
    visible: str
    """Its entry for CUDA_VISIBLE_DEVICES."""
    used_mib: float
    total_mib: float
    is_ours: bool
    """Whether workers of this project run on it."""

    @property
    def is_busy(self) -> bool:
        """Whether others use it."""
        return not self.is_ours and self.used_mib > BUSY_SHARE * self.total_mib


def make_slots(device: str, workers: int | None, gpus: Sequence[Gpu], n_trials: int, force: bool = False) -> list[Slot]:
    """Slots for ``workers`` (None: one for each GPU that is not busy, a few on a CPU), spread evenly over the devices.

    There are no more of them than ``n_trials``, so that every core has a trial.
    Raises UserError for an unknown device, when every GPU is busy and none was named, and unless ``force`` for more
    workers than cores and memory allow.
    """
    places = _places(device, gpus)
    if workers is None:
        workers = cpu_workers(num_cores(), available_gib()) if places == [None] else len(places)
    else:
        if not force and min(workers, n_trials) > 1:
            _check_room(workers, min(workers, n_trials), num_cores(), available_gib())
        if workers > n_trials:
            logger.info(f"--workers {workers} is more than there are trials; {n_trials} are started.")
    count = min(workers, n_trials)
    cores = max(1, num_cores() // count)
    return [_slot(places[index % len(places)], index, cores) for index in range(count)]


def _check_room(requested: int, count: int, cores: int, gib: float) -> None:
    """Raise UserError when ``count`` of the ``requested`` workers are too many for the cores and the free memory."""
    limit = max(1, int(min(cores, gib / MIN_GIB_A_WORKER)))
    if count > limit:
        memory = f" and {gib:.1f} GiB of free memory ({MIN_GIB_A_WORKER:g} for each)" if gib < math.inf else ""
        raise UserError(
            f"--workers {requested} is more than this machine has room for: {cores} core{'s' if cores > 1 else ''}"
            f" (one for each){memory}. Take --workers {limit} or fewer; --force starts them anyway."
        )


def cpu_workers(cores: int, gib: float) -> int:
    """Default number of workers for so many cores and GiB of free memory.

    Several share the cores, since small models hardly gain from a second thread.
    """
    limit = max(1, int(min(MAX_CPU_WORKERS, cores, gib / GIB_A_WORKER)))
    counts = range(min(2, limit), limit + 1)
    return max(counts, key=lambda count: (cores // count * count, count))  # as few idle cores as possible


def _places(device: str, gpus: Sequence[Gpu]) -> list[Gpu | None]:
    """The GPUs to use; [None] for the CPU."""
    if device == "cpu" or (device == "auto" and not gpus):
        return [None]
    named = [gpu for gpu in gpus if device in ("auto", "cuda", gpu.name)]
    if not named:
        names = ", ".join(["auto", "cpu", *(["cuda"] if gpus else []), *(gpu.name for gpu in gpus)])
        raise UserError(f"There is no device {device} here. --device takes {names}.")
    if device not in ("auto", "cuda"):
        return [*named]
    free = [gpu for gpu in gpus if not gpu.is_busy]
    if not free:
        memory = ", ".join(f"{gpu.name} {gpu.used_mib / 1024:.0f} of {gpu.total_mib / 1024:.0f} GiB" for gpu in gpus)
        raise UserError(
            f"Every GPU is in use by others ({memory}). --device {gpus[0].name} uses it anyway, --device cpu uses none."
        )
    return list(free)


def _slot(gpu: Gpu | None, index: int, cores: int) -> Slot:
    if gpu is None:
        return Slot(f"cpu.{index}", "cpu", "", cores)
    return Slot(f"{gpu.name}.{index}", "cuda:0", gpu.visible, cores)


def find_gpus() -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES allows, in torch's order; none without nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return []
    ours = {uuid for uuid, pid in _query_driver("gpu_uuid,pid", "compute-apps") if _is_worker(int(pid))}
    rows = {}
    for index, uuid, used, total in _query_driver("index,uuid,memory.used,memory.total", "gpu"):
        rows[index] = rows[uuid] = (uuid, _mib(used), _mib(total))
    return gpus_of(rows, ours, os.environ.get("CUDA_VISIBLE_DEVICES"))


def gpus_of(rows: Mapping[str, tuple[str, float, float]], ours: set[str], visible: str | None) -> list[Gpu]:
    """The GPUs that ``visible`` (CUDA_VISIBLE_DEVICES) allows, in torch's order.

    ``rows``: (uuid, used MiB, total MiB) by index and by uuid. ``ours``: uuids of the GPUs with our workers.
    """
    keys = [key for key in rows if key.isdigit()] if visible is None else [key.strip() for key in visible.split(",")]
    usable: list[Gpu] = []
    for key in keys:
        match = next((name for name in rows if name == key or (key.startswith("GPU-") and name.startswith(key))), None)
        if match is None and key.startswith("MIG-"):  # a part of a GPU that nobody else uses
            usable.append(Gpu(f"cuda:{len(usable)}", key, 0.0, 1.0, is_ours=True))
            continue
        if match is None:
            break  # in CUDA an unknown entry hides all after it
        uuid, used, total = rows[match]
        # by uuid, since nvidia-smi and CUDA may number GPUs differently
        usable.append(Gpu(f"cuda:{len(usable)}", uuid if visible is None else key, used, total, uuid in ours))
    return usable


def _mib(text: str) -> float:
    """The number in a cell; 0, which counts as not busy, where the driver gives none."""
    return float(text) if text.replace(".", "", 1).isdigit() else 0.0


def _query_driver(fields: str, table: str) -> list[list[str]]:
    command = ["nvidia-smi", f"--query-{table}={fields}", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]


def _is_worker(pid: int) -> bool:
    try:
        return b"search.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
