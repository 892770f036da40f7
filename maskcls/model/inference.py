"""Running a model: its device and input format, and the log probabilities of many photos.

Shape suffixes: B photos of a batch, N of all, C H W channels, rows and columns, K classes of the task.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from maskcls.config import ResolvedConfig
from maskcls.data.augment import normalise
from maskcls.model.backbones import pixel_statistics
from maskcls.model.classifier import joint_log_prob
from maskcls.system.liveness import beat

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

LARGEST_VALIDATION_BATCH = 512
"""Photos of a forward pass in validation from which more do not make it faster."""

VALIDATION_SHARE, BYTES_PER_PIXEL = 1 / 8, 256
"""Validation may take this share of the GPU's memory, at so many bytes a pixel of the photos: about three times the
widest activations of EfficientNets in bfloat16."""

Model = TypeVar("Model", bound=nn.Module)


def to_device(model: Model, config: ResolvedConfig, device: torch.device) -> Model:
    """The model on the device, its weights in the config's memory format."""
    return model.to(device).to(memory_format=MEMORY_FORMATS[config.memory_format])


def autocast(config: ResolvedConfig, device: torch.device) -> torch.autocast:
    """Autocast to the config's dtype; disabled for float32."""
    dtype = DTYPES[config.dtype]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def to_input(image_BCHW: Tensor, config: ResolvedConfig) -> Tensor:
    """image_BCHW, uint8 or float in [0, 1], normalised as the backbone expects, in the config's memory format."""
    memory_format = MEMORY_FORMATS[config.memory_format]
    if image_BCHW.device.type != "cpu":
        return _in_one_pass(image_BCHW, config.backbone, memory_format)
    mean, std = pixel_statistics(config.backbone)
    share_BCHW = image_BCHW if image_BCHW.is_floating_point() else image_BCHW.float() / 255
    return normalise(share_BCHW, mean, std).contiguous(memory_format=memory_format)


def _in_one_pass(image_BCHW: Tensor, backbone: str, memory_format: torch.memory_format) -> Tensor:
    """What to_input says, to rounding: on a GPU a pass over the photos costs more than arithmetic."""
    largest = 1 if image_BCHW.is_floating_point() else 255
    scale_C11, shift_C11 = _scale_and_shift(backbone, largest, image_BCHW.device)
    input_BCHW = torch.empty_like(image_BCHW, dtype=torch.float32, memory_format=memory_format)
    return torch.addcmul(shift_C11, image_BCHW, scale_C11, out=input_BCHW)


@cache  # a few bytes each; made anew, they would be copied to the GPU at every step, which waits for them
def _scale_and_shift(backbone: str, largest: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """float32 (scale_C11, shift_C11): ``image * scale + shift`` is the input for pixels in [0, largest]."""
    mean, std = pixel_statistics(backbone)
    scale = [1 / (largest * deviation) for deviation in std]
    shift = [-average / deviation for average, deviation in zip(mean, std, strict=True)]
    with torch.inference_mode(False):  # else they could not be used in training when validation made them
        scale_C11, shift_C11 = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (scale, shift))
    return scale_C11, shift_C11


def validation_batch_size(config: ResolvedConfig, device: torch.device, num_photos: int) -> int:
    """Photos of a forward pass in validation: four micro-batches; on a GPU more, where the training has room.

    The same for every run of a config on the same kind of GPU. A micro-batch that is smaller than the batch may be so
    for memory; then it stays at four. Batches are of about equal size, so that hardly any photo is computed in vain.
    """
    most = 4 * config.micro_batch
    if device.type != "cuda":
        return most
    if config.micro_batch == config.batch_size:
        rows, columns = config.image_size
        memory = VALIDATION_SHARE * torch.cuda.get_device_properties(device).total_memory
        most = max(most, min(LARGEST_VALIDATION_BATCH, int(memory / (BYTES_PER_PIXEL * rows * columns))))
    return math.ceil(num_photos / math.ceil(num_photos / most))


def log_probs(model: nn.Module, batches: Iterable[Tensor], config: ResolvedConfig, flip: bool = False) -> np.ndarray:
    """float32 log_prob_NK of uint8 batches image_BCHW on the model's device (at least one), in their order.

    ``flip``: average the probabilities of each photo and its mirror image, as for a config whose ``tta`` is "flip".
    """
    flip = flip or config.tta == "flip"
    model.eval()
    log_probs_BK: list[Tensor] = []
    device = next(model.parameters()).device
    with torch.inference_mode(), autocast(config, device):  # one for all batches: it casts each weight once
        for image_BCHW in batches:
            count = len(image_BCHW)
            if device.type == "cuda" and log_probs_BK:
                image_BCHW = _fill_up(image_BCHW, len(log_probs_BK[0]))
            input_BCHW = to_input(image_BCHW, config)
            log_prob_BK = joint_log_prob(model(input_BCHW))
            if flip:
                mirrored_BK = joint_log_prob(model(input_BCHW.flip(3)))
                log_prob_BK = torch.logaddexp(log_prob_BK, mirrored_BK) - math.log(2)
            log_probs_BK.append(log_prob_BK[:count])
            beat()
    return torch.cat(log_probs_BK).cpu().numpy()


def _fill_up(image_BCHW: Tensor, count: int) -> Tensor:
    """At least ``count`` photos, black ones in the end: a GPU's libraries set themselves up for every new shape."""
    return functional.pad(image_BCHW, (0, 0, 0, 0, 0, 0, 0, max(0, count - len(image_BCHW))))
