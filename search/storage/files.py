"""What a study has on the disk: its folder, and its pictures among those of all studies."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna

from maskcls.system.errors import UserError
from maskcls.system.files import MAX_BYTES, truncate_name, write_text
from search.database.connect import backend_of, load_study
from search.database.optuna_internals import study_system_attributes
from search.storage.folder import check_has_no_namesake, read_marker, study_folder
from search.study.names import is_name
from search.study.record import is_made_here

TRASH = "~"
"""Begins the name of a folder that is on its way out; no study's name can have it."""

DELETED = ".deleted"
"""A file in such a folder, which says that it is no user's own."""

ARTIFACTS = "artifacts"
ARTIFACT_FACTS = {"artifact_id", "filename"}


def existing_folder(study: optuna.Study, runs: Path) -> Path | None:
    """The study's folder; None when it has none. A study of another making has none, whatever lies there.

    Raises UserError when a study of the same name in the folder's own database has the folder.
    """
    if not is_made_here(study):
        return None
    name = study.study_name
    try:
        folder = study_folder(study, runs)
    except UserError:
        if is_name(name):
            raise
        return None
    if not os.path.lexists(folder):
        return None
    if read_marker(folder) is not None:
        return folder
    check_has_no_namesake(folder, name, backend_of(study), runs)
    return folder


def pictures_of(study: optuna.Study, runs: Path) -> list[Path]:
    """Files of artifacts that are this study's alone: a copy (search.run --from) shares those of its trials."""
    mine = _artifact_ids(study)
    if not mine:
        return []
    storage = backend_of(study)
    for name in optuna.get_all_study_names(storage):
        if name != study.study_name:
            mine -= _artifact_ids(load_study(storage, name))
    paths = [runs / ARTIFACTS / found for found in sorted(mine) if Path(found).name == found]
    return [path for path in paths if path.is_file()]


def _artifact_ids(study: optuna.Study) -> set[str]:
    trials = study.get_trials(deepcopy=False)
    return {
        found
        for owner in (study_artifacts(study), *(_artifacts(trial.system_attrs) for trial in trials))
        for found in owner
    }


def study_artifacts(study: optuna.Study) -> dict[str, str]:
    """Id -> file name of the artifacts of the study itself, its trials' left out."""
    return _artifacts(study_system_attributes(study))


def _artifacts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Id -> file name, out of Optuna's attributes. One deleted in the dashboard is null, which optuna.artifacts cannot
    read."""
    found = [_facts(value) for key, value in attributes.items() if key.startswith(f"{ARTIFACTS}:")]
    return {str(facts["artifact_id"]): str(facts["filename"]) for facts in found if facts.keys() >= ARTIFACT_FACTS}


def _facts(value: Any) -> dict[str, Any]:
    """Nothing for what another program has put there."""
    with contextlib.suppress(TypeError, ValueError):
        found = json.loads(value)
        return found if isinstance(found, dict) else {}
    return {}


def size_of(paths: Iterable[Path]) -> int:
    """Bytes of files, and of all in folders; a link counts as what it is."""
    return sum(file.lstat().st_size for path in paths for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (Path(folder) / name for name in names)


def throw_away(folder: Path) -> None:
    """Out of the way at once; empty_trash may then take its time."""
    if folder.is_symlink():
        folder.unlink()  # somebody put the link there; what it leads to is theirs
        return
    token = uuid4().hex
    write_text(folder / DELETED, token)
    end = f"{TRASH}{token}"
    folder.rename(folder.with_name(truncate_name(f"{TRASH}{folder.name}", MAX_BYTES - len(end)) + end))


def empty_trash(runs: Path) -> None:
    """Remove what was thrown away, by a command that was cut off too: what has the token of its name in it."""
    for path in runs.glob(f"{TRASH}*{TRASH}*"):
        if _read(path / DELETED) == path.name.rpartition(TRASH)[2]:
            shutil.rmtree(path, ignore_errors=True)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
