"""What to change before the next try of a training that does not fit into a GPU's memory, cannot be recorded, or cannot
give the same bits every time.

What changes the config begins at the first step again. Only smaller parts of a batch change more of the numbers that
come out than their last bits: batch norm sees fewer photos at once.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from maskcls.config import ResolvedConfig, change
from maskcls.data.batches import photos_are_moved
from maskcls.system.errors import one_line
from maskcls.system.liveness import beating
from maskcls.training.cuda_graphs import CaptureError
from maskcls.training.numerics import (
    MIN_MICRO_BATCH,
    NotRepeatableError,
    halve_micro_batch,
    is_out_of_memory,
    memory_of_others,
    resolve,
)

logger = logging.getLogger(__name__)

WAIT_SECONDS = 20.0
"""For how long to wait for memory that other processes hold; done once a run."""

OTHERS_SHARE = 0.1
"""Others are waited for when they hold more than this share of the GPU's memory."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Attempt:
    """How a run is tried."""

    config: ResolvedConfig
    photos_on_gpu: bool = True
    """Whether all photos may stay on the GPU; else each batch is sent there."""
    has_waited: bool = False
    """Whether it has waited for other processes, or must not."""
    has_evaluations: Callable[[], bool] = lambda: False
    """Whether evaluations are stored, from which only the same config goes on."""


def until_it_works(
    attempt: Attempt, device: torch.device, train: Callable[[Attempt], Result]
) -> tuple[ResolvedConfig, Result]:
    """(the config that worked, what ``train`` returned for it), trying one remedy after the other.

    Raises torch.OutOfMemoryError when no remedy is left, and whatever else ``train`` raises.
    """
    while True:
        try:
            return attempt.config, train(attempt)
        except CaptureError as error:
            following = _without_graphs(attempt, device)
            if following is None:
                raise
            logger.warning(f"{attempt.config.backbone} trains without CUDA graphs: {one_line(error)}")
        except NotRepeatableError as error:
            following = _in_any_bits(attempt, device)
            if following is None:
                raise
            logger.warning(f'{attempt.config.backbone} trains with repeatable = "off": {one_line(error)}')
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            following = after_out_of_memory(attempt, device)
            if following is None and not isinstance(error, torch.OutOfMemoryError):
                raise torch.OutOfMemoryError(str(error)) from error
            if following is None:
                raise
        # outside the except clauses, whose tracebacks would keep the tensors alive
        if following.has_waited and not attempt.has_waited:
            with beating():
                time.sleep(WAIT_SECONDS)
        attempt = following


def after_out_of_memory(attempt: Attempt, device: torch.device) -> Attempt | None:
    """The next thing to try, which is logged; None when nothing is left."""
    for remedy, says in REMEDIES:
        following = remedy(attempt, device)
        if following is not None:
            logger.warning(f"{device} is out of memory: {says.format(following.config.micro_batch)}")
            return following
    return None


def _without_photos(attempt: Attempt, device: torch.device) -> Attempt | None:
    if device.type == "cpu" or not attempt.photos_on_gpu or not photos_are_moved():
        return None
    return replace(attempt, photos_on_gpu=False)


def _without_graphs(attempt: Attempt, device: torch.device) -> Attempt | None:
    if attempt.config.cuda_graphs == "off":
        return None
    return replace(attempt, config=resolve(change(attempt.config, cuda_graphs="off"), device))


def _in_any_bits(attempt: Attempt, device: torch.device) -> Attempt | None:
    if device.type == "cpu" or attempt.config.repeatable == "off":
        return None
    return replace(attempt, config=resolve(change(attempt.config, repeatable="off"), device))


def _after_others(attempt: Attempt, device: torch.device) -> Attempt | None:
    if device.type == "cpu" or attempt.has_waited:
        return None
    total_gib = torch.cuda.get_device_properties(device).total_memory / 2**30
    return replace(attempt, has_waited=True) if memory_of_others(device) > OTHERS_SHARE * total_gib else None


def _after_others_with_evaluations(attempt: Attempt, device: torch.device) -> Attempt | None:
    return _after_others(attempt, device) if attempt.has_evaluations() else None


def _in_smaller_parts(attempt: Attempt, device: torch.device) -> Attempt | None:
    if attempt.config.micro_batch <= MIN_MICRO_BATCH:
        return None
    return replace(attempt, config=halve_micro_batch(attempt.config, device))


WAITS = f"others hold part of it, so the run waits {WAIT_SECONDS:.0f} s"

REMEDIES = (
    (_without_photos, "the photos leave it"),
    (_after_others_with_evaluations, WAITS),
    (_without_graphs, "the run begins again and no longer records its steps"),
    (_after_others, WAITS),
    (_in_smaller_parts, "the run begins again with {0} photos in a forward pass"),
)
"""(remedy, what it does), in the order in which they are tried: those that change least come first. A run without
evaluations loses nothing by beginning again, which is sooner done than waiting."""
