"""GIF photos -> uint8 RGB.

What torchvision 0.29 makes of a GIF, by Pillow: torchvision looks up colours beyond a palette's end in whatever lies
there, and writes a frame that leaves its canvas over other memory.
"""

import io
from dataclasses import dataclass

import numpy as np

from maskcls.images.headers import DamagedError, Header

TRAILER = 0x3B


@dataclass(frozen=True)
class _Frame:
    at: int
    """Where its descriptor begins, of ten bytes."""
    transparent: int | None
    """The colour that is not drawn."""


def read_gif_header(data: bytes) -> Header:
    """Raises DamagedError for an animation: a decoder would hold all of its frames at once."""
    height, width, _ = _canvas(data)
    return Header("GIF", height, width)


def read_gif(data: bytes) -> np.ndarray:
    """uint8 [height, width, 3]: the only frame on its canvas of the background's colour. Raises DamagedError."""
    height, width, frame = _canvas(data)
    at = frame.at
    left, top, columns, rows = (_number(data, at + place) for place in (1, 3, 5, 7))
    common, own = _palette(data, 10, 13), _palette(data, at + 9, at + 10)
    colour_N3 = own if len(own) else common
    # alone on a canvas of its size, with nothing said about transparency
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
    left, top, columns, rows = (_number(data, frames[0].at + place) for place in (1, 3, 5, 7))
    height, width = max(_number(data, 8), rows), max(_number(data, 6), columns)
    if rows * columns == 0 or top + rows > height or left + columns > width:
        raise DamagedError("a GIF whose picture leaves its canvas")
    return height, width, frames[0]


def _frames(data: bytes) -> list[_Frame]:
    """Block after block up to the trailer. Raises DamagedError for what is no block, and without a trailer."""
    frames: list[_Frame] = []
    at, transparent = 13 + _palette_bytes(data, 10), None
    while at < len(data) and data[at] != TRAILER:
        if data[at : at + 1] == b",":
            frames.append(_Frame(at, transparent))
            at, transparent = at + 11 + _palette_bytes(data, at + 9), None
        elif data[at : at + 1] == b"!":
            is_control = data[at + 1 : at + 3] == b"\xf9\x04"
            if is_control and transparent is None and data[at + 3] & 1:
                transparent = data[at + 6]
            at += 2
        else:
            raise DamagedError("a GIF that is damaged")
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    if at >= len(data):
        raise DamagedError("a GIF that was cut short")
    return frames


def _palette_bytes(data: bytes, at: int) -> int:
    """How long a palette the flags at this place announce."""
    flags = data[at] if at < len(data) else 0
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _palette(data: bytes, flags: int, start: int) -> np.ndarray:
    """uint8 [colours, 3]; of none where no palette is announced."""
    return np.frombuffer(data[start : start + _palette_bytes(data, flags)], np.uint8).reshape(-1, 3)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _indices(alone: bytes) -> np.ndarray:
    """uint8 [height, width] of a frame that fills its canvas."""
    from PIL.GifImagePlugin import GifImageFile  # not Image.open: that has a limit of its own, and warns

    try:
        picture = GifImageFile(io.BytesIO(alone))
        picture.load()
    except MemoryError:
        raise
    except Exception as error:  # Pillow has many kinds
        raise DamagedError("a GIF that is damaged") from error
    return np.asarray(picture)  # where the palette is the greys in order Pillow says mode "L": the same numbers
