"""Random boxes: (top, left, bottom, right) in pixels, bottom and right excluded, int64 [B, 4]. T: tries."""

import math

import torch
from torch import Tensor

TRIES = 10
"""Boxes drawn for a sample, of which the first that fits in the image is taken, as in torchvision."""

CROP_AREA, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
"""Ranges of a crop's share of the area and of its width / height: what torchvision and timm have by default."""

ERASED_AREA, ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)
"""Ranges of an erased box's share of the area and of its height / width: what torchvision has by default."""


def draw_cutmix_boxes(batch: int, height: int, width: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """int64 boxes (top, left, bottom, right) [B, 4] in pixels, as torchvision's ``CutMix`` draws its one box.

    The kept share of the area is U(0, 1) (the paper's Beta(1, 1)), the centre uniform; boxes are clipped to the image.
    """
    kept_share_B = torch.rand(batch, generator=generator, device=device)
    half_side_B = 0.5 * (1 - kept_share_B).sqrt()  # as a share of the height and of the width
    column_B = torch.randint(width, (batch,), generator=generator, device=device)
    row_B = torch.randint(height, (batch,), generator=generator, device=device)
    half_height_B, half_width_B = (half_side_B * height).long(), (half_side_B * width).long()
    top_B, bottom_B = (row_B - half_height_B).clamp_(min=0), (row_B + half_height_B).clamp_(max=height)
    left_B, right_B = (column_B - half_width_B).clamp_(min=0), (column_B + half_width_B).clamp_(max=width)
    return torch.stack((top_B, left_B, bottom_B, right_B), dim=1)


def draw_crops(batch: int, height: int, width: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Boxes to crop, as torchvision's ``RandomResizedCrop`` draws them.

    The share of the area is uniform, and so is the logarithm of width / height. Where no try fits: the largest box in
    the middle with a ratio of that range.
    """
    width_BT, height_BT = _draw_sides(batch, height * width, CROP_AREA, CROP_RATIO, generator, device)
    fits_BT = (width_BT > 0) & (width_BT <= width) & (height_BT > 0) & (height_BT <= height)
    widest, highest = min(width, round(height * CROP_RATIO[1])), min(height, round(width / CROP_RATIO[0]))
    found_B, (width_B, height_B) = _first(fits_BT, (width_BT, height_BT), (widest, highest))
    top_B, left_B = _place(height - height_B, generator), _place(width - width_B, generator)
    top_B = torch.where(found_B, top_B, (height - highest) // 2)
    left_B = torch.where(found_B, left_B, (width - widest) // 2)
    return torch.stack((top_B, left_B, top_B + height_B, left_B + width_B), 1)


def draw_erased(batch: int, height: int, width: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Boxes to erase, as torchvision's ``RandomErasing`` draws them; an empty one where no try fits.

    The share of the area is uniform, and so is the logarithm of height / width.
    """
    height_BT, width_BT = _draw_sides(batch, height * width, ERASED_AREA, ERASED_RATIO, generator, device)
    fits_BT = (height_BT < height) & (width_BT < width)
    _, (height_B, width_B) = _first(fits_BT, (height_BT, width_BT), (0, 0))
    top_B, left_B = _place(height - height_B, generator), _place(width - width_B, generator)
    return torch.stack((top_B, left_B, top_B + height_B, left_B + width_B), 1)


def inside(box_B4: Tensor, height: int, width: int) -> Tensor:
    """bool [B, H, W]: whether a pixel is in its sample's box."""
    top_B, left_B, bottom_B, right_B = box_B4.unbind(1)
    return _between(top_B, bottom_B, height)[:, :, None] & _between(left_B, right_B, width)[:, None, :]


def _draw_sides(
    batch: int,
    pixels: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Two sides [B, T] in pixels, whole numbers, int64; ``ratio`` is the first over the second."""
    share_BT = torch.rand((batch, TRIES), generator=generator, device=device) * (area[1] - area[0]) + area[0]
    log_low, log_high = math.log(ratio[0]), math.log(ratio[1])
    log_BT = torch.rand((batch, TRIES), generator=generator, device=device) * (log_high - log_low) + log_low
    mean_side_BT, stretch_BT = (share_BT * pixels).sqrt(), (log_BT / 2).exp()
    return (mean_side_BT * stretch_BT).round().long(), (mean_side_BT / stretch_BT).round().long()


def _first(
    fits_BT: Tensor, sides: tuple[Tensor, Tensor], otherwise: tuple[int, int]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """(whether any try fits [B], the two sides [B] of the first that does)."""
    found_B, first_B1 = fits_BT.any(1), fits_BT.int().argmax(1, keepdim=True)
    one, two = (
        torch.where(found_B, side_BT.gather(1, first_B1)[:, 0], other)
        for side_BT, other in zip(sides, otherwise, strict=True)
    )
    return found_B, (one, two)


def _place(most_B: Tensor, generator: torch.Generator) -> Tensor:
    """int64 [B]: any whole number from 0 to ``most_B``."""
    draw_B = torch.rand(len(most_B), generator=generator, device=most_B.device)
    return torch.minimum((draw_B * (most_B + 1)).long(), most_B)  # the product may round up


def _between(low_B: Tensor, high_B: Tensor, size: int) -> Tensor:
    """bool [B, size]: low <= index < high."""
    index = torch.arange(size, device=low_B.device)
    return (index >= low_B[:, None]) & (index < high_B[:, None])
