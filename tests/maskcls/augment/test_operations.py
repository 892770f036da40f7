"""The operations of TrivialAugment and RandAugment against torchvision's own, image by image."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from maskcls.augment import operations
from maskcls.augment.operations import OPERATIONS, RAND, TRIVIAL, Ranges
from tests.helpers.data.augment import assert_close, seeded, some_bytes

TRANSFORMS = {
    "trivial_augment": (v2.TrivialAugmentWide(interpolation="bilinear"), TRIVIAL),
    "rand_augment": (v2.RandAugment(interpolation="bilinear"), RAND),
}
BINS, SIZE = 31, 224
LEVELS = OPERATIONS[operations.FIRST_LEVELS :]


def by_torchvision(transform: v2.Transform, image_CHW: Tensor, name: str, place: int, back: bool) -> Tensor:
    """An operation at a place among the strengths: on levels in bytes, as we have it, others in float32."""
    strengths, is_signed = transform._AUGMENTATION_SPACE[name]  # type: ignore[operator,index]
    values = strengths(BINS, *image_CHW.shape[1:])
    value = 0.0 if values is None else float(values[place])
    value = -value if is_signed and back else value
    image_CHW = image_CHW if name in LEVELS else image_CHW / 255
    done = transform._apply_image_or_video_transform(image_CHW, name, value, transform.interpolation, transform._fill)  # type: ignore[operator]
    return done / 255 if name in LEVELS else done


def test_the_operations_are_those_of_torchvision() -> None:
    for transform, _ in TRANSFORMS.values():
        assert set(transform._AUGMENTATION_SPACE) == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("space", TRANSFORMS)
def test_an_operation_equals_torchvision_image_by_image(space: str, name: str) -> None:
    transform, ranges = TRANSFORMS[space]
    # not a place whose shift is a whole pixel or whose limit is a whole level: there a rounding would decide
    places, image_CHW = [0, 1, 9, 17, 23, 30], some_bytes(3, SIZE, SIZE)
    image_CHW[:, 20:60] //= 3  # levels that are not equally frequent, else equalize has nothing to do
    image_CHW[1] = image_CHW[1] // 2 + 40  # and that do not reach from black to white, for autocontrast
    expected, strengths = [], []
    for place in places:
        for back in (False, True):
            expected.append(by_torchvision(transform, image_CHW, name, place, back))
            strengths.append(place / (BINS - 1) * (-1 if back else 1))
    image_BCHW = (image_CHW / 255).repeat(len(strengths), 1, 1, 1)
    operation_B = torch.full((len(strengths),), OPERATIONS.index(name))
    got = operations.operate(image_BCHW.clone(), operation_B, torch.tensor(strengths), ranges)
    if name in ("Identity", *LEVELS):
        assert torch.equal(got, torch.stack(expected))
    else:
        # a rounding of 1e-5 pixels in the place of a pixel is one of 1e-5 in its value, and there are few larger
        torch.testing.assert_close(got, torch.stack(expected), rtol=0, atol=1e-4)
    assert name == "Identity" or not torch.equal(got, image_BCHW)


def test_samples_of_a_batch_get_each_its_own_operation() -> None:
    count = len(OPERATIONS)
    image_BCHW = some_bytes(count, 3, 24, 20) / 255
    operation_B, strength_B = torch.arange(count), torch.linspace(-0.9, 0.8, count)
    together = operations.operate(image_BCHW.clone(), operation_B, strength_B, TRIVIAL)
    for sample in range(count):
        one = slice(sample, sample + 1)
        alone = operations.operate(image_BCHW[one].clone(), operation_B[one], strength_B[one], TRIVIAL)
        assert_close(together[one], alone)


def test_a_channel_of_one_level_keeps_it_through_autocontrast_and_equalize() -> None:
    image_BCHW = torch.tensor([0.0, 100, 255]).div(255)[None, :, None, None].repeat(2, 1, 9, 9)
    kind_B = torch.tensor([OPERATIONS.index("AutoContrast"), OPERATIONS.index("Equalize")])
    got = operations.operate(image_BCHW.clone(), kind_B, torch.ones(2), TRIVIAL)
    assert torch.equal(got, image_BCHW)


@pytest.mark.parametrize("rounds", [1, 2])
def test_all_operations_and_directions_are_drawn_for_the_chosen_alone(
    rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Tensor, Tensor, Ranges]] = []
    monkeypatch.setattr(operations, "operate", lambda image, *of: seen.append(of) or image)  # type: ignore[func-returns-value]
    chosen_B = torch.arange(4000) % 4 > 0
    draw = operations.trivial_augment if rounds == 1 else operations.rand_augment
    draw(torch.zeros(4000, 3, 1, 1), chosen_B, seeded())
    assert len(seen) == rounds
    for operation_B, strength_B, ranges in seen:
        assert ranges is (TRIVIAL if rounds == 1 else RAND)
        assert (operation_B[~chosen_B] == OPERATIONS.index("Identity")).all()
        count_O = torch.bincount(operation_B[chosen_B], minlength=len(OPERATIONS))
        assert ((count_O - 3000 / 14).abs() < 4 * (3000 / 14) ** 0.5).all()
        assert (strength_B > 0).float().mean() == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)
        if rounds == 2:
            assert torch.equal(strength_B.abs(), torch.full((4000,), 0.3))
        else:
            quarters = torch.tensor([0.25, 0.5, 0.75])
            torch.testing.assert_close(strength_B.abs().quantile(quarters), quarters, rtol=0, atol=0.05)


def test_levels_are_changed_as_bytes_whatever_the_floats_between() -> None:
    image_BCHW = some_bytes(2, 3, 12, 12) / 255 + 0.4 / 255 * torch.rand((2, 3, 12, 12), generator=seeded())
    operation_B = torch.full((2,), OPERATIONS.index("Equalize"))
    got = operations.operate(image_BCHW.clamp(0, 1), operation_B, torch.ones(2), TRIVIAL)
    assert torch.equal(got, reference.equalize(some_bytes(2, 3, 12, 12)) / 255)
