"""Photo files -> uint8 tensors of one size: decode, turn upright, crop around the centre, resize with antialiasing."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as tv

from maskcls.errors import UserError, some

DECODER = f"torchvision {torchvision.__version__}"
"""Part of every cache key: another version may round another way."""


def decode_photo(path: Path, size: tuple[int, int], crop: tuple[float, float] = (1.0, 1.0)) -> torch.Tensor:
    """uint8 [3, rows, columns]. Grey, palette and transparent photos become RGB; EXIF orientation is applied.

    Raises RuntimeError or OSError for a file that is not a whole photo.
    """
    data = torch.from_numpy(np.fromfile(path, dtype=np.uint8))
    image_CHW = decode_image(data, mode=ImageReadMode.RGB, apply_exif_orientation=True)
    if image_CHW.ndim != 3:
        raise RuntimeError("an animation is not a photo")
    image_CHW = tv.to_dtype(image_CHW, torch.uint8, scale=True)  # of PNGs with 16 bits a channel
    height, width = image_CHW.shape[-2:]
    kept = [max(1, round(height * crop[0])), max(1, round(width * crop[1]))]
    if kept != [height, width]:
        image_CHW = tv.center_crop(image_CHW, kept)
    return tv.resize(image_CHW, list(size), antialias=True)


def decode_all(
    folder: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    crop: tuple[float, float],
    out_NCHW: np.ndarray,
    tick: Callable[[], None] = lambda: None,
) -> list[str]:
    """Decode ``folder / paths[i]`` into ``out_NCHW[i]`` on all cores; calls ``tick`` after every photo.

    Returns the paths of those that cannot be read; their rows stay as they were.
    """

    def decode_one(index: int) -> str | None:
        try:
            image_CHW = decode_photo(folder / paths[index], size, crop)
        except (RuntimeError, OSError):
            return paths[index]
        out_NCHW[index] = image_CHW.numpy()
        return None

    unreadable = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool, _one_thread_an_op():
        for path in pool.map(decode_one, range(len(paths))):
            if path is not None:
                unreadable.append(path)
            tick()
    return unreadable


@contextmanager
def _one_thread_an_op() -> Iterator[None]:
    """Photos are decoded side by side; more threads inside each operator would only fight over the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def unreadable_error(folder: Path, unreadable: Sequence[str], remedy: str) -> UserError:
    """One error for all of them, the first twenty by name."""
    return UserError(f"{len(unreadable)} photos in {folder} cannot be read: {some(unreadable, 20)}. {remedy}")
