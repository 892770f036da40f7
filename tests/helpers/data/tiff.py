"""TIFF files that Pillow does not write: colours of 16 bits, big-endian order, several pages."""

import struct
import zlib

import numpy as np

SIZES = {"H": 3, "I": 4}
"""struct's letter -> TIFF's number of the type."""

Numbers = int | tuple[int, ...]


def tiff(sample: np.ndarray, photometric: int, order: str = "<", bits: int = 16, **tags: Numbers) -> bytes:
    """A TIFF of one page. ``sample``: [rows, columns] or [rows, columns, samples].

    ``order``: "<" or ">". ``tags``: more, named ``t`` and their number; a compression (t259) of 8 packs by zlib.
    """
    rows, columns, samples = sample.shape if sample.ndim == 3 else (*sample.shape, 1)
    packed = sample.astype(f"{order}u2" if bits > 8 else "u1").tobytes()
    values = {int(name[1:]): value for name, value in tags.items()}
    if values.get(259) == 8:
        packed = zlib.compress(packed)
    page = {256: columns, 257: rows, 258: (bits,) * samples, 259: 1, 262: photometric, 273: 8, 277: samples, 278: rows}
    return tiff_of_pages([{**page, 279: len(packed), **values}], packed, order)


def tiff_of_pages(pages: list[dict[int, Numbers]], packed: bytes, order: str = "<") -> bytes:
    """A TIFF with these tags on its pages, and ``packed`` from byte 8 on."""
    content = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(packed) + len(packed) % 2)
    content += packed + bytes(len(packed) % 2)
    for number, page in enumerate(pages):
        content += _page(page, len(content), order, is_last=number == len(pages) - 1)
    return content


def _page(tags: dict[int, Numbers], at: int, order: str, is_last: bool) -> bytes:
    end = at + 2 + 12 * len(tags) + 4
    entries, rest = struct.pack(f"{order}H", len(tags)), b""
    for tag, value in sorted(tags.items()):
        numbers = value if isinstance(value, tuple) else (value,)
        letter = "H" if max(numbers) < 2**16 else "I"
        body = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(body) > 4:
            body, rest = struct.pack(f"{order}I", end + len(rest)), rest + body + bytes(len(body) % 2)
        entries += struct.pack(f"{order}HHI", tag, SIZES[letter], len(numbers)) + body.ljust(4, b"\0")
    return entries + struct.pack(f"{order}I", 0 if is_last else end + len(rest)) + rest
