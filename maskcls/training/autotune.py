"""Which way of computing is fastest on a GPU: some steps of each, once for every kind of step, then remembered.

The choice depends on the backbone (RegNet runs at a third of its speed in channels_last), on the sizes and on the GPU,
and no rule foresees it. It is made before a run, written into its config, and so never changes under a run. The steps
are taken in a child process: a way that breaks there, or takes the GPU down with it, is not chosen and harms nobody.

The child is ``python -m maskcls.training.autotune``. Its standard input is one JSON object, ``{"config": {...},
"device": "cuda:0"}``; the last word on its standard output is the photos per second. One that fails prints no number,
and the last line of its standard error says why.
"""

import gc
import json
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from maskcls.config import TrainConfig, change, make_config
from maskcls.data.dataset import Dataset, LabelledPhotos
from maskcls.model.inference import log_probs
from maskcls.system.errors import one_line
from maskcls.system.files import write_text
from maskcls.system.liveness import beating
from maskcls.system.lock import hold
from maskcls.training.loop import Run
from maskcls.training.numerics import resolve

logger = logging.getLogger(__name__)

CHOICES = {"memory_format": ("channels_last", "contiguous"), "cuda_graphs": ("off", "on")}
"""Fields of TrainConfig to choose, and their values; the first is taken where nothing is clearly faster."""

MIN_SPEEDUP = 1.03
"""How many times faster than the first way another must be."""

WARM_UP_STEPS, TIMED_STEPS, ROUNDS = 4, 12, 3
TIMEOUT_SECONDS = 300

Way = dict[str, str]
"""A way of computing: field of CHOICES -> value."""


@dataclass(frozen=True)
class Timing:
    """How fast one way of computing is; ``numerics/found.json`` has the fields by these names."""

    way: Way
    photos_per_second: float
    """In training; 0 when it failed."""
    error: str = ""
    """Why it failed, in one line; empty when it did not."""


_all_failed: dict[str, list[Timing]] = {}
"""cache_key -> timings of which not even the first succeeded: for this process only, the next may have a freer GPU."""


def choose_numerics(config: TrainConfig, device: torch.device, cache_dir: Path) -> TrainConfig:
    """``config`` with every field of CHOICES that is "auto" chosen for this GPU; on a CPU as it is.

    ``cache_dir``: that of the photos; the timings stay there, in ``numerics/found.json``. Takes minutes the first time.
    """
    if device.type != "cuda" or not open_choices(config):
        return config
    key = cache_key(config, device)
    return change(config, **fastest(_all_failed.get(key) or _timings(config, device, key, cache_dir / "numerics")))


def open_choices(config: TrainConfig) -> list[str]:
    """The fields to be chosen; a step in several parts cannot be recorded, so there cuda_graphs is none of them."""
    in_parts = 0 < config.micro_batch < config.batch_size
    fields = [name for name in CHOICES if getattr(config, name) == "auto"]
    return [name for name in fields if not (name == "cuda_graphs" and in_parts)]


def cache_key(config: TrainConfig, device: torch.device) -> str:
    """All that the choice depends on."""
    resolved = resolve(config, device)
    rows, columns = resolved.image_size
    step = (
        f"{resolved.backbone} {resolved.heads} {rows}x{columns}"
        f" batch {resolved.batch_size}/{resolved.micro_batch} {resolved.dtype}"
    )
    fixed = [f"{name}={getattr(config, name)}" for name in CHOICES if getattr(config, name) != "auto"]
    versions = f"torch {torch.__version__} timm {timm.__version__}"
    return ", ".join([torch.cuda.get_device_name(device), versions, step, *fixed])


def fastest(timings: Sequence[Timing]) -> Way:
    """The first way unless another is clearly faster."""
    first, best = timings[0], max(timings, key=lambda timing: timing.photos_per_second)
    return best.way if best.photos_per_second > MIN_SPEEDUP * first.photos_per_second else first.way


