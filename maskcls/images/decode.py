"""Photo files -> uint8 tensors of one size: decode, turn upright, crop around the centre, resize with antialiasing.

torchvision decodes JPEG and WebP; Pillow decodes PNG and GIF, damaged files of which crash torchvision's decoders, and
TIFF, which torchvision does not read.
"""

import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.io import ImageReadMode, decode_image

from maskcls.images.codec_messages import StderrCapture
from maskcls.images.depth import Pixels
from maskcls.images.fit import Fit, fit_into
from maskcls.images.formats import ADDED, Reader, reader_of
from maskcls.images.headers import MAX_PIXELS, DamagedError, read_header
from maskcls.images.orientation import is_turned_anew, orientation, turn
from maskcls.system.errors import UserError, count_of, one_line, some

DECODER = f"2, torchvision {torchvision.__version__}"
"""Part of every cache key, as versions may round differently. The first number counts changes of our own pixels.

Formats that are added do not change it: of the caches from before, only those that lack such photos are outdated.
"""


@dataclass(frozen=True)
class Unreadable:
    """A photo that cannot be read."""

    path: str
    reason: str
    is_damaged: bool
    """Whether its bytes are at fault. Otherwise a later attempt may succeed: the file could not be opened, say."""

    def __str__(self) -> str:
        return f"{self.path} ({self.reason})"


@dataclass
class Decoded:
    """What ``decode_all`` finds out about photos beside their pixels."""

    unreadable: list[Unreadable]
    turned_anew: list[str]
    """Paths of photos whose orientation older versions misread (orientation.is_turned_anew)."""
    odd: dict[str, str]
    """Path -> the decoder's warning about a photo that it read all the same, although it may be damaged."""
    checksums: list[int]
    """CRC-32 of every file's bytes; 0 for a file that cannot be opened."""
    read_anew: list[str]
    """Paths of photos that older versions could not read (formats.ADDED)."""
    deep_photos: int = 0
    """How many have 16 bits a channel."""
    used_bits: int = 0
    """Pixels.used_bits of them together."""


@dataclass(frozen=True)
class _Upright:
    """A photo in its own size."""

    image_CHW: torch.Tensor
    """uint8, RGB."""
    is_turned_anew: bool
    is_read_anew: bool
    """Whether older versions turned it another way, or could not read it."""
    used_bits: int
    """As in Pixels."""


def decode_photo(
    path: Path,
    size: tuple[int, int],
    crop: tuple[float, float] = (1.0, 1.0),
    fit: Fit = "squash",
    bit_depth: int = 0,
) -> torch.Tensor:
    """The photo as uint8 [3, rows, columns] in RGB, upright by its EXIF orientation, cropped and resized.

    ``fit`` and ``bit_depth`` as in TrainConfig.
    Raises DamagedError for a file that is not a whole photo, OSError for one that cannot be opened.
    """
    return fit_into(decode_whole(path, bit_depth), size, crop, fit)


def decode_whole(path: Path, bit_depth: int = 0) -> torch.Tensor:
    """The same as ``decode_photo``, uncropped and in the photo's own size."""
    return _decode(path.read_bytes(), bit_depth).image_CHW


def _decode(data: bytes, bit_depth: int) -> _Upright:
    reader = reader_of(data) or Reader(read_header, _by_torch)
    header = reader.header(data)
    with _room.reserve(header.height * header.width):
        pixels, exif = reader.pixels(data, bit_depth), orientation(header.info)
        # laid out as by torchvision: resizing must round alike
        image_CHW = torch.from_numpy(pixels.image_HWC).permute(2, 0, 1)
        is_anew = header.format in ADDED
        return _Upright(turn(image_CHW, exif), is_turned_anew(header, exif), is_anew, pixels.used_bits)


def _by_torch(data: bytes, bit_depth: int) -> Pixels:
    """The pixels of a JPEG or WebP, which have 8 bits."""
    try:
        image_CHW = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
        return Pixels(image_CHW.permute(1, 2, 0).numpy())
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise MemoryError from error
        message = str(error).rpartition(".cpp:")[2].partition(", ")[2] or str(error)  # less the line of source
        raise DamagedError(f"damaged: {one_line(message, 60)}") from error


