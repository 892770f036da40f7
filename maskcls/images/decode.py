"""Photo files -> uint8 tensors of one size: decode, turn upright, crop around the centre, resize with antialiasing.

torchvision decodes JPEG and WebP; Pillow decodes PNG and GIF, damaged files of which crash torchvision's decoders.
"""

import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as tv

from maskcls.images.codec_messages import StderrCapture
from maskcls.images.gif import read_gif, read_gif_header
from maskcls.images.headers import GIF_SIGNATURES, MAX_PIXELS, PNG_SIGNATURE, DamagedError, Header, read_header
from maskcls.images.orientation import is_turned_anew, orientation, turn
from maskcls.images.png import read_png, read_png_header
from maskcls.system.errors import UserError, count_of, one_line, some

DECODER = f"2, torchvision {torchvision.__version__}"
"""Part of every cache key, as versions may round differently. The first number counts changes of our own pixels."""


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


def decode_photo(path: Path, size: tuple[int, int], crop: tuple[float, float] = (1.0, 1.0)) -> torch.Tensor:
    """The photo as uint8 [3, rows, columns] in RGB, upright by its EXIF orientation, cropped and resized.

    Raises DamagedError for a file that is not a whole photo, OSError for one that cannot be opened.
    """
    return _fit(decode_whole(path), size, crop)


def decode_whole(path: Path) -> torch.Tensor:
    """The same as ``decode_photo``, uncropped and in the photo's own size."""
    return _decode(path.read_bytes())[0]


def _decode(data: bytes) -> tuple[torch.Tensor, bool]:
    """(uint8 [3, rows, columns] of the upright photo, whether older versions turned it another way)."""
    read_the_header, decode = _readers(data)
    header = read_the_header(data)
    with _room.reserve(header.height * header.width):
        image_CHW, exif = decode(data), orientation(header.info)
        return turn(image_CHW, exif), is_turned_anew(header, exif)


def _readers(data: bytes) -> tuple[Callable[[bytes], Header], Callable[[bytes], torch.Tensor]]:
    """(reader of the header, reader of the pixels) for the file's format."""
    if data.startswith(PNG_SIGNATURE):
        return read_png_header, lambda data: _as_torch(read_png(data))
    if data.startswith(GIF_SIGNATURES):
        return read_gif_header, lambda data: _as_torch(read_gif(data))
    return read_header, _by_torch


def _as_torch(image_HWC: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image_HWC).permute(2, 0, 1)  # laid out as by torchvision: resizing must round alike


def _by_torch(data: bytes) -> torch.Tensor:
    try:
        return decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise MemoryError from error
        message = str(error).rpartition(".cpp:")[2].partition(", ")[2] or str(error)  # less the line of source
        raise DamagedError(f"damaged: {one_line(message, 60)}") from error


def _fit(image_CHW: torch.Tensor, size: tuple[int, int], crop: tuple[float, float]) -> torch.Tensor:
    height, width = image_CHW.shape[-2:]
    kept = [max(1, round(height * crop[0])), max(1, round(width * crop[1]))]
    if kept != [height, width]:
        image_CHW = tv.center_crop(image_CHW, kept)
    return tv.resize(image_CHW, list(size), antialias=True)


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
) -> Decoded:
    """Decode ``folder / paths[i]`` into ``out_NCHW[i]`` on all cores; calls ``tick`` after every photo.

    Rows of photos that cannot be read stay as they were.
    """
    decoded, capture, suspects = Decoded([], [], {}, []), StderrCapture(), list[str]()

    def decode_one(index: int) -> tuple[Unreadable | None, bool, int]:
        """(why it is unreadable, whether older versions turned it another way, the file's CRC-32)."""
        path, checksum, size_before = paths[index], 0, capture.size()
        try:
            data = (folder / path).read_bytes()
            checksum = zlib.crc32(data)
            image_CHW, turned_anew = _decode(data)
            out_NCHW[index] = _fit(image_CHW, size, crop).numpy()
        except DamagedError as error:
            return Unreadable(path, str(error), is_damaged=True), False, checksum
        except MemoryError:
            return Unreadable(path, "not enough memory", is_damaged=False), False, checksum
        except OSError as error:
            return Unreadable(path, error.strerror or str(error), is_damaged=False), False, checksum
        if capture.size() > size_before:
            suspects.append(path)  # the warning may also be about another thread's photo
        return None, turned_anew, checksum

    with capture, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool, _single_threaded_operators():
        for index, (unreadable, turned_anew, checksum) in enumerate(pool.map(decode_one, range(len(paths)))):
            decoded.unreadable += [unreadable] if unreadable else []
            decoded.turned_anew += [paths[index]] if turned_anew else []
            decoded.checksums.append(checksum)
            tick()
        decoded.odd = _warnings_about(folder, sorted(suspects), capture)
    return decoded


def _warnings_about(folder: Path, suspects: Sequence[str], capture: StderrCapture) -> dict[str, str]:
    """Path -> first warning of the decoder, of those suspects that have one when decoded again one by one."""
    odd = {}
    for path in suspects:
        size_before = capture.size()
        _decode((folder / path).read_bytes())
        lines = capture.since(size_before).splitlines()
        if lines:
            odd[path] = one_line(lines[0], 80)
            capture.reported |= {line.strip() for line in lines}
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
