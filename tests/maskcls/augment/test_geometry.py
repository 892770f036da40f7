"""Pixels that move, against torchvision's functions applied image by image."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from maskcls.augment import geometry
from tests.helpers.data.augment import SHAPES, assert_close, image_by_image, some_images


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_equals_torchvision_image_by_image(shape: tuple[int, ...]) -> None:
    image_BCHW = some_images(*shape)
    chosen_B = torch.arange(len(image_BCHW)) % 3 == 1
    expected = image_by_image(lambda image, yes: reference.hflip(image) if yes else image, image_BCHW, chosen_B)
    assert torch.equal(geometry.flip(image_BCHW, chosen_B), expected)


BOXES = [(0, 0, 24, 24), (0, 0, 12, 24), (3, 5, 4, 6), (7, 2, 24, 9), (10, 0, 17, 24), (0, 23, 24, 24)]
"""The whole image, half of it, one pixel, one that reaches the lower edge, one across, the last column."""


def test_a_crop_equals_torchvision_image_by_image() -> None:
    image_BCHW = some_images(len(BOXES), 3, 24, 24)
    expected = [
        reference.resized_crop(image_CHW, top, left, bottom - top, right - left, [24, 24], antialias=True)
        for image_CHW, (top, left, bottom, right) in zip(image_BCHW, BOXES, strict=True)
    ]
    assert_close(geometry.resized_crop(image_BCHW, torch.tensor(BOXES)), torch.stack(expected))


def test_a_crop_of_an_oblong_image_keeps_its_height_and_width() -> None:
    image_BCHW = some_images(1, 3, 17, 31)
    expected = reference.resized_crop(image_BCHW, 2, 4, 9, 20, [17, 31], antialias=True)
    assert_close(geometry.resized_crop(image_BCHW, torch.tensor([[2, 4, 11, 24]])), expected)


MOVES: list[tuple[float, list[float], float, list[float]]] = [
    (0.0, [0.0, 0.0], 1.0, [0.0, 0.0]),
    (30.0, [0.0, 0.0], 1.0, [0.0, 0.0]),
    (-100.0, [3.5, -1.25], 1.0, [0.0, 0.0]),
    (0.0, [0.0, 0.0], 0.6, [20.0, 0.0]),
    (0.0, [5.0, 0.0], 1.7, [0.0, -40.0]),
    (15.0, [-2.0, 2.0], 1.1, [10.0, 25.0]),
]
"""torchvision's angle, translate, scale and shear."""


@pytest.mark.parametrize("shape", SHAPES)
def test_an_affine_map_equals_torchvision_image_by_image(shape: tuple[int, ...]) -> None:
    image_BCHW = some_images(len(MOVES), *shape[1:])
    expected = [
        reference.affine(image_CHW, *move, interpolation=reference.InterpolationMode.BILINEAR)
        for image_CHW, move in zip(image_BCHW, MOVES, strict=True)
    ]
    columns = torch.tensor([(angle, *shift, scale, *shear) for angle, shift, scale, shear in MOVES]).unbind(1)
    assert_close(geometry.affine(image_BCHW, geometry.affine_matrix(*columns)), torch.stack(expected))
