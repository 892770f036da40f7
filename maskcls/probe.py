"""Which way of computing is fastest on this GPU: a few steps of each, once per backbone and machine, then remembered.

The choice depends on the backbone (RegNet runs at a third of its speed in channels_last), on the size and on the GPU,
and no rule foresees it. It is made before a run, written into its config, and so never changes under a run. The steps
are taken in a child process: a way that breaks there, or takes the GPU down with it, is not chosen and harms nobody.
"""

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
from maskcls.dataset import Dataset, Side
from maskcls.files import write_text
from maskcls.lock import hold
from maskcls.loop import Run
from maskcls.numerics import resolve

OPTIONS = {"memory_format": ("channels_last", "contiguous"), "cuda_graphs": ("off", "on")}
"""Knobs to be chosen and their values; the first is taken where nothing is clearly faster."""

CLEARLY = 1.03
"""How many times faster another way must be."""

WARM_UP_STEPS, TIMED_STEPS = 4, 12
TIMEOUT_SECONDS = 300

Way = dict[str, str]


def choose(config: TrainConfig, device: torch.device, folder: Path) -> TrainConfig:
    """``config`` with every knob of OPTIONS that is "auto" chosen for this GPU; on a CPU as it is.

    ``folder``: the cache's; what was found stays there in ``numerics.json``.
    """
    open_knobs = [name for name in OPTIONS if getattr(config, name) == "auto"]
    if device.type != "cuda" or not open_knobs:
        return config
    folder.mkdir(parents=True, exist_ok=True)
    path, key = folder / "numerics.json", key_of(config, device)
    with hold(folder):
        known = json.loads(path.read_text()) if path.exists() else {}
        if key not in known:
            known[key] = try_all(config, device, open_knobs)
            write_text(path, json.dumps(known, indent=1))
    return change(config, **fastest(known[key]))


def key_of(config: TrainConfig, device: torch.device) -> str:
    """All that the choice depends on."""
    given = change(resolve(config, device), drop_rate=0.0)
    rows, columns = given.image_size
    of = f"{given.backbone} {given.heads} {rows}x{columns} batch {given.batch_size}/{given.micro_batch} {given.dtype}"
    fixed = [f"{name}={getattr(config, name)}" for name in OPTIONS if getattr(config, name) != "auto"]
    versions = f"torch {torch.__version__} timm {timm.__version__}"
    return ", ".join([torch.cuda.get_device_name(device), versions, of, *fixed])


def ways(open_knobs: list[str]) -> Iterator[Way]:
    """Every combination, the one to fall back on first."""
    for values in product(*(OPTIONS[name] for name in open_knobs)):
        yield dict(zip(open_knobs, values, strict=True))


def try_all(config: TrainConfig, device: torch.device, open_knobs: list[str]) -> list[dict[str, Any]]:
    """[{"way", "photos_per_second"}]; one that fails has 0."""
    return [{"way": way, "photos_per_second": _in_a_child(change(config, **way), device)} for way in ways(open_knobs)]


def fastest(found: list[Mapping[str, Any]]) -> Way:
    """The first way unless another is clearly faster."""
    first, best = found[0], max(found, key=lambda one: one["photos_per_second"])
    chosen: Way = best["way"] if best["photos_per_second"] > CLEARLY * first["photos_per_second"] else first["way"]
    return chosen


def _in_a_child(config: TrainConfig, device: torch.device) -> float:
    order = json.dumps({"config": json.loads(config.model_dump_json()), "device": str(device)})
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "maskcls.probe"],
            input=order,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
    except subprocess.TimeoutExpired:
        return 0.0
    return float(ended.stdout) if ended.returncode == 0 else 0.0


def measure(config: TrainConfig, device: torch.device) -> float:
    """Photos per second of a training step, on photos of noise: the median of a few after some to warm up."""
    config = resolve(config, device)
    torch.set_num_threads(config.threads)
    run = Run(config, noise(config), device, None)
    run.model.train()
    seconds = []
    for step in range(WARM_UP_STEPS + TIMED_STEPS):
        begun = time.perf_counter()
        run.step(step % run.stops[-1])
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return run.order.batch_size / statistics.median(seconds[WARM_UP_STEPS:])


def noise(config: TrainConfig) -> Dataset:
    """Two batches of random photos to learn, two to be judged by."""
    count, rng = 2 * config.batch_size, np.random.default_rng(0)
    image_NCHW = rng.integers(0, 256, (2 * count, 3, *config.image_size), dtype=np.uint8)
    sides = [
        Side(np.arange(first, first + count), rng.integers(0, 18, count), np.full(count, ""), np.full(count, ""))
        for first in (0, count)
    ]
    return Dataset(image_NCHW, sides[0], sides[1], "")


def main() -> None:
    """The child: an order on the standard input, photos per second on the standard output."""
    order = json.loads(sys.stdin.read())
    print(measure(make_config(order["config"]), torch.device(order["device"])))


if __name__ == "__main__":
    main()
