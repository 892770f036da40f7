"""Augmentation of whole batches on their own device, by name; every sample gets its own draw.

Two layers. The kernels of ``maskcls.augment`` take explicit parameters for each sample and equal torchvision's function
applied image by image. ``augment`` draws those parameters, for a random half of the samples, from a given
``torch.Generator`` on the same device. The other half stays as it is, to the last bit; on a CPU the kernels are not
called for it, besides flip and those that mix: choosing samples would cost as much as the work.

Nothing waits for the device; the rules for a kernel are those of ``maskcls.augment``.

Shape suffixes: B batch, C H W channels, rows, columns, K classes. Images are RGB, float32 in [0, 1].
"""

import math
from collections.abc import Collection

import torch
from torch import Tensor

from maskcls.augment import boxes
from maskcls.augment.colour import adjust_contrast, jitter_colour
from maskcls.augment.filters import add_noise, adjust_sharpness, blur
from maskcls.augment.geometry import affine, affine_matrix, flip, resized_crop
from maskcls.augment.mixing import cutmix, draw_mixup_shares, erase, mixup, partners
from maskcls.augment.operations import rand_augment, trivial_augment
from maskcls.augment.samples import choose, on_half, uniform, where
from maskcls.config import AUGMENTATIONS

DESCRIPTIONS = {
    "flip": "mirror left and right",
    "random_resized_crop": "enlarge a box of the photo at `image_size` to the whole: area share U(0.08, 1), "
    "width / height from 3/4 to 4/3",
    "affine": "turn by U(-15, 15) degrees, shift by U(-0.1, 0.1) of the width and of the height, scale by "
    "U(0.9, 1.1), shear by U(-10, 10) degrees; black beyond the photo",
    "trivial_augment": "one random operation of a random strength, of the 14 of TrivialAugmentWide: shear or shift by "
    "x or y, turn, brightness, colour, contrast, sharpness, posterize, solarize, autocontrast, equalize, none",
    "rand_augment": "two random operations of those 14, each at strength 9 of 30 of RandAugment's narrower ranges",
    "color_jitter": "brightness factor U(0.6, 1.4), saturation factor U(0.6, 1.4), hue turned by U(-0.1, 0.1) of the "
    "circle; `contrast` is another",
    "gaussian": "add Gaussian noise, standard deviation U(0, 0.1) of the full range [0, 1]",
    "blur": "Gaussian blur, sigma U(1/640, 1/64) of the image's height",
    "sharpness": "sharpness factor U(0, 2): 0 smooths, 1 is unchanged, 2 sharpens",
    "contrast": "contrast factor U(0.5, 1.5): 0 is uniform grey, 1 is unchanged",
    "random_erasing": "replace a box by noise: area share U(0.02, 0.33), height / width from 0.3 to 3.3",
    "mixup": "blend with the previous sample, by a share from Beta(0.2, 0.2), and mix the labels in proportion",
    "cutmix": "paste a box of the previous sample, area share 1 - U(0, 1), and mix the labels in proportion; "
    "a sample that mixup has chosen too gets one of the two",
}
"""Name -> one line on what it does and how strongly."""

NOISE_STD = (0.0, 0.1)
"""Range of the noise's standard deviation; 1 is the distance from black to white."""

BLUR_SIGMA = (1 / 640, 1 / 64)
"""Range of the blur's sigma in image heights: 0.15 to 1.5 pixels at 96, 0.5 to 4.7 at 300. It is relative so that
a study at 96 pixels sees the same blur as the run at 300 that it is meant to predict."""

SHARPNESS_FACTOR = (0.0, 2.0)
CONTRAST_FACTOR = (0.5, 1.5)
"""Ranges of torchvision's factors; 1 is unchanged."""

AFFINE_DEGREES, AFFINE_SHIFT, AFFINE_SCALE, AFFINE_SHEAR = (-15.0, 15.0), (-0.1, 0.1), (0.9, 1.1), (-10.0, 10.0)
"""Ranges of torchvision's parameters (shifts in shares of the width and of the height; the shear, in degrees, by x
alone, as in torchvision's RandomAffine). No library's defaults: about as much as photos of one subject differ."""

JITTER_FACTOR, JITTER_TURN = (0.6, 1.4), (-0.1, 0.1)
"""Ranges of the factor of brightness and of that of saturation, and of the turn of the hue as a share of the circle:
those of MoCo v2 (https://arxiv.org/abs/2003.04297)."""


