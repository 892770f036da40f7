"""TIFF and BMP: the pixels that Pillow or the format's definition says, and a reason for everything else."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskcls.images.bmp import read_bmp, read_bmp_header
from maskcls.images.decode import decode_all, decode_whole
from maskcls.images.headers import DamagedError
from maskcls.images.orientation import turn
from maskcls.images.picture_files import is_picture
from maskcls.images.preview import picture
from maskcls.images.tiff import read_tiff, read_tiff_header
from tests.helpers.data.tiff import tiff, tiff_of_pages

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (30, 21, 3), dtype=np.uint8)
PICTURE = Image.fromarray(RGB)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiffs_of_8_bits_are_read_as_by_pillow(tmp_path: Path, mode: str, compression: str) -> None:
    image = PICTURE.convert("L").convert(mode) if mode in ("LA", "1") else PICTURE.convert(mode)
    content = saved(image, "TIFF", compression=compression)
    (tmp_path / "photo.tif").write_bytes(content)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert (decode_whole(tmp_path / "photo.tif").permute(1, 2, 0).numpy() == expected).all()
    assert (np.asarray(picture(tmp_path / "photo.tif")) == expected).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA"])
def test_bmps_are_read_as_by_pillow(mode: str) -> None:
    content = saved(PICTURE.convert(mode), "BMP")
    assert (read_bmp(content) == np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))).all()


def bmp(bits: int, rows: bytes, palette: bytes = b"", masks: bytes = b"", height: int = 2, colours: int = 0) -> bytes:
    """A BMP of 3 columns with these rows."""
    at = 54 + len(masks) + len(palette)
    head = struct.pack("<IiiHHIIiiII", 40, 3, height, 1, bits, 3 if masks else 0, 0, 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, at) + head + masks + palette + rows


FIVE_SIX_FIVE = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
GREYS = b"".join(bytes([grey, grey, grey, 0]) for grey in range(16))


def test_bmps_by_the_definition_of_the_format() -> None:
    row = struct.pack("<HHHH", 0xF800, 0x7E0, 0x1F, 0)
    assert read_bmp(bmp(16, row * 2, masks=FIVE_SIX_FIVE))[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    row = struct.pack("<HHHH", 0x7C00, 0x3E0, 0x1F, 0)
    assert read_bmp(bmp(16, row * 2))[1].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    deep = struct.pack("<III", 0x3FF00000, 0xFFC00, 0x3FF)
    row = struct.pack("<III", 0x3FF00000, 512 << 10, 1023)
    assert read_bmp(bmp(32, row * 2, masks=deep))[0].tolist() == [[255, 0, 0], [0, 127, 0], [0, 0, 255]]
    rows = bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0]) + bytes(range(11, 20)) + bytes(3)
    assert read_bmp(bmp(24, rows))[0].tolist() == [[13, 12, 11], [16, 15, 14], [19, 18, 17]]  # the lowest row is first
    assert read_bmp(bmp(24, rows, height=-2))[0].tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    # Pillow takes four bits of these for eight
    assert read_bmp(bmp(4, b"\x12\x30\0\0" * 2, palette=GREYS))[0, :, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    content = saved(PICTURE, "TIFF", tiffinfo={0x0112: orientation})
    (tmp_path / "photo.tif").write_bytes(content)
    expected = turn(torch.from_numpy(RGB).permute(2, 0, 1), orientation)
    assert torch.equal(decode_whole(tmp_path / "photo.tif"), expected)
    assert (np.asarray(picture(tmp_path / "photo.tif")) == expected.permute(1, 2, 0).numpy()).all()


def test_grey_with_white_as_zero_is_turned_round() -> None:
    grey = RGB[..., 0]
    assert (read_tiff(tiff(grey, 0, bits=8)).image_HWC[..., 0] == 255 - grey).all()
    deep = grey.astype(np.uint16) << 8
    assert (read_tiff(tiff(deep, 0)).image_HWC[..., 0] == 255 - grey).all()


def paged(*kinds: int) -> bytes:
    """A TIFF with a page of each kind (NewSubfileType), all of the same pixels."""
    page: dict[int, int | tuple[int, ...]] = {
        **{256: 21, 257: 30, 258: (8, 8, 8), 259: 1, 262: 2, 273: 8, 277: 3, 278: 30, 279: RGB.size}
    }
    return tiff_of_pages([{**page, 254: kind} for kind in kinds], RGB.tobytes())


@pytest.mark.parametrize("kinds", [(0,), (0, 1, 1), (0, 4), (0, 5)])
def test_smaller_copies_and_masks_of_a_photo_are_left_alone(kinds: tuple[int, ...]) -> None:
    assert (read_tiff(paged(*kinds)).image_HWC == RGB).all()


GREY = RGB[..., 0]
REFUSED = {
    "several pages": (paged(0, 0, 0), "3 pages"),
    "a thumbnail first": (paged(1, 0), "raw file"),
    "a raw file of Canon": (tiff_of_pages([{256: 21, 257: 30}], b"CR\2\0" + bytes(4)), "raw file"),
    "a DNG": (tiff(RGB, 2, bits=8, t50706=1), "raw file"),
    "Lab": (saved(Image.merge("LAB", PICTURE.split()), "TIFF"), "Lab"),
    "floats": (saved(PICTURE.convert("F"), "TIFF"), "floating-point"),
    "signed numbers": (tiff(GREY, 1, t339=2), "signed"),
    "32 bits": (saved(PICTURE.convert("I"), "TIFF"), "signed|32 bits"),
    "rows that are missing": (tiff(RGB, 2, bits=8, t257=31), "lacks rows"),
    "a strip that is missing": (tiff(RGB, 2, bits=8, t278=15), "lacks rows"),
    "a strip beyond the end": (tiff(RGB, 2, bits=8, t273=10**6), "cut short"),
    "the half": (saved(PICTURE, "TIFF")[: RGB.size // 2], "cut short|damaged"),
    "a short palette": (tiff(GREY, 3, bits=8, t320=(0, 1, 2)), "palette lacks"),
    "a black palette": (tiff(GREY, 3, bits=8, t320=(255,) * 768), "palette is black"),
    "an unknown compression": (tiff(RGB, 2, bits=8, t259=77), "compression"),
    "old JPEG": (tiff(RGB, 2, bits=8, t259=6), "obsolete"),
    "a huge one": (tiff(RGB, 2, bits=8, t256=2**20, t257=2**20), "more than the 250 million"),
    "a circle of pages": (tiff(GREY, 1, bits=8)[:-4] + tiff(GREY, 1, bits=8)[4:8], "pages are damaged"),
    "a cut BMP": (saved(PICTURE, "BMP")[:-1], "cut short"),
    "a huge BMP": (bmp(24, bytes(24), height=10**9), "more than the 250 million"),
    "a BMP without rows": (bmp(24, bytes(24), height=0), "0 pixels"),
    "a run-length coded BMP": (bmp(8, bytes(24))[:30] + b"\1" + bmp(8, bytes(24))[31:], "run-length"),
    "a BMP of 13 bits": (bmp(13, bytes(24)), "invalid header"),
    "a BMP whose palette is short": (bmp(8, b"\7" * 8, palette=GREYS[:16], colours=4), "palette lacks"),
    "a BMP with a mask of nothing": (bmp(16, bytes(24), masks=bytes(12)), "masks"),
    "a BMP inside its header": (bmp(24, bytes(24))[:10] + b"\x10" + bmp(24, bytes(24))[11:], "inside its header"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read_is_named(tmp_path: Path, kind: str) -> None:
    content, reason = REFUSED[kind]
    (tmp_path / "photo").write_bytes(content)
    with pytest.raises(DamagedError, match=reason):
        decode_whole(tmp_path / "photo")


def test_headers_say_the_size_as_stored() -> None:
    header = read_tiff_header(saved(PICTURE, "TIFF"))
    assert (header.format, header.height, header.width) == ("TIFF", 30, 21)
    header = read_bmp_header(saved(PICTURE, "BMP"))
    assert (header.format, header.height, header.width) == ("BMP", 30, 21)


def test_pillows_own_limit_of_pixels_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 10)
    assert (read_tiff(saved(PICTURE, "TIFF", compression="tiff_lzw")).image_HWC == RGB).all()


def test_what_libtiff_prints_of_a_refused_photo_is_not_passed_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(saved(PICTURE, "TIFF", compression="tiff_lzw"))
    content[60:200] = b"\xff" * 140
    (tmp_path / "a.tif").write_bytes(bytes(content))
    (tmp_path / "b.tif").write_bytes(saved(PICTURE, "TIFF"))
    decoded = decode_all(tmp_path, ["a.tif", "b.tif"], (8, 8), (1.0, 1.0), np.zeros((2, 3, 8, 8), np.uint8))
    assert [photo.path for photo in decoded.unreadable] == ["a.tif"]
    assert (decoded.read_anew, decoded.odd) == (["b.tif"], {})
    assert capfd.readouterr().err == ""


def test_files_without_an_ending_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    contents = {"bmp": saved(PICTURE, "BMP"), "tiff": saved(PICTURE, "TIFF"), "text": b"BMW cars of the year"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert [name for name in contents if is_picture(str(tmp_path / name))] == ["bmp", "tiff"]
