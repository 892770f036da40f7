"""CUDA graphs of the model's forward and backward pass: one launch each instead of hundreds."""

import torch

from maskcls.config import ResolvedConfig
from maskcls.model.classifier import Classifier
from maskcls.model.inference import DTYPES, MEMORY_FORMATS


class CaptureError(RuntimeError):
    """A training step cannot be recorded as a CUDA graph; without graphs it may work."""


def capture(model: Classifier, config: ResolvedConfig, batch_size: int, device: torch.device) -> None:
    """Capture the training pass of a model that is on the device; validation stays as it is.

    Capturing runs the model on an empty batch; its buffers (batch norm's running statistics) and the random generator
    of dropout are restored. Only for steps without gradient accumulation: a second micro-batch would overwrite the
    gradients of the first. A captured model refers to itself, so only ``gc.collect`` frees it.
    https://docs.pytorch.org/docs/stable/generated/torch.cuda.make_graphed_callables.html
    """
    assert config.cuda_graphs == "on"
    assert config.micro_batch >= batch_size
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.cuda.get_rng_state(device)
    dtype = DTYPES[config.dtype]
    model.train()
    with (
        torch.cuda.device(device),  # the capture uses a stream of the current device
        # weights cast during the capture must not be reused by later steps
        torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=False),
    ):
        empty_BCHW = torch.zeros(batch_size, 3, *config.image_size, device=device)
        empty_BCHW = empty_BCHW.contiguous(memory_format=MEMORY_FORMATS[config.memory_format])
        torch.cuda.make_graphed_callables(model, (empty_BCHW,))
    model.load_state_dict(state)  # in place: the graph holds addresses
    torch.cuda.set_rng_state(random_state, device)
