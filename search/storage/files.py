"""A study's files on the disk: its folder, and its pictures among the artifacts of all studies."""

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
from search.study.attributes import MOVED_TO
from search.study.names import is_name
from search.study.record import is_made_here

TRASH = "~"
"""Prefix of a folder that is about to be deleted; no study's name can have it."""

DELETED = ".deleted"
"""A file in such a folder, which tells it from a user's own."""

ARTIFACTS = "artifacts"
ARTIFACT_KEYS = {"artifact_id", "filename"}


def existing_folder(study: optuna.Study, runs: Path) -> Path | None:
    """The study's folder; None when it has none, as a study that another program made never has, and one that
    search.copy has copied to another database has no more.

    Raises UserError when the folder belongs to a study of the same name in another database.
    """
    if not is_made_here(study) or study.user_attrs.get(MOVED_TO) is not None:
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
    """Artifact files that only this study uses: a copy (search.run --from) shares those of its trials, and one in
    another database (search.copy) has taken them over."""
    own_ids = _artifact_ids(study)
    if not own_ids or study.user_attrs.get(MOVED_TO) is not None:
        return []
    storage = backend_of(study)
    for name in optuna.get_all_study_names(storage):
        if name != study.study_name:
            own_ids -= _artifact_ids(load_study(storage, name))
    paths = [runs / ARTIFACTS / artifact_id for artifact_id in sorted(own_ids) if Path(artifact_id).name == artifact_id]
    return [path for path in paths if path.is_file()]


def _artifact_ids(study: optuna.Study) -> set[str]:
    trials = study.get_trials(deepcopy=False)
    return {*study_artifacts(study)}.union(*(artifacts_of(trial.system_attrs) for trial in trials))


def study_artifacts(study: optuna.Study) -> dict[str, str]:
    """Id -> file name of the study's own artifacts, without those of its trials."""
    return artifacts_of(study_system_attributes(study))


def artifacts_of(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Id -> file name of the artifacts among Optuna's attributes. One that was deleted in the dashboard is null, which
    optuna.artifacts cannot read."""
    entries = [_entry(value) for key, value in attributes.items() if key.startswith(f"{ARTIFACTS}:")]
    return {str(entry["artifact_id"]): str(entry["filename"]) for entry in entries if entry.keys() >= ARTIFACT_KEYS}


def _entry(value: Any) -> dict[str, Any]:
    """The JSON object of an artifact; empty when another program has stored something else there."""
    with contextlib.suppress(TypeError, ValueError):
        entry = json.loads(value)
        return entry if isinstance(entry, dict) else {}
    return {}


def size_of(paths: Iterable[Path]) -> int:
    """Bytes of the files, and of all files in the folders; links are not followed."""
    return sum(file.lstat().st_size for path in paths for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (Path(folder) / name for name in names)


def move_to_trash(folder: Path) -> None:
    """Rename the folder, which is quick; empty_trash deletes it."""
    if folder.is_symlink():
        folder.unlink()  # a user put the link there, and owns its target
        return
    token = uuid4().hex
    write_text(folder / DELETED, token)
    end = f"{TRASH}{token}"
    folder.rename(folder.with_name(truncate_name(f"{TRASH}{folder.name}", MAX_BYTES - len(end)) + end))


def empty_trash(runs: Path) -> None:
    """Delete the folders in the trash, which hold the token of their name, also those of a command that was killed."""
    for path in runs.glob(f"{TRASH}*{TRASH}*"):
        if _read(path / DELETED) == path.name.rpartition(TRASH)[2]:
            shutil.rmtree(path, ignore_errors=True)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
