"""Filters over neighbouring pixels, and noise."""

import torch
from torch import Tensor

from maskcls.augment.samples import per_sample


def add_noise(image_BCHW: Tensor, std_B: Tensor, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of ``std_B``, clamped to [0, 1]: torchvision's ``gaussian_noise``."""
    # Drawn contiguous whatever the image's format: the same numbers for both formats, and nine times
    # faster on a CPU (11 against 99 ms at 32 x 3 x 224 x 224), where normal_ is vectorised for contiguous tensors only.
    noise_BCHW = torch.randn(image_BCHW.shape, generator=generator, device=image_BCHW.device)
    return torch.addcmul(image_BCHW, noise_BCHW, per_sample(std_B)).clamp_(0, 1)


def blur(image_BCHW: Tensor, sigma_B: Tensor, kernel_size: int) -> Tensor:
    """Gaussian blur with ``sigma_B`` pixels, reflected at the borders: torchvision's ``gaussian_blur``.

    ``kernel_size`` is odd and at most ``2 * min(height, width) - 1``, as reflection demands. Sigma 0 is unchanged.
    """
    assert kernel_size % 2 == 1
    radius = kernel_size // 2
    weight_BT = _gaussian_weights(sigma_B, radius)
    convolve = _weighted_shifts if image_BCHW.device.type == "cpu" else _depthwise_convolution
    across_BCHW = convolve(image_BCHW, weight_BT, (radius, radius, 0, 0), 3)
    # Rounding of the weights can take white one bit beyond 1, so clamp (torchvision does not).
    return convolve(across_BCHW, weight_BT, (0, 0, radius, radius), 2).clamp_(0, 1)


def adjust_sharpness(image_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Blend with a smoothed copy, 0 all smooth, 1 unchanged, above 1 sharper: torchvision's ``adjust_sharpness``.

    The outermost pixels have no smoothed value and stay as they are, as in PIL and torchvision.
    """
    inner_BCHW = image_BCHW[:, :, 1:-1, 1:-1]
    # The filter is ones with a 5 in the middle, over 13: the sum of the 3 x 3 box and 4 times its centre.
    smooth_BCHW = _box_sum(image_BCHW).add_(inner_BCHW, alpha=4).div_(13)
    result_BCHW = image_BCHW.clone()
    result_BCHW[:, :, 1:-1, 1:-1].lerp_(smooth_BCHW, 1 - per_sample(factor_B))
    return result_BCHW.clamp_(0, 1)


def _gaussian_weights(sigma_B: Tensor, radius: int) -> Tensor:
    """float32 [B, 2 * radius + 1]: the weight of each tap T, summing to 1."""
    offset_T = torch.arange(-radius, radius + 1, device=sigma_B.device)
    # At 0.05 pixels the neighbours' weight, exp(-200), is 0 in float32 and the centre's exactly 1; at 0 all were NaN.
    return torch.softmax(-0.5 * (offset_T / sigma_B.clamp(min=0.05)[:, None]).square(), dim=1)


def _weighted_shifts(image_BCHW: Tensor, weight_BT: Tensor, padding: tuple[int, int, int, int], dim: int) -> Tensor:
    """One-dimensional convolution along ``dim`` with each sample's own weights."""
    # 32 x 3 x 224 x 224 with 23 taps, torch 2.15, EPYC: this takes 21 ms on two idle cores and 41 on one; a grouped
    # convolution 22 and 56, banded matrix products 24 and 52.
    padded_BCHW = torch.nn.functional.pad(image_BCHW, padding, mode="reflect")
    sum_BCHW = torch.zeros_like(image_BCHW)
    for tap, weight_B in enumerate(weight_BT.unbind(1)):
        sum_BCHW.addcmul_(padded_BCHW.narrow(dim, tap, image_BCHW.shape[dim]), per_sample(weight_B))
    return sum_BCHW


def _depthwise_convolution(
    image_BCHW: Tensor, weight_BT: Tensor, padding: tuple[int, int, int, int], dim: int
) -> Tensor:
    """What _weighted_shifts computes, in one kernel of a GPU instead of one a tap; contiguous."""
    batch, channels, height, width = image_BCHW.shape
    padded_BCHW = torch.nn.functional.pad(image_BCHW, padding, mode="reflect")
    weight_XT = weight_BT[:, None].expand(-1, channels, -1).reshape(batch * channels, -1)  # X: an image's channel
    weight_X1TT = weight_XT[:, None, :, None] if dim == 2 else weight_XT[:, None, None, :]
    # cuDNN may round to TF32 and autocast to half precision: then sigma 0 would no longer mean unchanged
    with torch.backends.cudnn.flags(enabled=False), torch.autocast(image_BCHW.device.type, enabled=False):
        result_1XHW = torch.nn.functional.conv2d(
            padded_BCHW.reshape(1, batch * channels, *padded_BCHW.shape[2:]),
            weight_X1TT,
            groups=batch * channels,
        )
    return result_1XHW.view(batch, channels, height, width)


def _box_sum(image_BCHW: Tensor) -> Tensor:
    """Sum of the 3 x 3 box around each inner pixel, [B, C, H - 2, W - 2]: by rows, then by columns."""
    row_BCHW = (image_BCHW[..., :-2] + image_BCHW[..., 1:-1]).add_(image_BCHW[..., 2:])
    return (row_BCHW[..., :-2, :] + row_BCHW[..., 1:-1, :]).add_(row_BCHW[..., 2:, :])
