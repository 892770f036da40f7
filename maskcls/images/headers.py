"""A photo's format, size and orientation data, read from its header before anything is decoded.

Decoders may reserve gigabytes for a size that a header only claims, so this is done in Python.
"""

from dataclasses import dataclass, field
from typing import Any

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
GIF_SIGNATURES = (b"GIF87a", b"GIF89a")
TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0")
BMP_SIGNATURE = b"BM"

MAX_PIXELS = 250_000_000
"""Most pixels of a photo: more than a phone takes (200 megapixels), and what a process of 3 GiB can hold decoded."""

EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


class DamagedError(ValueError):
    """The photo's bytes are at fault, so a later attempt will fail too. Its text says why in a few words."""


@dataclass(frozen=True)
class Header:
    """The header of a photo in a supported format. Raises DamagedError for a size of zero or above MAX_PIXELS."""

    format: str
    height: int
    width: int
    info: dict[str, Any] = field(default_factory=dict)
    """"exif" and "xmp", named and formatted as in Pillow's ``Image.info``."""
    first_exif: bytes = b""
    """The only EXIF that torchvision reads, without its first six bytes: of a JPEG's first APP1 or a PNG's eXIf."""

    def __post_init__(self) -> None:
        if self.height * self.width == 0:
            raise DamagedError(f"its {self.format} header says {self.width} x {self.height} pixels")
        if self.height * self.width > MAX_PIXELS:
            raise DamagedError(
                f"{self.width} x {self.height} pixels, more than the {MAX_PIXELS // 10**6} million that are read"
            )


def read_header(data: bytes) -> Header:
    """The header of a JPEG or WebP. Raises DamagedError, which names other formats."""
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    raise DamagedError(
        f"{_other_format(data)}; JPEG, PNG, WebP, GIF, TIFF and BMP are read" if data else "an empty file"
    )


OTHER_FORMATS = {
    "a large TIFF in big-endian order": (b"MM\0+",),
    "a camera's raw file": (b"IIRO", b"IIU\0", b"FUJIFILM"),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\0\0\0\x0cJXL ", b"\xff\x0a"),
    "Photoshop": (b"8BPS",),
    "an icon": (b"\0\0\1\0",),
    "PDF": (b"%PDF",),
    "a ZIP archive": (b"PK\3\4",),
    "a Git LFS pointer, not the photo": (b"version https://git-lfs",),
}
"""First bytes of other files that are found in folders of photos, by the name that messages give them."""


def _other_format(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        brands = data[8:64]
        if b"avi" in brands:
            return "AVIF"
        return "HEIC" if any(brand in brands for brand in (b"hei", b"hev", b"mif1", b"msf1")) else "a video"
    for name, signatures in OTHER_FORMATS.items():
        if data.startswith(signatures):
            return name
    start = data[:256].lstrip().lower()
    if start.startswith((b"<svg", b"<?xml")):
        return "SVG or XML"
    return "a web page" if start.startswith((b"<!doctype", b"<html")) else "no picture"


def _jpeg(data: bytes) -> Header:
    """The header of a JPEG, from its markers before the coded picture."""
    info: dict[str, Any] = {}
    first_app1: bytes | None = None
    size, at = (0, 0), 2
    while (at := data.find(b"\xff", at)) >= 0:
        while data[at : at + 1] == b"\xff":  # any number of fill bytes before a marker
            at += 1
        marker = data[at] if at < len(data) else 0xD9
        at += 1
        if marker in (0xD9, 0xDA):  # end of the image, start of the coded picture
            break
        if marker <= 0x01 or 0xD0 <= marker <= 0xD8:  # no marker, or one without contents
            continue
        length = int.from_bytes(data[at : at + 2])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            size = int.from_bytes(data[at + 3 : at + 5]), int.from_bytes(data[at + 5 : at + 7])
        elif marker == 0xE1:
            segment = data[at + 2 : at + length]
            first_app1 = segment if first_app1 is None else first_app1
            if segment.startswith(EXIF):  # EXIF of more than 64 KiB continues in a second segment
                info["exif"] = info["exif"] + segment[len(EXIF) :] if "exif" in info else segment
            elif segment.startswith(XMP):
                info["xmp"] = segment[len(XMP) :]
        at += max(length, 2)
    return Header("JPEG", *size, info, (first_app1 or b"")[len(EXIF) :])


def _webp(data: bytes) -> Header:
    info: dict[str, Any] = {}
    first, body = data[12:16], data[20:30]
    size = (0, 0)
    if first == b"VP8X":
        if body[:1] and body[0] & 2:
            raise DamagedError("an animation is not a photo")
        size = int.from_bytes(body[7:10], "little") + 1, int.from_bytes(body[4:7], "little") + 1
        at = 12
        while at + 8 <= len(data):
            length = int.from_bytes(data[at + 4 : at + 8], "little")
            name = {b"EXIF": "exif", b"XMP ": "xmp"}.get(data[at : at + 4])
            if name is not None and at + 8 + length <= len(data):
                info.setdefault(name, data[at + 8 : at + 8 + length])
            at += 8 + length + length % 2
    elif first == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        size = (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    elif first == b"VP8 ":
        size = int.from_bytes(body[8:10], "little") & 0x3FFF, int.from_bytes(body[6:8], "little") & 0x3FFF
    return Header("WebP", *size, {name: value for name, value in info.items() if value})
