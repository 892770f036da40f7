"""The GPUs of this machine, or their MIG instances, as nvidia-smi and CUDA_VISIBLE_DEVICES show them. Without torch.

nvidia-smi may write words into any cell (``[N/A]``, ``[Insufficient Permissions]``), warnings between its lines, and
end with a status that says no more than that one of several GPUs is ill. So every line is read for itself, and one that
is not understood is skipped.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from search.gpus.gpu_holders import count_holders

BUSY_SHARE = 0.1
"""A GPU is in use when more than this share of its memory is taken."""

BUSY_PERCENT = 50.0
"""It is also in use when it computed in this share of the last moments, by nvidia-smi's utilization.gpu: small models
take less memory than BUSY_SHARE of a large GPU."""

FIELDS = ("index", "uuid", "memory.used", "memory.total", "utilization.gpu")

DRIVER_SECONDS = 30
"""How long nvidia-smi may take: it takes seconds where the driver is not loaded between two programs."""

LISTED_GPU = re.compile(r"GPU (\d+): .*\(UUID: (GPU-[^)\s]+)\)")
LISTED_MIG = re.compile(r"\s*MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)\s]+)\)")
"""Lines of ``nvidia-smi -L``; a GPU's MIG instances follow it."""

MIG_GIB = re.compile(r"(\d+)gb")
"""The memory in the name of a MIG profile: 1g.10gb, 1c.3g.40gb, 1g.10gb+me."""


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG instance, that this process may use."""

    name: str
    """``cuda:N``, as torch counts in this process; MIG instances, of which torch shows one, are counted alike."""
    visible: str
    """Its entry for CUDA_VISIBLE_DEVICES."""
    uuid: str
    """The driver's name for it, by which its workers are counted."""
    used_mib: float = 0.0
    """Taken memory; 0 where the driver does not say, as for a MIG instance."""
    total_mib: float = 0.0
    """0 where the driver does not say."""
    percent: float = 0.0
    """How much of the last moments it computed in; 0 where the driver does not say."""
    holders: int = 0
    """Number of this user's workers on it (gpu_holders.count_holders)."""

    @property
    def is_busy(self) -> bool:
        """Whether others use it, and no worker of this user does."""
        is_taken = 0 < BUSY_SHARE * self.total_mib < self.used_mib
        return not self.holders and (is_taken or self.percent >= BUSY_PERCENT)

    @property
    def free_gib(self) -> float:
        """Memory that nobody has taken."""
        return (self.total_mib - self.used_mib) / 1024

    @property
    def use(self) -> str:
        """How busy it is, in words: ``68 of 78 GiB, computing 97 % of the time``."""
        return (
            f"{self.used_mib / 1024:.0f} of {self.total_mib / 1024:.0f} GiB, computing {self.percent:.0f} % of the time"
        )


@dataclass(frozen=True)
class Listed:
    """A GPU in the list of nvidia-smi."""

    index: str
    uuid: str
    used_mib: float = 0.0
    total_mib: float = 0.0
    percent: float = 0.0
    instances: Mapping[str, float] = field(default_factory=dict)
    """Its MIG instances: uuid -> total MiB, 0 where unknown. CUDA shows the GPU itself to nobody while it has any."""


def find_gpus() -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES allows, in torch's order; none without nvidia-smi."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = _ask_driver(f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")
    listed = listed_gpus(query, _ask_driver("-L"))
    return usable_gpus(listed, os.environ.get("CUDA_VISIBLE_DEVICES"), count_holders)


def _ask_driver(*arguments: str) -> list[str]:
    """The lines that nvidia-smi prints with these arguments; none when it cannot be run."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, encoding="utf-8", errors="replace", timeout=DRIVER_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


def listed_gpus(query: Sequence[str], listing: Sequence[str]) -> list[Listed]:
    """The GPUs in the lines of ``nvidia-smi --query-gpu`` (FIELDS) and of ``nvidia-smi -L``.

    Either will do: a GPU in the list alone counts as idle, and without the list there are no MIG instances.
    """
    gpus: dict[str, Listed] = {}
    for line in query:
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == len(FIELDS) and cells[0].isdecimal() and cells[1].startswith("GPU-"):
            used, total, percent = map(_number, cells[2:])
            gpus[cells[1]] = Listed(cells[0], cells[1], used, total, percent)
    instances: dict[str, float] = {}
    for line in listing:
        if gpu := LISTED_GPU.match(line):
            index, uuid = gpu.groups()
            known, instances = gpus.get(uuid, Listed(index, uuid)), {}
            gpus[uuid] = Listed(index, uuid, known.used_mib, known.total_mib, known.percent, instances)
        elif mig := LISTED_MIG.match(line):
            gib = MIG_GIB.search(mig[1])
            instances[mig[2]] = 1024.0 * int(gib[1]) if gib else 0.0
    return sorted(gpus.values(), key=lambda gpu: int(gpu.index))


def _number(cell: str) -> float:
    """The number in a cell; 0, which counts as not busy, where the driver gives none."""
    return float(cell) if re.fullmatch(r"\d+(\.\d+)?", cell) else 0.0


def usable_gpus(listed: Sequence[Listed], visible: str | None, holders: Callable[[str], int]) -> list[Gpu]:
    """The GPUs, or MIG instances, that ``visible`` (CUDA_VISIBLE_DEVICES) allows, in torch's order.

    An entry is the index of a GPU, the beginning of its uuid, the uuid of a MIG instance, or one in an older form
    (``MIG-GPU-uuid/7/0``); an unknown one hides all after it. ``holders``: gpu_holders.count_holders.
    """
    keys = [gpu.uuid for gpu in listed] if visible is None else [key.strip() for key in visible.split(",")]
    usable: list[Gpu] = []

    def add(key: str, uuid: str, used: float, total: float, percent: float) -> None:
        usable.append(Gpu(f"cuda:{len(usable)}", key, uuid, used, total, percent, holders(uuid)))

    for key in keys:
        whole = next((gpu for gpu in listed if key in (gpu.index, gpu.uuid)), None)
        if whole is None and key.startswith("GPU-") and len(key) > len("GPU-"):
            whole = next((gpu for gpu in listed if gpu.uuid.startswith(key)), None)
        if whole is not None and whole.instances:
            for uuid, total in whole.instances.items():
                add(uuid, uuid, 0.0, total, 0.0)
        elif whole is not None:
            # by uuid if nobody has chosen, since nvidia-smi and CUDA may number GPUs differently
            add(key, whole.uuid, whole.used_mib, whole.total_mib, whole.percent)
        elif key.startswith("MIG-") or (key.startswith("GPU-") and key.count("/") == 2):
            add(key, key, 0.0, next((gpu.instances[key] for gpu in listed if key in gpu.instances), 0.0), 0.0)
        else:
            break
    return usable
