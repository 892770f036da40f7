"""Pictures of the report's gallery: the pixels that models see, nothing else of the file, and none costs the report."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskcls.images.decode import decode_whole
from maskcls.images.preview import picture
from search.page.gallery import thumbnail


def shown(path: Path) -> np.ndarray:
    jpeg, problem = thumbnail(path)
    assert problem == ""
    return np.asarray(Image.open(io.BytesIO(jpeg or b"")).convert("RGB")).astype(int)


def test_a_photo_of_16_bits_is_as_bright_as_for_the_model(tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.arange(20, 84, dtype=np.uint16), (64, 1)) * 257).save(tmp_path / "photo.png")
    seen = decode_whole(tmp_path / "photo.png").permute(1, 2, 0).numpy()
    assert np.abs(shown(tmp_path / "photo.png") - seen).mean() < 2


@pytest.mark.parametrize("way", range(1, 9))
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.webp", "photo.gif"])
def test_it_is_the_picture_that_models_see(tmp_path: Path, name: str, way: int) -> None:
    row, column = np.mgrid[0:60, 0:48]
    exif = Image.Exif()
    exif[0x0112] = way
    options = {} if name.endswith("gif") else {"exif": exif}
    colours = np.stack([row * 4, column * 5, (row + column) * 2], 2).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / name, **options)  # type: ignore[arg-type]
    seen = decode_whole(tmp_path / name).permute(1, 2, 0).numpy().astype(int)
    pixels = np.asarray(picture(tmp_path / name)).astype(int)
    assert pixels.shape == seen.shape
    assert np.abs(pixels - seen).max() <= (3 if name.endswith(("jpg", "webp")) else 0)


def test_nothing_but_pixels_is_passed_on(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "secret ward"
    Image.new("RGB", (40, 30)).save(
        tmp_path / "photo.jpg", exif=exif, comment=b"secret patient", icc_profile=b"secret profile", xmp=b"secret place"
    )
    assert b"secret" in (tmp_path / "photo.jpg").read_bytes()
    assert b"secret" not in (thumbnail(tmp_path / "photo.jpg")[0] or b"")


def test_exif_that_is_none_costs_nothing(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "photo.png")
    content = (tmp_path / "photo.png").read_bytes()
    chunk = struct.pack(">I", 7) + b"eXIfgarbage" + struct.pack(">I", zlib.crc32(b"eXIfgarbage"))
    (tmp_path / "photo.png").write_bytes(content[:33] + chunk + content[33:])
    assert shown(tmp_path / "photo.png").shape == (30, 40, 3)


@pytest.mark.parametrize(
    "error", [SyntaxError("x"), RuntimeError("x"), Image.DecompressionBombError("x"), MemoryError()]
)
def test_whatever_a_decoder_raises_is_told_beside_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_: Path) -> None:
        raise error

    monkeypatch.setattr("maskcls.images.preview.picture", fail)
    jpeg, problem = thumbnail(tmp_path / "photo.png")
    assert jpeg is None
    assert problem.startswith("not shown")
