"""Which errors leave a process without its GPU."""

import pytest
import torch

from maskcls.system.errors import is_sticky, sticky_cause
from maskcls.training.cuda_graphs import CaptureError
from maskcls.training.numerics import is_out_of_memory, lost_gpu, open_gpu

HINTS = "\nCUDA kernel errors might be asynchronously reported at some other API call, ...\nCompile with ..."


DOUBTFUL = [
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `cublasGemmEx( ... )`",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION",
]
"""The usual words of libraries for full memory, and possible ones after a fault."""


@pytest.mark.parametrize(
    "text",
    [
        f"CUDA error: an illegal memory access was encountered{HINTS}",
        f"CUDA error: device-side assert triggered{HINTS}",
        f"CUDA error: unspecified launch failure{HINTS}",
        f"CUDA error: uncorrectable ECC error encountered{HINTS}",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( ... )`",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "CUDA driver error: unknown error",
        "No CUDA GPUs are available",
        "Unexpected error from cudaGetDeviceCount(). ... Error 802: system not yet initialized",
    ],
)
def test_after_these_a_process_has_lost_its_gpu(text: str) -> None:
    assert is_sticky(text)
    for error in (RuntimeError(text), torch.AcceleratorError(text)):
        assert sticky_cause(error) == text.partition("\n")[0]


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
        f"CUDA error: out of memory{HINTS}",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_SUPPORTED when calling `cublasGemmEx( ... )`",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
        f"CUDA error: invalid argument{HINTS}",
        f"CUDA error: invalid configuration argument{HINTS}",
        *DOUBTFUL,
        f"CUDA error: operation not permitted when stream is capturing{HINTS}",
        f"CUDA error: operation failed due to a previous error during capture{HINTS}",
        "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
        "",
    ],
)
def test_after_these_it_has_not(text: str) -> None:
    for error in (RuntimeError(text), torch.AcceleratorError(text), torch.OutOfMemoryError(text)):
        assert sticky_cause(error) == ""


def test_the_cause_may_lie_beneath() -> None:
    error = KeyError("made while cleaning up")
    error.__context__ = RuntimeError("CUDA error: misaligned address\nhints")
    assert sticky_cause(error) == "CUDA error: misaligned address"


ILLEGAL = f"CUDA error: an illegal memory access was encountered{HINTS}"


def fake_gpus(monkeypatch: pytest.MonkeyPatch, fault: str, index: int = 1) -> None:
    """Two GPUs, of which this process uses one; it answers with this fault, if any."""

    def synchronize(asked: int | torch.device) -> None:
        assert asked in (index, torch.device("cuda", index))  # to ask the other would make a context there
        if fault:
            raise torch.AcceleratorError(fault)

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda of: 1 << 20 if of == index else 0)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)


@pytest.mark.parametrize("text", DOUBTFUL)
def test_the_gpu_tells_full_memory_from_a_fault(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError(text)
    fake_gpus(monkeypatch, "")
    assert (is_out_of_memory(error), lost_gpu(error)) == (True, "")
    fake_gpus(monkeypatch, ILLEGAL)
    assert (is_out_of_memory(error), lost_gpu(error)) == (False, ILLEGAL.partition("\n")[0])


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (torch.AcceleratorError(f"CUDA error: out of memory{HINTS}"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory"), False),
        (CaptureError("CUDA graphs could not be recorded: CUDA error: out of memory."), False),
        (torch.AcceleratorError(f"CUDA error: invalid argument{HINTS}"), False),
        (torch.AcceleratorError(ILLEGAL), False),
        (KeyError("CUDA error: out of memory"), False),
    ],
)
def test_memory_is_short_in_many_words(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


def test_a_gpu_that_cannot_be_used_shows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    open_gpu(torch.device("cpu"))
    device = torch.device("cuda", 1)
    for harmless in ("", f"CUDA error: out of memory{HINTS}"):
        fake_gpus(monkeypatch, harmless)
        open_gpu(device)
    fake_gpus(monkeypatch, f"CUDA error: the MPS server is not ready to accept new MPS client requests{HINTS}")
    with pytest.raises(torch.AcceleratorError, match="not ready"):
        open_gpu(device)
