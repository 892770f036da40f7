"""Notes as optuna-dashboard stores and shows them, without loading it.

Its package loads scikit-learn and itself with the first name asked of it: one to three seconds of every worker and
every command, for four lines of format. tests/search/storage/test_notes.py holds this to what the library writes and
reads (``optuna_dashboard/_note.py`` and ``artifact/__init__.py``, 0.21).
"""

from collections.abc import Mapping
from typing import Any

import optuna

from search.database.optuna_internals import set_study_system_attributes, study_system_attributes

PART_LENGTH = 2045
"""Characters of a note in one attribute: a database's column is not longer."""


def save_study_note(study: optuna.Study, body: str) -> None:
    """Markdown for the study's page, in place of what was there."""
    there = study_system_attributes(study)
    parts = sum(key.startswith("dashboard:note_str:") for key in there)
    version = int(there.get("dashboard:note_ver", 0)) + 1
    _save(study, "dashboard:", body, version, parts)


def save_trial_note(study: optuna.Study, trial_id: int, body: str) -> None:
    """Markdown for the study's trial of this id (optuna_internals.trial_id).

    Nothing is read for it: that would be the notes of all other trials. An older note, of a trial that is told
    again, is at most one part longer.
    """
    _save(study, f"dashboard:{trial_id}:", body, 1, 0)


def _save(study: optuna.Study, prefix: str, body: str, version: int, parts_before: int) -> None:
    parts = [body[start : start + PART_LENGTH] for start in range(0, len(body), PART_LENGTH)]
    ends = [""] * max(1, parts_before - len(parts))  # of a longer note before
    texts = {f"{prefix}note_str:{index}": part for index, part in enumerate(parts + ends)}
    set_study_system_attributes(study, {f"{prefix}note_ver": version, **texts})


def trial_note(attributes: Mapping[str, Any], trial_id: int) -> str:
    """A trial's note among the study's system attributes; empty where there is none."""
    prefix = f"dashboard:{trial_id}:note_str:"
    count = sum(key.startswith(prefix) for key in attributes)
    return "".join(attributes[f"{prefix}{index}"] for index in range(count))


def artifact_path(study_id: int, trial_id: int, artifact_id: str) -> str:
    """Where the dashboard serves a trial's artifact: for pictures in its note."""
    return f"/artifacts/{study_id}/{trial_id}/{artifact_id}"
