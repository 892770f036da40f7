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
from maskcls.system.files import MAX_BYTES, cut, link, write_atomically
from maskcls.system.outputs import write_output_text

FILES = ("config.toml", "best.safetensors", "valid.npz")
"""What a trained model is."""

LONGEST = MAX_BYTES - 50
"""Bytes of a member's folder's name, which is made of two folders' names and gets an ending while it is written."""


@dataclass(frozen=True)
class Member:
    """One trained model and what it is asked."""

    part: str
    """mask, gender or age of a composed model; of a model by itself its own task."""
    folder: Path
    config: TrainConfig
    origin: dict[str, Any]

    @property
    def pixels(self) -> tuple[tuple[int, int], tuple[float, float]]:
        """(image_size, crop): members that agree in it can share the decoded photos."""
        return self.config.image_size, self.config.crop


def read_members(model: Path) -> tuple[Member, ...]:
    """The trained models that ``model`` names: one of a folder, three of a composed file, in the order of PARTS.

    Raises UserError when it names none.
    """
    if not model.is_file():
        return (_member(model, None),)
    try:
        table = tomllib.loads(model.read_text(encoding="utf-8-sig")).get("compose")
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The composed model {model} cannot be read: {one_line(error).rstrip('.')}.") from None
    if not isinstance(table, dict) or sorted(table) != sorted(PARTS):
        raise UserError(
            f"{model} is no composed model: it needs a table [compose] with mask, gender and age, as search.compose"
            " writes it. --model takes that, or the folder of a trained model."
        )
    return tuple(_member(_place_of(str(table[part]), model), part) for part in PARTS)


def _place_of(folder: str, model: Path) -> Path:
    """Where a member lies: beside the file itself; beside the link that names it, where it was once written."""
    beside = _behind_links(model).parent / folder
    by_link = model.parent / folder
    return by_link if by_link.is_dir() and not beside.is_dir() else beside


def _member(folder: Path, part: str | None) -> Member:
    if not (folder / "config.toml").is_file():
        whole = "the -o of maskcls.train, or a file of search.compose"
        raise UserError(
            f"{folder} holds no trained model: it has no config.toml."
            f" {f'--model takes {whole}' if part is None else 'It belongs beside the composed file'}."
        )
    config, origin = load_config(folder / "config.toml")
    if part is not None and config.task not in (part, "all"):
        raise UserError(f"The composed model's {part} is {folder}, which predicts {config.task} alone.")
    return Member(part or config.task, folder, config, origin)


def task_of(members: Sequence[Member]) -> str:
    """What they predict together."""
    return "all" if len(members) > 1 else members[0].part


def combine(members: Sequence[Member], log_probs: Sequence[np.ndarray]) -> np.ndarray:
    """log_prob_NK over the classes of ``task_of(members)``, from what each of them says (over its config's task).

    Of several in float64: there no sum of three float32 numbers can make two classes level that a member tells apart.
    """
    if len(members) == 1:
        return log_probs[0]
    said = {
        member.part: within(log_prob_NK, member.config.task, member.part)
        for member, log_prob_NK in zip(members, log_probs, strict=True)
    }
    mask_NM, gender_NG, age_NA = (said[part].astype(np.float64) for part in PARTS)
    whole = mask_NM[:, :, None, None] + gender_NG[:, None, :, None] + age_NA[:, None, None, :]
    return np.asarray(whole.reshape(len(whole), -1))


def within(log_prob_NK: np.ndarray, task: str, part: str) -> np.ndarray:
    """Over the classes of ``part``: a single task's own, or those of all 18, summed over the other two parts."""
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
    names = {part: cut(f"{part}-{folder.parent.name}-{folder.name}", LONGEST) for part, folder in folders.items()}
    for part, folder in folders.items():
        _link_model(folder, home / names[part])
    table = {part: f"{home.name}/{name}" for part, name in names.items()}
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
