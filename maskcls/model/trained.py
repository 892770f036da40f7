"""A trained model's folder as ``--model`` and the files of joined models name it, and links to such folders.

Joined models are a file and a folder next to it, to be moved together. The folder holds a folder for every model, with
its files linked from the trial's: hard links take no disk space, and keep the weights when their study deletes them for
better trials.
"""

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from maskcls.config import TrainConfig, load_config
from maskcls.run.record import RECORD
from maskcls.system.errors import UserError
from maskcls.system.files import MAX_BYTES, link, truncate_name, write_atomically
from maskcls.system.outputs import write_output_text
from maskcls.tasks.declared import task_of_origin
from maskcls.tasks.task import Task

FILES = ("config.toml", "best.safetensors", "valid.npz")
"""The files of a trained model."""

MAX_NAME_BYTES = MAX_BYTES - 50
"""Longest name of a model's folder beside a file: made of two folders' names, with room for a suffix."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, single or one of several that are joined, as its folder describes it."""

    part: str
    """What the model predicts: a factor of the label in a composed model; else its config's task."""
    folder: Path
    config: TrainConfig
    origin: dict[str, Any]
    """[origin] of config.toml."""
    weight: float | None = None
    """Its weight in an ensemble; None for a model that is in none."""

    @property
    def task(self) -> Task:
        """The task that the model was trained for."""
        return task_of_origin(self.origin, self.folder / "config.toml")


def has_files(folder: Path) -> bool:
    """Whether the folder holds all files of a trained model."""
    return all((folder / name).is_file() for name in FILES)


def locate(path: Path, name: str) -> Path:
    """The folder ``name`` of joined models: next to the file itself, or else next to the link to it."""
    by_file, by_link = resolve_link(path).parent / name, path.parent / name
    return by_link if by_link.is_dir() and not by_file.is_dir() else by_file


def read_model(folder: Path, part: str | None = None) -> TrainedModel:
    """The trained model in a folder, as ``part`` of a composed one or (None) of what it was trained for.

    Raises UserError when there is none, or when it does not predict ``part``.
    """
    if not (folder / "config.toml").is_file():
        single = "--model takes the -o of maskcls.train, or a file of search.compose or search.ensemble"
        remedy = single if part is None else "It belongs next to the file that names it"
        raise UserError(f"{folder} holds no trained model: it has no config.toml. {remedy}.")
    config, origin = load_config(folder / "config.toml")
    task_of_origin(origin, folder / "config.toml")  # raises for what is no task
    if part is not None and config.task not in (part, "all"):
        raise UserError(f"The composed model's {part} is {folder}, which predicts {config.task} alone.")
    return TrainedModel(part or config.task, folder, config, origin)


def save_joined(
    path: Path,
    ending: str,
    folders: Mapping[str, Path],
    start_of: Callable[[str], str],
    old: Callable[[Path], Collection[str]],
    text: Callable[[Mapping[str, str]], str],
) -> tuple[Path, Path]:
    """Write a file that joins trained models, and their folders beside it; returns the file and the folder of those.

    ``ending``: of the folder's name. ``folders``: what a model is for -> its folder. ``start_of``: what its folder's
    name there begins with. ``old``: the folders that an older file names, which go. ``text``: the file, of what each
    model is for -> its folder there.
    Where ``path`` is a link, its target is written, and the folder lies next to the target. Concurrent readers of an
    older file see the old models or the new ones: the file is written after its folders and before the old ones go.
    """
    path = resolve_link(path)
    home = path.with_name(f"{path.stem}.{ending}")
    old_folders = set(old(path))
    named: dict[str, str] = {}
    for purpose, folder in folders.items():
        name = truncate_name(f"{start_of(purpose)}-{folder.parent.name}-{folder.name}", MAX_NAME_BYTES)
        _link_model(folder, home / name)
        named[purpose] = f"{home.name}/{name}"
    write_output_text(path, text(named))
    for folder_name in old_folders - set(named.values()):
        _unlink_model(path.parent / folder_name)
    return path, home


def resolve_link(path: Path) -> Path:
    """The target of a link; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


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
