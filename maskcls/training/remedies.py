"""What to change when a training does not fit into a GPU's memory, or its step cannot be recorded, before the next try.

Only the last remedy, smaller parts of a batch, changes the numbers that come out: batch norm sees fewer photos at once.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from maskcls.config import ResolvedConfig, change
from maskcls.system.errors import one_line
from maskcls.system.liveness import beating
from maskcls.training.cuda_graphs import CaptureError
from maskcls.training.numerics import MIN_MICRO_BATCH, halve_micro_batch, memory_of_others, resolve

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


def until_it_works(
    attempt: Attempt, device: torch.device, train: Callable[[Attempt], Result]
) -> tuple[ResolvedConfig, Result]:
    """(the config that worked, what ``train`` returned for it), trying one remedy after the other.

    Raises torch.OutOfMemoryError when no remedy is left, and whatever else ``train`` raises.
    """
    while True:
        try:
            return attempt.config, train(attempt)
        except torch.OutOfMemoryError:
            following = after_out_of_memory(attempt, device)
            if following is None:
                raise
        except CaptureError as error:
            following = _without_graphs(attempt, device)
            if following is None:
                raise
            logger.warning(f"{attempt.config.backbone} trains without CUDA graphs: {one_line(error)}")
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
    if device.type == "cpu" or not attempt.photos_on_gpu:
        return None
    return replace(attempt, photos_on_gpu=False)


def _without_graphs(attempt: Attempt, device: torch.device) -> Attempt | None:
    if attempt.config.cuda_graphs == "off":
        return None
    return replace(attempt, config=resolve(change(attempt.config, cuda_graphs="off"), device))


def _after_others(attempt: Attempt, device: torch.device) -> Attempt | None:
    if device.type == "cpu" or attempt.has_waited:
        return None
    total_gib = torch.cuda.get_device_properties(device).total_memory / 2**30
    return replace(attempt, has_waited=True) if memory_of_others(device) > OTHERS_SHARE * total_gib else None


def _in_smaller_parts(attempt: Attempt, device: torch.device) -> Attempt | None:
    if attempt.config.micro_batch <= MIN_MICRO_BATCH:
        return None
    return replace(attempt, config=halve_micro_batch(attempt.config, device))


REMEDIES = (
    (_without_photos, "the photos leave it"),
    (_without_graphs, "steps are no longer recorded"),
    (_after_others, f"others hold part of it, so the run waits {WAIT_SECONDS:.0f} s"),
    (_in_smaller_parts, "the run begins again with {0} photos in a forward pass"),
)
"""(remedy, what it does), in the order in which they are tried: those that change no number come first."""
