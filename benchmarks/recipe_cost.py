"""What the optimizers, layer decay, a frozen backbone, stochastic depth and test-time flips cost, in photos a second.

    python benchmarks/recipe_cost.py

Steps of all ways are taken in turn, on one thread, on photos of noise; medians of their CPU time over the rounds.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import numpy as np
import torch

from maskcls.config import TrainConfig, make_config
from maskcls.data.dataset import Dataset, LabelledPhotos
from maskcls.model.classifier import build_model
from maskcls.model.inference import log_probs
from maskcls.training.loop import Run
from maskcls.training.numerics import pick_device, resolve

BASE: dict[str, Any] = {
    "backbone": "resnet10t",
    "image_size": 64,
    "batch_size": 32,
    "threads": 1,
    "epochs": 4,
    "lr": 1e-4,
}
WARM_UP, ROUNDS = 2, 15
PHOTOS = 64

OPTIMIZERS = get_args(TrainConfig.model_fields["optimizer"].annotation)

WAYS: dict[str, dict[str, Any]] = {
    **{f"optimizer = {name}": {"optimizer": name} for name in OPTIMIZERS},
    "layer_decay = 0.75": {"layer_decay": 0.75},
    "drop_path_rate = 0.1": {"drop_path_rate": 0.1},
    "frozen_share, the head alone": {"frozen_share": 0.5},
}
"""The first is what the others are compared with."""


def noise() -> Dataset:
    """PHOTOS photos on each side."""
    rng = np.random.default_rng(0)
    image_NCHW = rng.integers(0, 256, (2 * PHOTOS, 3, BASE["image_size"], BASE["image_size"]), dtype=np.uint8)
    nobody = np.full(PHOTOS, "")
    train, valid = (
        LabelledPhotos(np.arange(first, first + PHOTOS), rng.integers(0, 18, PHOTOS), nobody, nobody)
        for first in (0, PHOTOS)
    )
    return Dataset(image_NCHW, train, valid, "")


def main() -> None:
    """Print a row for every way: photos a second, and the time as a share of AdamW's or of a plain prediction's."""
    device, data = pick_device("cpu"), noise()
    torch.set_num_threads(1)
    work: dict[str, Callable[[], object]] = {}
    for name, values in WAYS.items():
        run = Run(resolve(make_config(BASE | values), device), data, device, None)
        run.model.train()
        work[name] = partial(run.step, 0)
    image_BCHW = torch.from_numpy(data.image_NCHW[: BASE["batch_size"]])
    for tta in ("none", "flip"):
        config = resolve(make_config(BASE | {"tta": tta}), device)
        model = build_model(config, data.task.space, None)
        work[f"tta = {tta}, prediction"] = partial(log_probs, model, [image_BCHW], config)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(-WARM_UP, ROUNDS):
        for name, each in work.items():
            began = time.process_time()
            each()
            if number >= 0:
                seconds[name].append(time.process_time() - began)
    median = {name: statistics.median(each) for name, each in seconds.items()}
    for name, each in median.items():
        of = "tta = none, prediction" if name.startswith("tta") else next(iter(WAYS))
        print(f"| `{name}` | {BASE['batch_size'] / each:.0f} | {each / median[of]:.2f} |")


if __name__ == "__main__":
    main()
