"""Pictures and labels for the tests of augmentation."""

from collections.abc import Callable

import torch
from torch import Tensor

CPU = torch.device("cpu")

SHAPES = [(6, 3, 24, 24), (5, 3, 17, 31), (4, 3, 40, 12)]
"""Of batches: square ones, wide ones of odd sides, narrow ones."""


def assert_close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=seeded(1))


def some_bytes(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=seeded(2), dtype=torch.uint8)


def some_targets(batch: int, classes: int = 18) -> Tensor:
    return torch.eye(classes)[torch.randint(classes, (batch,), generator=seeded(3))]


def spread(low: float, high: float, batch: int) -> Tensor:
    """One value per sample, all different."""
    return torch.linspace(low, high, batch)


def image_by_image(function: Callable[..., Tensor], image_BCHW: Tensor, value_B: Tensor) -> Tensor:
    return torch.stack([function(image, value) for image, value in zip(image_BCHW, value_B.tolist(), strict=True)])