def _timings(config: TrainConfig, device: torch.device, key: str, folder: Path) -> list[Timing]:
    """Those that the folder remembers under ``key``; where there are none they are taken, by one process at a time."""
    path = folder / "found.json"
    known = _read(path)
    if key in known:
        return known[key]
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder):  # of its own: whoever decodes photos holds the cache's folder
        known = _read(path)
        if key in known:
            return known[key]
        logger.info(f"trying out how {config.backbone} computes fastest on this GPU; this is remembered")
        gc.collect()
        torch.cuda.empty_cache()
        timings = [_time_in_child(change(config, **way), device, way) for way in ways(open_choices(config))]
        if timings[0].photos_per_second == 0:
            _all_failed[key] = timings
        else:
            _write(path, {**known, key: timings})
        return timings


def _read(path: Path) -> dict[str, list[Timing]]:
    """What is remembered; a damaged file is nothing lost."""
    try:
        known: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
        return {key: [Timing(**row) for row in rows] for key, rows in known.items() if rows}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(path: Path, known: dict[str, list[Timing]]) -> None:
    write_text(path, json.dumps({key: [asdict(timing) for timing in rows] for key, rows in known.items()}, indent=1))


def ways(fields: Sequence[str]) -> list[Way]:
    """Every combination of the fields' values, the one to fall back on first."""
    return [dict(zip(fields, values, strict=True)) for values in product(*(CHOICES[name] for name in fields))]


def _time_in_child(config: TrainConfig, device: torch.device, way: Way) -> Timing:
    """The parent's side of the child's protocol. ``way``: how ``config`` computes, for the answer."""
    request = json.dumps({"config": json.loads(config.model_dump_json()), "device": str(device)})
    try:
        with beating():
            child = subprocess.run(
                [sys.executable, "-m", "maskcls.training.autotune"],
                input=request,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=TIMEOUT_SECONDS,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        return Timing(way, float(child.stdout.split()[-1]))
    except subprocess.TimeoutExpired:
        return Timing(way, 0.0, f"no answer within {TIMEOUT_SECONDS} s")
    except (ValueError, IndexError):  # it died before its last word
        last_line = child.stderr.strip().rpartition("\n")[2]
        return Timing(way, 0.0, one_line(last_line or f"exit status {child.returncode}"))


def main() -> None:
    """The child's side of the protocol (see the top of this file)."""
    request = json.loads(sys.stdin.read())
    print(photos_per_second(make_config(request["config"]), torch.device(request["device"])))


def photos_per_second(config: TrainConfig, device: torch.device) -> float:
    """The speed of training steps on photos of noise, after some to warm up and a look at validation.

    Nobody waits for the device between the steps, as in training: what its queue hides is no cost.
    """
    resolved = resolve(config, device)
    torch.set_num_threads(resolved.threads)
    run = Run(resolved, random_dataset(resolved), device, None)
    log_probs(run.model, (image_BCHW for image_BCHW, _ in run.valid.in_order(4 * resolved.micro_batch)), resolved)
    run.model.train()
    _seconds(run, WARM_UP_STEPS)
    seconds = statistics.median(_seconds(run, TIMED_STEPS) for _ in range(ROUNDS))
    return TIMED_STEPS * run.order.batch_size / seconds


def _seconds(run: Run, num_steps: int) -> float:
    """Wall-clock time of so many steps, until the device has done them."""
    started = time.perf_counter()
    for step in range(num_steps):
        run.step(step % run.stops[-1])
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)
    return time.perf_counter() - started


def random_dataset(config: TrainConfig) -> Dataset:
    """Two batches of random photos (uint8, of the config's image_size) to train on, two to validate on."""
    count, rng = 2 * config.batch_size, np.random.default_rng(0)
    image_NCHW = rng.integers(0, 256, (2 * count, 3, *config.image_size), dtype=np.uint8)
    train, valid = (
        LabelledPhotos(
            np.arange(first, first + count), rng.integers(0, 18, count), np.full(count, ""), np.full(count, "")
        )
        for first in (0, count)
    )
    return Dataset(image_NCHW, train, valid, "")


if __name__ == "__main__":
    main()
