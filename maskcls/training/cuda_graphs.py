"""CUDA graphs: one launch instead of hundreds, of the model's two passes (``capture``) or of a whole training step
(``RecordedStep``).

A graph holds addresses: it reads and writes the tensors that it was recorded with, wherever their values come from.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor

from maskcls.config import ResolvedConfig
from maskcls.model.classifier import Classifier
from maskcls.model.inference import DTYPES, MEMORY_FORMATS
from maskcls.system.errors import chain, one_line, sticky_cause

WARM_UP_STEPS = 3
"""Steps before a recording, as PyTorch advises: libraries set themselves up and choose their kernels in them."""


class CaptureError(RuntimeError):
    """A recording failed and left no harm: the same run can be begun again without CUDA graphs."""


RECORDABLE = ("adamw", "radamw")
"""Optimizers whose step can be recorded: torch's own with ``capturable``. Others read numbers on the CPU that change
from step to step, such as the learning rate or Lamb's number of steps, and a recording would repeat the first ones."""


def supported(cuda_graphs: str, device: torch.device, dtype: str, accumulates: bool, optimizer: str = "adamw") -> str:
    """The value of ``cuda_graphs`` that a run computes with: "off", "on" or "step".

    ``accumulates``: a step has several micro-batches; the second would overwrite the gradients of the first. A float16
    step is not recorded whole, since its loss scaler decides on the CPU; nor is one of an optimizer that does so.
    """
    if device.type != "cuda" or accumulates or cuda_graphs == "auto":
        return "off"
    is_decided_on_cpu = dtype == "float16" or optimizer not in RECORDABLE
    return "on" if cuda_graphs == "step" and is_decided_on_cpu else cuda_graphs


def capture(model: Classifier, config: ResolvedConfig, batch_size: int, device: torch.device) -> None:
    """Capture the training pass of a model that is on the device; validation stays as it is.

    Capturing runs the model on an empty batch; its buffers (batch norm's running statistics) and the random generator
    of dropout are restored. Only for steps without gradient accumulation: a second micro-batch would overwrite the
    gradients of the first. A captured model refers to itself, so only ``gc.collect`` frees it.
    https://docs.pytorch.org/docs/stable/generated/torch.cuda.make_graphed_callables.html
    Raises CaptureError, torch.OutOfMemoryError.
    """
    assert config.cuda_graphs == "on"
    assert config.micro_batch >= batch_size
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.cuda.get_rng_state(device)
    dtype = DTYPES[config.dtype]
    model.train()
    _allow_other_stream()
    with (
        _recording(device) as pool,
        # weights cast during the capture must not be reused by later steps
        torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=False),
    ):
        empty_BCHW = torch.zeros(batch_size, 3, *config.image_size, device=device)
        empty_BCHW = empty_BCHW.contiguous(memory_format=MEMORY_FORMATS[config.memory_format])
        torch.cuda.make_graphed_callables(model, (empty_BCHW,), pool=pool)
    model.load_state_dict(state)  # in place: the graph holds addresses
    torch.cuda.set_rng_state(random_state, device)


class RecordedStep:
    """A training step as one CUDA graph: the same work on other numbers at every call.

    Recording does the work a few times; what it writes is as before afterwards, and so are the random generators. So
    record when everything is in place that the step goes on from: a graph does not see tensors that replace others.
    """

    def __init__(
        self,
        work: Callable[..., Tensor],
        inputs: Sequence[Tensor],
        written: Callable[[], Iterable[Tensor]],
        generators: Sequence[torch.Generator],
    ) -> None:
        """``work``: takes tensors like ``inputs`` on one device and returns the step's loss, a scalar there.

        ``written``: every tensor that ``work`` changes. Those that it makes when it is first called, the optimizer's
        state, must begin as zeros. ``generators``: all that it draws from, the device's default one included.
        Raises CaptureError, torch.OutOfMemoryError.
        """
        device = inputs[0].device
        self._inputs = [tensor.clone() for tensor in inputs]
        self._loss = torch.zeros((), device=device)
        before = {tensor: tensor.detach().clone() for tensor in written()}
        random_states = [generator.get_state() for generator in generators]
        self._replay = record(lambda: self._loss.copy_(work(*self._inputs)), generators, device)
        with torch.no_grad():
            for tensor in written():
                if tensor in before:
                    tensor.copy_(before[tensor])
                else:
                    tensor.zero_()
        for generator, state in zip(generators, random_states, strict=True):
            generator.set_state(state)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Do the step on other inputs of the same shapes; its loss is overwritten by the next step."""
        for recorded, tensor in zip(self._inputs, inputs, strict=True):
            recorded.copy_(tensor)
        self._replay()
        return self._loss


def record(
    work: Callable[[], object], generators: Sequence[torch.Generator], device: torch.device
) -> Callable[[], None]:
    """Do ``work`` a few times, then record it; returns what repeats it. Raises CaptureError, torch.OutOfMemoryError."""
    with _recording(device) as pool:
        graph = torch.cuda.CUDAGraph()
        for generator in generators:
            graph.register_generator_state(generator)
        stream, here = _stream(torch.cuda.current_device()), torch.cuda.current_stream()
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_STEPS):
                work()
        here.wait_stream(stream)
        with torch.cuda.graph(graph, pool=pool, stream=stream):
            work()
    return graph.replay


def default_generator(device: torch.device) -> torch.Generator:
    """The generator that dropout on this device draws from."""
    if device.type == "cpu":
        return torch.default_generator
    torch.cuda.init()  # the generators are made by it
    return torch.cuda.default_generators[_index(device)]


@cache
def _stream(device_index: int) -> torch.cuda.Stream:
    """The stream of all recordings: for each stream, torch keeps a workspace of cuBLAS (32 MiB on an H100)."""
    return torch.cuda.Stream(device_index)


@contextmanager
def _recording(device: torch.device) -> Iterator[Any]:
    """Record on this device into the memory pool returned; what fails is a CaptureError and leaves torch as it was.

    OutOfMemoryError and errors after which the GPU answers nothing in this process stay what they are.
    """
    pool = torch.cuda.graph_pool_handle()  # one for each recording: a pool cannot be reused when its graph is gone
    generator = default_generator(device)
    usable = generator.clone_state()
    try:
        # torch.cuda.graph leaves its own stream behind when the end of the capture fails
        with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)):
            yield pool
    except Exception as error:
        if sticky_cause(error):
            raise
        _give_up(generator, usable, _index(device), pool)
        if isinstance(error, torch.OutOfMemoryError):
            raise
        first_line = (str([*chain(error)][-1]).splitlines() or [type(error).__name__])[0]
        raise CaptureError(f"CUDA graphs could not be recorded: {one_line(first_line).rstrip('.')}.") from error


def _give_up(generator: torch.Generator, usable: torch.Generator, device_index: int, pool: Any) -> None:
    """Undo what an interrupted capture leaves: torch takes both the generator and the pool for still in use.

    An unfinished ``CUDAGraph::capture_end`` ends neither; later draws would then fail and memory would not come back.
    """
    with suppress(RuntimeError):
        generator.graphsafe_set_state(usable)
        torch.cuda.synchronize(device_index)  # what is under way would write into memory that is given away again
    with suppress(RuntimeError, AttributeError):  # raised where the capture's end did get that far
        torch._C._cuda_endAllocateToPool(device_index, pool)
        torch._C._cuda_releasePool(device_index, pool)


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index


def _allow_other_stream() -> None:
    """Silence torch's warning that gradients are summed on another stream, as make_graphed_callables always does."""
    if hasattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch"):  # from torch 2.10 on
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
