"""notes.py: a trial's picture, told once or, with a connection that was lost in between, several times."""

from pathlib import Path

import optuna
import pytest
from optuna.artifacts import FileSystemArtifactStore, download_artifact, get_all_artifact_meta

import search.findings.notes
from maskcls.run.result import Evaluation, Result
from maskcls.scoring.metrics import Scores
from search.findings.notes import show_trial
from search.storage.notes import trial_note
from search.study.attributes import STUDY_ID

RESULT = Result((Evaluation(1, Scores(0.5, 0.5, 1.0, (), {}), 1.0, 100.0, 1.0, 0.5),), 1)


def begun(mine: str, storage: optuna.storages.BaseStorage | None = None) -> optuna.Trial:
    study = optuna.create_study(storage=storage)
    study.set_user_attr(STUDY_ID, mine)
    return study.ask()


def test_a_trial_that_is_told_again_has_one_picture_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial, picture, artifacts = begun("a" * 32), tmp_path / "confusion.png", tmp_path / "artifacts"
    picture.write_bytes(b"first")

    def lose(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(search.findings.notes, "save_trial_note", lose)
        with pytest.raises(ConnectionError):
            show_trial(trial, RESULT, picture, artifacts)
    picture.write_bytes(b"second")
    show_trial(trial, RESULT, picture, artifacts)
    (file,) = artifacts.iterdir()
    (meta,) = get_all_artifact_meta(trial)
    assert (meta.artifact_id, meta.filename, meta.mimetype) == (file.name, "confusion.png", "image/png")
    download_artifact(
        artifact_store=FileSystemArtifactStore(artifacts), artifact_id=file.name, file_path=str(tmp_path / "got")
    )
    assert (tmp_path / "got").read_bytes() == b"second"
    notes = trial.storage.get_study_system_attrs(trial.study._study_id)
    assert file.name in trial_note(notes, trial._trial_id)


def test_no_two_trials_have_one_picture(tmp_path: Path) -> None:
    picture, artifacts = tmp_path / "confusion.png", tmp_path / "artifacts"
    picture.write_bytes(b"all alike")
    first = begun("a" * 32)
    for trial in (first, first.study.ask(), begun("b" * 32)):  # the last one has the number of the first
        show_trial(trial, RESULT, picture, artifacts)
    assert len(list(artifacts.iterdir())) == 3
