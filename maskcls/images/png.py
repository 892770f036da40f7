"""PNG photos -> uint8 RGB, after the checks of libpng.

torchvision's libpng ends the whole process at damaged rows (0.29: an error of its C code unwinds through frames of
C++), and Pillow silently reads a photo with a zeroed or cut middle as black. So checksums, lengths and order are
checked here, and Pillow decodes a copy that holds only the picture.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile  # Image.open has a pixel limit of its own, and warns

from maskcls.images.depth import Pixels, to_8_bits, used_bits
from maskcls.images.headers import EXIF, PNG_SIGNATURE, DamagedError, Header

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type -> channels: grey, RGB, palette, grey with alpha, RGB with alpha."""

DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Colour type -> bits that a channel may have."""

PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Passes of Adam7 interlacing: (first column, first row, step between columns, step between rows)."""

ORIENTATION_CHUNKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""Chunks that may hold the orientation."""

PIECE = 1 << 18
"""Bytes decompressed at a time, since a few bytes may expand to gigabytes."""


def read_png_header(data: bytes) -> Header:
    """The header of a PNG. Raises DamagedError."""
    chunks = list(_chunks(data))
    width, height, *_ = _image_header(chunks)
    names = [name for name, _ in chunks]
    early = chunks[: names.index(b"IDAT")] if b"IDAT" in names else chunks
    return Header("PNG", height, width, _info(chunks), next((body for name, body in early if name == b"eXIf"), b""))


def read_png(data: bytes, bit_depth: int = 0) -> Pixels:
    """The photo, not turned. Raises DamagedError before memory is allocated for rows that are missing.

    ``bit_depth``: bits that samples stored in 16 use; 0: all.
    """
    chunks = list(_chunks(data))
    width, height, depth, kind, is_interlaced = _image_header(chunks)
    palette = next((body for name, body in chunks if name == b"PLTE"), b"") if kind == 3 else b""
    if kind == 3 and not (0 < len(palette) <= 768 and len(palette) % 3 == 0):
        raise DamagedError("a PNG with an invalid palette")
    compressed = [body for name, body in chunks if name == b"IDAT"]
    _check_rows(compressed, _num_bytes(width, height, depth * CHANNELS[kind], is_interlaced))
    picture = [(name, body) for name, body in chunks if name in (b"IHDR", b"IDAT") or (name == b"PLTE" and palette)]
    return _decode(picture, len(palette) // 3, depth == 16, bit_depth or 16)


def _image_header(chunks: list[tuple[bytes, bytes]]) -> tuple[int, int, int, int, bool]:
    """(width, height, bits of a channel, colour type, whether it is interlaced) of the IHDR chunk."""
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise DamagedError("a PNG without a header")
    width, height, depth, kind, compression, filters, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth not in DEPTHS.get(kind, ()) or compression or filters or interlace > 1:
        raise DamagedError("a PNG with an invalid header")
    return width, height, depth, kind, interlace == 1


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, contents) of the critical chunks and of those that may hold the orientation, in order.

    After the IDAT chunks, which stand together, the picture is complete: what follows is neither needed nor checked.
    As in libpng, a wrong checksum is an error in a critical chunk; other chunks with one are skipped.
    """
    at, seen, is_complete = len(PNG_SIGNATURE), set[bytes](), False
    while at + 8 <= len(data):
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 8 + length
        is_critical = name in (b"IHDR", b"PLTE", b"IDAT", b"IEND")
        is_complete = is_complete or (b"IDAT" in seen and name != b"IDAT")
        if not is_critical and not name[:1].islower() and not is_complete:
            raise DamagedError("a PNG with an unknown critical chunk")
        if end + 4 > len(data):
            if is_complete:
                return
            raise DamagedError("a PNG that was cut short")
        is_intact = zlib.crc32(data[at + 4 : end]) == int.from_bytes(data[end : end + 4])
        if is_critical and not is_complete:
            if not is_intact:
                raise DamagedError(f"a PNG whose {name.decode()} has a wrong checksum")
            if (name != b"IDAT" and name in seen) or name == b"IEND":
                raise DamagedError("a PNG whose chunks are out of order")
        if is_intact and (name in ORIENTATION_CHUNKS or (is_critical and not is_complete)):
            yield name, data[at + 8 : end]
        seen.add(name)
        at = end + 4
        if name == b"IEND":
            return
    if b"IDAT" not in seen:
        raise DamagedError("a PNG that was cut short")


