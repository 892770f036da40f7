"""dashboard_notes.py: what it stores is what optuna-dashboard would have stored, and reads."""

import optuna
import optuna_dashboard
import pytest
from optuna_dashboard._note import get_note_from_system_attrs, note_ver_key
from optuna_dashboard.artifact import get_artifact_path

from search.storage.notes import PART_LENGTH, artifact_path, save_study_note, save_trial_note, trial_note

LENGTHS = [0, 5, PART_LENGTH, PART_LENGTH + 1, 3 * PART_LENGTH + 7]


def text(length: int) -> str:
    return "".join(chr(97 + i % 26) for i in range(length))


@pytest.mark.parametrize("before", LENGTHS)
@pytest.mark.parametrize("now", LENGTHS)
def test_a_studys_note_takes_the_place_of_the_one_before(before: int, now: int) -> None:
    study = optuna.create_study()
    optuna_dashboard.save_note(study, text(before))
    save_study_note(study, text(now))
    assert optuna_dashboard.get_note(study) == text(now)
    save_study_note(study, text(before))
    assert optuna_dashboard.get_note(study) == text(before)


def test_every_note_of_a_study_has_a_higher_version_so_that_an_open_page_shows_it() -> None:
    study = optuna.create_study()
    versions = []
    for save in (save_study_note, optuna_dashboard.save_note, save_study_note):
        save(study, "text")
        versions.append(study._storage.get_study_system_attrs(study._study_id)[note_ver_key(None)])
    assert versions == [1, 2, 3]


def test_a_trials_note_is_read_by_the_dashboard_and_is_its_own() -> None:
    study = optuna.create_study()
    one, other = study.ask(), study.ask()
    save_study_note(study, "of the study")
    for trial in (one, other):
        save_trial_note(study, trial._trial_id, text(PART_LENGTH + trial.number))
    save_trial_note(study, other._trial_id, "told again")
    there = study._storage.get_study_system_attrs(study._study_id)
    assert get_note_from_system_attrs(there, one._trial_id)["body"] == text(PART_LENGTH)
    assert get_note_from_system_attrs(there, other._trial_id)["body"] == "told again"
    assert trial_note(there, one._trial_id) == text(PART_LENGTH)
    assert trial_note(there, other._trial_id) == "told again"
    assert optuna_dashboard.get_note(study) == "of the study"


def test_a_trials_note_of_the_dashboard_is_read() -> None:
    study = optuna.create_study()
    one, other = study.ask(), study.ask()
    optuna_dashboard.save_note(one, text(3 * PART_LENGTH + 7))
    there = study._storage.get_study_system_attrs(study._study_id)
    assert trial_note(there, one._trial_id) == text(3 * PART_LENGTH + 7)
    assert trial_note(there, other._trial_id) == ""


def test_a_trials_picture_lies_where_the_dashboard_serves_it() -> None:
    study = optuna.create_study()
    trial = study.ask()
    assert artifact_path(study._study_id, trial._trial_id, "abc") == get_artifact_path(trial, "abc")