def augment(
    image_BCHW: Tensor, target_BK: Tensor, names: Collection[str], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """uint8 images and soft labels -> float32 images in [0, 1] and soft labels, augmented by ``names``.

    The named augmentations run in the order of ``AUGMENTATIONS``, each on about half of the samples: with
    random_resized_crop too, so that training sees whole photos as well, as validation does. A sample is
    mixed once at most: where mixup and cutmix both choose it, either has it with probability a half. The input is
    not modified. The same generator state gives the same bits. Raises ValueError for an unknown name.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(f"No augmentation named {name!r}. There are: {', '.join(AUGMENTATIONS)}.")
    assert image_BCHW.dtype == torch.uint8, "float32 images would be divided by 255 in place"
    if "flip" in names:  # while still bytes: four times faster on a CPU than in float32, with the same result
        image_BCHW = flip(image_BCHW, choose(image_BCHW, generator))
    # on a CPU in two passes, the second vectorised for float32; on a GPU in one
    image_BCHW = image_BCHW.to(torch.float32).div_(255) if image_BCHW.device.type == "cpu" else image_BCHW / 255
    image_BCHW = _move(image_BCHW, names, generator)
    if "trivial_augment" in names:
        image_BCHW = trivial_augment(image_BCHW, choose(image_BCHW, generator), generator)
    if "rand_augment" in names:
        image_BCHW = rand_augment(image_BCHW, choose(image_BCHW, generator), generator)
    image_BCHW = _recolour(image_BCHW, names, generator)
    if "random_erasing" in names:
        image_BCHW = _erase(image_BCHW, generator)
    return _mix(image_BCHW, target_BK, names, generator)


def _move(image_BCHW: Tensor, names: Collection[str], generator: torch.Generator) -> Tensor:
    batch, _, height, width = image_BCHW.shape
    if "random_resized_crop" in names:
        chosen_B = choose(image_BCHW, generator)
        box_B4 = boxes.draw_crops(batch, height, width, generator, image_BCHW.device)
        image_BCHW = where(chosen_B, resized_crop, image_BCHW, box_B4)
    if "affine" in names:
        chosen_B = choose(image_BCHW, generator)
        degrees_B = uniform(image_BCHW, AFFINE_DEGREES, generator)
        right_B = uniform(image_BCHW, AFFINE_SHIFT, generator) * width
        down_B = uniform(image_BCHW, AFFINE_SHIFT, generator) * height
        scale_B = uniform(image_BCHW, AFFINE_SCALE, generator)
        shear_B = uniform(image_BCHW, AFFINE_SHEAR, generator)
        matrix_B23 = affine_matrix(degrees_B, right_B, down_B, scale_B, shear_B, torch.zeros_like(shear_B))
        image_BCHW = where(chosen_B, affine, image_BCHW, matrix_B23)
    return image_BCHW


def _recolour(image_BCHW: Tensor, names: Collection[str], generator: torch.Generator) -> Tensor:
    if "color_jitter" in names:
        chosen_B = choose(image_BCHW, generator)
        brightness_B = uniform(image_BCHW, JITTER_FACTOR, generator)
        saturation_B = uniform(image_BCHW, JITTER_FACTOR, generator)
        turn_B = uniform(image_BCHW, JITTER_TURN, generator)
        image_BCHW = where(chosen_B, jitter_colour, image_BCHW, brightness_B, saturation_B, turn_B)
    if "gaussian" in names:
        image_BCHW = on_half(image_BCHW, lambda image, std: add_noise(image, std, generator), NOISE_STD, 0.0, generator)
    if "blur" in names:
        height, width = image_BCHW.shape[2:]
        size = blur_kernel_size(height, width)
        image_BCHW = on_half(
            image_BCHW, lambda image, share: blur(image, share * height, size), BLUR_SIGMA, 0.0, generator
        )
    if "sharpness" in names:
        image_BCHW = on_half(image_BCHW, adjust_sharpness, SHARPNESS_FACTOR, 1.0, generator)
    if "contrast" in names:
        image_BCHW = on_half(image_BCHW, adjust_contrast, CONTRAST_FACTOR, 1.0, generator)
    return image_BCHW


def _erase(image_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    batch, _, height, width = image_BCHW.shape
    chosen_B = choose(image_BCHW, generator)
    box_B4 = boxes.draw_erased(batch, height, width, generator, image_BCHW.device)

    def by_noise(image_BCHW: Tensor, box_B4: Tensor) -> Tensor:
        return erase(image_BCHW, box_B4, torch.rand(image_BCHW.shape, generator=generator, device=image_BCHW.device))

    return where(chosen_B, by_noise, image_BCHW, box_B4)


def _mix(
    image_BCHW: Tensor, target_BK: Tensor, names: Collection[str], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Both mix with what a sample's partner was before."""
    batch, _, height, width = image_BCHW.shape
    by_mixup, by_cutmix = "mixup" in names, "cutmix" in names
    partner = partners(image_BCHW, target_BK) if by_mixup or by_cutmix else (image_BCHW, target_BK)
    if by_mixup:
        share_B = draw_mixup_shares(batch, generator, image_BCHW.device)
        share_B = share_B * choose(image_BCHW, generator)  # a share of 0 changes nothing
    if by_cutmix:
        box_B4 = boxes.draw_cutmix_boxes(batch, height, width, generator, image_BCHW.device)
        box_B4 = box_B4 * choose(image_BCHW, generator)[:, None]  # the empty box (0, 0, 0, 0) pastes nothing
    if by_mixup and by_cutmix:
        # a sample that both have chosen is left to one, by the toss of a coin
        is_for_mixup_B = torch.rand(batch, generator=generator, device=image_BCHW.device) < 0.5
        both_B = (share_B > 0) & (box_B4 > 0).any(1)
        share_B = share_B * ~(both_B & ~is_for_mixup_B)
        box_B4 = box_B4 * ~(both_B & is_for_mixup_B)[:, None]
    if by_mixup:
        image_BCHW, target_BK = mixup(image_BCHW, target_BK, partner, share_B)
    if by_cutmix:
        image_BCHW, target_BK = cutmix(image_BCHW, target_BK, partner, box_B4)
    return image_BCHW, target_BK


def normalise(image_BCHW: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """``(image - mean) / std`` with one mean and one std per channel, in units of the image. A new tensor."""
    return (image_BCHW - _per_channel(mean, image_BCHW)).div_(_per_channel(std, image_BCHW))


def blur_kernel_size(height: int, width: int) -> int:
    """Odd kernel size in pixels: three times the largest sigma on either side, or all that a tiny image can reflect."""
    radius = max(1, math.ceil(3 * BLUR_SIGMA[1] * height))
    return 2 * min(radius, height - 1, width - 1) + 1


def _per_channel(values: tuple[float, ...], like: Tensor) -> Tensor:
    """[1, C, 1, 1] on the device of ``like``."""
    # Filled on the device, not copied to it: torch.tensor(values, device="cuda") would wait for it at every batch.
    return torch.stack([torch.full((), value, device=like.device) for value in values]).view(1, -1, 1, 1)
