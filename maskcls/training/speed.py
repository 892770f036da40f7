"""How fast a config trains here, from a few real steps: for estimates before a long run."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from maskcls.config import ResolvedConfig, TrainConfig
from maskcls.data.batches import BatchSampler
from maskcls.data.dataset import Dataset
from maskcls.model.inference import log_probs
from maskcls.training.loop import Run, evaluation_stops
from maskcls.training.numerics import MIN_MICRO_BATCH, with_half_the_micro_batch

FIRST_BATCH = 4
SHORT_SECONDS = 0.25
"""A CPU answers sooner for a small batch, and where its step takes longer than this, a larger one is hardly faster by
the photo."""

LONG_SECONDS = 1.0
"""What the first step on a CPU costs beside (a tenth of a second) is a small share of one that takes longer."""

ENOUGH_SECONDS = 0.2
"""Timed for so long, in one go."""


@dataclass(frozen=True)
class Speed:
    """Photos per second, in training and in validation."""

    train: float
    valid: float

    def seconds(self, config: TrainConfig, data: Dataset) -> float:
        """Estimated duration of a whole run of ``config`` that nobody stops, without its files and pictures."""
        stops = evaluation_stops(config, len(data.train.row_N))
        train_photos = stops[-1] * min(config.batch_size, len(data.train.row_N))
        return train_photos / self.train + len(stops) * len(data.valid.row_N) / self.valid


def measure_speed(config: ResolvedConfig, data: Dataset, device: torch.device, weight_file: Path | None) -> Speed:
    """Train a few steps and validate a batch a few times.

    Raises UserError when the model cannot be built, torch.OutOfMemoryError when not even the smallest micro-batch fits.
    """
    torch.set_num_threads(config.threads)
    while True:
        try:
            return _measure(config, data, device, weight_file)
        except torch.OutOfMemoryError:  # as a trial would, with half the micro-batch
            if config.micro_batch <= MIN_MICRO_BATCH:
                raise
        config = with_half_the_micro_batch(config, device)


def _measure(config: ResolvedConfig, data: Dataset, device: torch.device, weight_file: Path | None) -> Speed:
    run = Run(config, data, device, weight_file)
    run.model.train()
    photos = run.order.batch_size
    if device.type == "cpu" and photos > FIRST_BATCH:
        run.order = BatchSampler(len(run.train), FIRST_BATCH, config.seed)
        seconds = _usual_seconds(device, lambda: run.step(0))
        if seconds > SHORT_SECONDS:
            return Speed(FIRST_BATCH / seconds, _validation_speed(run, FIRST_BATCH))
        run.order = BatchSampler(len(run.train), photos, config.seed)
    seconds = _usual_seconds(device, lambda: run.step(0))
    return Speed(photos / seconds, _validation_speed(run, photos if device.type == "cpu" else 4 * config.micro_batch))


def _validation_speed(run: Run, photos: int) -> float:
    """Photos per second in batches of so many, or of all there are."""
    image_BCHW, _ = next(run.valid.in_order(photos))
    return len(image_BCHW) / _usual_seconds(run.device, lambda: log_probs(run.model, [image_BCHW], run.config))


def _usual_seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Duration of ``work`` once it is warm: the mean of some in a row, without waiting for the device in between."""
    first = _timed(device, work)
    if device.type == "cpu" and first > LONG_SECONDS:
        return first
    once = _timed(device, work)
    if once > ENOUGH_SECONDS:
        return once
    count = math.ceil(ENOUGH_SECONDS / once)
    return _timed(device, lambda: [work() for _ in range(count)]) / count


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    """Duration of ``work`` in seconds, with the device idle before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
