"""Which way of computing is fastest on a GPU: some steps of each, once for every kind of step, then remembered.

The choice depends on the backbone (RegNet runs at a third of its speed in channels_last), on the sizes and on the GPU,
and no rule foresees it. It is made before a run, written into its config, and so never changes under a run. The steps
are taken in a child process: a way that breaks there, or takes the GPU down with it, is not chosen and harms nobody.
"""

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from maskcls.config import TrainConfig, change, make_config
from maskcls.data.dataset import Dataset, LabelledPhotos
from maskcls.model.inference import log_probs
from maskcls.system.console import say
from maskcls.system.errors import one_line
from maskcls.system.files import write_text
from maskcls.system.liveness import beating
from maskcls.system.lock import hold
from maskcls.training.loop import Run
from maskcls.training.numerics import resolve

OPTIONS = {"memory_format": ("channels_last", "contiguous"), "cuda_graphs": ("off", "on")}
"""Knobs to be chosen and their values; the first is taken where nothing is clearly faster."""

CLEARLY = 1.03
"""How many times faster another way must be."""

WARM_UP_STEPS, TIMED_STEPS, ROUNDS = 4, 12, 3
TIMEOUT_SECONDS = 300

Way = dict[str, str]
Found = list[dict[str, Any]]

_failed: dict[str, Found] = {}
"""What was found when not even the first way worked: for this process only, since the next may have a freer GPU."""


def choose_numerics(config: TrainConfig, device: torch.device, folder: Path) -> TrainConfig:
    """``config`` with every knob of OPTIONS that is "auto" chosen for this GPU; on a CPU as it is.

    ``folder``: the cache's; what was found stays there, in ``numerics/found.json``.
    """
    knobs = open_knobs(config)
    if device.type != "cuda" or not knobs:
        return config
    key = key_of(config, device)
    return change(config, **fastest(_failed.get(key) or _remembered(config, device, key, folder / "numerics")))


def _remembered(config: TrainConfig, device: torch.device, key: str, home: Path) -> Found:
    path = home / "found.json"
    known = _read(path)
    if key in known:
        return known[key]
    home.mkdir(parents=True, exist_ok=True)
    with hold(home):  # of its own: whoever decodes photos holds the cache's folder
        known = _read(path)
        if key in known:
            return known[key]
        say(f"trying out how {config.backbone} computes fastest on this GPU; this is remembered")
        gc.collect()
        torch.cuda.empty_cache()
        found = try_all(config, device)
        if found[0]["photos_per_second"] == 0:
            _failed[key] = found
        else:
            write_text(path, json.dumps({**known, key: found}, indent=1))
        return found


def _read(path: Path) -> dict[str, Found]:
    """What is remembered; a damaged file is nothing lost."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {
            key: found
            for key, found in known.items()
            if found and all({"way", "photos_per_second"} <= row.keys() for row in found)
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def open_knobs(config: TrainConfig) -> list[str]:
    """The knobs to be chosen; a step in several parts cannot be recorded."""
    knobs = [name for name in OPTIONS if getattr(config, name) == "auto"]
    in_parts = 0 < config.micro_batch < config.batch_size
    return [name for name in knobs if not (name == "cuda_graphs" and in_parts)]


def key_of(config: TrainConfig, device: torch.device) -> str:
    """All that the choice depends on."""
    given = resolve(config, device)
    rows, columns = given.image_size
    of = f"{given.backbone} {given.heads} {rows}x{columns} batch {given.batch_size}/{given.micro_batch} {given.dtype}"
    fixed = [f"{name}={getattr(config, name)}" for name in OPTIONS if getattr(config, name) != "auto"]
    versions = f"torch {torch.__version__} timm {timm.__version__}"
    return ", ".join([torch.cuda.get_device_name(device), versions, of, *fixed])


def ways(knobs: list[str]) -> Iterator[Way]:
    """Every combination, the one to fall back on first."""
    for values in product(*(OPTIONS[name] for name in knobs)):
        yield dict(zip(knobs, values, strict=True))


def try_all(config: TrainConfig, device: torch.device) -> Found:
    """[{"way", "photos_per_second", "error"}]; one that fails has speed 0."""
    found = []
    for way in ways(open_knobs(config)):
        speed, error = _in_a_child(change(config, **way), device)
        found.append({"way": way, "photos_per_second": speed, "error": error})
    return found


def fastest(found: list[Mapping[str, Any]] | Found) -> Way:
    """The first way unless another is clearly faster."""
    first, best = found[0], max(found, key=lambda one: one["photos_per_second"])
    chosen: Way = best["way"] if best["photos_per_second"] > CLEARLY * first["photos_per_second"] else first["way"]
    return chosen


def _in_a_child(config: TrainConfig, device: torch.device) -> tuple[float, str]:
    """(photos per second, "") or (0, why)."""
    order = json.dumps({"config": json.loads(config.model_dump_json()), "device": str(device)})
    try:
        with beating():
            ended = subprocess.run(
                [sys.executable, "-m", "maskcls.training.autotune"],
                input=order,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=TIMEOUT_SECONDS,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        return float(ended.stdout.split()[-1]), ""
    except subprocess.TimeoutExpired:
        return 0.0, f"no answer within {TIMEOUT_SECONDS} s"
    except (ValueError, IndexError):  # it died before its last line
        return 0.0, one_line(ended.stderr.strip().rpartition("\n")[2] or f"exit status {ended.returncode}")


def measure(config: TrainConfig, device: torch.device) -> float:
    """Photos per second of training steps, on photos of noise, after some to warm up and a look at validation.

    Nobody waits for the device between the steps, as in training: what its queue hides is no cost.
    """
    config = resolve(config, device)
    torch.set_num_threads(config.threads)
    run = Run(config, random_dataset(config), device, None)
    log_probs(run.model, (image for image, _ in run.valid.in_order(4 * config.micro_batch)), config)
    run.model.train()
    _seconds(run, WARM_UP_STEPS)
    seconds = statistics.median(_seconds(run, TIMED_STEPS) for _ in range(ROUNDS))
    return TIMED_STEPS * run.order.batch_size / seconds


def _seconds(run: Run, steps: int) -> float:
    begun = time.perf_counter()
    for step in range(steps):
        run.step(step % run.stops[-1])
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)
    return time.perf_counter() - begun


def random_dataset(config: TrainConfig) -> Dataset:
    """Two batches of random photos to learn, two to be judged by."""
    count, rng = 2 * config.batch_size, np.random.default_rng(0)
    image_NCHW = rng.integers(0, 256, (2 * count, 3, *config.image_size), dtype=np.uint8)
    sides = [
        LabelledPhotos(
            np.arange(first, first + count), rng.integers(0, 18, count), np.full(count, ""), np.full(count, "")
        )
        for first in (0, count)
    ]
    return Dataset(image_NCHW, sides[0], sides[1], "")


def main() -> None:
    """The child: an order on the standard input; the last word on the standard output is its photos per second."""
    order = json.loads(sys.stdin.read())
    print(measure(make_config(order["config"]), torch.device(order["device"])))


if __name__ == "__main__":
    main()
