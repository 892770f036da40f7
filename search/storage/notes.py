"""Notes in optuna-dashboard's format, without importing it.

Importing it loads scikit-learn, which takes every worker and command one to three seconds. tests/search/storage/
test_notes.py compares with the library (``optuna_dashboard/_note.py`` and ``artifact/__init__.py``, 0.21).
"""

from collections.abc import Mapping
from typing import Any

import optuna

from search.database.optuna_internals import set_study_system_attributes, study_system_attributes

PART_LENGTH = 2045
"""Characters of a note in one attribute, the length of the database's column."""


def save_study_note(study: optuna.Study, body: str) -> None:
    """Store Markdown for the study's page, in place of an earlier note."""
    attributes = study_system_attributes(study)
    parts = sum(key.startswith("dashboard:note_str:") for key in attributes)
    version = int(attributes.get("dashboard:note_ver", 0)) + 1
    _save(study, "dashboard:", body, version, parts)


def save_trial_note(study: optuna.Study, trial_id: int, body: str) -> None:
    """Store Markdown for the study's trial of this id (optuna_internals.trial_id).

    The old note is not read, as that would read the notes of all trials; it has at most one part more.
    """
    _save(study, f"dashboard:{trial_id}:", body, 1, 0)


def _save(study: optuna.Study, prefix: str, body: str, version: int, parts_before: int) -> None:
    parts = [body[start : start + PART_LENGTH] for start in range(0, len(body), PART_LENGTH)]
    blanks = [""] * max(1, parts_before - len(parts))  # in place of the rest of a longer note
    texts = {f"{prefix}note_str:{index}": part for index, part in enumerate(parts + blanks)}
    set_study_system_attributes(study, {f"{prefix}note_ver": version, **texts})


def trial_note(attributes: Mapping[str, Any], trial_id: int) -> str:
    """The trial's note among the study's system attributes; empty when there is none."""
    prefix = f"dashboard:{trial_id}:note_str:"
    count = sum(key.startswith(prefix) for key in attributes)
    return "".join(attributes[f"{prefix}{index}"] for index in range(count))


def artifact_path(study_id: int, trial_id: int, artifact_id: str) -> str:
    """The dashboard's URL path of a trial's artifact, for pictures in its note."""
    return f"/artifacts/{study_id}/{trial_id}/{artifact_id}"
