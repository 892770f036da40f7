"""The batch kernels against torchvision's functions applied image by image, and the random draws around them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from maskcls import augment as aug

SHAPES = [(6, 3, 24, 24), (5, 3, 17, 31), (4, 3, 40, 12)]


def assert_close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=seeded(1))


def some_bytes(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=seeded(2), dtype=torch.uint8)


def some_targets(batch: int, classes: int = 18) -> Tensor:
    return torch.eye(classes)[torch.randint(classes, (batch,), generator=seeded(3))]


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


def test_without_names_the_images_are_only_converted() -> None:
    image_BCHW, target_BK = some_bytes(4, 3, 20, 30), some_targets(4)
    result_BCHW, result_BK = aug.augment(image_BCHW, target_BK, (), seeded())
    assert result_BCHW.dtype == torch.float32
    assert torch.equal(result_BCHW, image_BCHW / 255)
    assert_close(result_BCHW, reference.to_dtype(image_BCHW, torch.float32, scale=True))
    assert torch.equal(result_BK, target_BK)


@pytest.mark.parametrize("name", aug.AUGMENTATIONS)
def test_about_half_of_the_samples_change_and_the_others_keep_every_bit(name: str) -> None:
    image_BCHW, target_BK = some_bytes(400, 3, 64, 24), torch.eye(400)
    result_BCHW, result_BK = aug.augment(image_BCHW, target_BK, (name,), seeded())
    changed_B = (result_BCHW != image_BCHW / 255).any(dim=(1, 2, 3))
    # Less than half by a few: the weakest blurs and the emptiest boxes change nothing.
    assert 0.4 < changed_B.float().mean() < 0.57
    assert torch.equal((result_BK != target_BK).any(1), changed_B & (name == "cutmix"))


def test_each_augmentation_chooses_its_own_half() -> None:
    image_BCHW = some_bytes(640, 3, 64, 8)
    result_BCHW, _ = aug.augment(image_BCHW, some_targets(640), aug.AUGMENTATIONS, seeded())
    untouched = (result_BCHW == image_BCHW / 255).all(dim=3).all(dim=2).all(dim=1).sum()
    assert 3 <= untouched <= 30  # 640 / 2**6 is 10, and a few that were changed by nothing


def strength_of(name: str, height: int) -> Tensor:
    """What ``augment`` drew for each of 600 samples, read back from pictures of one bright dot."""
    ground, dot = (0, 255) if name == "blur" else (100, 140)  # black keeps sums exact; grey keeps clamps away
    image_BCHW = torch.full((600, 3, height, 64), ground, dtype=torch.uint8)
    image_BCHW[:, :, height // 2, 32] = dot
    result_BCHW, _ = aug.augment(image_BCHW, some_targets(600), (name,), seeded())
    deviation_BHW = result_BCHW[:, 0] - image_BCHW[0, 0, 0, 0] / 255
    peak_B = deviation_BHW[:, height // 2, 32] * 255 / (dot - ground)
    if name == "gaussian":
        return (result_BCHW - image_BCHW / 255).std(dim=(1, 2, 3))
    if name == "sharpness":
        return 1 - (1 - peak_B) / (1 - 5 / 13)
    if name == "contrast":
        return peak_B - deviation_BHW[:, 0, 0] * 255 / (dot - ground)
    column_BH = deviation_BHW.sum(2)  # blur: the square root of the variance of what became of the dot
    distance_H = torch.arange(height) - height // 2
    return ((column_BH * distance_H.square()).sum(1) / column_BH.sum(1)).sqrt()


@pytest.mark.parametrize(
    ("name", "height", "low", "high"),
    [
        ("gaussian", 32, 0.0, 0.1),
        ("sharpness", 32, 0.0, 2.0),
        ("contrast", 32, 0.5, 1.5),
        ("blur", 64, 0.0, 1.0),
        ("blur", 128, 0.0, 2.0),
    ],
)
def test_strength_is_uniform_over_its_range_and_differs_by_sample(
    name: str, height: int, low: float, high: float
) -> None:
    strength_B = strength_of(name, height)
    unchanged = strength_B.mode().values  # half of the samples share it
    drawn = strength_B[(strength_B - unchanged).abs() > 1e-3]
    share_of_range = (drawn - low) / (high - low)
    assert len(drawn.unique()) > 200
    assert -0.02 < share_of_range.min() < 0.15
    assert 0.95 < share_of_range.max() < 1.02
    quarters = torch.tensor([0.25, 0.5, 0.75])
    torch.testing.assert_close(share_of_range.quantile(quarters), quarters, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", aug.AUGMENTATIONS)
def test_same_seed_gives_the_same_bits_and_the_next_batch_others(name: str) -> None:
    image_BCHW, target_BK = some_bytes(16, 3, 64, 20), some_targets(16)
    generator, again = seeded(4), seeded(4)
    first = aug.augment(image_BCHW, target_BK, (name,), generator)
    torch.manual_seed(99)  # the global generator has no part in it
    second = aug.augment(image_BCHW, target_BK, (name,), again)
    third = aug.augment(image_BCHW, target_BK, (name,), generator)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], third[0])


def test_order_of_the_names_does_not_matter() -> None:
    image_BCHW, target_BK = some_bytes(16, 3, 32, 20), some_targets(16)
    forward = aug.augment(image_BCHW, target_BK, aug.AUGMENTATIONS, seeded())
    backward = aug.augment(image_BCHW, target_BK, tuple(reversed(aug.AUGMENTATIONS)), seeded())
    assert torch.equal(forward[0], backward[0])
    assert torch.equal(forward[1], backward[1])


def test_augmentations_run_in_the_documented_order(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = ("flip", "add_noise", "blur", "adjust_sharpness", "adjust_contrast", "cutmix")
    called: list[str] = []

    def noting(name: str, kernel: Callable[..., object]) -> Callable[..., object]:
        def noted(*arguments: object) -> object:
            called.append(name)
            return kernel(*arguments)

        return noted

    for name, kernel in zip(aug.AUGMENTATIONS, kernels, strict=True):
        monkeypatch.setattr(aug, kernel, noting(name, getattr(aug, kernel)))
    aug.augment(some_bytes(2, 3, 16, 16), some_targets(2), set(aug.AUGMENTATIONS), seeded())
    assert tuple(called) == aug.AUGMENTATIONS == tuple(aug.DESCRIPTIONS)


def test_input_is_not_modified() -> None:
    image_BCHW, target_BK = some_bytes(16, 3, 32, 20), some_targets(16)
    image_before, target_before = image_BCHW.clone(), target_BK.clone()
    aug.augment(image_BCHW, target_BK, aug.AUGMENTATIONS, seeded())
    assert torch.equal(image_BCHW, image_before)
    assert torch.equal(target_BK, target_before)


def test_channels_last_batches_stay_channels_last() -> None:
    image_BCHW, target_BK = some_bytes(16, 3, 32, 20), some_targets(16)
    expected, _ = aug.augment(image_BCHW, target_BK, aug.AUGMENTATIONS, seeded())
    channels_last = image_BCHW.to(memory_format=torch.channels_last)
    got, _ = aug.augment(channels_last, target_BK, aug.AUGMENTATIONS, seeded())
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert_close(got, expected)


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 96, 96), (1, 8, 8), (4, 8, 5), (3, 1, 1)])
def test_a_single_sample_and_tiny_images_work(batch: int, height: int, width: int) -> None:
    image_BCHW, target_BK = some_bytes(batch, 3, height, width), some_targets(batch)
    for seed in range(8):
        result_BCHW, result_BK = aug.augment(image_BCHW, target_BK, aug.AUGMENTATIONS, seeded(seed))
        assert result_BCHW.shape == image_BCHW.shape
        assert ((result_BCHW >= 0) & (result_BCHW <= 1)).all()  # false for NaN too
        assert_close(result_BK.sum(1), torch.ones(batch))
        if batch == 1:
            assert_close(result_BK, target_BK)


def test_unknown_name_is_refused_and_the_known_ones_listed() -> None:
    with pytest.raises(ValueError, match=r"No augmentation named 'mixup'. There are: flip, gaussian, .*cutmix\."):
        aug.augment(some_bytes(2, 3, 8, 8), some_targets(2), ("flip", "mixup"), seeded())


def test_no_value_is_ever_read_back_to_the_host() -> None:
    # Tensors without data: .item(), boolean indexing and every shape that depends on a draw raise an error.
    with FakeTensorMode() as mode:
        image_BCHW, target_BK = mode.from_tensor(some_bytes(4, 3, 32, 20)), mode.from_tensor(some_targets(4))
        result_BCHW, _ = aug.augment(image_BCHW, target_BK, aug.AUGMENTATIONS, seeded())
        aug.normalise(result_BCHW, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_nothing_waits_for_the_device() -> None:
    image_BCHW, target_BK = some_bytes(32, 3, 64, 48).cuda(), some_targets(32).cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        generator = torch.Generator("cuda").manual_seed(0)
        result_BCHW, _ = aug.augment(image_BCHW, target_BK, aug.AUGMENTATIONS, generator)
        aug.normalise(result_BCHW, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    finally:
        torch.cuda.set_sync_debug_mode("default")
