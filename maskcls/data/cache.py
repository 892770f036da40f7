"""Photos decoded and resized once per (photos, size, crop): uint8 on disk, memory-mapped by every training process.

The lower bound of its cost: one decode per photo (about 0.8 ms of a core for 384 x 512) and N*3*H*W bytes of disk.

A cache is two files: ``<key>.npy``, and ``<key>.json``, which is put in place last and describes the other.
Neither needs a lock to be right: each is written under a temporary name and appears whole. The lock on the folder
only saves a second process on the same machine the work.
"""

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskcls.data.checksums import checksums, has_checksums
from maskcls.images.decode import DECODER, Unreadable, check_opened, decode_all
from maskcls.system.errors import one_line
from maskcls.system.large_files import Draft, photo_mode, remove_stale_drafts
from maskcls.system.lock import hold

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cache:
    """The photos of one dataset at one size."""

    image_NCHW: np.ndarray
    """uint8 [N, 3, rows, columns], memory-mapped: N photos cost a process no memory of its own."""
    unreadable: tuple[Unreadable, ...]
    """Photos that cannot be read; their rows are black."""
    was_built: bool
    """Whether this call decoded the photos, rather than an earlier one."""
    content: str
    """Twelve hex digits of a hash of all bytes of all photos."""
    odd: dict[str, str]
    """Path -> the decoder's warning about a photo that it could read (Decoded.odd)."""
    turned_anew: tuple[str, ...]
    """Paths of photos that older versions turned another way (orientation.is_turned_anew)."""


@dataclass(frozen=True)
class CacheFacts:
    """Contents of ``<key>.json``, which describes ``<key>.npy``; a checksum of these facts is stored with them."""

    folder: str
    """This and the next four fields are for people who wonder what the file is."""
    photos: int
    image_size: tuple[int, int]
    crop: tuple[float, float]
    decoder: str
    unreadable: list[tuple[str, str]]
    """(path, reason) of every photo that cannot be read."""
    odd: dict[str, str]
    turned_anew: list[str]
    content: str
    """The last three are as in ``Cache``."""
    checksums: list[int]
    """CRC-32 of every block of the array (maskcls.data.checksums)."""

    def to_json(self) -> str:
        """The text of the file."""
        values = asdict(self)
        return json.dumps({**values, "sum": _checksum(values)}, indent=1)

    @staticmethod
    def read(path: Path) -> "CacheFacts | None":
        """The facts in a file; None if their checksum is wrong. Raises many kinds of error for a damaged file."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return CacheFacts(**values) if values.pop("sum") == _checksum(values) else None


def load_cache(
    folder: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    crop: tuple[float, float],
    cache_dir: Path,
    tick: Callable[[], None] = lambda: None,
) -> Cache:
    """The cache of ``folder / paths[i]``, built if there is none; row i belongs to paths[i].

    Processes that load the same cache at the same time wait for the first to build it. A damaged cache is built again,
    with a message. ``tick`` is called after every photo decoded.
    Raises UserError for photos that cannot be opened at the moment; nothing is kept then.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    array = cache_dir / f"{cache_key(folder, paths, size, crop)}.npy"
    shape = (len(paths), 3, *size)
    existing = _read_existing(array, shape)
    if isinstance(existing, Cache):
        return existing
    with hold(cache_dir):
        existing = _read_existing(array, shape)  # another process may have built it while this one waited
        if isinstance(existing, Cache):
            return existing
        if existing:
            logger.info(f"The photo cache {array} is damaged ({existing}); the photos are decoded again.")
        remove_stale_drafts(cache_dir)
        return _build(folder, paths, size, crop, array, tick)


def cache_key(folder: Path, paths: Sequence[str], size: tuple[int, int], crop: tuple[float, float]) -> str:
    """Name of a cache: its size, and a hash of every photo's path, bytes and times, of size, crop and decoder.

    ctime also changes for a photo that was replaced by another with the same size and mtime.
    """
    digest = hashlib.sha256(f"{DECODER} {tuple(size)} {tuple(crop)}\n".encode())
    for path in paths:
        stat = os.stat(f"{folder}/{path}")  # noqa: PTH116 - a Path for each of 100,000 photos takes a second
        line = f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return f"{size[0]}x{size[1]}-{digest.hexdigest()[:16]}"


def _read_existing(array: Path, shape: tuple[int, ...]) -> Cache | str:
    """The cache on disk; if it is damaged, in which way; an empty string if there is none."""
    facts_path = array.with_suffix(".json")
    if not (array.exists() and facts_path.exists()):
        return ""
    try:
        facts = CacheFacts.read(facts_path)
        if facts is None:
            return f"a checksum of {facts_path.name} is wrong"
        # "c", copy on write: torch needs a writable array, the file must not change, and its pages are shared
        image_NCHW = np.load(array, mmap_mode="c")
        if image_NCHW.shape != shape or image_NCHW.dtype != np.uint8 or not image_NCHW.flags.c_contiguous:
            return "another shape"
        if not has_checksums(array, image_NCHW, facts.checksums):
            return "a checksum is wrong"
        return _cache(image_NCHW, facts, was_built=False)
    except OSError:  # not damage, so no reason to decode everything again
        raise
    except Exception as error:  # json and numpy raise many kinds for damaged bytes
        return one_line(error, 80)


def _cache(image_NCHW: np.ndarray, facts: CacheFacts, was_built: bool) -> Cache:
    unreadable = tuple(Unreadable(path, reason, is_damaged=True) for path, reason in facts.unreadable)
    return Cache(image_NCHW, unreadable, was_built, facts.content, facts.odd, tuple(facts.turned_anew))


def _build(
    folder: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    crop: tuple[float, float],
    array: Path,
    tick: Callable[[], None],
) -> Cache:
    """Decode all photos into a new cache, which appears whole or not at all."""
    mode = photo_mode(folder, paths)
    with Draft(array, mode) as part, Draft(array.with_suffix(".json"), mode) as facts_part:
        image_NCHW = np.lib.format.open_memmap(part.path, mode="w+", dtype=np.uint8, shape=(len(paths), 3, *size))
        # raises on a full disk; writing to a hole in a mapped file would end in a bus error
        os.posix_fallocate(part.descriptor, 0, part.path.stat().st_size)
        decoded = decode_all(folder, paths, size, crop, image_NCHW, tick)
        check_opened(folder, decoded.unreadable)
        image_NCHW.flush()
        facts = CacheFacts(
            folder=str(folder.resolve()),
            photos=len(paths),
            image_size=size,
            crop=crop,
            decoder=DECODER,
            unreadable=[(photo.path, photo.reason) for photo in decoded.unreadable],
            odd=decoded.odd,
            turned_anew=decoded.turned_anew,
            content=_content(paths, decoded.checksums),
            checksums=checksums(image_NCHW),
        )
        facts_part.path.write_text(facts.to_json(), encoding="utf-8")
        part.put_in_place()
        facts_part.put_in_place()
    del image_NCHW
    return _cache(np.load(array, mmap_mode="c"), facts, was_built=True)


def _checksum(values: Mapping[str, Any]) -> int:
    """CRC-32 of the facts."""
    return zlib.crc32(json.dumps(values).encode())


def _content(paths: Sequence[str], checksum_N: Sequence[int]) -> str:
    """``Cache.content``, from the CRC-32 of every photo's file."""
    lines = sorted(f"{path} {checksum:08x}\n" for path, checksum in zip(paths, checksum_N, strict=True))
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()[:12]
