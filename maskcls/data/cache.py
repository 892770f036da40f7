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
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskcls.data.checksums import checksums, has_checksums
from maskcls.images.decode import DECODER, Unreadable, check_opened, decode_all
from maskcls.images.fit import Fit
from maskcls.images.headers import PNG_SIGNATURE
from maskcls.system.errors import UserError, count_of, one_line
from maskcls.system.large_files import Draft, photo_mode, remove_stale_drafts
from maskcls.system.lock import hold

logger = logging.getLogger(__name__)

SPARE_SHARE = 0.1
"""Of a new cache's size, which must stay free on its disk for what else is written there meanwhile."""

FORMERLY_UNREADABLE = ("BMP", "TIFF")
"""How the reason of a photo begins that earlier versions could not read."""


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
    read_anew: tuple[str, ...] = ()
    """Paths of photos that older versions could not read (formats.ADDED)."""
    deep_photos: int = 0
    """How many photos have 16 bits a channel."""
    used_bits: int = 0
    """Bits that the largest sample of all these takes; 0 if there are none."""


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
    fit: str = "squash"
    """This and the next four fields are missing in a cache of an earlier version."""
    bit_depth: int = 0
    read_anew: list[str] | None = None
    """This and the next two are as in ``Cache``; None in a cache of an earlier version."""
    deep_photos: int = 0
    used_bits: int = 0

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
    fit: Fit = "squash",
    bit_depth: int = 0,
) -> Cache:
    """The cache of ``folder / paths[i]``, built if there is none; row i belongs to paths[i].

    Processes that load the same cache at the same time wait for the first to build it. A damaged cache is built again,
    with a message, and so is one of an earlier version that lacks photos which are read now. ``tick`` is called after
    every photo decoded. ``fit`` and ``bit_depth`` as in TrainConfig.
    Raises UserError for photos that cannot be opened at the moment, nothing is kept then; and before anything is
    decoded, for a disk without room for the cache.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    array = _array(folder, paths, size, crop, cache_dir, fit, bit_depth)
    shape = (len(paths), 3, *size)
    existing = _read_existing(array, shape, folder, paths)
    if isinstance(existing, Cache):
        return existing
    with hold(cache_dir):
        existing = _read_existing(array, shape, folder, paths)  # another process may have built it meanwhile
        if isinstance(existing, Cache):
            return existing
        if existing:
            logger.info(f"The photo cache {array} {existing}; the photos are decoded again.")
        remove_stale_drafts(cache_dir)
        check_room(cache_bytes(len(paths), size), cache_dir)
        return _build(folder, paths, size, crop, array, tick, fit, bit_depth)


def cache_bytes(photos: int, size: tuple[int, int]) -> int:
    """What the cache of so many photos takes on the disk: a byte for each of three colours of each pixel."""
    return photos * 3 * size[0] * size[1]


def is_cached(
    folder: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    crop: tuple[float, float],
    cache_dir: Path,
    fit: Fit = "squash",
    bit_depth: int = 0,
) -> bool:
    """Whether there is a cache of these photos, which may still turn out to be damaged."""
    return _array(folder, paths, size, crop, cache_dir, fit, bit_depth).with_suffix(".json").exists()


def check_room(num_bytes: int, cache_dir: Path, caches: int = 1) -> None:
    """Raise UserError unless the folder's disk has room for so many bytes of ``caches`` new caches, and a tenth more.

    The folder, and those above it, need not exist.
    """
    place = next(folder for folder in (cache_dir, *cache_dir.absolute().parents) if folder.exists())
    needed, free = round(num_bytes * (1 + SPARE_SHARE)), shutil.disk_usage(place).free
    if needed > free:
        what = "The cache" if caches == 1 else f"Together the {count_of(caches, 'cache')}"
        raise UserError(
            f"{what} of decoded photos would take {in_units(num_bytes)} in {cache_dir}, with a tenth of that to spare,"
            f" but its disk has {in_units(free)} free. Free some, name a folder on another disk (--cache DIR, or the"
            " environment variable MASKCLS_CACHE), or use a smaller image_size."
        )


def in_units(num_bytes: int) -> str:
    """``2.1 GiB``, ``130.0 MiB`` or ``40.3 KiB``."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.1f} {name}"
    return f"{num_bytes / 2**10:.1f} KiB"


