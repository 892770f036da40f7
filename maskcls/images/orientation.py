"""EXIF orientation, exactly as Pillow's ``ImageOps.exif_transpose`` applies it.

torchvision reads it only from the first APP1 segment of a JPEG and from a PNG's eXIf.
"""

import warnings
from typing import TYPE_CHECKING, Any

from PIL import Image

from maskcls.images.headers import Header

if TYPE_CHECKING:
    from torch import Tensor

ORIENTATION = 0x0112
"""Number of the EXIF tag."""

# Pillow warns of EXIF that is cut short. Set once, not at each call, since threads share their filters.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")


def orientation(info: dict[str, Any]) -> int:
    """EXIF orientation 1 (upright) to 8 of a photo with this ``Header.info``; 1 if its EXIF is broken."""
    if not info:
        return 1
    stand_in = Image.new("1", (1, 1))  # Pillow's own EXIF reader decides, but need not decode the photo
    stand_in.info.update(info)
    try:
        value = stand_in.getexif().get(ORIENTATION, 1)  # of any type
        return next((number for number in range(2, 9) if number == value), 1)
    except Exception:  # SyntaxError, struct.error, ...: broken EXIF raises many kinds
        return 1


def turn(image_CHW: "Tensor", orientation: int) -> "Tensor":
    """Turn a photo upright, with torchvision's own operations so that its results keep their last bit."""
    if orientation >= 5:
        image_CHW = image_CHW.transpose(-1, -2)
    axes = {2: [-1], 3: [-2, -1], 4: [-2], 6: [-1], 7: [-2, -1], 8: [-2]}.get(orientation)
    return image_CHW.flip(axes) if axes else image_CHW


def is_turned_anew(header: Header, orientation: int) -> bool:
    """Whether torchvision, which alone turned photos in older versions, turned this one another way.

    Trials of such older studies saw other pixels.
    """
    formerly = _torchvision_orientation(header.first_exif)
    return (formerly if 2 <= formerly <= 8 else 1) != orientation


def _torchvision_orientation(tiff: bytes) -> int:
    """The orientation that torchvision 0.29 reads from EXIF without checking bounds and types; 1 if there is none."""

    def number(at: int, length: int) -> int:
        return int.from_bytes(tiff[at : at + length], "little" if tiff[:2] == b"II" else "big")

    if number(2, 2) != 0x2A:
        return 1
    first = number(4, 4)
    for at in range(first + 2, min(first + 2 + 12 * number(first, 2), len(tiff) - 1), 12):
        if number(at, 2) == ORIENTATION:
            return number(at + 8, 2)
    return 1
