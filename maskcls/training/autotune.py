"""Chooses the fastest way to compute on a GPU: times some training steps of each once, and keeps the result.

The choice depends on the backbone (RegNet runs at a third of its speed in channels_last), the sizes and the GPU, and no
rule predicts it. It is made before a run and written into its config, so it never changes during a run.

The steps run in this process, since a GPU in exclusive mode takes no second one. A way that fails is not chosen; one
that takes the GPU from this process (by an illegal memory access, say) ends it. So every way is noted in ``found.json``
before it is tried. The next process finds the note; when it dies of that way too, the way is left alone. One death may
have another cause: a signal, full memory of the machine, a reboot.
"""

import json
import logging
import math
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch

from maskcls.config import TrainConfig, change
from maskcls.data.dataset import Dataset
from maskcls.system.errors import UserError, one_line
from maskcls.system.files import write_text
from maskcls.system.lock import hold
from maskcls.training.loop import Run
from maskcls.training.numerics import free_memory, is_out_of_memory, lost_gpu, only_repeatable, resolve
from maskcls.training.speed import timed

logger = logging.getLogger(__name__)

MIN_SPEEDUP = 1.03
"""Ratio of speeds from which another way is chosen over the one before it."""

MAX_REPEATABLE_COST = 1.05
"""Ratio of speeds up to which repeatable kernels are chosen over the fastest."""


@dataclass(frozen=True)
class Knob:
    """A field of TrainConfig that decides how a GPU computes."""

    values: tuple[str, ...]
    """In the order in which they are tried; the first is where nothing is known."""
    min_speedup: float = MIN_SPEEDUP
    """Ratio of speeds from which a value is taken over an earlier one."""


KNOBS = {
    "cuda_graphs": Knob(("off", "step")),
    "memory_format": Knob(("channels_last", "contiguous")),
    "repeatable": Knob(("off", "on"), 1 / MAX_REPEATABLE_COST),
}
"""The fields to choose. They are chosen one after the other, each with the best values of those before it: the format
once launches no longer hide it. Recording the model's passes alone ("on") was never faster than whole steps, on an H200
(benchmarks/README.md)."""

WARM_UP_STEPS, ROUNDS = 4, 3
MIN_ROUND_STEPS, MIN_ROUND_SECONDS = 4, 0.1
MAX_SECONDS = 3.0
"""Time for the steps of one way, after which no further round begins."""

ATTEMPT_SECONDS = 120.0
"""An attempt noted by another machine so long ago has ended its process."""

FORGOTTEN_SECONDS = 24 * 3600.0
"""After this time, a way that seems to have ended a process or taken its GPU is tried again: something else may have, a
fault of another process, say."""

OUT_OF_MEMORY = "out of memory"
"""Part of the error of a way that had too little memory."""

Way = dict[str, str]
"""A way of computing: field of KNOBS -> value."""


