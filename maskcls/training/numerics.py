"""What changes the last bits of a run (threads, dtype, kernels, micro-batch and more), resolved once and stored."""

import gc
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from maskcls.config import ResolvedConfig, TrainConfig, change
from maskcls.system.allocator import keep_freed_memory, return_freed_memory
from maskcls.system.cores import num_cores
from maskcls.system.errors import UserError, chain, is_about_gpu_memory, is_doubtful, one_line, sticky_cause
from maskcls.training.cuda_graphs import CaptureError, supported

MIN_MICRO_BATCH = 2
"""Photos that batch norm needs."""

SLOW_IN_CHANNELS_LAST = ("regnet",)
"""Families that are slower in channels_last: RegNet, with its grouped convolutions, runs at 0.3x on a GPU."""


NO_SUCH_KERNEL = "does not have a deterministic implementation"
"""Part of torch's warning about an operation, after the operation's name."""


class NotRepeatableError(RuntimeError):
    """A run with ``repeatable`` on needs an operation that may give other bits every time. The text is a clause."""


def pick_device(name: str) -> torch.device:
    """The device of ``--device``; the process's memory allocator is set up for it.

    ``name``: "auto" (the first GPU, else the CPU), or torch's name of a device. Raises UserError when there is none.
    """
    device = _find_device(name)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _find_device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = None
    with suppress(RuntimeError):
        device = torch.device(name)
    if device is None or device.type not in ("cpu", "cuda") or name.startswith("cpu:"):
        raise UserError(f"--device takes auto, cpu, cuda or cuda:N, not {name!r}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"There is no device {name}: torch sees {torch.cuda.device_count()} GPUs. Use --device cpu.")
    return device


def open_gpu(device: torch.device) -> None:
    """Make this process's context on a GPU, so that one that it cannot use shows before anything has begun.

    Raises the sticky error of such a GPU (system.errors); full memory may pass, and shows in the training if not.
    """
    if device.type == "cpu":
        return
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        if lost_gpu(error):
            raise


def lost_gpu(error: BaseException) -> str:
    """The line that says that this process has lost its GPU, by ``error`` or what lies beneath it; empty if not.

    Where the error may also be one of full memory, the GPU is asked: after a sticky one it answers nothing.
    """
    if broken := sticky_cause(error):
        return broken
    return _fault() if any(is_doubtful(str(cause)) for cause in chain(error)) else ""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether GPU memory was short, which cuBLAS, cuDNN and the driver say in other words than torch.OutOfMemoryError.

    A CaptureError is none: its remedy is another, whatever lies beneath it.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    if not isinstance(error, RuntimeError) or isinstance(error, CaptureError):
        return False
    return is_about_gpu_memory(str(error)) or (is_doubtful(str(error)) and not _fault())


def _fault() -> str:
    """The error with which a GPU that this process has memory on answers; an empty string if all are well."""
    if not torch.cuda.is_initialized():
        return ""
    try:
        for index in range(torch.cuda.device_count()):
            if torch.cuda.memory_reserved(index):  # others would get a context by being asked
                torch.cuda.synchronize(index)
    except RuntimeError as error:
        return sticky_cause(error) or one_line(error)
    return ""


def free_memory(device: torch.device) -> None:
    """Release the memory of the last run: a captured model is a reference cycle, allocators keep freed memory."""
    if device.type == "cuda":
        gc.collect()
        if hasattr(torch._C, "_cuda_clearCublasWorkspaces"):  # torch keeps one for every stream that ran a product
            torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()
    else:
        return_freed_memory()


def memory_of_others(device: torch.device) -> float:
    """GiB that other processes hold on the GPU, with this process's own context of about half a GiB; 0 on a CPU."""
    if device.type == "cpu":
        return 0.0
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    return max(0, total_bytes - free_bytes - torch.cuda.memory_reserved(device)) / 2**30


def set_repeatable(config: ResolvedConfig, device: torch.device) -> None:
    """Set this process up for a run of ``config`` on a GPU, whatever the last run set; on a CPU nothing is to be set.

    An operation that has no such kernel warns (``only_repeatable``).
    https://docs.pytorch.org/docs/stable/notes/randomness.html
    """
    if device.type == "cpu":
        return
    is_on = config.repeatable == "on"
    torch.use_deterministic_algorithms(is_on, warn_only=True)
    # only bugs read such memory, and every fill would be a launch
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False  # its choice is timed, so it may differ
    torch.backends.cuda.enable_mem_efficient_sdp(not is_on)  # flash attention and plain matrix products stay
    torch.backends.cuda.enable_cudnn_sdp(not is_on)


@contextmanager
def only_repeatable(config: ResolvedConfig, device: torch.device) -> Iterator[None]:
    """Raise NotRepeatableError where a run of ``config`` on a GPU should repeat and an operation has no such kernel."""
    if device.type == "cpu" or config.repeatable == "off":
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=f".*{NO_SUCH_KERNEL}")
        try:
            yield
        except Exception as error:
            texts = (str(cause) for cause in chain(error))  # a recording wraps it
            text = next((text for text in texts if NO_SUCH_KERNEL in text), "")
            if not text:
                raise
            operation = text.partition(NO_SUCH_KERNEL)[0].strip()
            raise NotRepeatableError(f"no kernel of {operation} gives the same bits every time") from error