class _Room:
    """Room for pixels that all threads decode at the same time: as many as the largest accepted photo has."""

    def __init__(self) -> None:
        self.free, self.changed = MAX_PIXELS, threading.Condition()

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for so many pixels, and reserve it during the block."""
        with self.changed:
            self.changed.wait_for(lambda: self.free >= pixels)
            self.free -= pixels
        try:
            yield
        finally:
            with self.changed:
                self.free += pixels
                self.changed.notify_all()


_room = _Room()


def decode_all(
    folder: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    crop: tuple[float, float],
    out_NCHW: np.ndarray,
    tick: Callable[[], None] = lambda: None,
    fit: Fit = "squash",
    bit_depth: int = 0,
) -> Decoded:
    """Decode ``folder / paths[i]`` into ``out_NCHW[i]`` on all cores; calls ``tick`` after every photo.

    ``fit`` and ``bit_depth`` as in TrainConfig. Rows of photos that cannot be read stay as they were.
    """
    decoded, capture, suspects = Decoded([], [], {}, [], []), StderrCapture(), list[str]()

    def decode_one(index: int) -> tuple[Unreadable | _Upright, int]:
        """(the photo, without the pixels that are in their place now, or why it is unreadable; the file's CRC-32)."""
        path, checksum, size_before = paths[index], 0, capture.size()
        try:
            data = (folder / path).read_bytes()
            checksum = zlib.crc32(data)
            upright = _decode(data, bit_depth)
            out_NCHW[index] = fit_into(upright.image_CHW, size, crop, fit).numpy()
        except DamagedError as error:
            if capture.size() > size_before:
                suspects.append(path)
            return Unreadable(path, str(error), is_damaged=True), checksum
        except MemoryError:
            return Unreadable(path, "not enough memory", is_damaged=False), checksum
        except OSError as error:
            return Unreadable(path, error.strerror or str(error), is_damaged=False), checksum
        if capture.size() > size_before:
            suspects.append(path)  # the warning may also be about another thread's photo
        return replace(upright, image_CHW=torch.empty(0)), checksum

    with capture, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool, _single_threaded_operators():
        for path, (photo, checksum) in zip(paths, pool.map(decode_one, range(len(paths))), strict=True):
            _note(path, photo, decoded)
            decoded.checksums.append(checksum)
            tick()
        decoded.odd = _warnings_about(folder, sorted(suspects), capture, bit_depth)
    return decoded


def _note(path: str, photo: Unreadable | _Upright, decoded: Decoded) -> None:
    """Add what is to be known about a photo."""
    if isinstance(photo, Unreadable):
        decoded.unreadable.append(photo)
        return
    decoded.turned_anew += [path] if photo.is_turned_anew else []
    decoded.read_anew += [path] if photo.is_read_anew else []
    decoded.deep_photos += photo.used_bits > 0
    decoded.used_bits = max(decoded.used_bits, photo.used_bits)


def _warnings_about(folder: Path, suspects: Sequence[str], capture: StderrCapture, bit_depth: int) -> dict[str, str]:
    """Path -> first warning of the decoder, of those suspects that have one when decoded again one by one.

    What it says about a photo that cannot be read is captured too: the photo is reported with a reason of its own.
    """
    odd = {}
    for path in suspects:
        size_before = capture.size()
        is_read = True
        try:
            _decode((folder / path).read_bytes(), bit_depth)
        except DamagedError:
            is_read = False
        lines = capture.since(size_before).splitlines()
        capture.reported |= {line.strip() for line in lines}
        if lines and is_read:
            odd[path] = one_line(lines[0], 80)
    return odd


@contextmanager
def _single_threaded_operators() -> Iterator[None]:
    """Photos are decoded in parallel; threads inside each operator would only compete for the same cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def check_opened(folder: Path, unreadable: Sequence[Unreadable]) -> None:
    """Raise UserError for photos that are not damaged: leaving them out would change the dataset for this run only."""
    unopened = [photo for photo in unreadable if not photo.is_damaged]
    if unopened:
        raise UserError(
            f"{count_of(len(unopened), 'photo')} in {folder} could not be opened: {some(unopened, 20)}."
            " They may be intact, so none is left out. Make them readable, then run the command again."
        )


def unreadable_error(folder: Path, unreadable: Sequence[Unreadable], remedy: str) -> UserError:
    """One error for all unreadable photos, which names the first twenty with their reasons."""
    photos = count_of(len(unreadable), "photo")
    return UserError(f"{photos} in {folder} cannot be read: {some(unreadable, 20)}. {remedy}")