def _array(
    folder: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    crop: tuple[float, float],
    cache_dir: Path,
    fit: Fit,
    bit_depth: int,
) -> Path:
    return cache_dir / f"{cache_key(folder, paths, size, crop, fit, bit_depth)}.npy"


def cache_key(
    folder: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    crop: tuple[float, float],
    fit: Fit = "squash",
    bit_depth: int = 0,
) -> str:
    """Name of a cache: its size, and a hash of every photo's path, bytes and times, of size, crop and decoder.

    Without ``fit`` and ``bit_depth`` at their defaults, as in caches from before they existed.
    ctime also changes for a photo that was replaced by another with the same size and mtime.
    """
    more = (f" fit={fit}" if fit != "squash" else "") + (f" bit_depth={bit_depth}" if bit_depth else "")
    digest = hashlib.sha256(f"{DECODER} {tuple(size)} {tuple(crop)}{more}\n".encode())
    for path in paths:
        stat = os.stat(f"{folder}/{path}")  # noqa: PTH116 - a Path for each of 100,000 photos takes a second
        line = f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return f"{size[0]}x{size[1]}-{digest.hexdigest()[:16]}"


def _read_existing(array: Path, shape: tuple[int, ...], folder: Path, paths: Sequence[str]) -> Cache | str:
    """The cache on disk; if it cannot be used, a predicate that says why; an empty string if there is none."""
    facts_path = array.with_suffix(".json")
    if not (array.exists() and facts_path.exists()):
        return ""
    try:
        facts = CacheFacts.read(facts_path)
        if facts is None:
            return f"is damaged (a checksum of {facts_path.name} is wrong)"
        if facts.read_anew is None and _is_outdated(facts, folder, paths):
            return "is of an earlier version, which read fewer formats"
        # "c", copy on write: torch needs a writable array, the file must not change, and its pages are shared
        image_NCHW = np.load(array, mmap_mode="c")
        if image_NCHW.shape != shape or image_NCHW.dtype != np.uint8 or not image_NCHW.flags.c_contiguous:
            return "is damaged (another shape)"
        if not has_checksums(array, image_NCHW, facts.checksums):
            return "is damaged (a checksum is wrong)"
        return _cache(image_NCHW, facts, was_built=False)
    except OSError:  # not damage, so no reason to decode everything again
        raise
    except Exception as error:  # json and numpy raise many kinds for damaged bytes
        return f"is damaged ({one_line(error, 80)})"


def _is_outdated(facts: CacheFacts, folder: Path, paths: Sequence[str]) -> bool:
    """Whether a cache of an earlier version lacks photos that are read now, or may hold 16-bit ones that are black."""
    if any(reason.startswith(FORMERLY_UNREADABLE) for _, reason in facts.unreadable):
        return True
    return any(path.lower().endswith(".png") and _is_deep_png(folder / path) for path in paths)


def _is_deep_png(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(25)
    return head.startswith(PNG_SIGNATURE) and head[24:] == b"\x10"  # after the signature: IHDR, width, height, bits


def _cache(image_NCHW: np.ndarray, facts: CacheFacts, was_built: bool) -> Cache:
    unreadable = tuple(Unreadable(path, reason, is_damaged=True) for path, reason in facts.unreadable)
    return Cache(
        image_NCHW,
        unreadable,
        was_built,
        facts.content,
        facts.odd,
        tuple(facts.turned_anew),
        tuple(facts.read_anew or ()),
        facts.deep_photos,
        facts.used_bits,
    )


def _build(
    folder: Path,
    paths: Sequence[str],
    size: tuple[int, int],
    crop: tuple[float, float],
    array: Path,
    tick: Callable[[], None],
    fit: Fit,
    bit_depth: int,
) -> Cache:
    """Decode all photos into a new cache, which appears whole or not at all."""
    mode = photo_mode(folder, paths)
    with Draft(array, mode) as part, Draft(array.with_suffix(".json"), mode) as facts_part:
        image_NCHW = np.lib.format.open_memmap(part.path, mode="w+", dtype=np.uint8, shape=(len(paths), 3, *size))
        # raises on a full disk; writing to a hole in a mapped file would end in a bus error
        os.posix_fallocate(part.descriptor, 0, part.path.stat().st_size)
        decoded = decode_all(folder, paths, size, crop, image_NCHW, tick, fit, bit_depth)
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
            fit=fit,
            bit_depth=bit_depth,
            read_anew=decoded.read_anew,
            deep_photos=decoded.deep_photos,
            used_bits=decoded.used_bits,
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
