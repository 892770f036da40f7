"""A photo as models see it, for people to look at, without the seconds that torch takes to load."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from maskcls.images.gif import read_gif, read_gif_header
from maskcls.images.headers import GIF_SIGNATURES, PNG_SIGNATURE, read_header
from maskcls.images.orientation import orientation
from maskcls.images.png import read_png, read_png_header

if TYPE_CHECKING:
    from PIL.Image import Image


def picture(path: Path) -> "Image":
    """RGB, upright, in the photo's own size, with nothing of the file but its pixels.

    The same readers as decode.decode_photo, but that JPEG and WebP are decoded by Pillow: a level or two apart.
    Raises what decode_photo does, and whatever Pillow does.
    """
    from PIL import Image

    data = path.read_bytes()
    if data.startswith(PNG_SIGNATURE):
        header, lying = read_png_header(data), Image.fromarray(read_png(data))
    elif data.startswith(GIF_SIGNATURES):
        header, lying = read_gif_header(data), Image.fromarray(read_gif(data))
    else:
        header = read_header(data)
        lying = _by_pillow(data, header.format).convert("RGB")
    ways = Image.Transpose
    way = {
        2: ways.FLIP_LEFT_RIGHT,
        3: ways.ROTATE_180,
        4: ways.FLIP_TOP_BOTTOM,
        5: ways.TRANSPOSE,
        6: ways.ROTATE_270,
        7: ways.TRANSVERSE,
        8: ways.ROTATE_90,
    }.get(orientation(header.info))
    upright = lying if way is None else lying.transpose(way)
    upright.info.clear()  # Pillow would write a JPEG's comment into the next one
    return upright


def _by_pillow(data: bytes, format: str) -> "Image":
    from PIL.JpegImagePlugin import JpegImageFile  # not Image.open: that has a limit of its own, and warns
    from PIL.WebPImagePlugin import WebPImageFile

    return JpegImageFile(io.BytesIO(data)) if format == "JPEG" else WebPImageFile(io.BytesIO(data))
