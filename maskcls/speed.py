"""How fast a config trains here, from a few real steps: for estimates before a long run."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from maskcls.config import TrainConfig, change
from maskcls.dataset import Dataset
from maskcls.inference import log_probs
from maskcls.loop import Run, evaluation_stops
from maskcls.numerics import SMALLEST_MICRO_BATCH, resolve

TIMED_STEPS = 2
FIRST_BATCH = 8
"""A CPU answers sooner for a small batch, and when that takes long, a larger one is hardly faster by the photo."""
SHORT_SECONDS = 0.5


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
    """Train two steps and validate one batch, after one of each to warm up.

    Builds the model, so it also shows whether that can be done (UserError).
    """
    torch.set_num_threads(config.threads)
    if device.type == "cpu" and config.batch_size > FIRST_BATCH:
        small = _measure(change(config, batch_size=FIRST_BATCH, micro_batch=FIRST_BATCH), data, device, weight_file)
        if FIRST_BATCH / small.train > SHORT_SECONDS:
            return small
    return _measure(config, data, device, weight_file)


def _measure(config: TrainConfig, data: Dataset, device: torch.device, weight_file: Path | None) -> Speed:
    """As a trial would: out of memory halves the micro-batch."""
    while True:
        try:
            return _measure_once(config, data, device, weight_file)
        except torch.OutOfMemoryError:
            if config.micro_batch <= SMALLEST_MICRO_BATCH:
                raise
        half = max(SMALLEST_MICRO_BATCH, config.micro_batch // 2)
        config = resolve(change(config, micro_batch=half), device)


def _measure_once(config: TrainConfig, data: Dataset, device: torch.device, weight_file: Path | None) -> Speed:
    run = Run(config, data, device, weight_file)
    run.model.train()
    run.step(0)
    seconds = _timed(device, lambda: [run.step(0) for _ in range(TIMED_STEPS)])
    train = TIMED_STEPS * run.order.batch_size / seconds
    image_BCHW, _ = next(run.valid.in_order(4 * config.micro_batch))
    log_probs(run.model, [image_BCHW], config)
    return Speed(train, len(image_BCHW) / _timed(device, lambda: log_probs(run.model, [image_BCHW], config)))


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    """Seconds, with the device idle before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun
