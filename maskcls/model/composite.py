"""Trained models as ``--model`` names them: a single one's folder, or the file of a composed model.

A composed model joins trained ones, one for each factor of the label, here mask, gender and age. ``search.compose``
writes its file and a folder next to it, to be moved together:

    best.toml                            [compose] mask = "best.parts/mask-...", gender, age; [origin]
    best.parts/mask-faces-trial-0003/    config.toml, best.safetensors, valid.npz, linked from the trial's folder

The hard links take no disk space, and keep the weights when their study deletes them for better trials. Paths are
relative to the file; a user may also write absolute ones.

Shape suffixes: N photos, K classes.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from maskcls.config import TrainConfig, load_config
from maskcls.labels import ALL, LabelSpace
from maskcls.run.record import RECORD
from maskcls.system.errors import UserError, listed, one_line
from maskcls.system.files import MAX_BYTES, link, truncate_name, write_atomically
from maskcls.system.outputs import write_output_text
from maskcls.tasks.declared import task_from_json, task_of_origin
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import Task

FILES = ("config.toml", "best.safetensors", "valid.npz")
"""The files of a trained model."""

MAX_NAME_BYTES = MAX_BYTES - 50
"""Longest name of a folder in best.parts/: made of two folders' names, with room for a suffix."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, single or part of a composed one, as its folder describes it."""

    part: str
    """What the model predicts: a factor of the label in a composed model; else its config's task."""
    folder: Path
    config: TrainConfig
    origin: dict[str, Any]
    """[origin] of config.toml."""

    @property
    def task(self) -> Task:
        """The task that the model was trained for."""
        return task_from_json(self.origin.get("task"))


def read_models(path: Path) -> tuple[TrainedModel, ...]:
    """The trained models that ``path`` names: one for a folder; for a composed model one for every factor, in order.

    Raises UserError when it is neither.
    """
    if not path.is_file():
        return (read_model(path),)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("compose")
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The composed model {path} cannot be read: {one_line(error).rstrip('.')}.") from None
    if not isinstance(table, dict) or not table:
        raise _not_composed(path, MASK_TASK.space.parts)
    models = {part: read_model(_locate(path, str(folder)), part) for part, folder in table.items()}
    task, *others = (model.task for model in models.values())
    if sorted(models) != sorted(task.space.parts):
        raise _not_composed(path, task.space.parts)
    if any(other.space != task.space for other in others):
        raise UserError(f"The models of {path} were trained for different labels. Compose models of one task.")
    return tuple(models[part] for part in task.space.parts)


def _not_composed(path: Path, parts: Sequence[str]) -> UserError:
    return UserError(
        f"{path} is not a composed model: it needs a table [compose] with {listed(parts)}, as search.compose"
        " writes it. --model takes such a file, or the folder of a trained model."
    )


def _locate(path: Path, name: str) -> Path:
    """The folder ``name`` of a composed model: next to the file itself, or else next to the link to it."""
    by_file, by_link = _resolve_link(path).parent / name, path.parent / name
    return by_link if by_link.is_dir() and not by_file.is_dir() else by_file


def read_model(folder: Path, part: str | None = None) -> TrainedModel:
    """The trained model in a folder, as ``part`` of a composed one or (None) a single one.

    Raises UserError when there is none, or when it does not predict ``part``.
    """
    if not (folder / "config.toml").is_file():
        single = "--model takes the -o of maskcls.train, or a file of search.compose"
        remedy = single if part is None else "It belongs next to the composed file"
        raise UserError(f"{folder} holds no trained model: it has no config.toml. {remedy}.")
    config, origin = load_config(folder / "config.toml")
    task_of_origin(origin, folder / "config.toml")  # raises for what is no task
    if part is not None and config.task not in (part, "all"):
        raise UserError(f"The composed model's {part} is {folder}, which predicts {config.task} alone.")
    return TrainedModel(part or config.task, folder, config, origin)


