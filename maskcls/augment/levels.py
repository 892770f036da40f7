"""Operations that give every level of a channel another, by a table for each sample and channel.

V: the 256 levels of a byte. Float32 images are rounded to them; images that come from bytes lose nothing by it.
"""

import torch
from torch import Tensor

POSTERIZE, SOLARIZE, AUTOCONTRAST, EQUALIZE = range(4)
"""torchvision's functions of bytes."""


def change_levels(image_BCHW: Tensor, kind_B: Tensor, strength_B: Tensor) -> Tensor:
    """One of the four functions for each sample, as torchvision computes it in bytes.

    ``strength_B`` is the number of bits that posterize keeps, 0 to 8, and the least level that solarize inverts, in
    [0, 1]; the other two have none. Another kind than the four: as EQUALIZE.
    """
    level_BCN = image_BCHW.mul(255).round_().long().flatten(2)
    count_BCV = torch.zeros(*level_BCN.shape[:2], 256, dtype=torch.int64, device=image_BCHW.device)
    count_BCV.scatter_add_(2, level_BCN, torch.ones_like(level_BCN))
    by_kind = (
        _posterized(strength_B, count_BCV),
        _solarized(strength_B, count_BCV),
        _autocontrasted(count_BCV),
        _equalized(count_BCV),
    )
    table_BCV = by_kind[EQUALIZE]
    for kind in (POSTERIZE, SOLARIZE, AUTOCONTRAST):
        table_BCV = torch.where((kind_B == kind)[:, None, None], by_kind[kind], table_BCV)
    changed_BCN = (table_BCV / 255).gather(2, level_BCN)
    return torch.empty_like(image_BCHW).copy_(changed_BCN.view(image_BCHW.shape))


def _levels(count_BCV: Tensor) -> Tensor:
    return torch.arange(256, device=count_BCV.device).expand_as(count_BCV)


def _posterized(bits_B: Tensor, count_BCV: Tensor) -> Tensor:
    step_B11 = torch.exp2(8 - bits_B).long()[:, None, None]
    return _levels(count_BCV) // step_B11 * step_B11


def _solarized(least_B: Tensor, count_BCV: Tensor) -> Tensor:
    level_BCV = _levels(count_BCV)
    return torch.where(level_BCV >= 255 * least_B[:, None, None], 255 - level_BCV, level_BCV)


def _autocontrasted(count_BCV: Tensor) -> Tensor:
    """The least level of the channel becomes 0 and the greatest 255; unchanged where they are the same."""
    up_to_BCV = count_BCV.cumsum(2)
    least_BC1 = (up_to_BCV == 0).sum(2, keepdim=True)
    greatest_BC1 = (up_to_BCV < up_to_BCV[:, :, -1:]).sum(2, keepdim=True)
    level_BCV = _levels(count_BCV)
    # in float32, and divided by a scale that was multiplied: what is truncated must be torchvision's to the last bit
    scale_BC1 = (greatest_BC1 - least_BC1).to(torch.float32) * (1 / 255)
    stretched_BCV = ((level_BCV - least_BC1) / scale_BC1).clamp(0, 255).long()
    return torch.where(greatest_BC1 == least_BC1, level_BCV, stretched_BCV)


def _equalized(count_BCV: Tensor) -> Tensor:
    """Every level equally frequent, by the table of PIL and torchvision; unchanged where its step is no pixel."""
    up_to_BCV = count_BCV.cumsum(2)
    pixels_BC1 = up_to_BCV[:, :, -1:]
    greatest_BC1 = (up_to_BCV < pixels_BC1).sum(2, keepdim=True)
    step_BC1 = (pixels_BC1 - count_BCV.gather(2, greatest_BC1)) // 255
    below_BCV = up_to_BCV - count_BCV
    table_BCV = ((below_BCV + step_BC1 // 2) // step_BC1.clamp(min=1)).clamp(0, 255)
    return torch.where(step_BC1 == 0, _levels(count_BCV), table_BCV)