def describe_device(device: torch.device) -> str:
    """The device in words: the GPU's name and memory in GiB, or the number of CPU cores."""
    if device.type == "cpu":
        return f"cpu, {num_cores()} cores"
    properties = torch.cuda.get_device_properties(device)
    return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"


def num_micro_batches(photos: int, micro_batch: int) -> int:
    """Number of micro-batches, about equal in size, of a step of ``photos`` photos.

    None has more than ``micro_batch`` photos unless another would then have fewer than MIN_MICRO_BATCH.
    Raises UserError when the step has fewer photos than MIN_MICRO_BATCH.
    """
    if photos < MIN_MICRO_BATCH:
        raise UserError(f"A training step needs at least {MIN_MICRO_BATCH} photos, not {photos}. Use more photos.")
    return min(math.ceil(photos / micro_batch), photos // MIN_MICRO_BATCH)


def resolve(config: TrainConfig, device: torch.device) -> ResolvedConfig:
    """``config`` with every "auto" and 0 of its numerics replaced for ``device``, without timing anything.

    Values that an earlier run resolved stay unless they do not suit this machine: more threads than cores would be
    slow, and on a CPU this code computes only in float32.
    """
    threads = config.threads if 0 < config.threads <= num_cores() else num_cores()
    memory_format = config.memory_format
    if memory_format == "auto":
        memory_format = "contiguous" if config.backbone.startswith(SLOW_IN_CHANNELS_LAST) else "channels_last"
    micro_batch = max(MIN_MICRO_BATCH, config.micro_batch) if config.micro_batch else config.batch_size
    accumulates = micro_batch < config.batch_size
    dtype = _dtype(config.dtype, device)
    return ResolvedConfig(
        change(
            config,
            threads=threads,
            dtype=dtype,
            memory_format=memory_format,
            cuda_graphs=supported(config.cuda_graphs, device, dtype, accumulates, config.optimizer),
            micro_batch=micro_batch,
            # auto on a GPU without timings: as it was before this field
            repeatable="on" if device.type == "cpu" or config.repeatable == "on" else "off",
        )
    )


def halve_micro_batch(config: ResolvedConfig, device: torch.device) -> ResolvedConfig:
    """``config`` with half the micro-batch and the same batch, to try after running out of memory.

    Call it outside the except clause of the torch.OutOfMemoryError, whose traceback keeps the tensors alive.
    """
    assert config.micro_batch > MIN_MICRO_BATCH
    return resolve(change(config, micro_batch=max(MIN_MICRO_BATCH, config.micro_batch // 2)), device)


def _dtype(name: str, device: torch.device) -> str:
    """The dtype to compute in on the device, for the config's ``name``."""
    if device.type == "cpu":
        return "float32"
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "auto" or (name == "bfloat16" and not has_bfloat16):
        return "bfloat16" if has_bfloat16 else "float16"
    return name
