"""Samples of 16 bits -> 8 bits, by a rule that looks at no photo's own pixels.

White is the largest number of the declared bits: 65535 for 16, 4095 for 12. A 12-bit camera's photos that are stored
in files of 16 bits, not shifted up, declare 16 and come out nearly black; only their owner knows, by ``bit_depth``.
PNG's sBIT does not help: samples must be scaled up to all 16 bits whatever it says. Nor does TIFF's MaxSampleValue, the
largest value in this very photo, "not to be used to affect the visual appearance" (TIFF 6.0, page 37).
"""

from dataclasses import dataclass

import numpy as np

from maskcls.system.errors import count_of

FULL_BITS = 15
"""16-bit photos of which one uses so many bits are no smaller numbers in larger files: some pixel is brighter than a
quarter of white."""


@dataclass(frozen=True)
class Pixels:
    """A photo's pixels, not yet turned upright."""

    image_HWC: np.ndarray
    """uint8 [rows, columns, 3], RGB."""
    used_bits: int = 0
    """Bits that the largest sample takes in a file of 16 bits a channel, at least 8; 0 for other files."""


def to_8_bits(sample: np.ndarray, bits: int) -> np.ndarray:
    """The upper 8 of ``bits`` bits, as uint8; brighter samples are white. ``sample``: uint16 of any shape."""
    return np.minimum(sample >> (bits - 8), 255).astype(np.uint8)


def used_bits(sample: np.ndarray) -> int:
    """``Pixels.used_bits`` of uint16 samples."""
    return max(8, int(sample.max()).bit_length())


def why_dark(bits: int, photos: int, bit_depth: int) -> str:
    """What is wrong with 16-bit photos none of which uses more than ``bits`` bits, and the remedy; empty: nothing.

    ``bits``: 0 if there are no such photos. ``bit_depth``: 0 if the user has not said what white is.
    """
    if bit_depth or not 0 < bits < FULL_BITS:
        return ""
    camera = next(depth for depth in (8, 10, 12, 14) if depth >= bits)
    return (
        f"{count_of(photos, 'photo')} of 16 bits a channel use no value above {2**bits - 1}, where 65535 is white, so"
        f" models would see them nearly black. Say how many bits the camera has, for example --set bit_depth={camera};"
        " --set bit_depth=16 takes them as they are."
    )
