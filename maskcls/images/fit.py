"""An upright photo of any size -> one of the size that a model takes, in one of three ways.

Shape suffixes: C channels, H rows, W columns.
"""

from typing import Literal

import torch
from torchvision.transforms.v2 import functional as tv

Fit = Literal["squash", "pad", "crop"]
"""As TrainConfig.fit."""

BACKGROUND = (124, 116, 104)
"""RGB beside a padded photo: the mean of ImageNet's photos, near 0 once normalised for a backbone."""


def fit_into(
    image_CHW: torch.Tensor, size: tuple[int, int], crop: tuple[float, float], fit: Fit = "squash"
) -> torch.Tensor:
    """uint8 [3, *size]: the share ``crop`` around the centre, resized with antialiasing.

    ``fit``: "squash" changes its aspect to that of ``size``; "pad" keeps it, with BACKGROUND on two sides; "crop" keeps
    it, less what protrudes on two sides. Only what is kept is resized, so that no photo, however long, costs more.
    """
    image_CHW = _centre(
        image_CHW, [max(1, round(side * share)) for side, share in zip(_size(image_CHW), crop, strict=True)]
    )
    if fit == "crop":
        image_CHW = _centre(image_CHW, _largest_within(_size(image_CHW), size))
    if fit != "pad":
        return tv.resize(image_CHW, list(size), antialias=True)
    inner = _largest_within(size, _size(image_CHW))
    top, left = ((whole - part) // 2 for whole, part in zip(size, inner, strict=True))
    resized_CHW = tv.resize(image_CHW, inner, antialias=True)
    out_CHW = torch.tensor(BACKGROUND, dtype=torch.uint8)[:, None, None].repeat(1, *size)
    out_CHW[:, top : top + inner[0], left : left + inner[1]] = resized_CHW
    return out_CHW


def _size(image_CHW: torch.Tensor) -> tuple[int, int]:
    return image_CHW.shape[-2], image_CHW.shape[-1]


def _centre(image_CHW: torch.Tensor, kept: list[int]) -> torch.Tensor:
    return image_CHW if kept == list(_size(image_CHW)) else tv.center_crop(image_CHW, kept)


def _largest_within(outer: tuple[int, int], aspect: tuple[int, int]) -> list[int]:
    """Rows and columns, at least one, of the largest area with this aspect, rows to columns, that fits into outer."""
    rows, columns = aspect
    scale = min(outer[0] / rows, outer[1] / columns)
    return [max(1, min(whole, round(side * scale))) for side, whole in zip(aspect, outer, strict=True)]
