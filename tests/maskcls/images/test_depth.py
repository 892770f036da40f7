"""More than 8 bits: white is what the file or the user says, never what the photo happens to hold."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskcls.images.decode import decode_all, decode_whole
from maskcls.images.depth import why_dark
from maskcls.images.png import read_png
from maskcls.images.preview import picture
from maskcls.images.tiff import read_tiff
from tests.helpers.data.tiff import tiff

FULL = np.random.default_rng(0).integers(0, 2**16, (9, 7, 3), dtype=np.uint16)
FULL[0, 0] = 2**16 - 1
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""PNG's colour type -> its channels."""


def png(sample_HWC: np.ndarray, kind: int) -> bytes:
    """A PNG of 16 bits; alpha, where the kind has it, is zero."""
    rows, columns = sample_HWC.shape[:2]
    stored = np.zeros((rows, columns, CHANNELS[kind]), ">u2")
    colours = CHANNELS[kind] - (kind > 2)
    stored[..., :colours] = sample_HWC[..., :colours]
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in stored))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", columns, rows, 16, kind, 0, 0, 0)), (b"IDAT", body), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


Written = Callable[[np.ndarray], bytes]
FILES: dict[str, tuple[int, Written]] = {
    **{f"PNG {kind}": (3 if kind in (2, 6) else 1, lambda sample, kind=kind: png(sample, kind)) for kind in CHANNELS},
    **{
        f"TIFF {order}{compression}": (3, lambda sample, order=order, compression=compression: tiff(
            sample, 2, order, t259=compression
        ))
        for order in "<>"
        for compression in (1, 8)
    },
    "grey TIFF": (1, lambda sample: tiff(sample[..., 0], 1)),
    "grey big-endian TIFF": (1, lambda sample: tiff(sample[..., 0], 1, ">")),
    "grey compressed TIFF": (1, lambda sample: tiff(sample[..., 0], 1, t259=8)),
}  # fmt: skip


def read(content: bytes, bit_depth: int = 0) -> tuple[np.ndarray, int]:
    pixels = (read_png if content.startswith(b"\x89PNG") else read_tiff)(content, bit_depth)
    return pixels.image_HWC, pixels.used_bits


@pytest.mark.parametrize("name", FILES)
def test_the_upper_8_of_the_bits_that_are_used(name: str) -> None:
    channels, write = FILES[name]
    expected = np.broadcast_to((FULL >> 8)[..., :channels], FULL.shape)
    image_HWC, used = read(write(FULL))
    assert (image_HWC == expected).all()
    assert used == 16
    for bits in (12, 10, 8):
        image_HWC, used = read(write(FULL >> (16 - bits)), bits)
        assert (image_HWC == expected).all(), bits
        assert used == bits
    image_HWC, _ = read(write(FULL), 15)
    assert (
        image_HWC == np.minimum(np.broadcast_to(FULL[..., :channels], FULL.shape) >> 7, 255)
    ).all()  # brighter: white


def test_a_tiff_that_declares_12_bits_needs_no_word_from_the_user() -> None:
    image = FULL[..., 0] >> 4
    image = image[:, :6]
    high, low = image[:, ::2], image[:, 1::2]
    packed = np.stack([high >> 4, (high & 15) << 4 | low >> 8, low & 255], 2).astype(np.uint8)
    content = tiff(packed.reshape(9, 9), 1, bits=8, t256=6, t258=12)
    image_HWC, used = read(content)
    assert (image_HWC[..., 0] == image >> 4).all()
    assert used == 0


def test_photos_of_8_bits_have_nothing_to_say() -> None:
    file = io.BytesIO()
    Image.new("RGB", (3, 3)).save(file, "PNG")
    assert read(file.getvalue())[1] == 0


@pytest.mark.parametrize(
    ("bits", "depth", "words"),
    [(12, 0, "4095.*bit_depth=12"), (11, 0, "2047.*bit_depth=12"), (8, 0, "255.*bit_depth=8"), (14, 0, "bit_depth=14")],
)
def test_photos_that_would_be_nearly_black_are_told_with_the_remedy(bits: int, depth: int, words: str) -> None:
    text = why_dark(bits, 7, depth).replace("\n", " ")
    assert "7 photos" in text
    assert np.all([word in text for word in words.split(".*")])


@pytest.mark.parametrize(("bits", "depth"), [(0, 0), (15, 0), (16, 0), (12, 12), (12, 16)])
def test_others_are_not(bits: int, depth: int) -> None:
    assert why_dark(bits, 7, depth) == ""


def test_the_brightest_photo_speaks_for_all_and_no_photo_changes_another(tmp_path: Path) -> None:
    (tmp_path / "dark.png").write_bytes(png(FULL >> 6, 2))
    (tmp_path / "bright.png").write_bytes(png(FULL >> 4, 0))
    Image.new("RGB", (3, 3)).save(tmp_path / "plain.png")
    names = ["dark.png", "bright.png", "plain.png"]
    out_NCHW = np.zeros((3, 3, 9, 7), np.uint8)
    decoded = decode_all(tmp_path, names, (9, 7), (1.0, 1.0), out_NCHW, bit_depth=12)
    assert (decoded.deep_photos, decoded.used_bits) == (2, 12)
    assert torch.equal(torch.from_numpy(out_NCHW[0]), decode_whole(tmp_path / "dark.png", 12))
    assert (out_NCHW[0].transpose(1, 2, 0) == FULL >> 6 >> 4).all()
    assert (np.asarray(picture(tmp_path / "dark.png", 12)) == FULL >> 6 >> 4).all()
