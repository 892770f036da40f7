"""Train a config into a folder: the layout that a trial, ``maskcls.train`` and ``maskcls.predict`` share."""

import json
from pathlib import Path
from typing import Any

import torch

from maskcls.checkpoint import load_weights
from maskcls.config import TrainConfig, change, load_config, save_config
from maskcls.dataset import Dataset
from maskcls.errors import UserError
from maskcls.inference import place
from maskcls.labels import CLASS_NAMES
from maskcls.loop import fit
from maskcls.metrics import confusion
from maskcls.model import Classifier, build_model
from maskcls.numerics import SMALLEST_MICRO_BATCH, resolve
from maskcls.plots import draw_confusion
from maskcls.predictions import Predictions
from maskcls.reporter import Reporter
from maskcls.result import Evaluation, Result

NUMERICS = ("micro_batch", "dtype", "memory_format", "cuda_graphs", "threads")
"""Knobs that say how to compute, not what."""


def train_into(
    folder: Path,
    config: TrainConfig,
    data: Dataset,
    report: Reporter,
    *,
    origin: dict[str, Any],
    device: torch.device,
    weight_file: Path | None,
) -> tuple[TrainConfig, Result]:
    """Fit ``config`` (numerics resolved) with its files in ``folder``; returns the config that went through.

    A folder that a stopped run left is gone on with, by the config written there. Out of memory starts the run
    again with half the micro-batch; the optimizer still sees batch_size photos a step.
    Raises what loop.fit raises, out of memory only at the smallest micro-batch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "resume.pt").exists():
        config = resolve(_as_written(folder, config), device)
    while True:
        save_config(folder / "config.toml", config, origin)
        try:
            result = fit(config, data, report, device=device, weight_file=weight_file, folder=folder)
            break
        except torch.OutOfMemoryError:
            if config.micro_batch <= SMALLEST_MICRO_BATCH:
                raise
        # outside the except clause, whose traceback would keep the tensors alive
        (folder / "resume.pt").unlink(missing_ok=True)
        half = max(SMALLEST_MICRO_BATCH, config.micro_batch // 2)
        config = resolve(change(config, micro_batch=half), device)
    return config, result


def _as_written(folder: Path, config: TrainConfig) -> TrainConfig:
    """The config in the folder when it asks for the same and differs in numerics only, else ``config``."""
    written, _ = load_config(folder / "config.toml")
    return written if _with_numerics_of(written, config) == written else config


def _with_numerics_of(written: TrainConfig, config: TrainConfig) -> TrainConfig:
    return change(config, **{name: getattr(written, name) for name in NUMERICS})


def draw_best(folder: Path, config: TrainConfig, title: str) -> None:
    """confusion.png of the stored predictions."""
    stored = Predictions.load(folder / "valid.npz")
    matrix_KK = confusion(stored.label_N, stored.log_prob_NK.argmax(1), len(CLASS_NAMES[config.task]))
    draw_confusion(matrix_KK, config.task, title, folder / "confusion.png")


def finished_result(folder: Path, config: TrainConfig, origin: dict[str, Any]) -> Result | None:
    """The result of a run that ended in this folder; None when there is none, or when it can be gone on with.

    Raises UserError when the folder holds a run of another config, on other photos or from other weights.
    """
    if not any((folder / name).exists() for name in ("history.json", "resume.pt")):
        return None  # nothing there, or a run that did not get to its first evaluation
    written, there = load_config(folder / "config.toml")
    for fact in ("split", "weights"):
        if there.get(fact) != origin[fact]:
            raise UserError(
                f"{folder} holds another run: {fact} is {there.get(fact)} there and {origin[fact]} now."
                " Choose another -o."
            )
    config = _with_numerics_of(written, config)
    differing = [name for name, value in written if value != getattr(config, name)]
    if differing:
        name = differing[0]
        there, now = getattr(written, name), getattr(config, name)
        raise UserError(f"{folder} holds another run: {name} is {there} there and {now} now. Choose another -o.")
    if (folder / "resume.pt").exists() or not (folder / "history.json").exists():
        return None
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return Result(tuple(Evaluation.from_dict(values) for values in history), len(history), config.keep)


def load_trained(folder: Path, device: torch.device) -> tuple[Classifier, TrainConfig]:
    """The best model of a run's folder, on the device, and its config."""
    if not (folder / "config.toml").is_file():
        raise UserError(
            f"{folder} holds no trained model: it has no config.toml. --model takes the -o of maskcls.train."
        )
    config, _ = load_config(folder / "config.toml")
    model = build_model(config, None)
    load_weights(folder / "best.safetensors", model.weights())
    return place(model, config, device), config
