"""Speed of a config on this machine, measured over a few training steps, to estimate the duration of a run."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from maskcls.config import ResolvedConfig, TrainConfig
from maskcls.data.batches import BatchSampler
from maskcls.data.dataset import Dataset
from maskcls.model.inference import log_probs, validation_batch_size
from maskcls.training.loop import Run, evaluation_stops
from maskcls.training.numerics import only_repeatable
from maskcls.training.remedies import Attempt, until_it_works

SMALL_BATCH, SLOW_STEP_SECONDS = 4, 0.25
"""A CPU is timed on a small batch first; when that step is slow, a larger batch is hardly faster per photo."""

LONG_STEP_SECONDS = 1.0
"""A first step on a CPU that takes longer is not repeated: its warm-up (0.1 s) is a small share of it."""

MIN_TIMED_SECONDS = 0.2
"""Shortest time to measure."""


@dataclass(frozen=True)
class Speed:
    """Speed of a config, in photos per second."""

    train: float
    valid: float

    def seconds(self, config: TrainConfig, data: Dataset) -> float:
        """Estimated seconds for a whole run of ``config``, without writing its files and figures."""
        stops = evaluation_stops(config, len(data.train.row_N))
        train_photos = stops[-1] * min(config.batch_size, len(data.train.row_N))
        return train_photos / self.train + len(stops) * len(data.valid.row_N) / self.valid


def measure_speed(config: ResolvedConfig, data: Dataset, device: torch.device, weight_file: Path | None) -> Speed:
    """The speed of ``config``, from a few training steps and validation batches.

    What does not fit into memory is tried as a trial would, but without waiting for others.
    Raises UserError when the model cannot be built, torch.OutOfMemoryError when not even the smallest micro-batch fits.
    """
    torch.set_num_threads(config.threads)
    attempt = Attempt(config, has_waited=True)

    def measure(attempt: Attempt) -> Speed:
        with only_repeatable(attempt.config, device):
            return _measure(attempt, data, device, weight_file)

    _, speed = until_it_works(attempt, device, measure)
    return speed


def _measure(attempt: Attempt, data: Dataset, device: torch.device, weight_file: Path | None) -> Speed:
    config = attempt.config
    run = Run(config, data, device, weight_file, photos_on_gpu=attempt.photos_on_gpu)
    run.model.train()
    batch_size = run.sampler.batch_size
    if device.type == "cpu" and batch_size > SMALL_BATCH:
        run.sampler = BatchSampler(len(run.train), SMALL_BATCH, config.seed)
        seconds = _step_seconds(run)
        if seconds > SLOW_STEP_SECONDS:
            return Speed(SMALL_BATCH / seconds, _validation_speed(run, SMALL_BATCH))
        run.sampler = BatchSampler(len(run.train), batch_size, config.seed)
    seconds = _step_seconds(run)
    on_gpu = validation_batch_size(config, device, len(data.valid.row_N))
    valid_batch_size = batch_size if device.type == "cpu" else on_gpu
    return Speed(batch_size / seconds, _validation_speed(run, valid_batch_size))


def _step_seconds(run: Run) -> float:
    """Mean duration of a step, those of the head alone included."""
    trained = _warm_seconds(run.device, lambda: run.step(run.frozen_steps))
    if not run.frozen_steps:
        return trained
    share = run.frozen_steps / run.stops[-1]
    return share * _warm_seconds(run.device, lambda: run.step(0)) + (1 - share) * trained


def _validation_speed(run: Run, batch_size: int) -> float:
    """Validation speed in photos per second, in batches of ``batch_size`` photos or the whole split."""
    image_BCHW, _ = next(run.valid.in_order(batch_size))
    return len(image_BCHW) / _warm_seconds(run.device, lambda: log_probs(run.model, [image_BCHW], run.config))


def _warm_seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Duration of ``work`` after a warm-up: a mean over repetitions that do not wait for the device in between."""
    first = timed(device, work)
    if device.type == "cpu" and first > LONG_STEP_SECONDS:
        return first
    second = timed(device, work)
    if second > MIN_TIMED_SECONDS:
        return second
    count = math.ceil(MIN_TIMED_SECONDS / second)
    return timed(device, lambda: [work() for _ in range(count)]) / count


def timed(device: torch.device, work: Callable[[], object]) -> float:
    """Duration of ``work`` in seconds, with the device idle before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
