"""Pictures and labels for the tests of augmentation."""

import torch
from torch import Tensor


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