def _num_bytes(width: int, height: int, bits: int, is_interlaced: bool) -> int:
    """Bytes of the rows of all passes, uncompressed, each row with its filter number; ``bits`` of a pixel."""
    total = 0
    for first_x, first_y, step_x, step_y in PASSES if is_interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - first_x) // step_x), -(-(height - first_y) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _check_rows(compressed: list[bytes], missing: int) -> None:
    """Raise DamagedError if the data expand to fewer bytes than ``missing``, or zlib finds them damaged."""
    stream = zlib.decompressobj()
    try:
        for body in compressed:
            for at in range(0, len(body), PIECE):
                piece = body[at : at + PIECE]
                while piece and not stream.eof and missing > -PIECE:
                    missing -= len(stream.decompress(piece, PIECE))
                    piece = stream.unconsumed_tail
    except zlib.error:
        raise DamagedError("a PNG whose picture is damaged") from None
    if missing > 0:
        raise DamagedError("a PNG that lacks rows")


def _decode(chunks: list[tuple[bytes, bytes]], num_colours: int, is_deep: bool, bits: int) -> Pixels:
    """``is_deep``: samples of 16 bits, of which the lower ``bits`` are used."""
    picture = PngImageFile(_file(chunks))
    try:
        picture.load()
        if num_colours and np.asarray(picture).max() >= num_colours:
            raise DamagedError("a PNG whose palette lacks colours")
        if is_deep and picture.mode.startswith("I"):
            sample_HW = np.asarray(picture).astype(np.uint16)
            return Pixels(np.repeat(to_8_bits(sample_HW, bits)[..., None], 3, 2), used_bits(sample_HW))
        image_HWC = _rgb(picture)
        if not is_deep:
            return Pixels(image_HWC)
        used = 8 + int(image_HWC.max()).bit_length()  # of 16-bit colours Pillow keeps the upper 8
        return Pixels(image_HWC if bits == 16 else _shifted(image_HWC, chunks, bits), used)
    except (DamagedError, MemoryError):
        raise
    except Exception as error:  # mostly an unknown filter; Pillow raises many kinds
        raise DamagedError("a PNG whose rows are damaged") from error


def _shifted(upper_HWC: np.ndarray, chunks: list[tuple[bytes, bytes]], bits: int) -> np.ndarray:
    """The upper 8 of the lower ``bits`` of 16-bit colours, given their upper bytes.

    Read in the other order of bytes, Pillow keeps the lower ones.
    """
    picture = PngImageFile(_file(chunks))
    # grey with alpha has no other order; as four bytes, its second one is the lower of grey
    others = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}
    is_grey = picture.tile[0].args == "LA;16B"
    picture.tile = [tile._replace(args=others[str(tile.args)]) for tile in picture.tile]
    picture.load()
    lower_HWC = _rgb(picture)
    return to_8_bits(upper_HWC.astype(np.uint16) << 8 | (lower_HWC[..., 1:2] if is_grey else lower_HWC), bits)


def _rgb(picture: Image.Image) -> np.ndarray:
    """Writable uint8 [height, width, 3], filled some rows at a time to keep the copies of np.asarray small."""
    picture = picture if picture.mode == "RGB" else picture.convert("RGB")
    image_HWC = np.empty((picture.height, picture.width, 3), np.uint8)
    rows = max(1, PIECE * 64 // picture.width)
    for top in range(0, picture.height, rows):
        bottom = min(top + rows, picture.height)
        strip = picture if rows >= picture.height else picture.crop((0, top, picture.width, bottom))
        image_HWC[top:bottom] = np.asarray(strip)
    return image_HWC


def _info(chunks: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """``Header.info`` of the orientation chunks, which Pillow reads as parts of a PNG of one pixel."""
    orienting = [(name, body) for name, body in chunks if name in ORIENTATION_CHUNKS]
    if not orienting:
        return {}
    pixel = (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    try:
        stub = PngImageFile(_file([pixel, *orienting, (b"IDAT", zlib.compress(b"\0\0"))]))
        stub.load()
    except Exception:  # texts beyond Pillow's limits: Pillow could not open the photo itself either
        return {}
    names = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
    info = {name: stub.info[name] for name in names if name in stub.info}
    if "exif" in info and not info["exif"].startswith(EXIF):
        info["exif"] = EXIF + info["exif"]
    return info


def _file(chunks: list[tuple[bytes, bytes]]) -> io.BytesIO:
    """A PNG file of these chunks."""
    parts = [PNG_SIGNATURE]
    for name, body in [*chunks, (b"IEND", b"")]:
        parts += [struct.pack(">I", len(body)), name, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))]
    return io.BytesIO(b"".join(parts))
