"""What ``augment`` draws for a batch, and to whom it does what: tests/maskcls/augment has the kernels themselves."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torchvision.transforms.v2 import functional as reference

from maskcls.augment import samples
from maskcls.data import augment as aug
from tests.helpers.data.augment import assert_close, seeded, some_bytes, some_images, some_targets


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
    mixed_B = (result_BK != target_BK).any(1)
    if name == "mixup":  # the smallest shares change a label of 0 but no pixel
        changed_B = changed_B | (mixed_B & ((result_BK - target_BK).abs().amax(1) < 1e-6))
    assert torch.equal(mixed_B, changed_B & (name in ("mixup", "cutmix")))


@pytest.mark.parametrize(
    "names",
    [
        ("flip", "gaussian", "blur", "sharpness", "contrast", "cutmix"),
        ("flip", "random_resized_crop", "trivial_augment", "rand_augment", "color_jitter", "random_erasing"),
        ("flip", "affine", "gaussian", "sharpness", "contrast", "mixup"),
    ],
)
def test_each_augmentation_chooses_its_own_half(names: tuple[str, ...]) -> None:
    image_BCHW = some_bytes(640, 3, 64, 8)
    result_BCHW, _ = aug.augment(image_BCHW, some_targets(640), names, seeded())
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


def test_normalise_equals_torchvision() -> None:
    image_BCHW, mean, std = some_images(4, 3, 9, 7), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = reference.normalize(image_BCHW, list(mean), list(std))
    assert_close(aug.normalise(image_BCHW, mean, std), expected)


def test_order_of_the_names_does_not_matter() -> None:
    image_BCHW, target_BK = some_bytes(16, 3, 32, 20), some_targets(16)
    forward = aug.augment(image_BCHW, target_BK, aug.AUGMENTATIONS, seeded())
    backward = aug.augment(image_BCHW, target_BK, tuple(reversed(aug.AUGMENTATIONS)), seeded())
    assert torch.equal(forward[0], backward[0])
    assert torch.equal(forward[1], backward[1])


KERNEL_OF = {
    "flip": "flip",
    "random_resized_crop": "resized_crop",
    "affine": "affine",
    "trivial_augment": "trivial_augment",
    "rand_augment": "rand_augment",
    "color_jitter": "jitter_colour",
    "gaussian": "add_noise",
    "blur": "blur",
    "sharpness": "adjust_sharpness",
    "contrast": "adjust_contrast",
    "random_erasing": "erase",
    "mixup": "mixup",
    "cutmix": "cutmix",
}


def test_augmentations_run_in_the_documented_order(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def noting(name: str, kernel: Callable[..., object]) -> Callable[..., object]:
        def noted(*arguments: object) -> object:
            called.append(name)
            return kernel(*arguments)

        return noted

    for name, kernel in KERNEL_OF.items():
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
    with pytest.raises(ValueError, match=r"No augmentation named 'rotate'. There are: flip, random_.*cutmix\."):
        aug.augment(some_bytes(2, 3, 8, 8), some_targets(2), ("flip", "rotate"), seeded())


def test_on_a_gpu_no_value_is_ever_read_back_to_the_host() -> None:
    # Tensors without data: .item(), boolean indexing and every shape that depends on a draw raise an error.
    with FakeTensorMode():
        image_BCHW = torch.zeros(4, 3, 32, 20, dtype=torch.uint8, device="cuda")
        result_BCHW, _ = aug.augment(image_BCHW, torch.ones(4, 18, device="cuda"), aug.AUGMENTATIONS, seeded())
        aug.normalise(result_BCHW, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("name", ["gaussian", "blur", "sharpness", "contrast"])
def test_on_a_cpu_a_kernel_gets_the_chosen_half_alone_and_gives_what_it_gives_in_a_whole_batch(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image_BCHW, kernel = some_bytes(64, 3, 33, 20), KERNEL_OF[name]
    seen: list[tuple[Tensor, ...]] = []
    real = getattr(aug, kernel)
    monkeypatch.setattr(aug, kernel, lambda *of: seen.append(of) or real(*of))  # type: ignore[func-returns-value]
    result_BCHW, _ = aug.augment(image_BCHW, some_targets(64), (name,), seeded())
    ((part_BCHW, strength_B, *rest),) = seen
    original_BCHW = image_BCHW / 255
    chosen_B = (original_BCHW[:, None] == part_BCHW).flatten(2).all(2).any(1)
    assert 20 < chosen_B.sum() == len(part_BCHW) < 44
    assert torch.equal(result_BCHW[~chosen_B], original_BCHW[~chosen_B])
    if name != "gaussian":  # whose numbers are drawn for the half alone
        nothing = {"contrast": 1.0, "sharpness": 1.0}.get(name, 0.0)
        whole_B = torch.full((64,), nothing).masked_scatter(chosen_B, strength_B)
        assert torch.equal(result_BCHW, real(original_BCHW, whole_B, *rest))


def test_a_batch_of_which_nobody_is_chosen_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PROBABILITY", 0.0)
    image_BCHW, target_BK = some_bytes(4, 3, 16, 12), some_targets(4)
    result_BCHW, result_BK = aug.augment(image_BCHW, target_BK, aug.AUGMENTATIONS, seeded())
    assert torch.equal(result_BCHW, image_BCHW / 255)
    assert torch.equal(result_BK, target_BK)


def test_a_sample_is_mixed_by_mixup_or_by_cutmix_but_not_by_both() -> None:
    image_BCHW = torch.arange(250, dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 40, 40)
    target_BK = torch.eye(250)  # each sample is a class of its own
    result_BCHW, result_BK = aug.augment(image_BCHW, target_BK, ("mixup", "cutmix"), seeded())
    own_BCHW, partner_BCHW = image_BCHW / 255, image_BCHW.roll(1, 0) / 255
    is_own, is_partner = result_BCHW == own_BCHW, result_BCHW == partner_BCHW
    untouched_B, cut_B = is_own.flatten(1).all(1), (is_own | is_partner).flatten(1).all(1)
    mixed_B = (result_BCHW == result_BCHW[:, :1, :1, :1]).flatten(1).all(1) & ~cut_B
    assert (cut_B | mixed_B).all()
    assert untouched_B.float().mean() == pytest.approx(1 / 4, abs=0.1)
    assert mixed_B.float().mean() == pytest.approx(3 / 8, abs=0.1)
    share_B = ((result_BCHW - own_BCHW) / (partner_BCHW - own_BCHW)).mean(dim=(1, 2, 3))
    torch.testing.assert_close(result_BK.diagonal(), 1 - share_B, rtol=0, atol=1e-4)  # a share of steps of 1 / 255
    assert_close(result_BK.sum(1), torch.ones(250))


@pytest.mark.parametrize("name", [name for name in aug.AUGMENTATIONS if name not in ("gaussian", "random_erasing")])
def test_a_kernel_that_gets_the_whole_batch_as_on_a_gpu_gives_what_it_gives_to_the_chosen(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the two that draw for the chosen alone."""

    def whole(image_BCHW: Tensor, kernel: Callable[..., Tensor], chosen_B: Tensor, *parameters: Tensor) -> Tensor:
        return torch.where(samples.per_sample(chosen_B), kernel(image_BCHW, *parameters), image_BCHW)

    image_BCHW, target_BK = some_bytes(64, 3, 33, 20), some_targets(64)
    expected = aug.augment(image_BCHW, target_BK, (name,), seeded())
    monkeypatch.setattr(samples, "_in_place", whole)
    got = aug.augment(image_BCHW, target_BK, (name,), seeded())
    assert_close(got[0], expected[0])
    assert torch.equal(got[1], expected[1])


