"""Which way is up: EXIF orientation exactly as Pillow's ``ImageOps.exif_transpose`` applies it.

torchvision looks for it in the first APP1 segment of a JPEG and in a PNG's eXIf only.
"""

import warnings
from typing import TYPE_CHECKING, Any

from maskcls.images.headers import Header

if TYPE_CHECKING:
    from torch import Tensor

ORIENTATION = 0x0112
"""The tag's number."""

# of EXIF that is cut short, at every such photo; not for each call, since filters are one for all threads
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")


def orientation(info: dict[str, Any]) -> int:
    """Orientation 1 (as it lies) to 8 by the photo's header (``Header.info``); 1 where its EXIF is broken."""
    if not info:
        return 1
    from PIL import Image

    stand_in = Image.new("1", (1, 1))  # Pillow's own reader decides, without Pillow decoding the photo
    stand_in.info.update(info)
    try:
        value = stand_in.getexif().get(ORIENTATION, 1)  # of any type
        return next((known for known in range(2, 9) if known == value), 1)
    except Exception:  # SyntaxError, struct.error, ...: as many kinds as there are ways to break it
        return 1


def turn(image_CHW: "Tensor", orientation: int) -> "Tensor":
    """Turn a photo upright. By the very operations of torchvision, so that what it turned keeps its last bit."""
    if orientation >= 5:
        image_CHW = image_CHW.transpose(-1, -2)
    axes = {2: [-1], 3: [-2, -1], 4: [-2], 6: [-1], 7: [-2, -1], 8: [-2]}.get(orientation)
    return image_CHW.flip(axes) if axes else image_CHW


def is_turned_anew(header: Header, orientation: int) -> bool:
    """Whether the photo was turned another way as long as torchvision alone decided it.

    So trials of a study that is older than this module saw other pixels.
    """
    formerly = _as_torchvision_read(header.first_exif)
    return (formerly if 2 <= formerly <= 8 else 1) != orientation


def _as_torchvision_read(tiff: bytes) -> int:
    """The orientation that torchvision 0.29 sees in EXIF, whose bounds and types it does not check; 1 for none."""

    def number(at: int, length: int) -> int:
        return int.from_bytes(tiff[at : at + length], "little" if tiff[:2] == b"II" else "big")

    if number(2, 2) != 0x2A:
        return 1
    first = number(4, 4)
    for at in range(first + 2, min(first + 2 + 12 * number(first, 2), len(tiff) - 1), 12):
        if number(at, 2) == ORIENTATION:
            return number(at + 8, 2)
    return 1