@dataclass(frozen=True)
class Timing:
    """The speed of one way of computing; the fields are the keys in ``numerics/found.json``."""

    way: Way
    photos_per_second: float
    """Training speed; 0 when the way failed."""
    error: str = ""
    """Reason of the failure in one line; empty when there was none."""
    process: int = 0
    """Number of the process that is trying the way, or has ended while it did; 0 for a result."""
    host: str = ""
    """Machine of that process."""
    since: float = 0.0
    """When it began, in seconds since 1970; 0 for a result that does not expire."""
    deaths: int = 0
    """Number of processes that were known to have died of the way when it began."""

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether the way failed for lack of memory, of which there may be more another time."""
        return OUT_OF_MEMORY in self.error

    @property
    def is_result(self) -> bool:
        """Whether it says how the way did, until it expires."""
        return not self.process and not self._has_expired

    @property
    def has_died(self) -> bool:
        """Whether the process of the attempt has ended without a result, not long ago."""
        if not self.process or self._has_expired:
            return False
        if self.host != socket.gethostname():
            return time.time() - self.since > ATTEMPT_SECONDS
        return self.process != os.getpid() and not _is_alive(self.process)

    @property
    def is_failure(self) -> bool:
        """Whether the way is known to fail: by its result, or as the second process has died of it."""
        return (self.is_result and self.error != "") or (self.has_died and self.deaths > 0)

    @property
    def _has_expired(self) -> bool:
        return self.since > 0 and time.time() - self.since >= FORGOTTEN_SECONDS


_not_stored: dict[str, Way] = {}
"""cache_key -> the way chosen where one ran out of memory or the first failed: a later process may fare better."""


def choose_numerics(
    config: TrainConfig, device: torch.device, cache_dir: Path, photos: Callable[[], Dataset]
) -> TrainConfig:
    """``config`` with the fields of KNOBS that are "auto" chosen for this GPU; on a CPU unchanged.

    ``cache_dir``: the photo cache, which keeps the timings in ``numerics/found.json``. Takes seconds the first time.
    ``photos``: gives those of the config, which the steps use, so that they are on the GPU for the run as well.
    Raises UserError for a model that cannot be built, and the error that took the GPU from this process.
    """
    fields = open_fields(config)
    if device.type != "cuda" or not fields:
        return config
    key, path = cache_key(config, device), cache_dir / "numerics" / "found.json"
    way = _not_stored.get(key) or _stored_choice(fields, _read_timings(path).get(key, []))
    return change(config, **(way or _measure(config, fields, device, photos(), key, path)))


def open_fields(config: TrainConfig) -> list[str]:
    """The fields of KNOBS to choose; not cuda_graphs with gradient accumulation, which cannot be recorded."""
    accumulates = 0 < config.micro_batch < config.batch_size
    fields = [name for name in KNOBS if getattr(config, name) == "auto"]
    return [name for name in fields if not (name == "cuda_graphs" and accumulates)]


def cache_key(config: TrainConfig, device: torch.device) -> str:
    """Everything that the choice depends on, as text."""
    resolved = resolve(config, device)
    rows, columns = resolved.image_size
    step = (
        f"{resolved.backbone} {resolved.heads} {rows}x{columns}"
        f" batch {resolved.batch_size}/{resolved.micro_batch} {resolved.dtype}"
    )
    fixed = [f"{name}={getattr(config, name)}" for name in KNOBS if getattr(config, name) != "auto"]
    fixed += [
        f"{name}={getattr(config, name)}"
        for name in ("optimizer", "layer_decay")
        if getattr(config, name) != TrainConfig.model_fields[name].default
    ]
    versions = f"torch {torch.__version__} timm {timm.__version__}"
    return ", ".join([torch.cuda.get_device_name(device), versions, step, *fixed])


def _first_way(fields: Iterable[str]) -> Way:
    return {name: KNOBS[name].values[0] for name in fields}


def fastest(fields: Sequence[str], timing_of: Callable[[Way], Timing]) -> Way:
    """The way to compute: each field in turn gets the value that is clearly faster than the ones before it."""
    best = timing_of(_first_way(fields))
    for name in fields:
        for value in KNOBS[name].values[1:]:
            other = timing_of({**best.way, name: value})
            if other.photos_per_second > KNOBS[name].min_speedup * best.photos_per_second:
                best = other
    return best.way


def _stored_choice(fields: Sequence[str], timings: Iterable[Timing]) -> Way | None:
    """The choice by stored timings; None when one that it takes is missing."""
    by_way = {frozenset(timing.way.items()): timing for timing in timings if timing.is_result}
    by_way |= {
        way: timing for timing in timings if timing.is_failure and (way := frozenset(timing.way.items())) not in by_way
    }
    with suppress(KeyError):
        return fastest(fields, lambda way: by_way[frozenset(way.items())])
    return None


def _measure(
    config: TrainConfig, fields: Sequence[str], device: torch.device, data: Dataset, key: str, path: Path
) -> Way:
    """The choice by timings made now, except of ways that are known to fail.

    Several processes may measure at once. The first choice to be stored is that of all, so they compute in one way.
    """
    logger.info(f"timing how {config.backbone} trains fastest on this GPU; the result is kept")
    path.parent.mkdir(parents=True, exist_ok=True)
    timings = [timing for timing in _read_timings(path).get(key, []) if timing.is_failure]

    def timing_of(way: Way) -> Timing:
        timing = next((timing for timing in timings if timing.way == way), None)
        if timing is None:
            timing = _try(config, way, device, data, key, path)
            timings.append(timing)
        return timing

    way = fastest(fields, timing_of)
    free_memory(device)
    if any(timing.ran_out_of_memory for timing in timings) or timing_of(_first_way(fields)).error:
        _not_stored[key] = way
        return way
    with hold(path.parent):  # its own lock: decoding photos holds that of the cache folder
        stored = _read_timings(path)
        rows = stored.get(key, [])
        theirs = _stored_choice(fields, rows)
        if theirs is None:
            attempts = [row for row in rows if row.process and row not in timings]
            _write_timings(path, {**stored, key: [*timings, *attempts]})
    return theirs or way


def _try(config: TrainConfig, way: Way, device: torch.device, data: Dataset, key: str, path: Path) -> Timing:
    """The timing of ``way``. Raises the error of one that took the GPU from this process, and notes it."""
    host = socket.gethostname()
    deaths = sum(row.has_died and row.way == way for row in _read_timings(path).get(key, []))
    attempt = Timing(way, 0.0, f"process {os.getpid()} on {host} tries it", os.getpid(), host, time.time(), deaths)
    with _noted(attempt, key, path):
        try:
            return Timing(way, photos_per_second(change(config, **way), device, data))
        except UserError:
            raise
        except Exception as error:
            text = one_line(f"{type(error).__name__}: {error}")
            if is_out_of_memory(error):
                return Timing(way, 0.0, text if OUT_OF_MEMORY in text else f"{OUT_OF_MEMORY}: {text}")
            if lost_gpu(error):
                _add(Timing(way, 0.0, text, since=attempt.since), key, path)
                raise
            return Timing(way, 0.0, text)


@contextmanager
def _noted(attempt: Timing, key: str, path: Path) -> Iterator[None]:
    """Keep the note of an attempt while it lasts; it stays if the process dies."""
    _add(attempt, key, path)
    try:
        yield
    finally:
        with hold(path.parent):
            stored = _read_timings(path)
            _write_timings(path, {**stored, key: [row for row in stored.get(key, []) if row != attempt]})


def _add(timing: Timing, key: str, path: Path) -> None:
    with hold(path.parent):
        stored = _read_timings(path)
        _write_timings(path, {**stored, key: [*stored.get(key, []), timing]})


def _is_alive(process: int) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _read_timings(path: Path) -> dict[str, list[Timing]]:
    """The stored timings by their cache_key; none where the file is missing or damaged."""
    try:
        rows_by_key: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
        return {key: [Timing(**row) for row in rows] for key, rows in rows_by_key.items() if rows}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write_timings(path: Path, timings: Mapping[str, Sequence[Timing]]) -> None:
    rows_by_key = {key: [asdict(timing) for timing in rows] for key, rows in timings.items() if rows}
    write_text(path, json.dumps(rows_by_key, indent=1))


def photos_per_second(config: TrainConfig, device: torch.device, data: Dataset) -> float:
    """Speed of training steps, after some to warm up.

    As in training, the steps do not wait for the device, whose queue hides some costs. Takes a few seconds.
    Raises what ``Run`` and its steps raise, and NotRepeatableError.
    """
    resolved = resolve(config, device)
    torch.set_num_threads(resolved.threads)
    with only_repeatable(resolved, device):
        run = Run(resolved, data, device, None)
        run.model.train()

        def train(num_steps: int) -> None:
            for step in range(num_steps):
                run.step(run.frozen_steps + step % (run.stops[-1] - run.frozen_steps))

        train(WARM_UP_STEPS)
        began, steps, seconds_of_step = time.perf_counter(), MIN_ROUND_STEPS, list[float]()
        while len(seconds_of_step) < ROUNDS and time.perf_counter() - began < MAX_SECONDS:
            seconds_of_step.append(timed(device, partial(train, steps)) / steps)
            steps = max(MIN_ROUND_STEPS, math.ceil(MIN_ROUND_SECONDS / seconds_of_step[0]))
    return run.sampler.batch_size / statistics.median(seconds_of_step)
