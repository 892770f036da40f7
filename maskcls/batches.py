"""Shuffled training batches and ordered validation batches by indexing; no worker processes, no files."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

SPARE_SHARE = 0.5
"""Photos move to the GPU when they take at most this share of its free memory; the rest is the model's."""


class Batches:
    """One side's photos and labels, ready to be indexed on the device."""

    def __init__(self, image_NCHW: np.ndarray, row_N: np.ndarray, label_N: np.ndarray, device: torch.device) -> None:
        """``image_NCHW`` uint8, all photos; ``row_N`` those of this side; ``label_N`` their classes, int64."""
        image_XCHW = torch.from_numpy(image_NCHW)
        row_N = np.array(row_N, dtype=np.int64)  # a copy: pandas hands out read-only views
        self.device = device
        self.on_device = device.type == "cpu" or _fits(image_XCHW, len(row_N), device)
        if device.type != "cpu" and self.on_device:
            self.image_XCHW = image_XCHW[torch.from_numpy(row_N)].to(device)
            self.row_N = torch.arange(len(row_N), device=device)
        else:
            # on a CPU, and where the GPU is too small: the file stays mapped, a batch is a gather from it
            self.image_XCHW = image_XCHW
            self.row_N = torch.from_numpy(row_N)
        self.label_N = torch.from_numpy(label_N).to(device)

    def __len__(self) -> int:
        return len(self.label_N)

    def take(self, index_B: Tensor) -> tuple[Tensor, Tensor]:
        """(uint8 image_BCHW, int64 label_B) on the device, for positions on this side (an index on the CPU)."""
        if self.on_device:
            index_B = index_B.to(self.device)
            return self.image_XCHW[self.row_N[index_B]], self.label_N[index_B]
        image_BCHW = self.image_XCHW[self.row_N[index_B]].pin_memory()
        return image_BCHW.to(self.device, non_blocking=True), self.label_N[index_B.to(self.device)]

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every photo once, in the order given; the last batch may be smaller."""
        for start in range(0, len(self), batch_size):
            yield self.take(torch.arange(start, min(start + batch_size, len(self))))


def _fits(image_XCHW: Tensor, count: int, device: torch.device) -> bool:
    torch.cuda.empty_cache()  # what the last model's allocator still holds counts as taken otherwise
    free, _ = torch.cuda.mem_get_info(device)
    return count * image_XCHW[0].numel() <= SPARE_SHARE * free


class Order:
    """Which photos each training step sees: a fresh permutation every epoch, a function of (seed, step) alone.

    So a resumed run needs no state of it. An epoch is as many whole batches as there are; the photos left over
    (fewer than a batch, others every epoch) wait, since a last batch of one photo would upset batch norm.
    """

    def __init__(self, num_photos: int, batch_size: int, seed: int) -> None:
        self.num_photos, self.seed = num_photos, seed
        self.batch_size = min(batch_size, num_photos)
        self.steps_per_epoch = num_photos // self.batch_size
        self._epoch, self._order_N = -1, torch.empty(0)

    def batch(self, step: int) -> Tensor:
        """int64 [B]: positions on the training side for ``step``, counted from 0 over the whole run."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            generator = torch.Generator().manual_seed(derive_seed(self.seed, epoch))
            self._order_N = torch.randperm(self.num_photos, generator=generator)
        return self._order_N[place * self.batch_size : (place + 1) * self.batch_size]


def derive_seed(*numbers: int) -> int:
    """One seed from several numbers, without the collisions of adding them."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
