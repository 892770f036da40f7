"""Running a model: its device and input format, and the log probabilities of many photos.

Shape suffixes: B photos of a batch, N of all, C H W channels, rows and columns, K classes of the task.
"""

import math
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from maskcls.config import ResolvedConfig
from maskcls.data.augment import normalise
from maskcls.model.backbones import pixel_statistics
from maskcls.model.classifier import joint_log_prob
from maskcls.system.liveness import beat

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

Model = TypeVar("Model", bound=nn.Module)


def to_device(model: Model, config: ResolvedConfig, device: torch.device) -> Model:
    """The model on the device, its weights in the config's memory format."""
    return model.to(device).to(memory_format=MEMORY_FORMATS[config.memory_format])


def autocast(config: ResolvedConfig, device: torch.device) -> torch.autocast:
    """Autocast to the config's dtype; disabled for float32."""
    dtype = DTYPES[config.dtype]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def to_input(image_BCHW: Tensor, config: ResolvedConfig) -> Tensor:
    """float image_BCHW in [0, 1], normalised as the backbone expects, in the config's memory format."""
    mean, std = pixel_statistics(config.backbone)
    return normalise(image_BCHW, mean, std).contiguous(memory_format=MEMORY_FORMATS[config.memory_format])


def log_probs(model: nn.Module, batches: Iterable[Tensor], config: ResolvedConfig, flip: bool = False) -> np.ndarray:
    """float32 log_prob_NK of uint8 batches image_BCHW on the model's device (at least one), in their order.

    ``flip``: average the probabilities of each photo and its mirror image.
    """
    model.eval()
    log_probs_BK = []
    with torch.inference_mode():
        for image_BCHW in batches:
            input_BCHW = to_input(image_BCHW.float() / 255, config)
            log_prob_BK = _forward(model, input_BCHW, config)
            if flip:
                mirrored_BK = _forward(model, input_BCHW.flip(3), config)
                log_prob_BK = torch.logaddexp(log_prob_BK, mirrored_BK) - math.log(2)
            log_probs_BK.append(log_prob_BK)
            beat()
    return torch.cat(log_probs_BK).cpu().numpy()


def _forward(model: nn.Module, input_BCHW: Tensor, config: ResolvedConfig) -> Tensor:
    with autocast(config, input_BCHW.device):
        return joint_log_prob(model(input_BCHW))
