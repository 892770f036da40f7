"""Shuffled training batches and ordered validation batches, by indexing decoded photos; no worker processes."""

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")

SPARE_SHARE = 0.5
"""Photos move to the GPU when they take at most this share of its free memory; the rest is for the model."""


class Batches:
    """Photos and labels of one side of the split, indexed on the device."""

    def __init__(
        self, image_NCHW: np.ndarray, row_N: np.ndarray, label_N: np.ndarray, device: torch.device, move: bool = True
    ) -> None:
        """``image_NCHW``: uint8, all photos; ``row_N``: rows of this side; ``label_N``: their classes, int64.

        ``move``: whether the photos of this side move to a GPU that has room.
        """
        row_N = np.array(row_N, dtype=np.int64)  # a copy: pandas returns read-only views
        self.device = device
        moved_NCHW = None if device.type == "cpu" or not move else _move(image_NCHW, row_N, device)
        self.on_device = device.type == "cpu" or moved_NCHW is not None
        if moved_NCHW is not None:
            self.image_XCHW = moved_NCHW
            self.row_N = torch.arange(len(row_N), device=device)
        else:
            # on a CPU, or when the GPU is too small: the file stays mapped, and each batch is gathered from it
            self.image_XCHW = torch.from_numpy(image_NCHW)
            self.row_N = torch.from_numpy(row_N)
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


@dataclass
class _Moved:
    """Photos of one dataset that stay on a GPU between trials."""

    source: weakref.ref[np.ndarray]
    device: torch.device
    images_of_rows: dict[bytes, Tensor] = field(default_factory=dict)


_moved: _Moved | None = None
"""One dataset at a time: when a study searches the image size, the photos move again at every change of it."""


def release_photos() -> None:
    """Give the memory of photos on a GPU back to torch's allocator, once no training uses them."""
    global _moved
    _moved = None


def _move(image_NCHW: np.ndarray, row_N: np.ndarray, device: torch.device) -> Tensor | None:
    """The photos of these rows on the device, moved by an earlier trial or now; None when they do not fit."""
    global _moved
    if _moved is None or _moved.source() is not image_NCHW or _moved.device != device:
        _moved = _Moved(weakref.ref(image_NCHW), device)
    images_of_rows, key = _moved.images_of_rows, row_N.tobytes()
    if key not in images_of_rows:
        image_XCHW = torch.from_numpy(image_NCHW)
        if not _fits(image_XCHW, len(row_N), device):
            return None
        images_of_rows[key] = image_XCHW[torch.from_numpy(row_N)].to(device)
    return images_of_rows[key]


def _fits(image_XCHW: Tensor, num_photos: int, device: torch.device) -> bool:
    torch.cuda.empty_cache()  # otherwise memory cached since the last model counts as taken
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return num_photos * image_XCHW[0].numel() <= SPARE_SHARE * free_bytes


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
