"""Which reader takes a file, by its first bytes: one of ours, or None for the formats of torchvision.

JPEG and WebP are torchvision's in training and Pillow's in pages, where torch would take seconds to load.
"""

from collections.abc import Callable
from dataclasses import dataclass

from maskcls.images.bmp import read_bmp, read_bmp_header
from maskcls.images.depth import Pixels
from maskcls.images.gif import read_gif, read_gif_header
from maskcls.images.headers import BMP_SIGNATURE, GIF_SIGNATURES, PNG_SIGNATURE, TIFF_SIGNATURES, Header
from maskcls.images.png import read_png, read_png_header
from maskcls.images.tiff import read_tiff, read_tiff_header

ADDED = ("TIFF", "BMP")
"""Formats that earlier versions could not read."""


@dataclass(frozen=True)
class Reader:
    """The two halves of reading a format. Both raise DamagedError."""

    header: Callable[[bytes], Header]
    pixels: Callable[[bytes, int], Pixels]
    """From the file's bytes and ``bit_depth``: bits that samples stored in 16 use; 0: all."""


READERS: tuple[tuple[tuple[bytes, ...], Reader], ...] = (
    ((PNG_SIGNATURE,), Reader(read_png_header, read_png)),
    (GIF_SIGNATURES, Reader(read_gif_header, lambda data, bit_depth: Pixels(read_gif(data)))),
    (TIFF_SIGNATURES, Reader(read_tiff_header, read_tiff)),
    ((BMP_SIGNATURE,), Reader(read_bmp_header, lambda data, bit_depth: Pixels(read_bmp(data)))),
)


def reader_of(data: bytes) -> Reader | None:
    """The reader of a PNG, GIF, TIFF or BMP; None for other files."""
    return next((reader for signatures, reader in READERS if data.startswith(signatures)), None)
