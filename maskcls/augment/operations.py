"""The operations of TrivialAugment and RandAugment, one for each sample, as torchvision has them.

What torchvision does in a function for each of 14 operations is six kernels here: one for those that move pixels, one
each for brightness, colour, contrast and sharpness, one for those that change levels. Operations that move pixels are
bilinear (torchvision's default is the nearest pixel) and those on colour are not rounded to bytes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from maskcls.augment.colour import adjust_brightness, adjust_contrast, adjust_saturation
from maskcls.augment.filters import adjust_sharpness
from maskcls.augment.geometry import affine
from maskcls.augment.levels import change_levels
from maskcls.augment.samples import where, with_strength

OPERATIONS = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)
"""torchvision's names. An operation is the number of its name here."""

FIRST_LEVELS = OPERATIONS.index("Posterize")
"""From here on in the order of ``maskcls.augment.levels``."""

FACTORS = {
    "Brightness": adjust_brightness,
    "Color": adjust_saturation,
    "Contrast": adjust_contrast,
    "Sharpness": adjust_sharpness,
}
"""Operations that take a factor."""


@dataclass(frozen=True)
class Ranges:
    """The greatest strength of the operations, in either direction where there are two."""

    shear: float
    """Pixels to the side in each pixel's distance from the upper left corner."""
    shift: float
    """Share of the image's width or height."""
    degrees: float
    """Of the rotation."""
    factor: float
    """Of colour operations, from 1 up or down."""
    lost_bits: int
    """Of the 8 that posterize keeps at first."""


TRIVIAL = Ranges(shear=0.99, shift=32 / 224, degrees=135, factor=0.99, lost_bits=6)
"""Of torchvision's TrivialAugmentWide (https://arxiv.org/abs/2103.10158), at 224 pixels: there the shift is up to 32
pixels whatever the image's size."""

RAND = Ranges(shear=0.3, shift=150 / 331, degrees=30, factor=0.9, lost_bits=4)
"""Of torchvision's RandAugment (https://arxiv.org/abs/1909.13719)."""

RAND_STRENGTH, RAND_ROUNDS = 9 / 30, 2
"""Strength of every operation of RandAugment, and how many a sample gets: what torchvision has by default."""


def trivial_augment(image_BCHW: Tensor, chosen_B: Tensor, generator: torch.Generator) -> Tensor:
    """One random operation of a random strength for the chosen samples (bool); on a CPU in place."""
    strength_B = torch.rand(len(image_BCHW), generator=generator, device=image_BCHW.device)
    return operate(image_BCHW, *_draw(chosen_B, strength_B, generator), TRIVIAL)


def rand_augment(image_BCHW: Tensor, chosen_B: Tensor, generator: torch.Generator) -> Tensor:
    """Two random operations, one after the other, for the chosen samples (bool); on a CPU in place."""
    strength_B = torch.full((len(image_BCHW),), RAND_STRENGTH, device=image_BCHW.device)
    for _ in range(RAND_ROUNDS):
        image_BCHW = operate(image_BCHW, *_draw(chosen_B, strength_B, generator), RAND)
    return image_BCHW


def operate(image_BCHW: Tensor, operation_B: Tensor, strength_B: Tensor, ranges: Ranges) -> Tensor:
    """The operation of each sample; on a CPU in place.

    ``operation_B``: numbers in OPERATIONS. ``strength_B``: from 0 to 1 as a share of the range, or from -1 to 0 in the
    other direction; an operation that has one direction takes the size alone.
    """
    height, width = image_BCHW.shape[2:]
    moves_B = (OPERATIONS.index("ShearX") <= operation_B) & (operation_B <= OPERATIONS.index("Rotate"))
    matrix_B23 = _matrix(operation_B, strength_B, height, width, ranges)
    image_BCHW = where(moves_B, affine, image_BCHW, matrix_B23)
    for name, kernel in FACTORS.items():
        factor_B = torch.where(operation_B == OPERATIONS.index(name), 1 + ranges.factor * strength_B, 1.0)
        image_BCHW = with_strength(image_BCHW, kernel, factor_B, 1.0)
    size_B = strength_B.abs()
    bits_B = 8 - (ranges.lost_bits * size_B).round()
    limit_B = torch.where(operation_B == OPERATIONS.index("Posterize"), bits_B, 1 - size_B)
    return where(operation_B >= FIRST_LEVELS, change_levels, image_BCHW, operation_B - FIRST_LEVELS, limit_B)


def _draw(chosen_B: Tensor, strength_B: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(an operation, that of the number 0 for those not chosen; the strength in a random direction)."""
    batch, device = len(chosen_B), chosen_B.device
    operation_B = torch.randint(len(OPERATIONS), (batch,), generator=generator, device=device)
    back_B = torch.rand(batch, generator=generator, device=device) < 0.5
    return operation_B * chosen_B, torch.where(back_B, -strength_B, strength_B)


def _matrix(operation_B: Tensor, strength_B: Tensor, height: int, width: int, ranges: Ranges) -> Tensor:
    """``matrix_B23`` of ``affine`` for the operations that move pixels; for others it moves none."""

    def only(name: str, most: float) -> Tensor:
        return torch.where(operation_B == OPERATIONS.index(name), strength_B * most, 0.0)

    # against the clock, and in whole pixels, as in torchvision
    turn_B = only("Rotate", ranges.degrees).deg2rad()
    right_B = only("TranslateX", ranges.shift * width).trunc()
    down_B = only("TranslateY", ranges.shift * height).trunc()
    shear_x_B, shear_y_B = only("ShearX", ranges.shear), only("ShearY", ranges.shear)
    matrix_B22 = torch.stack((turn_B.cos(), shear_x_B - turn_B.sin(), shear_y_B + turn_B.sin(), turn_B.cos()), 1)
    # a shear keeps the upper left corner: from the centre, that is a shift
    right_B, down_B = right_B - shear_x_B * height / 2, down_B - shear_y_B * width / 2
    return torch.cat((matrix_B22.view(-1, 2, 2), -torch.stack((right_B, down_B), 1)[:, :, None]), 2)
