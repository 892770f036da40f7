"""Augmentation of whole batches on their own device; every sample gets its own draw.

Two layers. The kernels (``flip`` ... ``cutmix``) take one explicit parameter per sample and equal torchvision's
function applied image by image. ``augment`` draws those parameters, for a random half of the samples, from a
given ``torch.Generator`` on the same device. The other half gets the parameter that changes nothing, to the last bit;
on a CPU the kernels that take a strength are not called for it.

No kernel waits for the device (no ``.item()``, no boolean indexing, no shape that depends on a draw). All compute in
float32, whatever autocast or the TF32 switches say: none is a matrix product, and the only convolution, blur on a GPU,
is PyTorch's own. The memory format (channels_last or not) is kept; only blur on a GPU makes it contiguous.

Shape suffixes: B batch, C H W channels, rows, columns, K classes. Images are RGB, float32 in [0, 1].
"""

import math
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from maskcls.config import AUGMENTATIONS

DESCRIPTIONS = {
    "flip": "mirror left and right",
    "gaussian": "add Gaussian noise, standard deviation U(0, 0.1) of the full range [0, 1]",
    "blur": "Gaussian blur, sigma U(1/640, 1/64) of the image's height",
    "sharpness": "sharpness factor U(0, 2): 0 smooths, 1 is unchanged, 2 sharpens",
    "contrast": "contrast factor U(0.5, 1.5): 0 is uniform grey, 1 is unchanged",
    "cutmix": "paste a box of the previous sample, area share 1 - U(0, 1), and mix the labels in proportion",
}
"""Name -> one line on what it does and how strongly."""

PROBABILITY = 0.5
"""Share of the samples that each named augmentation touches, drawn per sample and per augmentation."""

NOISE_STD = (0.0, 0.1)
"""Range of the noise's standard deviation; 1 is the distance from black to white."""

BLUR_SIGMA = (1 / 640, 1 / 64)
"""Range of the blur's sigma in image heights: 0.15 to 1.5 pixels at 96, 0.5 to 4.7 at 300. It is relative so that
a study at 96 pixels sees the same blur as the run at 300 that it is meant to predict."""

SHARPNESS_FACTOR = (0.0, 2.0)
CONTRAST_FACTOR = (0.5, 1.5)
"""Ranges of torchvision's factors; 1 is unchanged."""


