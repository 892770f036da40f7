"""Chooses the fastest way to compute on a GPU: times some training steps of each once, and keeps the result.

The choice depends on the backbone (RegNet runs at a third of its speed in channels_last), the sizes and the GPU, and no
rule predicts it. It is made before a run and written into its config, so it never changes during a run. The steps run
in a child process: a way that fails there, or crashes the GPU, is not chosen and does no other harm.

The child is ``python -m maskcls.training.autotune``. Its standard input is one JSON object, ``{"config": {...},
"device": "cuda:0"}``; the last word on its standard output is the speed in photos per second. A child that fails prints
no number, and the last line of its standard error is the reason.
"""

import gc
import json
import logging
import os
import statistics
import subprocess
import sys
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
from maskcls.training.speed import timed

logger = logging.getLogger(__name__)

CHOICES = {"memory_format": ("channels_last", "contiguous"), "cuda_graphs": ("off", "on")}
"""Fields of TrainConfig to choose, and their values; the first is taken unless another is clearly faster."""

MIN_SPEEDUP = 1.03
"""Ratio of speeds from which another way is chosen over the first."""

WARM_UP_STEPS, TIMED_STEPS, ROUNDS = 4, 12, 3
TIMEOUT_SECONDS = 300

Way = dict[str, str]
"""A way of computing: field of CHOICES -> value."""


@dataclass(frozen=True)
class Timing:
    """The speed of one way of computing; the fields are the keys in ``numerics/found.json``."""

    way: Way
    photos_per_second: float
    """Training speed; 0 when the way failed."""
    error: str = ""
    """Reason of the failure in one line; empty when there was none."""


_all_failed: dict[str, list[Timing]] = {}
"""cache_key -> timings whose first way failed; not stored, since a later process may have more GPU memory."""


def choose_numerics(config: TrainConfig, device: torch.device, cache_dir: Path) -> TrainConfig:
    """``config`` with the fields of CHOICES that are "auto" chosen for this GPU; on a CPU unchanged.

    ``cache_dir``: the photo cache, which keeps the timings in ``numerics/found.json``. Takes minutes the first time.
    """
    if device.type != "cuda" or not open_choices(config):
        return config
    key = cache_key(config, device)
    return change(config, **fastest(_all_failed.get(key) or _timings(config, device, key, cache_dir / "numerics")))


def open_choices(config: TrainConfig) -> list[str]:
    """The fields of CHOICES to choose; not cuda_graphs with gradient accumulation, which cannot be captured."""
    accumulates = 0 < config.micro_batch < config.batch_size
    fields = [name for name in CHOICES if getattr(config, name) == "auto"]
    return [name for name in fields if not (name == "cuda_graphs" and accumulates)]


def cache_key(config: TrainConfig, device: torch.device) -> str:
    """Everything that the choice depends on, as text."""
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
    """The first way, unless another is clearly faster."""
    first, best = timings[0], max(timings, key=lambda timing: timing.photos_per_second)
    return best.way if best.photos_per_second > MIN_SPEEDUP * first.photos_per_second else first.way


def _timings(config: TrainConfig, device: torch.device, key: str, folder: Path) -> list[Timing]:
    """The timings stored in the folder under ``key``; if there are none, one process at a time measures them."""
    path = folder / "found.json"
    stored = _read_timings(path)
    if key in stored:
        return stored[key]
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder):  # its own lock: decoding photos holds that of the cache folder
        stored = _read_timings(path)
        if key in stored:
            return stored[key]
        logger.info(f"timing how {config.backbone} trains fastest on this GPU; the result is kept")
        gc.collect()
        torch.cuda.empty_cache()
        timings = [_time_in_child(change(config, **way), device, way) for way in _ways(open_choices(config))]
        if timings[0].photos_per_second == 0:
            _all_failed[key] = timings
        else:
            rows_by_key = {name: [asdict(timing) for timing in rows] for name, rows in {**stored, key: timings}.items()}
            write_text(path, json.dumps(rows_by_key, indent=1))
        return timings


def _read_timings(path: Path) -> dict[str, list[Timing]]:
    """The stored timings by their cache_key; none where the file is missing or damaged."""
    try:
        rows_by_key: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
        return {key: [Timing(**row) for row in rows] for key, rows in rows_by_key.items() if rows}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _ways(fields: Sequence[str]) -> list[Way]:
    """Every combination of the fields' values, the default first."""
    return [dict(zip(fields, values, strict=True)) for values in product(*(CHOICES[name] for name in fields))]


def _time_in_child(config: TrainConfig, device: torch.device, way: Way) -> Timing:
    """The timing of ``way``, by which ``config`` computes, from a child process (see the top of this file)."""
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
    except (ValueError, IndexError):  # the child printed no number
        last_line = child.stderr.strip().rpartition("\n")[2]
        return Timing(way, 0.0, one_line(last_line or f"exit status {child.returncode}"))


def main() -> None:
    """Run the child (see the top of this file)."""
    request = json.loads(sys.stdin.read())
    print(photos_per_second(make_config(request["config"]), torch.device(request["device"])))


def photos_per_second(config: TrainConfig, device: torch.device) -> float:
    """Speed of training steps on random photos, after a validation pass and some steps to warm up.

    As in training, the steps do not wait for the device, whose queue hides some costs.
    """
    resolved = resolve(config, device)
    torch.set_num_threads(resolved.threads)
    run = Run(resolved, random_dataset(resolved), device, None)
    log_probs(run.model, (image_BCHW for image_BCHW, _ in run.valid.in_order(4 * resolved.micro_batch)), resolved)
    run.model.train()

    def train(num_steps: int) -> None:
        for step in range(num_steps):
            run.step(step % run.stops[-1])

    train(WARM_UP_STEPS)
    seconds = statistics.median(timed(device, lambda: train(TIMED_STEPS)) for _ in range(ROUNDS))
    return TIMED_STEPS * run.sampler.batch_size / seconds


def random_dataset(config: TrainConfig) -> Dataset:
    """Two batches of random uint8 photos, of the config's image_size, in each of training and validation."""
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
