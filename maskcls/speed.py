"""How fast a config trains here, from a few real steps: for estimates before a long run."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from maskcls.batches import Order
from maskcls.config import TrainConfig
from maskcls.dataset import Dataset
from maskcls.inference import log_probs
from maskcls.loop import Run, evaluation_stops
from maskcls.numerics import with_less_memory

FIRST_BATCHES = (2, 8)
SHORT_SECONDS = 0.25
"""A CPU answers sooner for a small batch, and where its step takes longer than this, a larger one is hardly faster by
the photo."""

LONG_SECONDS = 1.0
"""What the first step on a CPU costs beside (a tenth of a second) is a small share of one that takes longer."""

ENOUGH_SECONDS = 0.2
"""Timed for so long, at least once."""


@dataclass(frozen=True)
class Speed:
    """Photos per second."""

    train: float
    valid: float

    def seconds(self, config: TrainConfig, data: Dataset) -> float:
        """Of a whole run of ``config`` that nobody stops, without its files and pictures."""
        stops = evaluation_stops(config, len(data.train.row_N))
        trained = stops[-1] * min(config.batch_size, len(data.train.row_N))
        return trained / self.train + len(stops) * len(data.valid.row_N) / self.valid


def measure_speed(config: TrainConfig, data: Dataset, device: torch.device, weight_file: Path | None) -> Speed:
    """Train a few steps and validate a batch a few times, after one of each to warm up.

    Builds the model, so it also shows whether that can be done (UserError).
    """
    torch.set_num_threads(config.threads)
    while True:
        try:
            return _measure(config, data, device, weight_file)
        except torch.OutOfMemoryError:  # as a trial would
            smaller = with_less_memory(config, device)
            if smaller is None:
                raise
        config = smaller


def _measure(config: TrainConfig, data: Dataset, device: torch.device, weight_file: Path | None) -> Speed:
    run = Run(config, data, device, weight_file)
    run.model.train()
    whole = run.order.batch_size
    first = [size for size in FIRST_BATCHES if size < whole and device.type == "cpu"]
    for size in [*first, whole]:
        run.order = Order(len(run.train), size, config.seed, run.train.index_device)
        seconds = _usual_seconds(device, lambda: run.step(0))
        if seconds > SHORT_SECONDS:
            break
    train = run.order.batch_size / seconds
    image_BCHW, _ = next(run.valid.in_order(size if device.type == "cpu" else 4 * config.micro_batch))
    return Speed(train, len(image_BCHW) / _usual_seconds(device, lambda: log_probs(run.model, [image_BCHW], config)))


def _usual_seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Of ``work`` once it is warm: the median of some times."""
    first = _timed(device, work)
    if device.type == "cpu" and first > LONG_SECONDS:
        return first
    times: list[float] = []
    while sum(times) < ENOUGH_SECONDS:
        times.append(_timed(device, work))
    return statistics.median(times)


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds, with the device idle before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun
