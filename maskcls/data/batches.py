"""Shuffled training batches and ordered validation batches, by indexing decoded photos; no worker processes."""

import os
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")

SPARE_SHARE = 0.5
"""Photos move to the GPU when they take at most this share of its free memory; the rest is for the model. Workers that
share a GPU share it evenly."""

PIECE_BYTES = 1 << 26
"""Photos move through a page-locked buffer of this size: the mapped file needs no copy of itself in memory."""


class Batches:
    """Photos and labels of one side of the split, indexed on the device."""

    def __init__(
        self, image_NCHW: np.ndarray, row_N: np.ndarray, label_N: np.ndarray, device: torch.device, move: bool = True
    ) -> None:
        """``image_NCHW``: uint8, all photos; ``row_N``: rows of this side; ``label_N``: their classes, int64.

        ``move``: whether all photos move to a GPU that has room, once for all sides and trials of a dataset. Nearly all
        are used: a cache holds the photos of one split, and even a confirmation leaves only the search's judges out.
        """
        row_N = np.array(row_N, dtype=np.int64)  # a copy: pandas returns read-only views
        self.device = device
        moved_NCHW = None if device.type == "cpu" or not move else _move(image_NCHW, device)
        self.on_device = device.type == "cpu" or moved_NCHW is not None
        # on a CPU, or when the GPU is too small, the file stays mapped, and each batch is gathered from it
        self.image_XCHW = torch.from_numpy(image_NCHW) if moved_NCHW is None else moved_NCHW
        self.row_N = torch.from_numpy(row_N)
        if moved_NCHW is not None:
            self.row_N = self.row_N.to(device)
        self.index_device = self.row_N.device
        self.label_N = torch.from_numpy(label_N).to(device)
        self._label_N = self.label_N if self.on_device else torch.from_numpy(label_N)

    def __len__(self) -> int:
        return len(self.label_N)

    def take(self, index_B: Tensor) -> tuple[Tensor, Tensor]:
        """(uint8 image_BCHW, int64 label_B) on the device; ``index_B`` counts photos of this side.

        With an index on ``index_device`` the CPU does not wait for the GPU.
        """
        index_B = index_B.to(self.index_device)
        row_B = self.row_N[index_B]
        if self.on_device:
            return self.image_XCHW[row_B], self._label_N[index_B]
        # gathered into page-locked memory, which torch's allocator reuses once the copy is done: the next batch is
        # gathered while the GPU works on this one
        image_BCHW = torch.empty((len(row_B), *self.image_XCHW.shape[1:]), dtype=torch.uint8, pin_memory=True)
        torch.index_select(self.image_XCHW, 0, row_B, out=image_BCHW)
        label_B = self._label_N[index_B].pin_memory()
        return image_BCHW.to(self.device, non_blocking=True), label_B.to(self.device, non_blocking=True)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every photo once, in the order given; the last batch may be smaller."""
        for start in range(0, len(self), batch_size):
            yield self.take(torch.arange(start, min(start + batch_size, len(self)), device=self.index_device))


def sharers() -> int:
    """Number of workers that share this process's GPU, as the supervisor says in MASKCLS_GPU_SHARERS; else 1."""
    with suppress(ValueError):
        return max(1, int(os.environ.get("MASKCLS_GPU_SHARERS", "1")))
    return 1


@dataclass(frozen=True)
class _Moved:
    """Photos of one dataset that stay on a GPU between trials."""

    source: weakref.ref[np.ndarray]
    file: tuple[object, ...] | None
    """``_file_of`` the source."""
    image_NCHW: Tensor

    def are(self, image_NCHW: np.ndarray, device: torch.device) -> bool:
        """Whether these are the photos of the array, or of another map of the same file, on this device."""
        is_same = self.source() is image_NCHW or (self.file is not None and self.file == _file_of(image_NCHW))
        return is_same and self.image_NCHW.device == device


_moved: _Moved | None = None
"""One dataset at a time: when a study searches the image size, the photos move again at every change of it."""


def release_photos() -> None:
    """Give the memory of photos on a GPU back to torch's allocator, once no training uses them."""
    global _moved
    _moved = None


def photos_are_moved() -> bool:
    """Whether photos are on a GPU, for the last training there or an earlier one."""
    return _moved is not None


def _move(image_NCHW: np.ndarray, device: torch.device) -> Tensor | None:
    """All photos on the device, moved by an earlier trial or now; None when they do not fit."""
    global _moved
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())  # as tensors there say it
    if _moved is None or not _moved.are(image_NCHW, device):
        release_photos()
        if not _fits(image_NCHW.nbytes, device):
            return None
        try:
            _moved = _Moved(weakref.ref(image_NCHW), _file_of(image_NCHW), _upload(image_NCHW, device))
        except torch.OutOfMemoryError:  # others were faster
            return None
    return _moved.image_NCHW


def _file_of(image_NCHW: np.ndarray) -> tuple[object, ...] | None:
    """What identifies the file that the array is a map of, all of it; None for any other array.

    Every dataset maps its cache anew, also when only its labels or its split differ from the last one's.
    """
    if not (isinstance(image_NCHW, np.memmap) and isinstance(image_NCHW.base, mmap)):  # a view's base is a memmap
        return None
    try:
        stat = os.stat(str(image_NCHW.filename))  # noqa: PTH116 - a memmap without a file has the name None
    except OSError:
        return None
    return image_NCHW.shape, image_NCHW.offset, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _fits(size: int, device: torch.device) -> bool:
    """Whether so many bytes leave enough of the GPU's free memory."""
    torch.cuda.empty_cache()  # otherwise memory cached since the last model counts as taken
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return size <= SPARE_SHARE / sharers() * free_bytes


def _upload(image_NCHW: np.ndarray, device: torch.device) -> Tensor:
    """A copy of the photos on the device."""
    source_NCHW = torch.from_numpy(image_NCHW)
    moved_NCHW = torch.empty(image_NCHW.shape, dtype=torch.uint8, device=device)
    count = max(1, PIECE_BYTES // image_NCHW[0].nbytes)
    shape = (min(count, len(image_NCHW)), *image_NCHW.shape[1:])
    buffer_MCHW = torch.empty(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
    for start in range(0, len(image_NCHW), count):
        piece_MCHW = source_NCHW[start : start + count]
        part_MCHW = buffer_MCHW[: len(piece_MCHW)].copy_(piece_MCHW)
        moved_NCHW[start : start + count].copy_(part_MCHW)  # returns once the buffer may be filled again
    return moved_NCHW


class BatchSampler:
    """The photos of each training step: a fresh permutation every epoch, a function of (seed, step) alone.

    So a resumed run needs none of its state. An epoch consists of whole batches; the photos left over, others every
    epoch, are skipped, since a last batch of one photo would upset batch norm.
    """

    def __init__(self, num_photos: int, batch_size: int, seed: int, device: torch.device = CPU) -> None:
        """``device``: where batches are returned; they are drawn on the CPU, so they are the same everywhere."""
        self.num_photos, self.seed, self.device = num_photos, seed, device
        self.batch_size = min(batch_size, num_photos)
        self.steps_per_epoch = num_photos // self.batch_size
        self._epoch, self._order_N = -1, torch.empty(0)

    def batch(self, step: int) -> Tensor:
        """int64 [B] on the device: photos of ``step``, as ``Batches.take`` counts them; steps count from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch))
            order_N = torch.randperm(self.num_photos, generator=generator)
            if self.device.type == "cuda":
                order_N = order_N.pin_memory()
            self._order_N = order_N.to(self.device, non_blocking=True)  # once per epoch, not at every step
        return self._order_N[place * self.batch_size : (place + 1) * self.batch_size]


def derive_seed(*numbers: int) -> int:
    """One seed from several numbers, without the collisions of adding them."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
