"""TIFF photos -> uint8 RGB, by Pillow after checks of what it would silently take for black or for other colours.

A TIFF may hold anything: what has no stated white (floats, signed numbers) or no one way to RGB (Lab) is refused.
"""

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import (  # Image.open has a pixel limit, and warns
    COMPRESSION_INFO,
    ImageFileDirectory_v2,
    TiffImageFile,
)

from maskcls.images.depth import Pixels, to_8_bits, used_bits
from maskcls.images.headers import DamagedError, Header
from maskcls.system.errors import one_line

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES = 254, 256, 257, 258, 259, 262, 277
STRIP_OFFSETS, STRIP_ROWS, STRIP_BYTES, PLANES, COLOUR_MAP = 273, 278, 279, 284, 320
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES, SUBSAMPLING, SAMPLE_FORMAT = 322, 323, 324, 325, 530, 339
DNG_VERSION = 50706
"""Numbers of tags (TIFF 6.0)."""

WHITE_IS_ZERO, PALETTE, YCBCR, LAB = 0, 3, 6, (8, 9, 10)
"""Values of PHOTOMETRIC."""

PLAIN, OLD_JPEG = 1, 6
"""Values of COMPRESSION."""

CANON = b"\x10\0\0\0CR\2"
"""Bytes 4 to 10 of a raw file of Canon's."""

REDUCED, MASK = 1, 4
"""Bits of SUBFILE: a page that is a smaller copy of another, or says where another is transparent."""

Tags = Mapping[int, Any]


def read_tiff_header(data: bytes) -> Header:
    """The header of a TIFF with one page, besides smaller copies and masks of it. Raises DamagedError.

    Without orientation: Pillow turns a TIFF upright while it loads it.
    """
    tags = _photo(data)
    return Header("TIFF", tags[HEIGHT], tags[WIDTH])


def read_tiff(data: bytes, bit_depth: int = 0) -> Pixels:
    """The upright photo. ``bit_depth``: bits that samples stored in 16 use; 0: all. Raises DamagedError."""
    tags = _photo(data)
    _check_data(tags, len(data))
    bits = max(_numbers(tags, BITS, (1,)))
    try:
        if bits <= 8:
            return Pixels(_rgb(_loaded(data)))
        if len(_channels(data)) == 1:
            return _deep_grey(data, tags, 12 if bits == 12 else bit_depth or 16, is_declared=bits == 12)
        return _deep_colours(data, bit_depth or 16)
    except (DamagedError, MemoryError):
        raise
    except OSError as error:  # libtiff prints what it has found to standard error
        raise DamagedError("a TIFF whose picture is damaged") from error
    except Exception as error:  # Pillow raises many kinds
        raise DamagedError(f"a TIFF that Pillow cannot read: {one_line(error, 40)}") from error


def _photo(data: bytes) -> Tags:
    """The tags of the only page that is a photo. Raises DamagedError for what is not read."""
    try:
        pages = _pages(data)
        tags = pages[0]
        size = tags[HEIGHT], tags[WIDTH]
        kinds = [_numbers(page, SUBFILE, (0,))[0] for page in pages]
        reason = _why_not(tags)
    except DamagedError:
        raise
    except Exception as error:  # Pillow and garbage raise many kinds
        raise DamagedError("a TIFF whose header is damaged") from error
    if data[4:11] == CANON or DNG_VERSION in tags or kinds[0] & REDUCED:
        raise DamagedError("a camera's raw file, or a TIFF that begins with a thumbnail")
    photos = sum(not kind & (REDUCED | MASK) for kind in kinds)
    if photos > 1:
        raise DamagedError(f"a TIFF of {photos} pages; a photo has one")
    if not all(isinstance(side, int) for side in size):
        raise DamagedError("a TIFF whose header is damaged")
    if reason:
        raise DamagedError(reason)
    return tags


def _pages(data: bytes) -> list[Tags]:
    """The tags of every page."""
    file, pages, seen = io.BytesIO(data), list[Tags](), set[int]()
    head = data[:16] if data[2] == 43 else data[:8]
    at = ImageFileDirectory_v2(head).next
    while at:
        if at in seen or at + 2 > len(data):
            raise DamagedError("a TIFF whose pages are damaged")
        seen.add(at)
        page = ImageFileDirectory_v2(head)
        page.next = at  # stays so where the page is cut short
        file.seek(at)
        page.load(file)
        pages.append(page)
        at = page.next
    return pages


def _why_not(tags: Tags) -> str:
    """Why photos of this kind are not read; empty for one that Pillow is asked to read."""
    bits, formats = _numbers(tags, BITS, (1,)), set(_numbers(tags, SAMPLE_FORMAT, (1,)))
    colours, compression = _numbers(tags, PHOTOMETRIC, (0,))[0], _numbers(tags, COMPRESSION, (PLAIN,))[0]
    remedy = "save it with 8 or 16 bits, as RGB or grey"
    if formats - {1, 4}:
        return (
            f"a TIFF of {'signed' if 2 in formats else 'floating-point'} numbers, which have no stated white; {remedy}"
        )
    if max(bits) > 16:
        return f"a TIFF with {max(bits)} bits a channel; {remedy}"
    if compression not in COMPRESSION_INFO:
        return f"a TIFF in a compression that is not read ({compression}); save it anew"
    if colours in LAB:
        return f"a TIFF in Lab colours; {remedy}"
    is_subsampled = _numbers(tags, SUBSAMPLING, (2, 2)) != (1, 1)
    if compression == OLD_JPEG or (colours == YCBCR and compression == PLAIN and is_subsampled):
        return "a TIFF in an obsolete coding; save it anew"
    if colours == PALETTE:
        palette = _numbers(tags, COLOUR_MAP, ())
        if len(palette) != 3 << bits[0]:
            return "a TIFF whose palette lacks colours"
        if max(palette) < 256:
            return "a TIFF whose palette is black"
    return ""


