"""Brightness, contrast, saturation and hue of whole images."""

import torch
from torch import Tensor

from maskcls.augment.samples import per_sample


def adjust_contrast(image_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Blend with the image's mean grey, 0 all grey, 1 unchanged: torchvision's ``adjust_contrast``."""
    # The mean of the grey image is the grey of the mean colour, so no grey image is needed.
    red_B, green_B, blue_B = image_BCHW.mean(dim=(2, 3)).unbind(1)
    grey_B = 0.2989 * red_B + 0.587 * green_B + 0.114 * blue_B
    return torch.lerp(image_BCHW, per_sample(grey_B), 1 - per_sample(factor_B)).clamp_(0, 1)


def adjust_brightness(image_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Multiply, 0 all black, 1 unchanged: torchvision's ``adjust_brightness``."""
    return (image_BCHW * per_sample(factor_B)).clamp_(0, 1)


def adjust_saturation(image_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Blend with the grey image, 0 all grey, 1 unchanged: torchvision's ``adjust_saturation``."""
    red_BHW, green_BHW, blue_BHW = image_BCHW.unbind(1)
    grey_BHW = (0.2989 * red_BHW).add_(green_BHW, alpha=0.587).add_(blue_BHW, alpha=0.114)
    return torch.lerp(image_BCHW, grey_BHW[:, None], 1 - per_sample(factor_B)).clamp_(0, 1)


def adjust_hue(image_BCHW: Tensor, turn_B: Tensor) -> Tensor:
    """Turn the hue by a share of the circle, within [-0.5, 0.5]: torchvision's ``adjust_hue``. A turn of 0 is unchanged
    but for rounding.

    By way of HSV as there, in fewer passes: https://en.wikipedia.org/wiki/HSL_and_HSV#HSV_to_RGB_alternative
    """
    red_BHW, green_BHW, blue_BHW = image_BCHW.unbind(1)
    value_BHW, least_BHW = image_BCHW.amax(1), image_BCHW.amin(1)
    range_BHW = value_BHW - least_BHW
    hue_BHW = _sixths(red_BHW, green_BHW, blue_BHW, value_BHW, range_BHW) + 6 * turn_B[:, None, None]
    result_BCHW = torch.empty_like(image_BCHW)
    for channel, sixths in enumerate((5, 3, 1)):
        place_BHW = (hue_BHW + sixths).remainder_(6)
        below_BHW = torch.minimum(place_BHW, 4 - place_BHW).clamp_(0, 1).mul_(range_BHW)
        torch.sub(value_BHW, below_BHW, out=result_BCHW[:, channel])
    return result_BCHW.clamp_(0, 1)


def jitter_colour(image_BCHW: Tensor, brightness_B: Tensor, saturation_B: Tensor, turn_B: Tensor) -> Tensor:
    """Brightness, then saturation, then hue."""
    return adjust_hue(adjust_saturation(adjust_brightness(image_BCHW, brightness_B), saturation_B), turn_B)


def _sixths(red_BHW: Tensor, green_BHW: Tensor, blue_BHW: Tensor, value_BHW: Tensor, range_BHW: Tensor) -> Tensor:
    """The hue in sixths of the circle, from red (0) to green (2) to blue (4); anything where there is no colour."""
    divisor_BHW = range_BHW.clamp(min=torch.finfo(torch.float32).tiny)
    from_red_BHW, from_green_BHW, from_blue_BHW = (
        (green_BHW - blue_BHW) / divisor_BHW,
        (blue_BHW - red_BHW) / divisor_BHW + 2,
        (red_BHW - green_BHW) / divisor_BHW + 4,
    )
    not_red_BHW = torch.where(value_BHW == green_BHW, from_green_BHW, from_blue_BHW)
    return torch.where(value_BHW == red_BHW, from_red_BHW, not_red_BHW)
