"""The batch kernels against torchvision's functions applied image by image, and the random draws around them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from maskcls.data import augment as aug
from tests.helpers.augment import assert_close, seeded, some_images, some_targets

SHAPES = [(6, 3, 24, 24), (5, 3, 17, 31), (4, 3, 40, 12)]


def spread(low: float, high: float, batch: int) -> Tensor:
    """One value per sample, all different."""
    return torch.linspace(low, high, batch)


def image_by_image(function: Callable[..., Tensor], image_BCHW: Tensor, value_B: Tensor) -> Tensor:
    return torch.stack([function(image, value) for image, value in zip(image_BCHW, value_B.tolist(), strict=True)])


# One call per kernel, with parameters that clamp and that differ by sample.
KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    "flip": lambda image: aug.flip(image, torch.arange(len(image)) % 2 == 0),
    "gaussian": lambda image: aug.add_noise(image, spread(0, 1, len(image)), seeded()),
    "blur": lambda image: aug.blur(image, spread(0, 3, len(image)), 9),
    "sharpness": lambda image: aug.adjust_sharpness(image, spread(0, 5, len(image))),
    "contrast": lambda image: aug.adjust_contrast(image, spread(0, 5, len(image))),
    "cutmix": lambda image: aug.cutmix(
        image, some_targets(len(image)), torch.tensor([[2, 3, 9, 8]]).repeat(len(image), 1)
    )[0],
    "normalise": lambda image: aug.normalise(image, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_equals_torchvision_image_by_image(shape: tuple[int, ...]) -> None:
    image_BCHW = some_images(*shape)
    chosen_B = torch.arange(len(image_BCHW)) % 3 == 1
    expected = image_by_image(lambda image, yes: reference.hflip(image) if yes else image, image_BCHW, chosen_B)
    assert torch.equal(aug.flip(image_BCHW, chosen_B), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_equals_torchvision_given_the_same_numbers(shape: tuple[int, ...]) -> None:
    for image_CHW, std in zip(some_images(*shape), spread(0, 0.8, shape[0]), strict=True):
        torch.manual_seed(5)  # torchvision draws from the global generator
        expected = reference.gaussian_noise(image_CHW, mean=0.0, sigma=float(std), clip=True)
        got = aug.add_noise(image_CHW[None], std[None], seeded(5))[0]
        assert_close(got, expected)


def test_noise_has_the_std_of_its_own_sample_and_is_not_shared() -> None:
    std_B = torch.tensor([0.0, 0.01, 0.05, 0.1, 0.1])
    noise_BCHW = aug.add_noise(torch.full((5, 3, 64, 64), 0.5), std_B, seeded()) - 0.5
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
    assert_close(aug.blur(image_BCHW, sigma_B, kernel_size), expected)


def test_blur_of_sigma_zero_changes_no_bit() -> None:
    image_BCHW = some_images(3, 3, 20, 30)
    blurred_BCHW = aug.blur(image_BCHW, torch.tensor([0.0, 1.0, 0.0]), 7)
    assert torch.equal(blurred_BCHW[::2], image_BCHW[::2])
    assert not torch.equal(blurred_BCHW[1], image_BCHW[1])


@pytest.mark.parametrize(("height", "width"), [(96, 96), (300, 300), (512, 384), (8, 8), (3, 100), (100, 2), (1, 1)])
def test_blur_kernel_reaches_three_sigma_or_as_far_as_reflection_can(height: int, width: int) -> None:
    size = aug.blur_kernel_size(height, width)
    largest_sigma = height * aug.BLUR_SIGMA[1]
    assert size % 2 == 1
    assert size // 2 >= min(3 * largest_sigma, height - 1, width - 1)
    assert size <= 2 * (3 * largest_sigma + 1) + 1  # no taps that weigh nothing
    assert torch.isfinite(aug.blur(some_images(1, 3, height, width), torch.tensor([largest_sigma]), size)).all()


@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 2, 9), (2, 3, 9, 1), (2, 3, 3, 3)])
def test_sharpness_equals_torchvision_image_by_image(shape: tuple[int, ...]) -> None:
    image_BCHW, factor_B = some_images(*shape), spread(0.0, 3.0, shape[0])
    expected = image_by_image(reference.adjust_sharpness, image_BCHW, factor_B)
    assert_close(aug.adjust_sharpness(image_BCHW, factor_B), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_contrast_equals_torchvision_image_by_image(shape: tuple[int, ...]) -> None:
    image_BCHW, factor_B = some_images(*shape), spread(0.0, 3.0, shape[0])
    expected = image_by_image(reference.adjust_contrast, image_BCHW, factor_B)
    assert_close(aug.adjust_contrast(image_BCHW, factor_B), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_cutmix_equals_torchvision_sample_by_sample(shape: tuple[int, ...]) -> None:
    batch, _, height, width = shape
    image_BCHW, target_BK = some_images(*shape), some_targets(batch)
    boxes = aug.draw_boxes(batch, height, width, seeded(8), image_BCHW.device)
    mixed_BCHW, mixed_BK = aug.cutmix(image_BCHW, target_BK, boxes)
    assert not torch.equal(mixed_BCHW, image_BCHW)
    for sample, (top, left, bottom, right) in enumerate(boxes.tolist()):
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        params = {"labels": target_BK, "batch_size": batch, "box": (left, top, right, bottom), "lam_adjusted": kept}
        transform = v2.CutMix(num_classes=18).transform
        assert torch.equal(mixed_BCHW[sample], transform(image_BCHW, params)[sample])
        assert_close(mixed_BK[sample], transform(target_BK, params)[sample])


def test_labels_are_mixed_by_the_share_of_pixels_that_came_from_the_partner() -> None:
    batch = 64
    image_BCHW = torch.arange(batch, dtype=torch.float32).div(batch)[:, None, None, None].repeat(1, 3, 20, 30)
    target_BK = torch.eye(batch)  # each sample is a class of its own
    boxes = aug.draw_boxes(batch, 20, 30, seeded(), image_BCHW.device)
    mixed_BCHW, mixed_BK = aug.cutmix(image_BCHW, target_BK, boxes)
    pasted_B = (mixed_BCHW != image_BCHW).float().mean(dim=(1, 2, 3))
    assert_close(mixed_BK.diagonal(), 1 - pasted_B)
    assert_close(mixed_BK.sum(1), torch.ones(batch))
    assert 0.1 < pasted_B.mean() < 0.6


def test_boxes_are_distributed_as_torchvision_draws_them() -> None:
    height, width, count = 20, 50, 4000
    torch.manual_seed(0)
    draw = v2.CutMix(num_classes=2).make_params
    drawn = torch.tensor([draw([torch.empty(1, 3, height, width)])["box"] for _ in range(count)])
    expected_N4 = drawn[:, [1, 0, 3, 2]].double()
    got_N4 = aug.draw_boxes(count, height, width, seeded(), torch.device("cpu")).double()
    assert (got_N4[:, :2] >= 0).all()
    assert (got_N4[:, 2:] <= torch.tensor([height, width])).all()
    for moment in (lambda box: box, lambda box: box.square(), lambda box: (box[:, 2:] - box[:, :2]).prod(1)):
        got, expected = moment(got_N4), moment(expected_N4)
        noise_of_difference = expected.std(0) * (2 / count) ** 0.5
        assert ((got.mean(0) - expected.mean(0)).abs() < 4 * noise_of_difference).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_blur_of_a_gpu_is_that_of_a_cpu(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    image_BCHW, sigma_B = some_images(*shape), spread(0, 3, shape[0])
    expected = aug.blur(image_BCHW, sigma_B, 9)
    monkeypatch.setattr(aug, "_weighted_shifts", aug._depthwise_convolution)
    got = aug.blur(image_BCHW, sigma_B, 9)
    assert_close(got, expected)
    assert torch.equal(got[0], image_BCHW[0])  # sigma 0


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [*SHAPES, (8, 3, 224, 224)])
def test_blur_on_a_gpu_rounds_to_float32_and_sigma_0_changes_nothing(shape: tuple[int, ...]) -> None:
    image_BCHW, sigma_B = some_images(*shape), spread(0, 3, shape[0])
    assert torch.backends.cudnn.allow_tf32  # by default
    with torch.autocast("cuda", dtype=torch.bfloat16):
        got = aug.blur(image_BCHW.cuda(), sigma_B.cuda(), 9).cpu()
    torch.testing.assert_close(got, aug.blur(image_BCHW, sigma_B, 9), rtol=0, atol=2e-6)
    assert torch.equal(got[0], image_BCHW[0])


def test_normalise_equals_torchvision() -> None:
    image_BCHW, mean, std = some_images(4, 3, 9, 7), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = reference.normalize(image_BCHW, list(mean), list(std))
    assert_close(aug.normalise(image_BCHW, mean, std), expected)


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
