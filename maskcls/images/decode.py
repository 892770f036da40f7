"""Photo files -> uint8 tensors of one size: decode, turn upright, crop around the centre, resize with antialiasing.

JPEG and WebP by torchvision, whose decoders take any damage; PNG and GIF by Pillow, since torchvision's do not.
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

from maskcls.images.codec_messages import Overheard
from maskcls.images.gif import read_gif, read_gif_header
from maskcls.images.headers import GIF_SIGNATURES, MAX_PIXELS, PNG_SIGNATURE, DamagedError, Header, read_header
from maskcls.images.orientation import is_turned_anew, orientation, turn
from maskcls.images.png import read_png, read_png_header
from maskcls.system.errors import UserError, count_of, one_line, some

DECODER = f"2, torchvision {torchvision.__version__}"
"""Part of every cache key: another version may round another way. Ours counts what we do to the pixels ourselves."""


@dataclass(frozen=True)
class Unreadable:
    """A photo that cannot be read."""

    path: str
    reason: str
    is_damaged: bool
    """Whether its bytes are to blame. Otherwise the next try may go well: the file could not be opened, say."""


@dataclass
class Decoded:
    """What is known of many decoded photos beside their pixels."""

    unreadable: list[Unreadable]
    turned_anew: list[str]
    """Paths of photos that orientation.is_turned_anew says were seen otherwise by older studies."""
    odd: dict[str, str]
    """Path -> what the decoder said about a photo that it read all the same, damaged as it may be inside."""
    checksums: list[int]
    """CRC-32 of every file's bytes; 0 of one that cannot be opened."""


def decode_photo(path: Path, size: tuple[int, int], crop: tuple[float, float] = (1.0, 1.0)) -> torch.Tensor:
    """uint8 [3, rows, columns]. Grey, palette and transparent photos become RGB; EXIF orientation is applied.

    Raises DamagedError for a file that is not a whole photo, OSError for one that cannot be opened.
    """
    return _fit(decode_whole(path), size, crop)


def decode_whole(path: Path) -> torch.Tensor:
    """The same in the photo's own size."""
    return _decode(path.read_bytes())[0]


def _decode(data: bytes) -> tuple[torch.Tensor, bool]:
    """uint8 [3, rows, columns], upright; and whether older versions turned it another way."""
    read_the_header, decode = _readers(data)
    header = read_the_header(data)
    with _room.taken(header.height * header.width):
        image_CHW, exif = decode(data), orientation(header.info)
        return turn(image_CHW, exif), is_turned_anew(header, exif)


def _readers(data: bytes) -> tuple[Callable[[bytes], Header], Callable[[bytes], torch.Tensor]]:
    """The readers of the header and of the pixels, by the first bytes."""
    if data.startswith(PNG_SIGNATURE):
        return read_png_header, lambda data: _as_torch(read_png(data))
    if data.startswith(GIF_SIGNATURES):
        return read_gif_header, lambda data: _as_torch(read_gif(data))
    return read_header, _by_torch


def _as_torch(image_HWC: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image_HWC).permute(2, 0, 1)  # laid out as torchvision's own: resizing must round alike


def _by_torch(data: bytes) -> torch.Tensor:
    try:
        return decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise MemoryError from error
        message = str(error).rpartition(".cpp:")[2].partition(", ")[2] or str(error)  # less the place in torchvision
        raise DamagedError(f"damaged: {one_line(message, 60)}") from error


def _fit(image_CHW: torch.Tensor, size: tuple[int, int], crop: tuple[float, float]) -> torch.Tensor:
    height, width = image_CHW.shape[-2:]
    kept = [max(1, round(height * crop[0])), max(1, round(width * crop[1]))]
    if kept != [height, width]:
        image_CHW = tv.center_crop(image_CHW, kept)
    return tv.resize(image_CHW, list(size), antialias=True)


class _Room:
    """How many pixels may be decoded at once by all threads: as many as the largest photo that is read has."""

    def __init__(self) -> None:
        self.free, self.changed = MAX_PIXELS, threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until there is room."""
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

    The rows of those that cannot be read stay as they were.
    """

    overheard, suspects = Overheard(), list[str]()

    def decode_one(index: int) -> tuple[Unreadable | None, bool, int]:
        """(why not, whether older versions turned it another way, the file's CRC-32)."""
        path, checksum, heard = paths[index], 0, overheard.size()
        try:
            data = (folder / path).read_bytes()
            checksum = zlib.crc32(data)
            image_CHW, is_anew = _decode(data)
            out_NCHW[index] = _fit(image_CHW, size, crop).numpy()
        except DamagedError as error:
            return Unreadable(path, str(error), is_damaged=True), False, checksum
        except MemoryError:
            return Unreadable(path, "not enough memory", is_damaged=False), False, checksum
        except OSError as error:
            return Unreadable(path, error.strerror or str(error), is_damaged=False), False, checksum
        if overheard.size() > heard:
            suspects.append(path)  # or one that another thread was decoding
        return None, is_anew, checksum

    with overheard, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool, _one_thread_an_op():
        results = []
        for result in pool.map(decode_one, range(len(paths))):
            results.append(result)
            tick()
        odd = _messages_of(folder, sorted(suspects), overheard)
    return Decoded(
        [unreadable for unreadable, _, _ in results if unreadable is not None],
        [path for path, (_, is_anew, _) in zip(paths, results, strict=True) if is_anew],
        odd,
        [checksum for _, _, checksum in results],
    )


def _messages_of(folder: Path, suspects: Sequence[str], overheard: Overheard) -> dict[str, str]:
    """Decode the suspects again, one at a time: path -> what the decoder prints about it, where it prints anything."""
    odd = {}
    for path in suspects:
        heard = overheard.size()
        _decode((folder / path).read_bytes())
        lines = overheard.since(heard).splitlines()
        if lines:
            odd[path] = one_line(lines[0], 80)
            overheard.taken |= {line.strip() for line in lines}
    return odd


@contextmanager
def _one_thread_an_op() -> Iterator[None]:
    """Photos are decoded side by side; more threads inside each operator would only fight over the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def check_opened(folder: Path, unreadable: Sequence[Unreadable]) -> None:
    """Raise UserError for photos whose bytes are not to blame: without them it would be another dataset today only."""
    passing = [photo for photo in unreadable if not photo.is_damaged]
    if passing:
        raise UserError(
            f"{count_of(len(passing), 'photo')} in {folder} could not be opened: {some(with_reasons(passing), 20)}."
            " None is left out, as they may well be whole; see to it that they can be read, and give the command again."
        )


def unreadable_error(folder: Path, unreadable: Sequence[Unreadable], remedy: str) -> UserError:
    """One error for all of them, the first twenty by name and with the reason."""
    photos = count_of(len(unreadable), "photo")
    return UserError(f"{photos} in {folder} cannot be read: {some(with_reasons(unreadable), 20)}. {remedy}")


def with_reasons(unreadable: Sequence[Unreadable]) -> list[str]:
    """Each path with its reason, for a message."""
    return [f"{photo.path} ({photo.reason})" for photo in unreadable]