def predicted_part(models: Sequence[TrainedModel]) -> str:
    """What the models predict together: ALL or the name of a factor."""
    return ALL if len(models) > 1 else models[0].part


def predicted_space(models: Sequence[TrainedModel]) -> LabelSpace:
    """The label space that the models predict together."""
    return models[0].task.space.predicted(predicted_part(models))


def combine(models: Sequence[TrainedModel], log_probs: Sequence[np.ndarray]) -> np.ndarray:
    """log_prob_NK over the classes of ``predicted_space``. ``log_probs``: each model's, over its own config's task.

    Several are added in float64: in float32 a sum of three could make classes equal that a model tells apart.
    """
    if len(models) == 1:
        return log_probs[0]
    joint_NK, *others = (
        marginal_log_prob(log_prob_NK, model.task.space, model.config.task, model.part).astype(np.float64)
        for model, log_prob_NK in zip(models, log_probs, strict=True)
    )
    for log_prob_NK in others:
        joint_NK = (joint_NK[:, :, None] + log_prob_NK[:, None]).reshape(len(joint_NK), -1)
    return np.asarray(joint_NK)


def marginal_log_prob(log_prob_NK: np.ndarray, space: LabelSpace, task: str, part: str) -> np.ndarray:
    """log_prob_NK over the classes of ``part``, from those over the classes of ``task``.

    ``task``: ALL, which is summed over the other factors of ``space`` in float64, or ``part`` itself, returned as is.
    """
    if task == part:
        return log_prob_NK
    assert task == ALL, (task, part)
    from scipy.special import logsumexp

    by_factor = log_prob_NK.astype(np.float64).reshape(-1, *space.sizes)
    others = tuple(axis for axis, name in enumerate(space.parts, start=1) if name != part)
    return np.asarray(logsumexp(by_factor, axis=others))


def save_composed(path: Path, folders: Mapping[str, Path], origin: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write a composed model; returns its file and its folder. ``folders``: part -> folder of a trained model.

    Where ``path`` is a link, its target is written, and the folder lies next to the target. Concurrent readers of an
    older file see the old models or the new ones: the file is written after its folders and before the old ones go.
    """
    path = _resolve_link(path)
    home = path.with_name(f"{path.stem}.parts")
    old_folders = _own_folders(path)
    table: dict[str, str] = {}
    for part, folder in folders.items():
        name = truncate_name(f"{_in_path(part)}-{folder.parent.name}-{folder.name}", MAX_NAME_BYTES)
        _link_model(folder, home / name)
        table[part] = f"{home.name}/{name}"
    write_output_text(path, tomli_w.dumps({"compose": table, "origin": dict(origin)}))
    for folder_name in old_folders - set(table.values()):
        _unlink_model(path.parent / folder_name)
    return path, home


def _in_path(part: str) -> str:
    """A factor's name as part of a folder's: names of columns may hold anything, such as ``../``."""
    return re.sub(r"[^\w-]", "_", part)


def _resolve_link(path: Path) -> Path:
    """The target of a link; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _own_folders(path: Path) -> set[str]:
    """The folders that save_composed made for an older file of this name, relative to the file."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))["compose"]
        folders = [(str(part), Path(str(folder))) for part, folder in table.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
    home = Path(f"{path.stem}.parts")
    return {
        str(folder)
        for part, folder in folders
        if folder.parent == home and folder.name.startswith(f"{_in_path(part)}-")
    }


def _link_model(source: Path, target: Path) -> None:
    """Link a model's files, its record last; models from before there were records have none."""
    target.mkdir(parents=True, exist_ok=True)
    (target / RECORD).unlink(missing_ok=True)
    for name in (*FILES, RECORD):
        if name != RECORD or (source / RECORD).is_file():
            write_atomically(target / name, partial(link, source / name))


def _unlink_model(folder: Path) -> None:
    """Remove the files that _link_model made, and the folder unless it holds others."""
    for name in (*FILES, RECORD):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
