"""Train a config into a folder: the layout that a trial, ``maskcls.train`` and ``maskcls.predict`` share."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from maskcls.config import TrainConfig, change, load_config, save_config
from maskcls.data.dataset import Dataset
from maskcls.labels import CLASS_NAMES
from maskcls.model.classifier import Classifier, build_model
from maskcls.model.inference import place
from maskcls.run.checkpoint import load_weights
from maskcls.run.commit import Guard, changed_facts, delete_run_files, finish_commit, pending_renames
from maskcls.run.record import PREDICTIONS, RECORD, STATE, WEIGHTS, UnusableRunError, check_file, read_record
from maskcls.run.result import Result
from maskcls.scoring.metrics import confusion_matrix
from maskcls.scoring.plots import draw_confusion
from maskcls.scoring.predictions import Predictions
from maskcls.system.console import say
from maskcls.system.errors import UserError
from maskcls.training.loop import fit
from maskcls.training.numerics import SMALLEST_MICRO_BATCH, resolve
from maskcls.training.reporter import Reporter
from maskcls.training.revision import changed_since

NUMERICS = ("micro_batch", "dtype", "memory_format", "cuda_graphs", "threads")
"""Knobs that say how to compute, not what."""


MADE_FROM = ("weights", "versions", "study_id")
"""Facts of [origin] that a run's result depends on, or that say whose it is."""


def train_into(
    folder: Path,
    config: TrainConfig,
    data: Dataset,
    report: Reporter,
    *,
    origin: dict[str, Any],
    device: torch.device,
    weight_file: Path | None,
    guard: Guard = nullcontext,
) -> tuple[TrainConfig, Result]:
    """Fit ``config`` (numerics resolved) with its files in ``folder``; returns the config that went through.

    A folder that a stopped run left is gone on with, by the config written there. Out of memory starts the run
    again with half the micro-batch; the optimizer still sees batch_size photos a step. ``guard``: as in loop.fit.
    Raises what loop.fit raises, out of memory only at the smallest micro-batch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made_from = {name: origin[name] for name in MADE_FROM if name in origin}
    config = resolve(_as_written(folder, config, made_from, guard), device)
    while True:
        with guard():
            save_config(folder / "config.toml", config, origin)
        try:
            result = fit(
                config,
                data,
                report,
                device=device,
                weight_file=weight_file,
                folder=folder,
                guard=guard,
                made_from=made_from,
            )
            break
        except torch.OutOfMemoryError:
            if config.micro_batch <= SMALLEST_MICRO_BATCH:
                raise
        # outside the except clause, whose traceback would keep the tensors alive
        with guard():
            delete_run_files(folder)
        half = max(SMALLEST_MICRO_BATCH, config.micro_batch // 2)
        config = resolve(change(config, micro_batch=half), device)
    return config, result


def _as_written(folder: Path, config: TrainConfig, made_from: dict[str, Any], guard: Guard) -> TrainConfig:
    """The config of the run in the folder when it asks for the same and differs in numerics only, else ``config``.

    A run whose record does not say what it was made from (maskcls.run.legacy) has that in its config's [origin] alone.
    """
    if not (folder / RECORD).exists():
        return config
    try:
        written, there = load_config(folder / "config.toml")
        record = read_record(folder)
    except (UserError, UnusableRunError):
        return config
    if _differing(written, config) or record is None:
        return config
    why = changed_since(there.get("revision", 1), written)
    if why:
        why = f"it was begun by an earlier version, which {why}"
    other = changed_facts(there, {name: fact for name, fact in made_from.items() if name in there})
    if record.is_legacy and other:
        why = f"it is of another run (other {', '.join(other)})"
    if not why:
        return written
    say(f"{folder}: {why}; the run starts again.")
    with guard():
        delete_run_files(folder)
    return config


def _differing(written: TrainConfig, config: TrainConfig) -> list[str]:
    """The knobs that say what to compute, and say it otherwise."""
    return [name for name, value in written if name not in NUMERICS and value != getattr(config, name)]


def draw_best(folder: Path, config: TrainConfig, title: str, picture: Path) -> None:
    """A picture (confusion.png) of the stored predictions."""
    stored = Predictions.load(folder / PREDICTIONS)
    matrix_KK = confusion_matrix(stored.label_N, stored.log_prob_NK.argmax(1), len(CLASS_NAMES[config.task]))
    draw_confusion(matrix_KK, config.task, title, picture)


def finished_result(
    folder: Path, config: TrainConfig, origin: dict[str, Any], planned_evaluations: int
) -> Result | None:
    """The result of a run that ended in this folder; None when there is none, or when it is not over.

    ``planned_evaluations``: evaluations of the whole run, for a record that does not say it.
    Raises UserError when the folder holds a run of another config, on other photos or from other weights, or is a
    trial's.
    """
    if not any((folder / name).exists() for name in (RECORD, STATE)):
        return None  # nothing there, or a run that did not get to its first evaluation
    written, there = load_config(folder / "config.toml")
    if str(there.get("made_by", "")).startswith("search.") and there["made_by"] != origin.get("made_by"):
        raise UserError(f"{folder} belongs to trial {there.get('trial')} of a study. Choose another -o.")
    for fact in ("split", "weights"):
        if there.get(fact) != origin[fact]:
            raise UserError(
                f"{folder} holds another run: {fact} is {there.get(fact)} there and {origin[fact]} now."
                " Choose another -o."
            )
    differing = _differing(written, config)
    if differing:
        name = differing[0]
        before, now = getattr(written, name), getattr(config, name)
        raise UserError(f"{folder} holds another run: {name} is {before} there and {now} now. Choose another -o.")
    if changed := changed_since(there.get("revision", 1), written):
        raise UserError(f"{folder} holds a run of an earlier version, which {changed}. Choose another -o.")
    return _ended(folder, config, planned_evaluations)


def _ended(folder: Path, config: TrainConfig, planned_evaluations: int) -> Result | None:
    """The result when the record says that the run is over and its files are there; fit sees to all else."""
    try:
        record = read_record(folder)
    except UnusableRunError:
        return None
    if record is None:
        return None
    if record.is_legacy:
        is_over = len(record.evaluations) == planned_evaluations and not (folder / STATE).exists()
        is_over &= all((folder / name).exists() for name in (WEIGHTS, PREDICTIONS))
        return Result(record.evaluations, planned_evaluations, config.keep) if is_over else None
    try:
        renames = pending_renames(folder, record)
    except UnusableRunError:
        return None
    if not record.is_complete:
        return None
    finish_commit(folder, record, renames)
    return Result(record.evaluations, record.planned_evaluations, config.keep)


def load_trained(folder: Path, device: torch.device) -> tuple[Classifier, TrainConfig]:
    """The best model of a run's folder, on the device, and its config."""
    if not (folder / "config.toml").is_file():
        raise UserError(
            f"{folder} holds no trained model: it has no config.toml. --model takes the -o of maskcls.train."
        )
    config, _ = load_config(folder / "config.toml")
    model = build_model(config, None)
    check_file(folder, WEIGHTS)
    load_weights(folder / WEIGHTS, model.weights())
    return place(model, config, device), config
