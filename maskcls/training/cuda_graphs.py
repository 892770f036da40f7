"""CUDA graphs of the model's forward and backward pass: one launch each in the place of hundreds of small ones."""

import torch

from maskcls.config import ResolvedConfig
from maskcls.model.classifier import Classifier
from maskcls.model.inference import DTYPES, MEMORY_FORMATS


def capture(model: Classifier, config: ResolvedConfig, batch_size: int, device: torch.device) -> None:
    """Record the training pass of a model that has just been placed; validation stays as it is.

    The recording runs the model on an empty batch, so its buffers (batch norm's running statistics) and the
    generator of dropout are put back. A step in one part only: the gradients of a second part would be written where
    those of the first lie. A recorded model refers to itself, so only ``gc.collect`` frees it.
    https://docs.pytorch.org/docs/stable/generated/torch.cuda.make_graphed_callables.html
    """
    assert config.cuda_graphs == "on"
    assert config.micro_batch >= batch_size
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.cuda.get_rng_state(device)
    dtype = DTYPES[config.dtype]
    model.train()
    with (
        torch.cuda.device(device),  # the recording's stream is the current device's
        # weights cast for one recording must not be taken for those of the next step
        torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=False),
    ):
        empty_BCHW = torch.zeros(batch_size, 3, *config.image_size, device=device)
        empty_BCHW = empty_BCHW.contiguous(memory_format=MEMORY_FORMATS[config.memory_format])
        torch.cuda.make_graphed_callables(model, (empty_BCHW,))
    model.load_state_dict(before)  # in place: the recording knows addresses
    torch.cuda.set_rng_state(random_state, device)
