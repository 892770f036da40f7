"""Which errors leave a process without its GPU."""

import pytest
import torch

from maskcls.system.errors import is_sticky, sticky_cause

HINTS = "\nCUDA kernel errors might be asynchronously reported at some other API call, ...\nCompile with ..."


@pytest.mark.parametrize(
    "text",
    [
        f"CUDA error: an illegal memory access was encountered{HINTS}",
        f"CUDA error: device-side assert triggered{HINTS}",
        f"CUDA error: unspecified launch failure{HINTS}",
        f"CUDA error: uncorrectable ECC error encountered{HINTS}",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx( ... )`",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION",
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
