"""Which samples an augmentation is for, and how a kernel changes these alone."""

from collections.abc import Callable

import torch
from torch import Tensor

PROBABILITY = 0.5
"""Share of the samples that each named augmentation touches, drawn per sample and per augmentation."""


def choose(image_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """bool [B]: each True with probability ``PROBABILITY``."""
    return torch.rand(len(image_BCHW), generator=generator, device=image_BCHW.device) < PROBABILITY


def uniform(image_BCHW: Tensor, low_high: tuple[float, float], generator: torch.Generator) -> Tensor:
    """float32 [B]: uniform between low and high."""
    low, high = low_high
    return torch.rand(len(image_BCHW), generator=generator, device=image_BCHW.device) * (high - low) + low


def on_half(
    image_BCHW: Tensor,
    kernel: Callable[[Tensor, Tensor], Tensor],
    low_high: tuple[float, float],
    unchanged: float,
    generator: torch.Generator,
) -> Tensor:
    """``kernel(image_BCHW, strength_B)``: strengths uniform between low and high for the chosen samples.

    On a CPU the kernel gets the chosen samples alone, and the result is in place. On a GPU it gets all, the others with
    the strength ``unchanged``: only the device knows which ones are chosen, and the CPU does not wait for it.
    """
    chosen_B = choose(image_BCHW, generator)
    strength_B = torch.where(chosen_B, uniform(image_BCHW, low_high, generator), unchanged)
    return with_strength(image_BCHW, kernel, strength_B, unchanged)


def with_strength(
    image_BCHW: Tensor, kernel: Callable[[Tensor, Tensor], Tensor], strength_B: Tensor, unchanged: float
) -> Tensor:
    """``kernel(image_BCHW, strength_B)``, for a kernel that changes no bit at the strength ``unchanged``.

    On a CPU the kernel gets the other samples alone, and the result is in place.
    """
    if image_BCHW.device.type != "cpu":
        return kernel(image_BCHW, strength_B)
    return _in_place(image_BCHW, kernel, strength_B != unchanged, strength_B)


def where(chosen_B: Tensor, kernel: Callable[..., Tensor], image_BCHW: Tensor, *parameters: Tensor) -> Tensor:
    """``kernel(image_BCHW, *parameters)`` for the chosen samples (bool); the others keep every bit.

    The parameters have a row for every sample. On a CPU the kernel gets the chosen samples alone, and the result is in
    place; on a GPU it gets all.
    """
    if image_BCHW.device.type != "cpu":
        return torch.where(per_sample(chosen_B), kernel(image_BCHW, *parameters), image_BCHW)
    return _in_place(image_BCHW, kernel, chosen_B, *parameters)


def _in_place(image_BCHW: Tensor, kernel: Callable[..., Tensor], chosen_B: Tensor, *parameters: Tensor) -> Tensor:
    index = chosen_B.nonzero()[:, 0]
    part_BCHW = kernel(image_BCHW.index_select(0, index), *(parameter[index] for parameter in parameters))
    return image_BCHW.index_copy_(0, index, part_BCHW)


def per_sample(value_B: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1], which broadcasts over images."""
    return value_B[:, None, None, None]
