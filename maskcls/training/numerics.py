"""What changes the last bits of a run (threads, dtype, memory format, micro-batch), resolved once and written down."""

import gc
import math

import torch

from maskcls.config import ResolvedConfig, TrainConfig, change
from maskcls.system.allocator import keep_freed_memory, return_freed_memory
from maskcls.system.cores import num_cores
from maskcls.system.errors import UserError

MIN_MICRO_BATCH = 2
"""Batch norm needs two values a channel."""

SLOW_IN_CHANNELS_LAST = ("regnet",)
"""Families that channels_last slows down (RegNet runs at 0.3x on a GPU: its grouped convolutions)."""


def pick_device(name: str) -> torch.device:
    """The device of ``--device``, with the process set up for it.

    ``name``: "auto" (the first GPU, else the CPU), or torch's name of a device. Raises UserError for one that is not
    there.
    """
    device = _find_device(name)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _find_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device takes auto, cpu, cuda or cuda:N, not {name!r}.") from None
    if device.type not in ("cpu", "cuda") or name.startswith("cpu:"):
        raise UserError(f"--device takes auto, cpu, cuda or cuda:N, not {name!r}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"There is no device {name}: torch sees {torch.cuda.device_count()} GPUs. Use --device cpu.")
    return device


def free_memory(device: torch.device) -> None:
    """Give back what the last run left: its recorded model is a cycle, its allocators keep what was freed."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
    else:
        return_freed_memory()


def describe_device(device: torch.device) -> str:
    """What people read of it: the GPU's name and memory in GiB, or the number of the CPU's cores."""
    if device.type == "cpu":
        return f"cpu, {num_cores()} cores"
    properties = torch.cuda.get_device_properties(device)
    return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"


def num_parts(photos: int, micro_batch: int) -> int:
    """Forward passes of a step of so many photos; the sizes of its parts differ by one at most.

    No part has more than ``micro_batch`` photos unless another would then have less than MIN_MICRO_BATCH.
    Raises UserError when there are fewer photos than that in all.
    """
    if photos < MIN_MICRO_BATCH:
        raise UserError(f"A training step needs at least {MIN_MICRO_BATCH} photos, not {photos}. Use more photos.")
    return min(math.ceil(photos / micro_batch), photos // MIN_MICRO_BATCH)


def resolve(config: TrainConfig, device: torch.device) -> ResolvedConfig:
    """``config`` with every "auto" and 0 of its numerics replaced for ``device``, without timing anything.

    What an earlier run wrote down stays, unless this machine cannot do it: more threads than cores would crawl,
    and a CPU computes in float32 only here.
    """
    threads = config.threads if 0 < config.threads <= num_cores() else num_cores()
    memory_format = config.memory_format
    if memory_format == "auto":
        memory_format = "contiguous" if config.backbone.startswith(SLOW_IN_CHANNELS_LAST) else "channels_last"
    micro_batch = max(MIN_MICRO_BATCH, config.micro_batch) if config.micro_batch else config.batch_size
    in_parts = micro_batch < config.batch_size  # such a step cannot be recorded
    return ResolvedConfig(
        change(
            config,
            threads=threads,
            dtype=_dtype(config.dtype, device),
            memory_format=memory_format,
            cuda_graphs="on" if config.cuda_graphs == "on" and device.type == "cuda" and not in_parts else "off",
            micro_batch=micro_batch,
        )
    )


def with_half_the_micro_batch(config: ResolvedConfig, device: torch.device) -> ResolvedConfig:
    """What to try where the device's memory does not hold ``config``'s parts; the batch stays.

    To be called outside the except clause of the torch.OutOfMemoryError, whose traceback keeps the tensors alive.
    """
    assert config.micro_batch > MIN_MICRO_BATCH
    return resolve(change(config, micro_batch=max(MIN_MICRO_BATCH, config.micro_batch // 2)), device)


def _dtype(name: str, device: torch.device) -> str:
    """ "float32", "bfloat16" or "float16" for the config's word."""
    if device.type == "cpu":
        return "float32"
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "auto" or (name == "bfloat16" and not has_bfloat16):
        return "bfloat16" if has_bfloat16 else "float16"
    return name