def _check_data(tags: Tags, size: int) -> None:
    """Raise DamagedError unless all strips or tiles are there: what lacks one would be black there."""
    is_tiled = TILE_OFFSETS in tags
    width, height = tags[WIDTH], tags[HEIGHT]
    columns = _numbers(tags, TILE_WIDTH, (0,))[0] if is_tiled else width
    rows = _numbers(tags, TILE_HEIGHT if is_tiled else STRIP_ROWS, (height,))[0]
    offsets = _numbers(tags, TILE_OFFSETS if is_tiled else STRIP_OFFSETS, ())
    lengths = _numbers(tags, TILE_BYTES if is_tiled else STRIP_BYTES, ())
    if columns <= 0 or rows <= 0:
        raise DamagedError("a TIFF whose header is damaged")
    bits, samples = _numbers(tags, BITS, (1,)), _numbers(tags, SAMPLES, (1,))[0]
    planes = samples if _numbers(tags, PLANES, (1,))[0] == 2 else 1
    if not 0 < samples <= 16 or len(offsets) != planes * math.ceil(width / columns) * math.ceil(height / rows):
        raise DamagedError("a TIFF that lacks rows")
    is_plain = _numbers(tags, COMPRESSION, (PLAIN,))[0] == PLAIN
    if not lengths and is_plain and len(offsets) == 1:  # old writers left the length out
        lengths = (height * math.ceil(width * samples * max(bits) / 8),)
    if len(lengths) != len(offsets) or not all(
        at > 0 and 0 < length <= size - at for at, length in zip(offsets, lengths, strict=True)
    ):
        raise DamagedError("a TIFF that was cut short")
    row_bits = width * max(bits) * (samples if planes == 1 else 1)
    if is_plain and not is_tiled and sum(lengths) < planes * height * math.ceil(row_bits / 8):
        raise DamagedError("a TIFF that lacks rows")


def _numbers(tags: Tags, tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
    """The tag's whole numbers. Raises ValueError for a value of another type."""
    value = tags.get(tag, default)
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(number, int) for number in numbers):
        raise ValueError(f"tag {tag} holds {value!r}")
    return numbers


def _opened(data: bytes) -> TiffImageFile:
    picture = TiffImageFile(io.BytesIO(data))
    # Pillow would warn of more pixels than its own limit, and refuse twice as many
    picture.im = Image.new(picture.mode, picture._tile_size).im
    return picture


def _loaded(data: bytes, order: str = "") -> Image.Image:
    """The upright picture. ``order``: of the bytes of 16-bit colours, "L", "B" or "N"; by default the file's own."""
    picture = _opened(data)
    if order:
        picture.tile = [tile._replace(args=_in_order(tile.args, order)) for tile in picture.tile]
    picture.load()
    return picture


def _raw_mode(picture: TiffImageFile) -> str:
    """Pillow's name of how samples are stored, such as "RGB;16L"."""
    args = picture.tile[0].args
    assert isinstance(args, tuple)
    return str(args[0])


def _in_order(args: tuple[Any, ...] | str | None, order: str) -> tuple[Any, ...]:
    assert isinstance(args, tuple)
    return (args[0][:-1] + order, *args[1:])


def _channels(data: bytes) -> tuple[str, ...]:
    return TiffImageFile(io.BytesIO(data)).getbands()


def _rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode == "La":  # grey multiplied by its alpha
        picture = picture.convert("LA")
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _deep_grey(data: bytes, tags: Tags, bits: int, is_declared: bool) -> Pixels:
    sample_HW = np.asarray(_loaded(data)).astype(np.uint16)
    used = 0 if is_declared else used_bits(sample_HW)
    grey_HW = to_8_bits(sample_HW, bits)
    if _numbers(tags, PHOTOMETRIC, (0,))[0] == WHITE_IS_ZERO:  # of 16 bits Pillow leaves that to the caller
        grey_HW, used = 255 - grey_HW, 0
    return Pixels(np.repeat(grey_HW[..., None], 3, 2), used)


def _deep_colours(data: bytes, bits: int) -> Pixels:
    """Pillow keeps the upper byte of a sample; read in the other order of bytes it is the lower one."""
    upper = _loaded(data)
    raw_mode = _raw_mode(_opened(data))
    if "a" in raw_mode:
        raise DamagedError("a TIFF of 16 bits with colours multiplied by alpha; save it without alpha")
    upper_HWC = np.asarray(upper)
    colours = slice(0, 4 if upper.mode == "CMYK" else 3)
    used = 8 + int(upper_HWC[..., colours].max()).bit_length()
    if bits == 16:
        return Pixels(_rgb(upper), used)
    other_order = {"L": "B", "B": "L", "N": "B"}[raw_mode[-1]]  # N: the machine's own, L wherever torch runs
    lower_HWC = np.asarray(_loaded(data, other_order))
    sample_HWC = upper_HWC.astype(np.uint16) << 8 | lower_HWC
    return Pixels(_rgb(Image.fromarray(to_8_bits(sample_HWC, bits), upper.mode)), used)
