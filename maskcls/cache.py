"""Photos decoded and resized once per (photos, size, crop): uint8 on disk, memory-mapped by whoever trains on them.

What it must cost at least: one decode a photo (about 0.8 ms of a core for 384 x 512) and N*3*H*W bytes of disk.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskcls.decode import DECODER, decode_all
from maskcls.lock import hold


@dataclass(frozen=True)
class Cache:
    """The photos of one dataset at one size."""

    image_NCHW: np.ndarray
    """uint8 [N, 3, rows, columns], memory-mapped: N photos cost a process no memory of its own."""
    unreadable: tuple[str, ...]
    """Paths of the photos that cannot be read; their rows are black."""
    was_built: bool
    """Whether this call decoded the photos (otherwise an earlier one had)."""


def load_cache(
    folder: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    crop: tuple[float, float],
    cache_dir: Path,
    tick: Callable[[], None] = lambda: None,
) -> Cache:
    """The cache of ``folder / paths[i]``, made now if there is none; row i belongs to paths[i].

    Processes that ask for the same one at the same time wait for the first of them to make it. An interrupted
    one leaves only a ``.part`` file, which the next overwrites. ``tick`` is called after every photo decoded.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    key = cache_key(folder, paths, size, crop)
    array, facts = cache_dir / f"{key}.npy", cache_dir / f"{key}.json"
    was_built = False
    if not (array.exists() and facts.exists()):
        with hold(cache_dir):
            if not (array.exists() and facts.exists()):  # nobody made it while we waited
                _build(folder, paths, size, crop, array, facts, tick)
                was_built = True
    # "c", copy on write: torch wants a writable array, the file stays as it is and its pages stay shared
    image_NCHW = np.load(array, mmap_mode="c")
    return Cache(image_NCHW, tuple(json.loads(facts.read_text(encoding="utf-8"))["unreadable"]), was_built)


def cache_key(folder: Path, paths: Sequence[str], size: tuple[int, int], crop: tuple[float, float]) -> str:
    """Names what the cache was made of: every photo's path, bytes and time of change, size, crop, decoder."""
    digest = hashlib.sha256(f"{DECODER} {tuple(size)} {tuple(crop)}\n".encode())
    for path in paths:
        stat = os.stat(f"{folder}/{path}")  # noqa: PTH116 - a Path for each of 100,000 photos takes a second
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return f"{size[0]}x{size[1]}-{digest.hexdigest()[:16]}"


def _build(
    folder: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    crop: tuple[float, float],
    array: Path,
    facts: Path,
    tick: Callable[[], None],
) -> None:
    part = array.with_suffix(".part")
    image_NCHW = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(len(paths), 3, *size))
    with part.open("r+b") as file:  # a full disk says so here; a hole in a mapped file would end in a bus error
        os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
    unreadable = decode_all(folder, paths, size, crop, image_NCHW, tick)
    image_NCHW.flush()
    del image_NCHW
    _write_facts(facts, folder, len(paths), size, crop, unreadable)
    part.replace(array)  # last: the array's presence says that all is there


def _write_facts(
    path: Path, folder: Path, num_photos: int, size: Sequence[int], crop: Sequence[float], unreadable: list[str]
) -> None:
    """The list of unreadable photos, and for people who wonder what the file is: where it came from."""
    facts = {
        "folder": str(folder.resolve()),
        "photos": num_photos,
        "image_size": list(size),
        "crop": list(crop),
        "decoder": DECODER,
        "unreadable": unreadable,
    }
    part = path.with_suffix(".json.part")
    part.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    part.replace(path)
