"""GIF photos -> uint8 RGB, with Pillow's decoder and the same pixels as from torchvision 0.29.

torchvision itself reads beyond the end of a short palette, and writes a frame that exceeds its canvas over other
memory.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL.GifImagePlugin import GifImageFile  # Image.open has a pixel limit of its own, and warns

from maskcls.images.headers import DamagedError, Header


@dataclass(frozen=True)
class _Frame:
    at: int
    """Position of its descriptor of ten bytes."""
    transparent: int | None
    """Palette index of the colour that is not drawn."""


def read_gif_header(data: bytes) -> Header:
    """The header of a GIF. Raises DamagedError, also for an animation: a decoder would hold all its frames at once."""
    height, width, _ = _canvas(data)
    return Header("GIF", height, width)


def read_gif(data: bytes) -> np.ndarray:
    """uint8 [height, width, 3] of the only frame on a canvas of the background colour. Raises DamagedError."""
    height, width, frame = _canvas(data)
    at = frame.at
    left, top, columns, rows = (_number(data, at + offset) for offset in (1, 3, 5, 7))
    common, own = _palette(data, 10, 13), _palette(data, at + 9, at + 10)
    colour_N3 = own if len(own) else common
    # the frame alone on a canvas of its size, without transparency: Pillow then returns its indices
    alone = data[:6] + data[at + 5 : at + 9] + data[10 : 13 + common.size] + b"," + bytes(4) + data[at + 5 :]
    index_HW = _indices(alone)
    if not len(colour_N3) or index_HW.max() >= len(colour_N3):
        raise DamagedError("a GIF whose palette lacks colours")
    canvas_HWC = np.zeros((height, width, 3), np.uint8)
    if data[11] < len(common):
        canvas_HWC[:] = common[data[11]]
    drawn_HWC = canvas_HWC[top : top + rows, left : left + columns]
    is_drawn_HW1 = (index_HW != (-1 if frame.transparent is None else frame.transparent))[..., None]
    np.copyto(drawn_HWC, colour_N3[index_HW], where=is_drawn_HW1)
    return canvas_HWC


def _canvas(data: bytes) -> tuple[int, int, _Frame]:
    """(height, width, the only frame)."""
    frames = _frames(data)
    if not frames:
        raise DamagedError("a GIF without a picture")
    if len(frames) > 1:
        raise DamagedError("an animation is not a photo")
    left, top, columns, rows = (_number(data, frames[0].at + offset) for offset in (1, 3, 5, 7))
    height, width = max(_number(data, 8), rows), max(_number(data, 6), columns)
    if rows * columns == 0 or top + rows > height or left + columns > width:
        raise DamagedError("a GIF whose frame exceeds its canvas")
    return height, width, frames[0]


def _frames(data: bytes) -> list[_Frame]:
    """The frames up to the trailer. Raises DamagedError for an unknown block, and for a missing trailer."""
    frames: list[_Frame] = []
    at, transparent = 13 + _palette_bytes(data, 10), None
    while at < len(data) and data[at : at + 1] != b";":
        if data[at : at + 1] == b",":
            frames.append(_Frame(at, transparent))
            at, transparent = at + 11 + _palette_bytes(data, at + 9), None
        elif data[at : at + 1] == b"!":
            is_control = data[at + 1 : at + 3] == b"\xf9\x04"
            if is_control and transparent is None and data[at + 3] & 1:
                transparent = data[at + 6]
            at += 2
        else:
            raise DamagedError("a damaged GIF")
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    if at >= len(data):
        raise DamagedError("a GIF that was cut short")
    return frames


def _palette_bytes(data: bytes, at: int) -> int:
    """Size of the palette that the flags at this position announce."""
    flags = data[at] if at < len(data) else 0
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _palette(data: bytes, flags: int, start: int) -> np.ndarray:
    """uint8 [colours, 3]; without rows if no palette is announced."""
    return np.frombuffer(data[start : start + _palette_bytes(data, flags)], np.uint8).reshape(-1, 3)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _indices(alone: bytes) -> np.ndarray:
    """uint8 [height, width] of palette indices in a frame that fills its canvas."""
    try:
        picture = GifImageFile(io.BytesIO(alone))
        picture.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many kinds
        raise DamagedError("a damaged GIF") from error
    return np.asarray(picture)  # mode "P", or "L" for a palette of all greys in order: the same numbers
