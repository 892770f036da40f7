"""Training into a folder, with the layout that trials, ``maskcls.train`` and ``maskcls.predict`` share.

config.toml         the config, numerics resolved, and [origin]: what made it, from which photos and weights
history.json        the record: every evaluation, and the digests of the files below (maskcls.run.record)
best.safetensors    the weights of the evaluation that judges the run
valid.npz           its predictions on the validation split
resume.pt           the state to resume from, until the run ends
"""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from maskcls.config import ResolvedConfig, TrainConfig, load_config, save_config
from maskcls.data.dataset import Dataset
from maskcls.labels import LabelSpace
from maskcls.model.classifier import Classifier, build_model
from maskcls.model.composite import read_model
from maskcls.model.inference import to_device
from maskcls.run.checkpoint import Guard, changed_facts, delete_run_files, finish_commit, pending_renames
from maskcls.run.record import PREDICTIONS, RECORD, STATE, WEIGHTS, UnusableRunError, check_file, read_record
from maskcls.run.result import Result
from maskcls.run.serialize import load_weights
from maskcls.scoring.metrics import confusion_matrix
from maskcls.scoring.plots import draw_confusion
from maskcls.scoring.predictions import Predictions
from maskcls.system.errors import UserError
from maskcls.tasks.declared import task_of_origin
from maskcls.tasks.task import describe
from maskcls.training.loop import fit
from maskcls.training.numerics import resolve
from maskcls.training.remedies import Attempt, until_it_works
from maskcls.training.reporter import Reporter
from maskcls.training.revision import changed_since

logger = logging.getLogger(__name__)

MADE_FROM = ("weights", "versions", "study_id", "task")
"""The facts of [origin] that a run's result depends on; the mask task is none of them, as before there were others."""

NUMERICS = ("micro_batch", "dtype", "memory_format", "cuda_graphs", "repeatable", "threads")
"""Fields of TrainConfig on how to compute, not what."""


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
    """Fit ``config`` with its files in ``folder``; returns the config that was trained, and the result.

    A stopped run continues with the numerics that it began with. Where it runs out of memory, or its step cannot be
    recorded or not repeat, it goes on in another way (``remedies``), or begins again where that is another config; the
    optimizer still sees batch_size photos a step. ``origin`` is written into config.toml.
    ``guard``: as in loop.fit.
    Raises what loop.fit raises, torch.OutOfMemoryError only when no remedy is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made_from: dict[str, Any] = {name: origin[name] for name in MADE_FROM if name in origin}
    config = resolve(_config_to_continue(folder, config, made_from, guard), device)
    tried = config

    def train(attempt: Attempt) -> Result:
        nonlocal tried
        with guard():
            if attempt.config != tried:
                delete_run_files(folder)
            save_config(folder / "config.toml", attempt.config, origin)
        tried = attempt.config
        return fit(
            attempt.config,
            data,
            report,
            device=device,
            weight_file=weight_file,
            folder=folder,
            guard=guard,
            made_from=made_from,
            photos_on_gpu=attempt.photos_on_gpu,
        )

    return until_it_works(Attempt(config, has_evaluations=(folder / RECORD).exists), device, train)


def _config_to_continue(folder: Path, config: TrainConfig, made_from: dict[str, Any], guard: Guard) -> TrainConfig:
    """The stored config, which differs from ``config`` only in numerics, if its run can continue; else ``config``.

    A run of ``config`` that can never continue is deleted. A folder with another config, or one that cannot be read, is
    left to loop.fit, which compares whole identities.
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
    if record.is_legacy:  # its facts are only in [origin] (maskcls.run.legacy)
        comparable = {name: fact for name, fact in made_from.items() if name in stored_origin}
        if changed_names := changed_facts(stored_origin, comparable):
            reason = f"it belongs to another run (other {', '.join(changed_names)})"
    if not reason:
        return stored_config
    logger.info(f"{folder}: {reason}; the run starts again.")
    with guard():
        delete_run_files(folder)
    return config


def _differing_fields(stored: TrainConfig, config: TrainConfig) -> list[str]:
    """The fields other than NUMERICS whose values differ between the configs."""
    return [name for name, value in stored if name not in NUMERICS and value != getattr(config, name)]


def draw_best(folder: Path, space: LabelSpace, title: str, picture: Path) -> None:
    """Draw the confusion matrix of the folder's predictions over ``space`` into the image file ``picture``."""
    predictions = Predictions.load(folder / PREDICTIONS)
    matrix_KK = confusion_matrix(predictions.label_N, predictions.log_prob_NK.argmax(1), space.num_classes)
    draw_confusion(matrix_KK, space, title, picture)


def finished_result(
    folder: Path, config: TrainConfig, origin: dict[str, Any], planned_evaluations: int
) -> Result | None:
    """The result of the complete run in this folder; None when there is none, or when it is not complete.

    ``planned_evaluations``: number of evaluations of the whole run, for a legacy record.
    Raises UserError when the folder belongs to a trial, or holds a run with another config, photos or weights.
    """
    if not any((folder / name).exists() for name in (RECORD, STATE)):
        return None  # no run has reached its first evaluation
    stored_config, stored_origin = load_config(folder / "config.toml")
    maker = stored_origin.get("made_by")
    if str(maker).startswith("search.") and maker != origin.get("made_by"):
        raise UserError(f"{folder} belongs to trial {stored_origin.get('trial')} of a study. Choose another -o.")
    facts = [(name, stored_origin.get(name), origin[name]) for name in ("split", "weights")]
    tasks = [describe(task_of_origin(table, folder / "config.toml")) for table in (stored_origin, origin)]
    facts += [(name, tasks[0][name], tasks[1][name]) for name in tasks[0]]
    fields = _differing_fields(stored_config, config)
    facts += [(name, getattr(stored_config, name), getattr(config, name)) for name in fields]
    for name, stored, requested in facts:
        if stored != requested:
            raise UserError(
                f"{folder} holds another run: {name} is {stored} there and {requested} now. Choose another -o."
            )
    if changed := changed_since(stored_origin.get("revision", 1), stored_config):
        raise UserError(f"{folder} holds a run of an earlier version, which {changed}. Choose another -o.")
    return _result_of_complete_run(folder, config, planned_evaluations)


def _result_of_complete_run(folder: Path, config: TrainConfig, planned_evaluations: int) -> Result | None:
    """The result when the record is complete and its files exist; any other folder is left to loop.fit."""
    try:
        record = read_record(folder)
        if record is None:
            return None
        renames = pending_renames(folder, record)
    except UnusableRunError:
        return None
    if record.is_legacy:
        is_complete = len(record.evaluations) == planned_evaluations and not (folder / STATE).exists()
        is_complete &= all((folder / name).exists() for name in (WEIGHTS, PREDICTIONS))
        return Result(record.evaluations, planned_evaluations, config.keep) if is_complete else None
    if not record.is_complete:
        return None
    finish_commit(folder, record, renames)
    return Result(record.evaluations, record.planned_evaluations, config.keep)


def load_trained(folder: Path, device: torch.device) -> tuple[Classifier, ResolvedConfig]:
    """(the trained model of a run's folder, on the device; its config, resolved for the device).

    Raises UserError when there is no model, or when its weights are damaged.
    """
    trained = read_model(folder)
    config = resolve(trained.config, device)
    model = build_model(config, trained.task.predicted(config), None)
    check_file(folder, WEIGHTS)
    load_weights(folder / WEIGHTS, model.weights())
    return to_device(model, config, device), config
