"""Where workers run: each on a GPU or on a share of the CPU's cores. Without torch, which takes seconds to load."""

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
"""A GPU with more of its memory taken than this is in use."""

MAX_CPU_WORKERS = 4
"""Unless more are asked for: each proposes without knowing what the others are about to find."""

GIB_A_WORKER = 3.0
"""Memory that must be free for each. One takes 1 GiB with a small model, several with a large one."""

MIN_GIB_A_WORKER = 1.0
"""So much each takes before its model is loaded; with less they are killed one after another."""

QUERY = "index,uuid,memory.used,memory.total"


@dataclass(frozen=True)
class Slot:
    """A place for one worker."""

    name: str
    """``cuda:1`` or ``cpu``, with the number of the worker there: ``cpu.0``."""
    device: str
    """As torch calls it within the worker, which sees no other GPU: auto, cpu or cuda:0."""
    visible: str | None
    """CUDA_VISIBLE_DEVICES of the worker; None leaves it as it is."""
    cores: int
    """CPU threads for its training."""

    def environment(self) -> dict[str, str]:
        """What the worker's process is started with."""
        own = {} if self.visible is None else {"CUDA_VISIBLE_DEVICES": self.visible}
        return {**os.environ, **own, "OMP_NUM_THREADS": str(self.cores)}


@dataclass(frozen=True)
class Gpu:
    """One GPU that this process may use."""

    name: str
    """``cuda:N`` as torch counts here."""
    visible: str
    used_mib: float
    total_mib: float
    is_ours: bool
    """Whether workers of this project run on it."""

    @property
    def is_busy(self) -> bool:
        """Whether others work on it."""
        return not self.is_ours and self.used_mib > BUSY_SHARE * self.total_mib


def make_slots(device: str, workers: int | None, gpus: Sequence[Gpu], n_trials: int, force: bool = False) -> list[Slot]:
    """Slots for ``workers`` (None: one for each GPU that is not busy, a few on a CPU), evenly over the devices.

    There are no more of them than ``n_trials``: a core without a trial is better used by another's.
    Raises UserError for a device that is not there, when every GPU is busy and none was asked for by name, and for
    more workers than cores and memory carry unless ``force``.
    """
    places = _places(device, gpus)
    if workers is None:
        workers = cpu_workers(num_cores(), available_gib()) if places == [None] else len(places)
    else:
        if not force and min(workers, n_trials) > 1:
            _check_room(workers, min(workers, n_trials), num_cores(), available_gib())
        if workers > n_trials:
            logger.info(f"--workers {workers} is more than there are trials: {n_trials} of them work.")
    count = min(workers, n_trials)
    cores = max(1, num_cores() // count)
    return [_slot(places[index % len(places)], index, cores) for index in range(count)]


def _check_room(asked: int, count: int, cores: int, gib: float) -> None:
    """Raise UserError for more workers than this machine has room for: ``count``, of those that were ``asked`` for."""
    most = max(1, int(min(cores, gib / MIN_GIB_A_WORKER)))
    if count > most:
        memory = f" and {gib:.1f} GiB of free memory ({MIN_GIB_A_WORKER:g} for each)" if gib < math.inf else ""
        raise UserError(
            f"--workers {asked} is more than this machine carries: {cores} core{'s' if cores > 1 else ''} (one for"
            f" each){memory}. Take --workers {most} or fewer; --force starts them all the same."
        )


def cpu_workers(cores: int, gib: float) -> int:
    """How many trials train side by side on so many cores: small models hardly gain from a second thread.

    ``gib``: memory that is free for them.
    """
    most = max(1, int(min(MAX_CPU_WORKERS, cores, gib / GIB_A_WORKER)))
    counts = range(min(2, most), most + 1)
    return max(counts, key=lambda count: (cores // count * count, count))  # none of the cores idle


def _places(device: str, gpus: Sequence[Gpu]) -> list[Gpu | None]:
    """The GPUs to use; [None] for the CPU."""
    if device == "cpu" or (device == "auto" and not gpus):
        return [None]
    named = [gpu for gpu in gpus if device in ("auto", "cuda", gpu.name)]
    if not named:
        known = ", ".join(["auto", "cpu", *(["cuda"] if gpus else []), *(gpu.name for gpu in gpus)])
        raise UserError(f"There is no device {device} here. --device takes {known}.")
    if device not in ("auto", "cuda"):
        return [*named]
    free = [gpu for gpu in gpus if not gpu.is_busy]
    if not free:
        taken = ", ".join(f"{gpu.name} {gpu.used_mib / 1024:.0f} of {gpu.total_mib / 1024:.0f} GiB" for gpu in gpus)
        raise UserError(
            f"Every GPU is busy with somebody else's work ({taken}). --device {gpus[0].name} uses it all the same,"
            " --device cpu none."
        )
    return list(free)


def _slot(gpu: Gpu | None, index: int, cores: int) -> Slot:
    if gpu is None:
        return Slot(f"cpu.{index}", "cpu", "", cores)
    return Slot(f"{gpu.name}.{index}", "cuda:0", gpu.visible, cores)


def find_gpus() -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, in torch's order, as nvidia-smi sees them; none without a driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    ours = {uuid for uuid, pid in _query_driver("gpu_uuid,pid", "compute-apps") if _is_worker(int(pid))}
    rows = {}
    for index, uuid, used, total in _query_driver(QUERY, "gpu"):
        rows[index] = rows[uuid] = (uuid, _mib(used), _mib(total))
    return gpus_of(rows, ours, os.environ.get("CUDA_VISIBLE_DEVICES"))


def gpus_of(rows: Mapping[str, tuple[str, float, float]], ours: set[str], visible: str | None) -> list[Gpu]:
    """``rows``: (uuid, MiB used, MiB in all) by index and by uuid. ``visible``: CUDA_VISIBLE_DEVICES."""
    listed = [key for key in rows if key.isdigit()] if visible is None else [key.strip() for key in visible.split(",")]
    usable: list[Gpu] = []
    for key in listed:
        match = next((name for name in rows if name == key or (key.startswith("GPU-") and name.startswith(key))), None)
        if match is None and key.startswith("MIG-"):  # a part of a GPU, lent to us alone
            usable.append(Gpu(f"cuda:{len(usable)}", key, 0.0, 1.0, is_ours=True))
            continue
        if match is None:
            break  # as CUDA does: an unknown entry hides all after it
        uuid, used, total = rows[match]
        # by uuid: nvidia-smi and CUDA may count differently
        usable.append(Gpu(f"cuda:{len(usable)}", uuid if visible is None else key, used, total, uuid in ours))
    return usable


def _mib(text: str) -> float:
    """0 where the driver does not tell, which counts as not busy."""
    return float(text) if text.replace(".", "", 1).isdigit() else 0.0


def _query_driver(fields: str, table: str) -> list[list[str]]:
    call = ["nvidia-smi", f"--query-{table}={fields}", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(
            call, capture_output=True, encoding="utf-8", errors="replace", timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if row]


def _is_worker(pid: int) -> bool:
    try:
        return b"search.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
