"""A photo as models see it, for people to look at, without the seconds that torch takes to load."""

import io
from pathlib import Path

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile  # Image.open has a pixel limit of its own, and warns
from PIL.WebPImagePlugin import WebPImageFile

from maskcls.images.formats import reader_of
from maskcls.images.headers import read_header
from maskcls.images.orientation import orientation

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


def picture(path: Path, bit_depth: int = 0) -> Image.Image:
    """The photo in RGB, upright, in its own size, without metadata. ``bit_depth`` as in TrainConfig.

    Uses the readers of decode.decode_photo, but decodes JPEG and WebP by Pillow, whose pixels differ by a level or two.
    Raises the errors of decode_photo and of Pillow.
    """
    data = path.read_bytes()
    if ours := reader_of(data):
        header, stored = ours.header(data), Image.fromarray(ours.pixels(data, bit_depth).image_HWC)
    else:
        header = read_header(data)
        reader = JpegImageFile if header.format == "JPEG" else WebPImageFile
        stored = reader(io.BytesIO(data)).convert("RGB")
    turn = TURNS.get(orientation(header.info))
    upright = stored if turn is None else stored.transpose(turn)
    upright.info.clear()  # Pillow would write a JPEG's comment into the next one
    return upright
