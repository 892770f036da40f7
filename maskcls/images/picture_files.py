"""Which files are pictures, for training, for predicting and for counting files that are left out."""

import os

from maskcls.images.headers import BMP_SIGNATURE, TIFF_SIGNATURES

PICTURE_ENDINGS = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif"),
        *(".bmp", ".dib", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".jxl"),
    }
)
"""In lower case. Includes formats that are not decoded, so that such photos are reported and not overlooked."""

SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", *TIFF_SIGNATURES)
"""First bytes of files in the formats that are decoded."""


def is_picture(path: str) -> bool:
    """Whether the regular file at ``path`` is a picture, by its ending or, if it has none, by its first bytes."""
    ending = os.path.splitext(path)[1]  # noqa: PTH122 - a Path for each of 100,000 photos takes a second
    return ending.lower() in PICTURE_ENDINGS or (ending == "" and _has_signature(path))


def is_link_to_nothing(path: str) -> bool:
    """Whether ``path`` is a link without a target, or in a loop of links."""
    return os.path.islink(path) and not os.path.exists(path)  # noqa: PTH110, PTH114 - as above


def _has_signature(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            first = file.read(10)
            # two letters alone may begin any text; a BMP has four zeros after its length
            return first.startswith(SIGNATURES) or (first.startswith(BMP_SIGNATURE) and first[6:] == bytes(4))
    except OSError:
        return False
