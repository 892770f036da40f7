"""Colours of whole images, against torchvision's functions applied image by image."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from maskcls.augment import colour
from tests.helpers.data.augment import SHAPES, assert_close, image_by_image, some_images, spread


@pytest.mark.parametrize("shape", SHAPES)
def test_contrast_equals_torchvision_image_by_image(shape: tuple[int, ...]) -> None:
    image_BCHW, factor_B = some_images(*shape), spread(0.0, 3.0, shape[0])
    expected = image_by_image(reference.adjust_contrast, image_BCHW, factor_B)
    assert_close(colour.adjust_contrast(image_BCHW, factor_B), expected)


@pytest.mark.parametrize("name", ["adjust_brightness", "adjust_saturation"])
@pytest.mark.parametrize("shape", SHAPES)
def test_brightness_and_saturation_equal_torchvision_image_by_image(shape: tuple[int, ...], name: str) -> None:
    image_BCHW, factor_B = some_images(*shape), spread(0.0, 3.0, shape[0])
    expected = image_by_image(getattr(reference, name), image_BCHW, factor_B)
    assert_close(getattr(colour, name)(image_BCHW, factor_B), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_hue_equals_torchvision_image_by_image(shape: tuple[int, ...]) -> None:
    image_BCHW, turn_B = some_images(*shape), spread(-0.5, 0.5, shape[0])
    expected = image_by_image(reference.adjust_hue, image_BCHW, turn_B)
    assert_close(colour.adjust_hue(image_BCHW, turn_B), expected)


def test_hue_of_pure_colours_and_greys_equals_torchvision() -> None:
    levels = torch.tensor([0.0, 0.5, 1.0])
    image_BCHW = torch.cartesian_prod(levels, levels, levels).T[None, :, None].repeat(7, 1, 1, 1)
    turn_B = spread(-0.5, 0.5, 7)
    assert_close(colour.adjust_hue(image_BCHW, turn_B), image_by_image(reference.adjust_hue, image_BCHW, turn_B))


def test_jitter_is_brightness_then_saturation_then_hue() -> None:
    image_BCHW = some_images(4, 3, 17, 31)
    brightness_B, saturation_B, turn_B = spread(0.6, 1.4, 4), spread(1.4, 0.6, 4), torch.tensor([0.1, -0.1, 0.05, 0.0])
    expected = [
        reference.adjust_hue(reference.adjust_saturation(reference.adjust_brightness(image, one), two), three)
        for image, one, two, three in zip(
            image_BCHW, brightness_B.tolist(), saturation_B.tolist(), turn_B.tolist(), strict=True
        )
    ]
    assert_close(colour.jitter_colour(image_BCHW, brightness_B, saturation_B, turn_B), torch.stack(expected))
