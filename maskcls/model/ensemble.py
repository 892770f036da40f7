"""An ensemble: trained models that predict the same classes; it predicts the weighted mean of their probabilities.

``search.ensemble`` writes its file and a folder next to it, to be moved together (maskcls.model.trained):

    team.toml                            [ensemble] "team.members/1-recipe-trial-0003" = 3, ...; [origin]
    team.members/1-recipe-trial-0003/    config.toml, best.safetensors, valid.npz, linked from the trial's folder

The numbers are weights: any above 0, of which only the ratios count. A user may also write the file, with absolute
paths too. Members may differ in everything but the classes: in backbone, size and crop of the photos.

Shape suffixes: N photos, K classes.
"""

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from maskcls.model.trained import TrainedModel, locate, read_model, save_joined
from maskcls.system.errors import UserError
from maskcls.system.outputs import write_output_text

ENDING = "members"
"""Of the name of the folder beside the file."""


def read_members(path: Path, table: Any) -> tuple[TrainedModel, ...]:
    """The members of the ensemble in the file ``path``, whose table [ensemble] is ``table``, with their weights.

    Raises UserError for another table, and for members that predict different classes.
    """
    if not isinstance(table, dict) or not table:
        raise UserError(
            f"The ensemble {path} has no members: it needs a table [ensemble] of a weight for every model's folder, as"
            " search.ensemble writes it."
        )
    for name, weight in table.items():
        if not is_weight(weight):
            raise UserError(f"The weight of {name!r} in the ensemble {path} must be a number above 0, not {weight!r}.")
    members = [replace(read_model(locate(path, name)), weight=float(weight)) for name, weight in table.items()]
    first, *others = members
    for other in others:
        if (other.task.space, other.part) != (first.task.space, first.part):
            raise UserError(
                f"The members {first.folder.name} and {other.folder.name} of the ensemble {path} predict different"
                " classes. Join models of one task."
            )
    return tuple(members)


def is_weight(value: Any) -> bool:
    """Whether the value may be the weight of a member: a number above 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0


def mean_log_prob(log_probs: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """float64 log_prob_NK of the weighted mean of the probabilities. ``log_probs``: each member's log_prob_NK."""
    total = sum(weights)
    mean_NK, *others = (
        log_prob_NK.astype(np.float64) + math.log(weight / total)
        for log_prob_NK, weight in zip(log_probs, weights, strict=True)
    )
    for log_prob_NK in others:
        mean_NK = np.logaddexp(mean_NK, log_prob_NK)
    return np.asarray(mean_NK)


def save_ensemble(path: Path, members: Sequence[tuple[Path, int]], origin: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write an ensemble (trained.save_joined); returns its file and its folder.

    ``members``: (folder of a trained model, weight).
    """
    by_number = {str(number): member for number, member in enumerate(members, start=1)}

    def text(folder_of: Mapping[str, str]) -> str:
        table = {folder_of[number]: weight for number, (_, weight) in by_number.items()}
        return tomli_w.dumps({"ensemble": table, "origin": dict(origin)})

    folders = {number: folder for number, (folder, _) in by_number.items()}
    return save_joined(path, ENDING, folders, str, _own_folders, text)


def join_folders(path: Path, folders: Sequence[str], weights: Sequence[float], origin: Mapping[str, Any]) -> None:
    """Write the file of an ensemble of models that lie beside it, in these folders."""
    table = dict(zip(folders, weights, strict=True))
    write_output_text(path, tomli_w.dumps({"ensemble": table, "origin": dict(origin)}))


def _own_folders(path: Path) -> set[str]:
    """The folders that save_ensemble made for an older file of this name, relative to the file."""
    try:
        folders = [Path(name) for name in tomllib.loads(path.read_text(encoding="utf-8"))["ensemble"]]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    home = Path(f"{path.stem}.{ENDING}")
    return {str(folder) for folder in folders if folder.parent == home and re.match(r"\d+-", folder.name)}
