"""Samples that are erased in part or mixed, and the boxes for it, against torchvision's transforms."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from maskcls.augment import boxes, mixing
from tests.helpers.data.augment import CPU, SHAPES, assert_close, seeded, some_images, some_targets, spread


@pytest.mark.parametrize("shape", SHAPES)
def test_cutmix_equals_torchvision_sample_by_sample(shape: tuple[int, ...]) -> None:
    batch, _, height, width = shape
    image_BCHW, target_BK = some_images(*shape), some_targets(batch)
    box_B4 = boxes.draw_cutmix_boxes(batch, height, width, seeded(8), CPU)
    mixed_BCHW, mixed_BK = mixing.cutmix(image_BCHW, target_BK, mixing.partners(image_BCHW, target_BK), box_B4)
    assert not torch.equal(mixed_BCHW, image_BCHW)
    for sample, (top, left, bottom, right) in enumerate(box_B4.tolist()):
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        params = {"labels": target_BK, "batch_size": batch, "box": (left, top, right, bottom), "lam_adjusted": kept}
        transform = v2.CutMix(num_classes=18).transform
        assert torch.equal(mixed_BCHW[sample], transform(image_BCHW, params)[sample])
        assert_close(mixed_BK[sample], transform(target_BK, params)[sample])


def test_labels_are_mixed_by_the_share_of_pixels_that_came_from_the_partner() -> None:
    batch = 64
    image_BCHW = torch.arange(batch, dtype=torch.float32).div(batch)[:, None, None, None].repeat(1, 3, 20, 30)
    target_BK = torch.eye(batch)  # each sample is a class of its own
    box_B4 = boxes.draw_cutmix_boxes(batch, 20, 30, seeded(), CPU)
    mixed_BCHW, mixed_BK = mixing.cutmix(image_BCHW, target_BK, mixing.partners(image_BCHW, target_BK), box_B4)
    pasted_B = (mixed_BCHW != image_BCHW).float().mean(dim=(1, 2, 3))
    assert_close(mixed_BK.diagonal(), 1 - pasted_B)
    assert_close(mixed_BK.sum(1), torch.ones(batch))
    assert 0.1 < pasted_B.mean() < 0.6


@pytest.mark.parametrize("shape", SHAPES)
def test_mixup_equals_torchvision_sample_by_sample(shape: tuple[int, ...]) -> None:
    image_BCHW, target_BK, share_B = some_images(*shape), some_targets(shape[0]), spread(0.0, 1.0, shape[0])
    partner = mixing.partners(image_BCHW, target_BK)
    mixed_BCHW, mixed_BK = mixing.mixup(image_BCHW, target_BK, partner, share_B)
    transform = v2.MixUp(num_classes=18).transform
    for sample, share in enumerate(share_B.tolist()):
        params = {"labels": target_BK, "batch_size": shape[0], "lam": 1 - share}
        assert_close(mixed_BCHW[sample], transform(image_BCHW, params)[sample])
        assert_close(mixed_BK[sample], transform(target_BK, params)[sample])
    assert torch.equal(mixed_BCHW[0], image_BCHW[0])  # a share of 0
    assert torch.equal(mixed_BCHW[-1], partner[0][-1])  # and of 1


def test_shares_of_mixup_have_their_beta_distribution() -> None:
    count, alpha = 20_000, mixing.MIXUP_ALPHA
    share_N = mixing.draw_mixup_shares(count, seeded(), CPU).double()
    assert ((share_N >= 0) & (share_N <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))
    kurtosis = 3 + 6 / (2 * alpha + 3) * -1  # of Beta(alpha, alpha)
    assert share_N.mean() == pytest.approx(0.5, abs=4 * (variance / count) ** 0.5)
    assert share_N.var() == pytest.approx(variance, abs=4 * variance * ((kurtosis - 1) / count) ** 0.5)
    torch.manual_seed(0)
    drawn_N = torch.distributions.Beta(alpha, alpha).sample((count,)).double()
    for low in (1e-4, 0.01, 0.1, 0.3):  # the distribution function, where most of it is: at the ends
        expected = (drawn_N < low).double().mean()
        assert (share_N < low).double().mean() == pytest.approx(float(expected), abs=4 * (0.5 / count) ** 0.5)


def test_erasing_equals_torchvision_image_by_image() -> None:
    image_BCHW, value_BCHW = some_images(4, 3, 20, 30), some_images(4, 3, 20, 30).flip(0)
    box_B4 = torch.tensor([[0, 0, 0, 0], [0, 0, 20, 30], [3, 4, 9, 29], [19, 0, 20, 1]])
    expected = [
        reference.erase(image, top, left, bottom - top, right - left, value[:, top:bottom, left:right])
        for image, value, (top, left, bottom, right) in zip(image_BCHW, value_BCHW, box_B4.tolist(), strict=True)
    ]
    assert torch.equal(mixing.erase(image_BCHW, box_B4, value_BCHW), torch.stack(expected))


def crop_of_torchvision(height: int, width: int) -> list[int]:
    box = v2.RandomResizedCrop((height, width)).make_params([torch.empty(3, height, width)])
    return [box["top"], box["left"], box["top"] + box["height"], box["left"] + box["width"]]


def erased_by_torchvision(height: int, width: int) -> list[int]:
    box = v2.RandomErasing().make_params([torch.empty(3, height, width)])
    return [box["i"], box["j"], box["i"] + box["h"], box["j"] + box["w"]]


def cut_by_torchvision(height: int, width: int) -> list[int]:
    left, top, right, bottom = v2.CutMix(num_classes=2).make_params([torch.empty(1, 3, height, width)])["box"]
    return [top, left, bottom, right]


@pytest.mark.parametrize(
    ("draw", "of_torchvision"),
    [
        (boxes.draw_cutmix_boxes, cut_by_torchvision),
        (boxes.draw_crops, crop_of_torchvision),
        (boxes.draw_erased, erased_by_torchvision),
    ],
)
@pytest.mark.parametrize(("height", "width"), [(20, 50), (64, 48)])
def test_boxes_are_distributed_as_torchvision_draws_them(
    draw: Callable[..., Tensor], of_torchvision: Callable[[int, int], list[int]], height: int, width: int
) -> None:
    count = 1500
    torch.manual_seed(0)
    expected_N4 = torch.tensor([of_torchvision(height, width) for _ in range(count)]).double()
    got_N4 = draw(count, height, width, seeded(), CPU).double()
    assert (got_N4[:, :2] >= 0).all()
    assert (got_N4[:, 2:] <= torch.tensor([height, width])).all()

    def sides(box_N4: Tensor) -> Tensor:
        return box_N4[:, 2:] - box_N4[:, :2]

    moments: list[Callable[[Tensor], Tensor]] = [
        lambda box: box, lambda box: box.square(), sides, lambda box: sides(box).square(),
        lambda box: sides(box).prod(1),
    ]  # fmt: skip
    for moment in moments:
        got, expected = moment(got_N4), moment(expected_N4)
        noise_of_difference = expected.std(0) * (2 / count) ** 0.5
        assert ((got.mean(0) - expected.mean(0)).abs() <= 4 * noise_of_difference).all()


@pytest.mark.parametrize(("height", "width"), [(1000, 10), (10, 1000), (16, 16), (1, 1), (1, 30)])
def test_a_crop_that_cannot_fit_is_the_largest_in_the_middle(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "CROP_AREA", (4.0, 5.0))  # times the image's
    (box,) = boxes.draw_crops(1, height, width, seeded(), CPU).tolist()
    transform = v2.RandomResizedCrop((height, width), scale=(4.0, 5.0))
    params = transform.make_params([torch.empty(3, height, width)])
    assert box == [
        params["top"], params["left"], params["top"] + params["height"], params["left"] + params["width"]
    ]  # fmt: skip


def test_a_box_that_cannot_be_erased_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "ERASED_AREA", (4.0, 5.0))
    top_B, left_B, bottom_B, right_B = boxes.draw_erased(8, 20, 30, seeded(), CPU).unbind(1)
    assert torch.equal(top_B, bottom_B)
    assert torch.equal(left_B, right_B)
