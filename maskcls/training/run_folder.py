"""Train a config into a folder: the layout that a trial, ``maskcls.train`` and ``maskcls.predict`` share.

config.toml         the config, numerics resolved, and [origin]: what made it, from which photos and weights
history.json        the record: every evaluation, and which files belong to it (maskcls.run.record)
best.safetensors    the weights of the evaluation that is kept
valid.npz           its predictions on the validation split
resume.pt           the state to go on from, until the run is over
"""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from maskcls.config import ResolvedConfig, TrainConfig, load_config, save_config
from maskcls.data.dataset import Dataset
from maskcls.labels import CLASS_NAMES
from maskcls.model.classifier import Classifier, build_model
from maskcls.model.composite import read_model
from maskcls.model.inference import to_device
from maskcls.run.checkpoint import load_weights
from maskcls.run.commit import Guard, changed_facts, delete_run_files, finish_commit, pending_renames
from maskcls.run.record import PREDICTIONS, RECORD, STATE, WEIGHTS, UnusableRunError, check_file, read_record
from maskcls.run.result import Result
from maskcls.scoring.metrics import confusion_matrix
from maskcls.scoring.plots import draw_confusion
from maskcls.scoring.predictions import Predictions
from maskcls.system.errors import UserError
from maskcls.training.loop import fit
from maskcls.training.numerics import MIN_MICRO_BATCH, resolve, with_half_the_micro_batch
from maskcls.training.reporter import Reporter
from maskcls.training.revision import changed_since

logger = logging.getLogger(__name__)

NUMERICS = ("micro_batch", "dtype", "memory_format", "cuda_graphs", "threads")
"""Fields of TrainConfig that say how to compute, not what."""

MADE_FROM = ("weights", "versions", "study_id")
"""Facts of [origin] that a run's result depends on, or that say whose it is."""


def train_into(
    folder: Path,
    config: ResolvedConfig,
    data: Dataset,
    report: Reporter,
    *,
    origin: dict[str, Any],
    device: torch.device,
    weight_file: Path | None,
    guard: Guard = nullcontext,
) -> tuple[ResolvedConfig, Result]:
    """Fit ``config`` with its files in ``folder``; returns the config that it was trained by, and the result.

    A run that was stopped goes on, by the numerics that it was begun with. Out of memory starts the run again with half
    the micro-batch; the optimizer still sees batch_size photos a step. ``origin`` is written into config.toml.
    ``guard``: as in loop.fit.
    Raises what loop.fit raises, torch.OutOfMemoryError only at the smallest micro-batch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made_from = {name: origin[name] for name in MADE_FROM if name in origin}
    config = resolve(_config_to_continue(folder, config, made_from, guard), device)
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
            return config, result
        except torch.OutOfMemoryError:
            if config.micro_batch <= MIN_MICRO_BATCH:
                raise
        # outside the except clause, whose traceback would keep the tensors alive
        with guard():
            delete_run_files(folder)
        config = with_half_the_micro_batch(config, device)


def _config_to_continue(folder: Path, config: TrainConfig, made_from: dict[str, Any], guard: Guard) -> TrainConfig:
    """The config of the run in the folder, where that is the run asked for and can go on; else ``config``.

    The two differ in numerics only. A run that can never go on is removed; what is merely of another config, or
    unreadable, is left to loop.fit, which compares whole identities.
    """
    if not (folder / RECORD).exists():
        return config
    try:
        stored_config, stored_origin = load_config(folder / "config.toml")
        record = read_record(folder)
    except (UserError, UnusableRunError):
        return config
    if record is None or _differing_fields(stored_config, config):
        return config
    reason = ""
    if changed := changed_since(stored_origin.get("revision", 1), stored_config):
        reason = f"it was begun by an earlier version, which {changed}"
    if record.is_legacy:  # then what it was made from stands in its config's [origin] alone (maskcls.run.legacy)
        known_of_both = {name: fact for name, fact in made_from.items() if name in stored_origin}
        if others := changed_facts(stored_origin, known_of_both):
            reason = f"it belongs to another run (other {', '.join(others)})"
    if not reason:
        return stored_config
    logger.info(f"{folder}: {reason}; the run starts again.")
    with guard():
        delete_run_files(folder)
    return config


def _differing_fields(stored: TrainConfig, config: TrainConfig) -> list[str]:
    """The fields that say what to compute, and have another value in the two configs."""
    return [name for name, value in stored if name not in NUMERICS and value != getattr(config, name)]


def draw_best(folder: Path, config: TrainConfig, title: str, picture: Path) -> None:
    """Draw the confusion matrix of the folder's predictions into the file ``picture``."""
    predictions = Predictions.load(folder / PREDICTIONS)
    matrix_KK = confusion_matrix(predictions.label_N, predictions.log_prob_NK.argmax(1), len(CLASS_NAMES[config.task]))
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
    stored_config, stored_origin = load_config(folder / "config.toml")
    maker = stored_origin.get("made_by")
    if str(maker).startswith("search.") and maker != origin.get("made_by"):
        raise UserError(f"{folder} belongs to trial {stored_origin.get('trial')} of a study. Choose another -o.")
    for fact in ("split", "weights"):
        if stored_origin.get(fact) != origin[fact]:
            raise _other_run(folder, fact, stored_origin.get(fact), origin[fact])
    for name in _differing_fields(stored_config, config):
        raise _other_run(folder, name, getattr(stored_config, name), getattr(config, name))
    if changed := changed_since(stored_origin.get("revision", 1), stored_config):
        raise UserError(f"{folder} holds a run of an earlier version, which {changed}. Choose another -o.")
    return _ended(folder, config, planned_evaluations)


def _other_run(folder: Path, name: str, stored: Any, asked: Any) -> UserError:
    return UserError(f"{folder} holds another run: {name} is {stored} there and {asked} now. Choose another -o.")


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


def load_trained(folder: Path, device: torch.device) -> tuple[Classifier, ResolvedConfig]:
    """The model that a run's folder keeps, on the device, and its config for that device.

    Raises UserError when there is none, or its weights are damaged.
    """
    config = resolve(read_model(folder).config, device)
    model = build_model(config, None)
    check_file(folder, WEIGHTS)
    load_weights(folder / WEIGHTS, model.weights())
    return to_device(model, config, device), config
