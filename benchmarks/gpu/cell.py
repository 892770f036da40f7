"""A cell of the GPU measurements: a backbone, an image size and a batch size, trained on photos of noise."""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from maskcls.config import TrainConfig
from maskcls.data.dataset import Dataset, LabelledPhotos
from maskcls.training.loop import Run
from maskcls.training.numerics import resolve

DEVICE = torch.device(os.environ.get("DEVICE", "cuda"))
ON_GPU = DEVICE.type == "cuda"
SECONDS = float(os.environ.get("SECONDS_EACH", "0.7"))
"""Shortest time that a speed is measured over."""

Step = Callable[[int], object]
"""Does the optimizer step of this number."""

_photos: dict[tuple[int, int], Dataset] = {}


def parse(cell: str) -> tuple[str, int, int]:
    """(backbone, image size, batch size) of ``resnet18:224:32``."""
    backbone, size, batch = cell.split(":")
    return backbone, int(size), int(batch)


def make_run(backbone: str, size: int, batch: int, **fields: Any) -> Run:
    """A run of the project's own loop on noise: 16 batches of training photos and 4 of validation."""
    usual = {"cuda_graphs": "off", "repeatable": "off", "memory_format": "channels_last"}
    fields = {**usual, "threads": 0 if ON_GPU else 1, "augment": ("flip", "contrast"), "lr": 1e-3, **fields}
    config = resolve(TrainConfig(backbone=backbone, image_size=(size, size), batch_size=batch, **fields), DEVICE)
    if (size, batch) not in _photos:
        rng, train, valid = np.random.default_rng(0), 16 * batch, 4 * batch
        image_NCHW = rng.integers(0, 256, (train + valid, 3, size, size), dtype=np.uint8)
        sides = [
            LabelledPhotos(np.arange(first, first + n), rng.integers(0, 18, n), np.full(n, ""), np.full(n, ""))
            for first, n in ((0, train), (train, valid))
        ]
        _photos[size, batch] = Dataset(image_NCHW, *sides, "")
    run = Run(config, _photos[size, batch], DEVICE, None)
    run.model.train()
    return run


def wait() -> None:
    """Until the device is idle."""
    if ON_GPU:
        torch.cuda.synchronize()


def measure(step: Step, length: int) -> tuple[float, float]:
    """(ms a step, ms of the CPU until one is queued)."""
    for number in range(5):
        step(number)
    wait()
    queued, once = [], 0.0
    for number in range(7):
        begun = time.perf_counter()
        step(number)
        queued.append(1e3 * (time.perf_counter() - begun))
        wait()
        once = time.perf_counter() - begun
    count = max(4, int(SECONDS / once))
    begun = time.perf_counter()
    for number in range(count):
        step(number % length)
    wait()
    return 1e3 * (time.perf_counter() - begun) / count, statistics.median(queued)


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)
