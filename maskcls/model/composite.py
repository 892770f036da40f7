"""What ``--model`` names: a trained model's folder, or a file that joins three of them, one a part of the label.

``search.compose`` writes the file and a folder beside it, which belong together and can be moved together:

    best.toml                            [compose] mask = "best.parts/mask-...", gender, age; [origin]
    best.parts/mask-faces-trial-0003/    config.toml, best.safetensors, valid.npz, linked from the trial's folder

Links, so that the weights stay when their study goes on to better trials and lets go of these, at no cost of disk.
Paths are relative to the file; absolute ones written by hand serve as well.

Shape suffixes: N photos, K classes of a task, M G A those of the three parts.
"""

import os
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
from maskcls.labels import CLASS_NAMES, PARTS
from maskcls.run.record import RECORD
from maskcls.system.errors import UserError, one_line
from maskcls.system.files import MAX_BYTES, link, truncate_name, write_atomically
from maskcls.system.outputs import write_output_text

FILES = ("config.toml", "best.safetensors", "valid.npz")
"""What a trained model consists of."""

MAX_NAME_BYTES = MAX_BYTES - 50
"""Of a folder's name in best.parts/, which is made of two folders' names and gets an ending while it is written."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model as its folder describes it, by itself or as one of the three of a composed model."""

    part: str
    """What it predicts: mask, gender or age in a composed model; by itself its own task."""
    folder: Path
    config: TrainConfig
    origin: dict[str, Any]
    """Where it came from: config.toml's [origin]."""

    @property
    def pixels(self) -> tuple[tuple[int, int], tuple[float, float]]:
        """(image_size, crop): models that agree in it can share the decoded photos."""
        return self.config.image_size, self.config.crop


def read_models(path: Path) -> tuple[TrainedModel, ...]:
    """The trained models that ``path`` names: one of a folder, three of a composed file, in the order of PARTS.

    Raises UserError when it names none.
    """
    if not path.is_file():
        return (_read_model(path, None),)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("compose")
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The composed model {path} cannot be read: {one_line(error).rstrip('.')}.") from None
    if not isinstance(table, dict) or sorted(table) != sorted(PARTS):
        raise UserError(
            f"{path} is no composed model: it needs a table [compose] with mask, gender and age, as search.compose"
            " writes it. --model takes that, or the folder of a trained model."
        )
    return tuple(_read_model(_folder_named_by(path, str(table[part])), part) for part in PARTS)


def _folder_named_by(path: Path, name: str) -> Path:
    """Where a model lies: beside the file itself; beside the link to it, where it was once written."""
    beside_file, beside_link = _behind_links(path).parent / name, path.parent / name
    return beside_link if beside_link.is_dir() and not beside_file.is_dir() else beside_file


def _read_model(folder: Path, part: str | None) -> TrainedModel:
    """``part``: of a composed model; None for a model by itself."""
    if not (folder / "config.toml").is_file():
        whole = "the -o of maskcls.train, or a file of search.compose"
        raise UserError(
            f"{folder} holds no trained model: it has no config.toml."
            f" {f'--model takes {whole}' if part is None else 'It belongs beside the composed file'}."
        )
    config, origin = load_config(folder / "config.toml")
    if part is not None and config.task not in (part, "all"):
        raise UserError(f"The composed model's {part} is {folder}, which predicts {config.task} alone.")
    return TrainedModel(part or config.task, folder, config, origin)


def task_of(models: Sequence[TrainedModel]) -> str:
    """What they predict together: a task of TrainConfig."""
    return "all" if len(models) > 1 else models[0].part


def combine(models: Sequence[TrainedModel], log_probs: Sequence[np.ndarray]) -> np.ndarray:
    """log_prob_NK over the classes of ``task_of(models)``. ``log_probs``: each model's, over its own config's task.

    Of several in float64: there no sum of three float32 numbers can make two classes level that a model tells apart.
    """
    if len(models) == 1:
        return log_probs[0]
    log_prob_of_part = {
        model.part: within(log_prob_NK, model.config.task, model.part)
        for model, log_prob_NK in zip(models, log_probs, strict=True)
    }
    mask_NM, gender_NG, age_NA = (log_prob_of_part[part].astype(np.float64) for part in PARTS)
    joint_NMGA = mask_NM[:, :, None, None] + gender_NG[:, None, :, None] + age_NA[:, None, None, :]
    return np.asarray(joint_NMGA.reshape(len(joint_NMGA), -1))


def within(log_prob_NK: np.ndarray, task: str, part: str) -> np.ndarray:
    """log_prob_NK of ``task`` over the classes of ``part``: as they are where the task is that part alone, and of all
    18 classes summed over the other two parts (then in float64)."""
    if task == part:
        return log_prob_NK
    assert task == "all", (task, part)
    from scipy.special import logsumexp

    log_prob_NMGA = log_prob_NK.astype(np.float64).reshape(-1, *(len(CLASS_NAMES[name]) for name in PARTS))
    others = tuple(axis for axis, name in enumerate(PARTS, start=1) if name != part)
    return np.asarray(logsumexp(log_prob_NMGA, axis=others))


def save_composed(path: Path, folders: Mapping[str, Path], origin: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write the file and the folder beside it; returns both. ``folders``: part -> folder of a trained model.

    Where ``path`` is a link, the file that it leads to is written, and the folder lies beside that.

    Whoever reads an older file of this name meanwhile sees the old models or the new: the file comes after its folders
    and before the old ones go.
    """
    path = _behind_links(path)
    home = path.with_name(f"{path.stem}.parts")
    before = _folders_named_by(path)
    table: dict[str, str] = {}
    for part, folder in folders.items():
        name = truncate_name(f"{part}-{folder.parent.name}-{folder.name}", MAX_NAME_BYTES)
        _link_model(folder, home / name)
        table[part] = f"{home.name}/{name}"
    write_output_text(path, tomli_w.dumps({"compose": table, "origin": dict(origin)}))
    for old in before - set(table.values()):
        _unlink_model(path.parent / old)
    return path, home


def _behind_links(path: Path) -> Path:
    """The file itself; as it was written where it is no link."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _folders_named_by(path: Path) -> set[str]:
    """Those that an older file of this name has beside it, relative to it; a user's own are not among them."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))["compose"]
        named = [(part, Path(str(table[part]))) for part in PARTS]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    home = Path(f"{path.stem}.parts")
    return {str(found) for part, found in named if found.parent == home and found.name.startswith(f"{part}-")}


def _link_model(source: Path, target: Path) -> None:
    """The record after the files that it speaks of; a model from before there were records has none."""
    target.mkdir(parents=True, exist_ok=True)
    (target / RECORD).unlink(missing_ok=True)
    for name in (*FILES, RECORD):
        if name != RECORD or (source / RECORD).is_file():
            write_atomically(target / name, partial(link, source / name))


def _unlink_model(folder: Path) -> None:
    """Remove what _link_model has made; what somebody has put there besides stays."""
    for name in (*FILES, RECORD):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
