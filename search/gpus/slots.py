"""Assigns workers to GPUs or shares of the CPU's cores, without torch, which takes seconds to load."""

import logging
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from maskcls.system.cores import available_gib, num_cores
from maskcls.system.errors import UserError
from search.gpus.gpus import Gpu

logger = logging.getLogger(__name__)

MAX_CPU_WORKERS = 4
"""Default limit: each worker proposes trials without knowing the results of those that run beside it."""

GIB_A_WORKER = 3.0
"""Free memory for each default worker. One takes 1 GiB with a small model, several with a large one."""

MAX_GPU_WORKERS, SHARED_GIB, GPU_GIB_A_WORKER, GPU_CORES_A_WORKER = 3, 39.0, 12, 3
"""Default limit of workers on one GPU, the memory from which on one has more than one (GPUs sold as 40 GB have 39.6
GiB), and the free GPU memory and the cores for each.

Side by side, two or three trainings of resnet18 (224 px, batch 32) were 1.27 and 1.37 times as fast as one on an H200,
of mobilenetv3_small_050 (128 px) 1.66 and 2.23 times; in turns they were slower (benchmarks/README.md). The more
workers, the less the proposals know of each other. A model takes 2 to 10 GiB at batch 32, with the photos; a worker
keeps one core busy, and needs others for photos that are read and files that are written.
"""

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
    gpu: str = ""
    """Gpu.uuid; empty on a CPU."""
    sharers: int = 1
    """Number of workers on its GPU, with those of other commands of this user."""
    mps: str = ""
    """Directory of the MPS daemon through which it shares its GPU (search.gpus.mps); empty without one."""

    def environment(self) -> dict[str, str]:
        """The environment variables of the worker's process."""
        # a daemon and its clients name the GPU alike: by its uuid
        mps = {"CUDA_MPS_PIPE_DIRECTORY": self.mps, "CUDA_VISIBLE_DEVICES": self.gpu} if self.mps else {}
        return {
            **os.environ,
            "CUDA_VISIBLE_DEVICES": self.visible,
            "OMP_NUM_THREADS": str(self.cores),
            "MASKCLS_GPU_SHARERS": str(self.sharers),
            **mps,
        }


def make_slots(
    device: str,
    workers: int | None,
    gpus: Sequence[Gpu],
    n_trials: int,
    force: bool = False,
    side_by_side: bool = False,
) -> list[Slot]:
    """Slots for ``workers`` (None: a few for each GPU that is not busy, or on a CPU), spread evenly over the devices.

    ``side_by_side``: whether workers on one GPU compute at the same time (search.gpus.mps); if not, the default
    is one for each. There are no more of them than ``n_trials``, so that every core has a trial.
    Raises UserError for an unknown device, when every GPU is busy and none was named, and unless ``force`` for more
    workers than cores and memory allow.
    """
    devices = _places(device, gpus)
    if workers is None:
        places = _default_places(devices, num_cores(), available_gib(), side_by_side)[:n_trials]
    else:
        count = min(workers, n_trials)
        if not force and count > 1:
            _check_room(workers, count, num_cores(), available_gib())
        if workers > n_trials:
            logger.info(f"--workers {workers} is more than there are trials; {n_trials} are started.")
        places = [devices[index % len(devices)] for index in range(count)]
    cores, on_gpu = max(1, num_cores() // len(places)), Counter(gpu.uuid for gpu in places if gpu is not None)
    return [
        Slot(f"cpu.{index}", "cpu", "", cores)
        if gpu is None
        else Slot(f"{gpu.name}.{index}", "cuda:0", gpu.visible, cores, gpu.uuid, gpu.holders + on_gpu[gpu.uuid])
        for index, gpu in enumerate(places)
    ]


def _default_places(devices: Sequence[Gpu | None], cores: int, gib: float, side_by_side: bool) -> list[Gpu | None]:
    """The device of every default worker, each device's first worker before any second one.

    ``gib``: free memory of the machine, which limits the second and third workers of GPUs. ``side_by_side``: as in
    make_slots.
    """
    gpus = [gpu for gpu in devices if gpu is not None]
    if not gpus:
        return [None] * cpu_workers(cores, gib)
    counts = [_workers_on(gpu, cores, len(gpus)) if side_by_side else 1 for gpu in gpus]
    places: list[Gpu | None] = [
        gpu for turn in range(max(counts)) for gpu, count in zip(gpus, counts, strict=True) if turn < count
    ]
    return places[: max(len(gpus), int(min(len(places), gib / GIB_A_WORKER)))]


def _workers_on(gpu: Gpu, cores: int, gpus: int) -> int:
    """Default number of this command's workers on the GPU: 1 or more, though other commands may have some there."""
    if gpu.total_mib < 1024 * SHARED_GIB:
        return 1
    return max(1, gpu_workers(gpu.free_gib, cores, gpus) - gpu.holders)


def gpu_workers(free_gib: float, cores: int, gpus: int) -> int:
    """Default number of workers on one of ``gpus`` large GPUs of a machine with ``cores``, by its free memory."""
    return max(1, int(min(MAX_GPU_WORKERS, free_gib // GPU_GIB_A_WORKER, cores // (GPU_CORES_A_WORKER * gpus))))


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
        uses = "; ".join(f"{gpu.name} {gpu.use}" for gpu in gpus)
        raise UserError(
            f"Every GPU is in use by others ({uses}). --device {gpus[0].name} uses it anyway, --device cpu uses none."
        )
    return list(free)
