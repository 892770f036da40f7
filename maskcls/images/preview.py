"""A photo as models see it, for people to look at, without the seconds that torch takes to load."""

import io
from pathlib import Path

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile  # Image.open has a pixel limit of its own, and warns
from PIL.WebPImagePlugin import WebPImageFile

from maskcls.images.gif import read_gif, read_gif_header
from maskcls.images.headers import GIF_SIGNATURES, PNG_SIGNATURE, read_header
from maskcls.images.orientation import orientation
from maskcls.images.png import read_png, read_png_header

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the photo upright."""


def picture(path: Path) -> Image.Image:
    """The photo in RGB, upright, in its own size, without metadata.

    Uses the readers of decode.decode_photo, but decodes JPEG and WebP by Pillow, whose pixels differ by a level or two.
    Raises the errors of decode_photo and of Pillow.
    """
    data = path.read_bytes()
    if data.startswith(PNG_SIGNATURE):
        header, stored = read_png_header(data), Image.fromarray(read_png(data))
    elif data.startswith(GIF_SIGNATURES):
        header, stored = read_gif_header(data), Image.fromarray(read_gif(data))
    else:
        header = read_header(data)
        reader = JpegImageFile if header.format == "JPEG" else WebPImageFile
        stored = reader(io.BytesIO(data)).convert("RGB")
    turn = TURNS.get(orientation(header.info))
    upright = stored if turn is None else stored.transpose(turn)
    upright.info.clear()  # Pillow would write a JPEG's comment into the next one
    return upright
