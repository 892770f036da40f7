"""Filters and noise, against torchvision's functions applied image by image."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from maskcls.augment import filters
from maskcls.data.augment import BLUR_SIGMA, blur_kernel_size
from tests.helpers.data.augment import SHAPES, assert_close, image_by_image, seeded, some_images, spread


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_equals_torchvision_given_the_same_numbers(shape: tuple[int, ...]) -> None:
    for image_CHW, std in zip(some_images(*shape), spread(0, 0.8, shape[0]), strict=True):
        torch.manual_seed(5)  # torchvision draws from the global generator
        expected = reference.gaussian_noise(image_CHW, mean=0.0, sigma=float(std), clip=True)
        got = filters.add_noise(image_CHW[None], std[None], seeded(5))[0]
        assert_close(got, expected)


def test_noise_has_the_std_of_its_own_sample_and_is_not_shared() -> None:
    std_B = torch.tensor([0.0, 0.01, 0.05, 0.1, 0.1])
    noise_BCHW = filters.add_noise(torch.full((5, 3, 64, 64), 0.5), std_B, seeded()) - 0.5
    assert noise_BCHW.std(dim=(1, 2, 3)).tolist() == pytest.approx(std_B.tolist(), rel=0.03)
    between_samples = torch.corrcoef(noise_BCHW[3:].flatten(1))[0, 1]
    between_channels = torch.corrcoef(noise_BCHW[4].flatten(1))[0, 1]
    assert abs(between_samples) < 0.05
    assert abs(between_channels) < 0.05


@pytest.mark.parametrize("kernel_size", [3, 9, 15])
@pytest.mark.parametrize("shape", SHAPES)
def test_blur_equals_torchvision_image_by_image(shape: tuple[int, ...], kernel_size: int) -> None:
    image_BCHW, sigma_B = some_images(*shape), spread(0.1, 4.0, shape[0])

    def one(image_CHW: Tensor, sigma: float) -> Tensor:
        return reference.gaussian_blur(image_CHW, kernel_size, sigma)

    expected = image_by_image(one, image_BCHW, sigma_B)
    assert_close(filters.blur(image_BCHW, sigma_B, kernel_size), expected)


def test_blur_of_sigma_zero_changes_no_bit() -> None:
    image_BCHW = some_images(3, 3, 20, 30)
    blurred_BCHW = filters.blur(image_BCHW, torch.tensor([0.0, 1.0, 0.0]), 7)
    assert torch.equal(blurred_BCHW[::2], image_BCHW[::2])
    assert not torch.equal(blurred_BCHW[1], image_BCHW[1])


@pytest.mark.parametrize(("height", "width"), [(96, 96), (300, 300), (512, 384), (8, 8), (3, 100), (100, 2), (1, 1)])
def test_blur_kernel_reaches_three_sigma_or_as_far_as_reflection_can(height: int, width: int) -> None:
    size = blur_kernel_size(height, width)
    largest_sigma = height * BLUR_SIGMA[1]
    assert size % 2 == 1
    assert size // 2 >= min(3 * largest_sigma, height - 1, width - 1)
    assert size <= 2 * (3 * largest_sigma + 1) + 1  # no taps that weigh nothing
    assert torch.isfinite(filters.blur(some_images(1, 3, height, width), torch.tensor([largest_sigma]), size)).all()


@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 2, 9), (2, 3, 9, 1), (2, 3, 3, 3)])
def test_sharpness_equals_torchvision_image_by_image(shape: tuple[int, ...]) -> None:
    image_BCHW, factor_B = some_images(*shape), spread(0.0, 3.0, shape[0])
    expected = image_by_image(reference.adjust_sharpness, image_BCHW, factor_B)
    assert_close(filters.adjust_sharpness(image_BCHW, factor_B), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_blur_of_a_gpu_is_that_of_a_cpu(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    image_BCHW, sigma_B = some_images(*shape), spread(0, 3, shape[0])
    expected = filters.blur(image_BCHW, sigma_B, 9)
    monkeypatch.setattr(filters, "_weighted_shifts", filters._depthwise_convolution)
    got = filters.blur(image_BCHW, sigma_B, 9)
    assert_close(got, expected)
    assert torch.equal(got[0], image_BCHW[0])  # sigma 0


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [*SHAPES, (8, 3, 224, 224)])
def test_blur_on_a_gpu_rounds_to_float32_and_sigma_0_changes_nothing(shape: tuple[int, ...]) -> None:
    image_BCHW, sigma_B = some_images(*shape), spread(0, 3, shape[0])
    assert torch.backends.cudnn.allow_tf32  # by default
    with torch.autocast("cuda", dtype=torch.bfloat16):
        got = filters.blur(image_BCHW.cuda(), sigma_B.cuda(), 9).cpu()
    torch.testing.assert_close(got, filters.blur(image_BCHW, sigma_B, 9), rtol=0, atol=2e-6)
    assert torch.equal(got[0], image_BCHW[0])