@pytest.mark.parametrize("name", ["random_resized_crop", "affine", "color_jitter", "random_erasing"])
def test_on_a_cpu_a_kernel_of_several_parameters_gets_the_chosen_half_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, ...]] = []
    real = getattr(aug, KERNEL_OF[name])
    monkeypatch.setattr(aug, KERNEL_OF[name], lambda *of: seen.append(of) or real(*of))  # type: ignore[func-returns-value]
    aug.augment(some_bytes(64, 3, 33, 20), some_targets(64), (name,), seeded())
    ((part_BCHW, *parameters),) = seen
    assert 20 < len(part_BCHW) < 44
    assert {len(parameter) for parameter in parameters} == {len(part_BCHW)}


GOLDEN = {
    "flip": ([0.39216, 0.43922, 0.27059, 0.52941, 0.1451, 0.67843, 0.09804, 0.70588], 432988),
    "gaussian": ([0.39216, 0.899, 0.27059, 0.52941, 0.59116, 0.85456, 0.32379, 0.70588], 516180),
    "blur": ([0.39216, 0.55342, 0.27059, 0.52941, 0.59331, 0.85493, 0.34489, 0.70588], 936666),
    "sharpness": ([0.39216, 1.0, 0.27059, 0.52941, 0.62752, 0.7045, 0.30151, 0.70588], 936666),
    "contrast": ([0.39216, 0.97772, 0.27059, 0.52941, 0.56649, 0.75358, 0.29822, 0.70588], 936666),
    "cutmix": ([0.39216, 0.8549, 0.27059, 0.52941, 0.58431, 0.85882, 0.28627, 0.70588], 483116),
    "flip,gaussian,blur,sharpness,contrast,cutmix": (
        [0.35389, 0.47008, 0.27059, 0.46415, 0.46415, 0.60615, 0.12046, 0.83071],
        836279,
    ),
}
"""Names -> a pixel of every sample, and what the generator draws next: of commit 134a808, which had these six alone."""


@pytest.mark.parametrize("names", GOLDEN)
def test_the_six_that_came_first_draw_and_do_what_they_always_did(names: str) -> None:
    generator = seeded(7)
    result_BCHW, _ = aug.augment(some_bytes(8, 3, 64, 40), some_targets(8), names.split(","), generator)
    pixel_B, next_draw = GOLDEN[names]
    assert_close(result_BCHW[:, 1, 20, 30], torch.tensor(pixel_B))
    assert int(torch.randint(10**6, (), generator=generator)) == next_draw


def test_deterministic_algorithms_take_every_augmentation() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        results = [
            aug.augment(some_bytes(16, 3, 32, 20), some_targets(16), aug.AUGMENTATIONS, seeded(4)) for _ in range(2)
        ]
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


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