def augment(
    image_BCHW: Tensor, target_BK: Tensor, names: Collection[str], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """uint8 images and soft labels -> float32 images in [0, 1] and soft labels, augmented by ``names``.

    The named augmentations run in the order of ``AUGMENTATIONS``, each on about half of the samples. The input is
    not modified. The same generator state gives the same bits. Raises ValueError for an unknown name.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(f"No augmentation named {name!r}. There are: {', '.join(AUGMENTATIONS)}.")
    assert image_BCHW.dtype == torch.uint8, "float32 images would be divided by 255 in place"
    if "flip" in names:  # while still bytes: four times faster on a CPU than in float32, with the same result
        image_BCHW = flip(image_BCHW, _choose(image_BCHW, generator))
    # on a CPU in two passes, the second vectorised for float32; on a GPU in one
    image_BCHW = image_BCHW.to(torch.float32).div_(255) if image_BCHW.device.type == "cpu" else image_BCHW / 255
    if "gaussian" in names:
        image_BCHW = _on_half(
            image_BCHW, lambda image, std: add_noise(image, std, generator), NOISE_STD, 0.0, generator
        )
    if "blur" in names:
        height, width = image_BCHW.shape[2:]
        size = blur_kernel_size(height, width)
        image_BCHW = _on_half(
            image_BCHW, lambda image, share: blur(image, share * height, size), BLUR_SIGMA, 0.0, generator
        )
    if "sharpness" in names:
        image_BCHW = _on_half(image_BCHW, adjust_sharpness, SHARPNESS_FACTOR, 1.0, generator)
    if "contrast" in names:
        image_BCHW = _on_half(image_BCHW, adjust_contrast, CONTRAST_FACTOR, 1.0, generator)
    if "cutmix" in names:
        batch, _, height, width = image_BCHW.shape
        box_B4 = draw_boxes(batch, height, width, generator, image_BCHW.device)
        box_B4 = box_B4 * _choose(image_BCHW, generator)[:, None]  # the empty box (0, 0, 0, 0) pastes nothing
        image_BCHW, target_BK = cutmix(image_BCHW, target_BK, box_B4)
    return image_BCHW, target_BK


def normalise(image_BCHW: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """``(image - mean) / std`` with one mean and one std per channel, in units of the image. A new tensor."""
    return (image_BCHW - _per_channel(mean, image_BCHW)).div_(_per_channel(std, image_BCHW))


def flip(image_BCHW: Tensor, chosen_B: Tensor) -> Tensor:
    """Mirror left and right where ``chosen_B`` (bool): torchvision's ``hflip``."""
    return torch.where(_per_sample(chosen_B), image_BCHW.flip(-1), image_BCHW)


def add_noise(image_BCHW: Tensor, std_B: Tensor, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of ``std_B``, clamped to [0, 1]: torchvision's ``gaussian_noise``."""
    # Drawn contiguous whatever the image's format: the same numbers for both formats, and nine times
    # faster on a CPU (11 against 99 ms at 32 x 3 x 224 x 224), where normal_ is vectorised for contiguous tensors only.
    noise_BCHW = torch.randn(image_BCHW.shape, generator=generator, device=image_BCHW.device)
    return torch.addcmul(image_BCHW, noise_BCHW, _per_sample(std_B)).clamp_(0, 1)


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


def blur_kernel_size(height: int, width: int) -> int:
    """Odd kernel size in pixels: three times the largest sigma on either side, or all that a tiny image can reflect."""
    radius = max(1, math.ceil(3 * BLUR_SIGMA[1] * height))
    return 2 * min(radius, height - 1, width - 1) + 1


def adjust_sharpness(image_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Blend with a smoothed copy, 0 all smooth, 1 unchanged, above 1 sharper: torchvision's ``adjust_sharpness``.

    The outermost pixels have no smoothed value and stay as they are, as in PIL and torchvision.
    """
    inner_BCHW = image_BCHW[:, :, 1:-1, 1:-1]
    # The filter is ones with a 5 in the middle, over 13: the sum of the 3 x 3 box and 4 times its centre.
    smooth_BCHW = _box_sum(image_BCHW).add_(inner_BCHW, alpha=4).div_(13)
    result_BCHW = image_BCHW.clone()
    result_BCHW[:, :, 1:-1, 1:-1].lerp_(smooth_BCHW, 1 - _per_sample(factor_B))
    return result_BCHW.clamp_(0, 1)


def adjust_contrast(image_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Blend with the image's mean grey, 0 all grey, 1 unchanged: torchvision's ``adjust_contrast``."""
    # The mean of the grey image is the grey of the mean colour, so no grey image is needed.
    red_B, green_B, blue_B = image_BCHW.mean(dim=(2, 3)).unbind(1)
    grey_B = 0.2989 * red_B + 0.587 * green_B + 0.114 * blue_B
    return torch.lerp(image_BCHW, _per_sample(grey_B), 1 - _per_sample(factor_B)).clamp_(0, 1)


def cutmix(image_BCHW: Tensor, target_BK: Tensor, box_B4: Tensor) -> tuple[Tensor, Tensor]:
    """Paste a box of each sample's partner, and mix the soft labels by the box's share of the area.

    ``box_B4`` is (top, left, bottom, right) in pixels, bottom and right excluded. The partner is the sample before
    it in the batch (``roll(1)``, as in torchvision's ``CutMix``), so the batch should be shuffled; alone in
    its batch, a sample is its own partner. CutMix: https://arxiv.org/abs/1905.04899
    """
    height, width = image_BCHW.shape[2:]
    top_B, left_B, bottom_B, right_B = box_B4.unbind(1)
    inside_BHW = _between(top_B, bottom_B, height)[:, :, None] & _between(left_B, right_B, width)[:, None, :]
    mixed_BCHW = torch.where(inside_BHW[:, None], image_BCHW.roll(1, 0), image_BCHW)
    share_B = (bottom_B - top_B) * (right_B - left_B) / (height * width)
    return mixed_BCHW, torch.lerp(target_BK, target_BK.roll(1, 0), share_B.to(target_BK.dtype)[:, None])


def draw_boxes(batch: int, height: int, width: int, generator: torch.Generator, device: torch.device) -> Tensor:
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


def _choose(image_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """bool [B]: each True with probability ``PROBABILITY``."""
    return torch.rand(len(image_BCHW), generator=generator, device=image_BCHW.device) < PROBABILITY


def _on_half(
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
    low, high = low_high
    chosen_B = _choose(image_BCHW, generator)
    draw_B = torch.rand(len(image_BCHW), generator=generator, device=image_BCHW.device)
    strength_B = torch.where(chosen_B, draw_B * (high - low) + low, unchanged)
    if image_BCHW.device.type != "cpu":
        return kernel(image_BCHW, strength_B)
    index = (strength_B != unchanged).nonzero()[:, 0]
    return image_BCHW.index_copy_(0, index, kernel(image_BCHW.index_select(0, index), strength_B[index]))


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
        sum_BCHW.addcmul_(padded_BCHW.narrow(dim, tap, image_BCHW.shape[dim]), _per_sample(weight_B))
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


def _between(low_B: Tensor, high_B: Tensor, size: int) -> Tensor:
    """bool [B, size]: low <= index < high."""
    index = torch.arange(size, device=low_B.device)
    return (index >= low_B[:, None]) & (index < high_B[:, None])


def _per_sample(value_B: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1], which broadcasts over images."""
    return value_B[:, None, None, None]


def _per_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    """[1, C, 1, 1] on the device of ``like``."""
    # Filled on the device, not copied to it: torch.tensor(values, device="cuda") would wait for it at every batch.
    return torch.stack([torch.full((), value, device=like.device) for value in values]).view(1, -1, 1, 1)
