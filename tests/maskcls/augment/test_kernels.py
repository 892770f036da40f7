"""What is true of every kernel: memory format, input, range of the result."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from maskcls.augment.colour import adjust_brightness, adjust_contrast, adjust_saturation, jitter_colour
from maskcls.augment.filters import add_noise, adjust_sharpness, blur
from maskcls.augment.geometry import affine, affine_matrix, flip, resized_crop
from maskcls.augment.levels import EQUALIZE, change_levels
from maskcls.augment.mixing import cutmix, erase, mixup, partners
from maskcls.data.augment import normalise
from tests.helpers.data.augment import assert_close, seeded, some_images, spread


def boxes(batch: int) -> Tensor:
    return torch.tensor([[2, 3, 9, 8]]).repeat(batch, 1)


def mixed(image: Tensor, mix: Callable[..., tuple[Tensor, Tensor]], parameter: Tensor) -> Tensor:
    target_BK = torch.eye(len(image))
    return mix(image, target_BK, partners(image, target_BK), parameter)[0]


def moved(image: Tensor) -> Tensor:
    values = [spread(low, high, len(image)) for low, high in ((-90, 90), (-9, 9), (5, -5), (0.5, 2), (-30, 30), (9, 0))]
    return affine(image, affine_matrix(*values))


# One call per kernel, with parameters that clamp and that differ by sample.
KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "flip": lambda image: flip(image, torch.arange(len(image)) % 2 == 0),
    "random_resized_crop": lambda image: resized_crop(image, boxes(len(image))),
    "affine": moved,
    "brightness": lambda image: adjust_brightness(image, spread(0, 5, len(image))),
    "saturation": lambda image: adjust_saturation(image, spread(0, 5, len(image))),
    "color_jitter": lambda image: jitter_colour(
        image, spread(0, 5, len(image)), spread(5, 0, len(image)), spread(-0.5, 0.5, len(image))
    ),
    "levels": lambda image: change_levels(image, torch.arange(len(image)) % (EQUALIZE + 1), spread(0, 1, len(image))),
    "gaussian": lambda image: add_noise(image, spread(0, 1, len(image)), seeded()),
    "blur": lambda image: blur(image, spread(0, 3, len(image)), 9),
    "sharpness": lambda image: adjust_sharpness(image, spread(0, 5, len(image))),
    "contrast": lambda image: adjust_contrast(image, spread(0, 5, len(image))),
    "random_erasing": lambda image: erase(image, boxes(len(image)), image.flip(2)),
    "mixup": lambda image: mixed(image, mixup, spread(0, 1, len(image))),
    "cutmix": lambda image: mixed(image, cutmix, boxes(len(image))),
    "normalise": lambda image: normalise(image, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)),
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_keep_the_memory_format_and_their_input(name: str) -> None:
    image_BCHW = some_images(4, 3, 20, 30)
    before_BCHW = image_BCHW.clone()
    result_BCHW = KERNELS[name](image_BCHW)
    channels_last = KERNELS[name](image_BCHW.to(memory_format=torch.channels_last))
    assert torch.equal(image_BCHW, before_BCHW)
    assert result_BCHW.is_contiguous()
    assert channels_last.is_contiguous(memory_format=torch.channels_last)
    assert_close(channels_last, result_BCHW)


@pytest.mark.parametrize("name", [name for name in KERNELS if name != "normalise"])
def test_kernels_stay_within_black_and_white(name: str) -> None:
    extreme_BCHW = some_images(16, 3, 20, 30).round()
    result_BCHW = KERNELS[name](extreme_BCHW)
    assert result_BCHW.min() >= 0
    assert result_BCHW.max() <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in KERNELS if name != "gaussian"])
def test_a_gpu_gives_what_a_cpu_gives_by_deterministic_algorithms(name: str) -> None:
    image_BCHW = some_images(4, 3, 20, 30)
    expected = KERNELS[name](image_BCHW)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.device("cuda"):
            first, second = (KERNELS[name](image_BCHW.cuda()) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, second)
    assert_close(first.cpu(), expected)
