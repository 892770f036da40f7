"""Photos decoded and resized once per (photos, size, crop): uint8 on disk, memory-mapped by whoever trains on them.

What it must cost at least: one decode a photo (about 0.8 ms of a core for 384 x 512) and N*3*H*W bytes of disk.

A cache is two files: ``<key>.npy``, and ``<key>.json``, which is put in place last and says what the other must be.
No lock is needed for either to be right: each is made under a name of its own and appears whole. The lock on the
folder only spares a second process on the same machine the work.
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
    """The photos that cannot be read; their rows are black."""
    was_built: bool
    """Whether this call decoded the photos (otherwise an earlier one had)."""
    content: str
    """Twelve hex digits that name the photos' bytes, every one of them."""
    odd: dict[str, str]
    """Path -> what the decoder said about a photo that it read all the same (Decoded.odd)."""
    turned_anew: tuple[str, ...]
    """Paths of the photos that orientation.is_turned_anew says studies of older versions saw otherwise."""


@dataclass(frozen=True)
class CacheFacts:
    """What ``<key>.json`` says of ``<key>.npy``, beside the checksum of these facts."""

    folder: str
    """Like the next four fields for people who wonder what the file is."""
    photos: int
    image_size: tuple[int, int]
    crop: tuple[float, float]
    decoder: str
    unreadable: list[tuple[str, str]]
    """(path, reason) of every photo that cannot be read."""
    odd: dict[str, str]
    turned_anew: list[str]
    content: str
    """Each of the last three as in ``Cache``."""
    checksums: list[int]
    """CRC-32 of the array, block by block (maskcls.data.checksums)."""

    def to_json(self) -> str:
        """The file's text."""
        values = asdict(self)
        return json.dumps({**values, "sum": _sum(values)}, indent=1)

    @staticmethod
    def read(path: Path) -> "CacheFacts | None":
        """The inverse of to_json, from a file; None where its checksum is wrong. Raises what a damaged file does."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return CacheFacts(**values) if values.pop("sum") == _sum(values) else None


def load_cache(
    folder: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    crop: tuple[float, float],
    cache_dir: Path,
    tick: Callable[[], None] = lambda: None,
) -> Cache:
    """The cache of ``folder / paths[i]``, made now if there is none; row i belongs to paths[i].

    Processes that ask for the same one at the same time wait for the first of them to make it. One that was damaged
    since is made anew, which is said. ``tick`` is called after every photo decoded.
    Raises UserError for photos that cannot be opened now; then nothing is kept.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    array = cache_dir / f"{cache_key(folder, paths, size, crop)}.npy"
    shape = (len(paths), 3, *size)
    existing = _read_existing(array, shape)
    if isinstance(existing, Cache):
        return existing
    with hold(cache_dir):
        existing = _read_existing(array, shape)  # another process may have made it while this one waited
        if isinstance(existing, Cache):
            return existing
        if existing:
            logger.info(f"The photo cache {array} is damaged ({existing}); the photos are decoded again.")
        remove_stale_drafts(cache_dir)
        return _build(folder, paths, size, crop, array, tick)


def cache_key(folder: Path, paths: Sequence[str], size: tuple[int, int], crop: tuple[float, float]) -> str:
    """Names what the cache was made of: every photo's path, bytes and times of change, size, crop, decoder.

    The time of change of the file's own entry (ctime) tells of a photo that was put back with its old size and time.
    """
    digest = hashlib.sha256(f"{DECODER} {tuple(size)} {tuple(crop)}\n".encode())
    for path in paths:
        stat = os.stat(f"{folder}/{path}")  # noqa: PTH116 - a Path for each of 100,000 photos takes a second
        line = f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return f"{size[0]}x{size[1]}-{digest.hexdigest()[:16]}"


def _read_existing(array: Path, shape: tuple[int, ...]) -> Cache | str:
    """The cache as it lies there; else what is wrong with it, or an empty string where there is none."""
    facts_path = array.with_suffix(".json")
    if not (array.exists() and facts_path.exists()):
        return ""
    try:
        facts = CacheFacts.read(facts_path)
        if facts is None:
            return f"a checksum of {facts_path.name} is wrong"
        # "c", copy on write: torch wants a writable array, the file stays as it is and its pages stay shared
        image_NCHW = np.load(array, mmap_mode="c")
        if image_NCHW.shape != shape or image_NCHW.dtype != np.uint8 or not image_NCHW.flags.c_contiguous:
            return "another shape"
        if not has_checksums(array, image_NCHW, facts.checksums):
            return "a checksum is wrong"
        return _cache(image_NCHW, facts, was_built=False)
    except OSError:  # not the file's fault, and no reason to decode all again
        raise
    except Exception as error:  # as many kinds as there are bytes that json and numpy do not expect
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
        # a full disk says so here; a hole in a mapped file would end in a bus error
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


def _sum(values: Mapping[str, Any]) -> int:
    """CRC-32 of the facts themselves, by their names."""
    return zlib.crc32(json.dumps(values).encode())


def _content(paths: Sequence[str], checksum_N: Sequence[int]) -> str:
    """``Cache.content`` of photos with these CRC-32 of their files."""
    lines = sorted(f"{path} {checksum:08x}\n" for path, checksum in zip(paths, checksum_N, strict=True))
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()[:12]
