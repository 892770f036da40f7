"""BMP photos -> uint8 RGB. Rows are stored as they are, so numpy reads them; a file has no checksums.

Pillow 13 takes a palette of the darkest greys for pixels of 8 bits. Its conversion of 5 and 6 bits is kept.
"""

from dataclasses import dataclass

import numpy as np

from maskcls.images.headers import DamagedError, Header

BITS = (1, 4, 8, 16, 24, 32)
HEADER_SIZES = (40, 52, 56, 64, 108, 124)
COMPRESSIONS = {1: "run-length coded", 2: "run-length coded", 4: "JPEG-compressed", 5: "PNG-compressed"}
"""Those of files that are refused: hardly a photo is stored so, and a cut one cannot be told from a whole one."""

DEFAULT_MASKS = {16: (0x7C00, 0x3E0, 0x1F), 32: (0xFF0000, 0xFF00, 0xFF)}
"""Bits of red, green and blue in a pixel where the file has no masks."""


@dataclass(frozen=True)
class _Layout:
    height: int
    width: int
    is_top_down: bool
    bits: int
    """Of a pixel."""
    masks: tuple[int, int, int]
    """Bits of red, green and blue in a pixel of 16 or 32 bits."""
    palette: tuple[int, int, int]
    """(position, number of colours, bytes of a colour); no colours from 16 bits a pixel."""
    at: int
    """Position of the first row."""

    @property
    def row_bytes(self) -> int:
        """Rows are padded to four bytes."""
        return (self.width * self.bits + 31) // 32 * 4


def read_bmp_header(data: bytes) -> Header:
    """The header of a BMP. Raises DamagedError."""
    layout = _layout(data)
    return Header("BMP", layout.height, layout.width)


def read_bmp(data: bytes) -> np.ndarray:
    """uint8 [height, width, 3]. Raises DamagedError before memory is allocated for rows that are missing."""
    layout = _layout(data)
    if layout.at + layout.height * layout.row_bytes > len(data):
        raise DamagedError("a BMP that was cut short")
    byte_HR = np.frombuffer(data, np.uint8, layout.height * layout.row_bytes, layout.at)
    byte_HR = byte_HR.reshape(layout.height, layout.row_bytes)
    if not layout.is_top_down:
        byte_HR = byte_HR[::-1]
    if layout.bits <= 8:
        return _coloured(_indices(byte_HR, layout), data, layout)
    if layout.bits == 24:
        return np.ascontiguousarray(byte_HR[:, : 3 * layout.width].reshape(layout.height, -1, 3)[..., ::-1])
    return _masked(np.ascontiguousarray(byte_HR).view(f"<u{layout.bits // 8}")[:, : layout.width], layout.masks)


def _layout(data: bytes) -> _Layout:
    size = _number(data, 14, 4)
    if len(data) < 14 + max(size, 12):
        raise DamagedError("a BMP that was cut short")
    if size == 12:
        height, width, bits, compression, colours = (*(_number(data, at, 2) for at in (20, 18, 24)), 0, 0)
    elif size in HEADER_SIZES:
        height, width, compression, colours = (_number(data, at, 4) for at in (22, 18, 30, 46))
        bits = _number(data, 28, 2)
    else:
        raise DamagedError("a BMP with an unknown header")
    if compression in COMPRESSIONS:
        raise DamagedError(f"a {COMPRESSIONS[compression]} BMP; only plain ones are read")
    has_masks = compression == 3 and bits in DEFAULT_MASKS and size != 64
    if bits not in BITS or not (compression == 0 or has_masks):
        raise DamagedError("a BMP with an invalid header")
    is_top_down = height >= 2**31
    at, palette_at = _number(data, 10, 4), 14 + size
    num_colours = (colours or 1 << bits) if bits <= 8 else 0
    masks = DEFAULT_MASKS.get(bits, (0, 0, 0))
    if has_masks:
        masks = (_number(data, 54, 4), _number(data, 58, 4), _number(data, 62, 4))
    if at < palette_at:
        raise DamagedError("a BMP whose picture begins inside its header")
    height = 2**32 - height if is_top_down else height
    return _Layout(height, width, is_top_down, bits, masks, (palette_at, num_colours, 3 if size == 12 else 4), at)


def _indices(byte_HR: np.ndarray, layout: _Layout) -> np.ndarray:
    """Palette index of every pixel: the upper bits of a byte are the left pixel."""
    pixels = 8 // layout.bits
    index_HRP = np.empty((*byte_HR.shape, pixels), np.uint8)
    for place in range(pixels):
        index_HRP[..., place] = byte_HR >> (8 - layout.bits * (place + 1)) & (1 << layout.bits) - 1
    return index_HRP.reshape(layout.height, -1)[:, : layout.width]


def _coloured(index_HW: np.ndarray, data: bytes, layout: _Layout) -> np.ndarray:
    at, colours, length = layout.palette
    colours = min(colours, (layout.at - at) // length, 1 << layout.bits)
    if index_HW.max() >= colours:
        raise DamagedError("a BMP whose palette lacks colours")
    colour_NC = np.frombuffer(data, np.uint8, colours * length, at).reshape(-1, length)[:, 2::-1]
    return colour_NC[index_HW]


def _masked(pixel_HW: np.ndarray, masks: tuple[int, int, int]) -> np.ndarray:
    image_HWC = np.empty((*pixel_HW.shape, 3), np.uint8)
    for channel, mask in enumerate(masks):
        shift = (mask & -mask).bit_length() - 1
        largest = mask >> max(shift, 0)
        if mask == 0 or largest & (largest + 1) or mask >= 1 << 8 * pixel_HW.itemsize:
            raise DamagedError("a BMP with invalid masks of its colours")
        sample_HW = (pixel_HW & pixel_HW.dtype.type(mask)) >> shift
        image_HWC[..., channel] = sample_HW.astype(np.uint64) * 255 // largest if largest != 255 else sample_HW
    return image_HWC


def _number(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "little")
