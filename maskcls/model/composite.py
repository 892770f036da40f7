"""Trained models as ``--model`` names them: a single one's folder, the file of a composed model, or of an ensemble.

A composed model joins trained ones, one for each factor of the label, here mask, gender and age. ``search.compose``
writes its file and a folder next to it, to be moved together (maskcls.model.trained):

    best.toml                            [compose] mask = "best.parts/mask-...", gender, age; [origin]
    best.parts/mask-faces-trial-0003/    config.toml, best.safetensors, valid.npz, linked from the trial's folder

Paths are relative to the file; a user may also write absolute ones. An ensemble is in maskcls.model.ensemble.

Shape suffixes: N photos, K classes.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from maskcls.labels import ALL, LabelSpace
from maskcls.model.ensemble import mean_log_prob, read_members
from maskcls.model.trained import TrainedModel, locate, read_model, save_joined
from maskcls.system.errors import UserError, listed, one_line
from maskcls.tasks.mask import MASK_TASK


def read_models(path: Path) -> tuple[TrainedModel, ...]:
    """The trained models that ``path`` names: one for a folder; for a composed model one for every factor, in order;
    the members of an ensemble.

    Raises UserError when it is none of them.
    """
    if not path.is_file():
        return (read_model(path),)
    try:
        file = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The composed model {path} cannot be read: {one_line(error).rstrip('.')}.") from None
    if "ensemble" in file:
        return read_members(path, file["ensemble"])
    table = file.get("compose")
    if not isinstance(table, dict) or not table:
        raise _not_composed(path, MASK_TASK.space.parts)
    models = {part: read_model(locate(path, str(folder)), part) for part, folder in table.items()}
    task, *others = (model.task for model in models.values())
    if sorted(models) != sorted(task.space.parts):
        raise _not_composed(path, task.space.parts)
    if any(other.space != task.space for other in others):
        raise UserError(f"The models of {path} were trained for different labels. Compose models of one task.")
    return tuple(models[part] for part in task.space.parts)


def _not_composed(path: Path, parts: Sequence[str]) -> UserError:
    return UserError(
        f"{path} is not a composed model: it needs a table [compose] with {listed(parts)}, as search.compose"
        " writes it. --model takes such a file, one of search.ensemble, or the folder of a trained model."
    )


def predicted_part(models: Sequence[TrainedModel]) -> str:
    """What the models predict together: ALL or the name of a factor."""
    is_composed = len(models) > 1 and models[0].weight is None
    return ALL if is_composed else models[0].part


def predicted_space(models: Sequence[TrainedModel]) -> LabelSpace:
    """The label space that the models predict together."""
    return models[0].task.space.predicted(predicted_part(models))


def combine(models: Sequence[TrainedModel], log_probs: Sequence[np.ndarray]) -> np.ndarray:
    """log_prob_NK over the classes of ``predicted_space``. ``log_probs``: each model's, over its own config's task.

    An ensemble predicts the mean of its members' probabilities. The factors of a composed model are added in float64:
    in float32 a sum of three could make classes equal that a model tells apart.
    """
    if len(models) == 1:
        return log_probs[0]
    weights = [model.weight for model in models if model.weight is not None]
    if weights:
        return mean_log_prob(log_probs, weights)
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
    """Write a composed model (trained.save_joined); returns its file and its folder.

    ``folders``: part -> folder of a trained model.
    """

    def text(folder_of: Mapping[str, str]) -> str:
        return tomli_w.dumps({"compose": dict(folder_of), "origin": dict(origin)})

    return save_joined(path, "parts", folders, _in_path, _own_folders, text)


def _in_path(part: str) -> str:
    """A factor's name as part of a folder's: names of columns may hold anything, such as ``../``."""
    return re.sub(r"[^\w-]", "_", part)


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
