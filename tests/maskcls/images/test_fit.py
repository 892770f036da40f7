"""How a photo of another aspect comes to the model's size: squashed, padded or cropped."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskcls.images.decode import decode_photo
from maskcls.images.fit import BACKGROUND, fit_into

ROW, COLUMN = np.mgrid[0:60, 0:40]
PHOTO = torch.from_numpy(np.stack([ROW * 4, COLUMN * 6, (ROW + COLUMN) * 2], 0).astype(np.uint8))
PAD = torch.tensor(BACKGROUND, dtype=torch.uint8)[:, None, None]


def resized(image_CHW: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """By Pillow."""
    image = Image.fromarray(image_CHW.permute(1, 2, 0).numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def near(got: torch.Tensor, expected: torch.Tensor) -> bool:
    return got.dtype == torch.uint8 and bool((got.int() - expected.int()).abs().max() <= 2)


def test_squash_changes_the_aspect() -> None:
    assert near(fit_into(PHOTO, (24, 24), (1.0, 1.0)), resized(PHOTO, (24, 24)))


@pytest.mark.parametrize(
    ("size", "inner"), [((24, 24), (24, 16)), ((24, 40), (24, 16)), ((30, 10), (15, 10)), ((90, 80), (90, 60))]
)
def test_pad_keeps_the_aspect_on_grey(size: tuple[int, int], inner: tuple[int, int]) -> None:
    got = fit_into(PHOTO, size, (1.0, 1.0), "pad")
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    expected = PAD.repeat(1, *size)
    expected[:, top : top + inner[0], left : left + inner[1]] = resized(PHOTO, inner)
    assert got.shape == (3, *size)
    assert near(got, expected)
    assert torch.equal(got[:, :, :left], expected[:, :, :left])
    assert torch.equal(got[:, :top], expected[:, :top])


@pytest.mark.parametrize(
    ("size", "kept"), [((24, 24), (slice(10, 50), slice(0, 40))), ((16, 32), (slice(20, 40), slice(0, 40))),
                       ((60, 20), (slice(0, 60), slice(10, 30)))]
)  # fmt: skip
def test_crop_keeps_the_aspect_and_the_centre(size: tuple[int, int], kept: tuple[slice, slice]) -> None:
    got = fit_into(PHOTO, size, (1.0, 1.0), "crop")
    assert near(got, resized(PHOTO[:, kept[0], kept[1]], size))


@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
def test_photos_of_the_right_aspect_are_the_same_in_every_way(fit: str) -> None:
    expected = fit_into(PHOTO, (30, 20), (1.0, 1.0))
    assert torch.equal(fit_into(PHOTO, (30, 20), (1.0, 1.0), fit), expected)  # type: ignore[arg-type]


def test_the_share_is_kept_first() -> None:
    inner = PHOTO[:, 15:45, :]
    for fit in ("squash", "pad", "crop"):
        expected = fit_into(inner, (24, 24), (1.0, 1.0), fit)  # type: ignore[arg-type]
        assert torch.equal(fit_into(PHOTO, (24, 24), (0.5, 1.0), fit), expected)  # type: ignore[arg-type]


def test_a_line_is_fitted_without_a_huge_picture_between(tmp_path: Path) -> None:
    line = np.full((1, 60000, 3), 50, np.uint8)
    Image.fromarray(line).save(tmp_path / "photo.png")
    assert (decode_photo(tmp_path / "photo.png", (64, 64), fit="crop") == 50).all()
    padded = decode_photo(tmp_path / "photo.png", (64, 64), fit="pad")
    assert (padded[:, 31] == 50).all()
    assert (padded[:, 0] == PAD[:, 0]).all()
