"""A machine that shares the database and no folder: it says the same of a study, and where the rest lies."""

import io
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy
from optuna.artifacts.exceptions import ArtifactNotFound

import search.compare
import search.compose
import search.delete
import search.export
import search.files.table
import search.storage.predictions
from search.answer.candidates import find_trained, weights_elsewhere
from search.database.connect import backend_of, load_study, open_storage
from search.files.place import files_of
from search.files.table import FILES
from search.findings.evidence import answer_of
from search.storage.copying import copy_trials
from search.storage.predictions import StudyPredictions, study_predictions
from search.storage.retention import trial_folder
from search.storage.team import TeamFinder
from search.study.attributes import STUDY_ID
from search.terminal.copying import copy_study
from search.web.pictures import PictureStore
from tests.helpers.report import Played, make_study
from tests.helpers.search import complain
from tests.helpers.training import run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Played:
    """A study whose database has its small files, in the folder of the machine where it ran."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "here").mkdir()
    played = make_study(folder / "here", synthetic_folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.files.table, "is_shared", lambda storage: True)
        storage = open_storage(url(folder), create=True)
        copy_study(played.study, storage, "toy", played.runs)
    storage.engine.dispose()
    return played


@pytest.fixture
def here(made: Played, tmp_path: Path) -> Played:
    """With a database of the test's own."""
    shutil.copy(made.runs.parent / "shared.db", tmp_path)
    return replace(made, study=load_study(open_storage(url(tmp_path), create=False), "toy"))


@pytest.fixture
def there(here: Played, tmp_path: Path) -> Played:
    """The same on another machine."""
    (tmp_path / "there").mkdir()
    return replace(here, runs=tmp_path / "there")


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/shared.db"


def test_the_other_machine_gives_the_same_answers(
    here: Played, there: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer_of(there.study, there.stored, there.runs) == answer_of(here.study, here.stored, here.runs)
    told = []
    for runs in (here.runs, there.runs):
        capsys.readouterr()
        assert run(search.compare.main, "toy:1", "toy:0", "--storage", url(tmp_path), "--runs", runs) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert not list(there.runs.iterdir())  # reading leaves nothing


def test_one_query_fetches_the_files_of_many_trials(there: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    read = search.storage.predictions.read_files

    def watched(storage: object, study: str, name: str, digests: Mapping[int, str]) -> dict[int, bytes | None]:
        asked.append(len(digests))
        return read(storage, study, name, digests)  # type: ignore[arg-type]

    monkeypatch.setattr(search.storage.predictions, "read_files", watched)
    answer_of(there.study, there.stored, there.runs)
    assert asked == [11]  # the complete ones
    finder = TeamFinder(there.study, there.stored, there.runs / "toy")
    finder([trial for trial in there.study.get_trials() if trial.state.name == "COMPLETE"])
    assert asked == [11, 11]


def test_files_of_an_earlier_run_of_a_trial_are_not_taken_for_its_own(here: Played, there: Played) -> None:
    wanted = answer_of(here.study, here.stored, here.runs)
    home = trial_folder(there.runs / "toy", 1)
    home.mkdir(parents=True)
    shutil.copy(trial_folder(here.runs / "toy", 0) / "valid.npz", home)  # it was interrupted here
    assert answer_of(there.study, there.stored, there.runs) == wanted


def test_a_damaged_row_leaves_its_trial_out_and_says_so(
    there: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = sqlalchemy.update(FILES).where(FILES.c.trial == 3).values(content=b"PK")
    with backend_of(there.study).engine.begin() as connection:
        connection.execute(cut)
    assert answer_of(there.study, there.stored, there.runs).left_out == (3,)
    told = complain(
        monkeypatch,
        capsys,
        search.compare.main,
        "toy:3",
        "toy:0",
        "--storage",
        url(tmp_path),
        "--runs",
        str(there.runs),
    )
    assert "The predictions of trial 3 of toy (complete) are damaged in the database: their digest differs" in told


def test_without_the_table_the_place_of_the_files_is_told(there: Played, here: Played) -> None:
    with backend_of(there.study).engine.begin() as connection:
        FILES.drop(connection)
    shelf = study_predictions(there.study, there.runs / "toy")
    trial = there.study.get_trials()[1]
    files = files_of(trial)
    assert files is not None
    assert shelf.predictions(trial) is None
    assert f"it ran in {files.host}:{here.runs}/toy/trial-0001" in shelf.why_missing(trial)


def test_weights_are_used_where_they_are_and_their_place_is_told_elsewhere(
    here: Played, there: Played, tmp_path: Path
) -> None:
    for number in (1, 3):
        home = trial_folder(here.runs / "toy", number)
        for name in ("config.toml", "best.safetensors"):  # no other test looks at them
            (home / name).write_bytes(b"")
    assert sum(model.has_weights for model in find_trained(here.study, here.runs)) == 2
    assert weights_elsewhere(here.study, here.runs) == ""  # what is gone here is nowhere
    files = files_of(here.study.get_trials()[1])
    assert files is not None
    with pytest.raises(
        Exception, match=r"No complete trial of study 'toy' has its weights .*the weights of trial 1 \("
    ):
        find_trained(there.study, there.runs)
    told = weights_elsewhere(there.study, there.runs)
    assert f"trial 1 ({files.host}:{here.runs}/toy/trial-0001), trial 9 (" in told  # the best ones first
    assert told.endswith(" and those of 8 other trials, if they were kept.")


def test_a_copy_in_the_database_has_its_files_too(there: Played, tmp_path: Path) -> None:
    database = backend_of(there.study)
    new = there.study._storage.create_new_study(there.study.directions, "copy")
    copied = load_study(database, "copy")
    assert new == copied._study_id
    copied.set_user_attr(STUDY_ID, "0" * 32)
    copy_trials(there.study, copied, there.stored.study, there.runs)
    shelf = StudyPredictions(there.runs / "copy", there.stored.space, study=copied)
    assert len(shelf.with_predictions(copied.get_trials()[:2])) == 2


def test_the_dashboard_shows_pictures_of_the_database(here: Played, there: Played) -> None:
    database = backend_of(here.study)
    search.files.table.write_files(database, "s", 7, {"a-picture": b"png"})
    (here.runs / "artifacts").mkdir(exist_ok=True)
    ours, theirs = (PictureStore(played.runs / "artifacts", database) for played in (here, there))
    ours.write("mine", io.BytesIO(b"uploaded"))
    assert ours.open_reader("mine").read() == b"uploaded"
    assert theirs.open_reader("a-picture").read() == b"png"
    ours.remove("mine")
    for store in (ours, theirs):
        with pytest.raises(ArtifactNotFound):
            store.open_reader("mine")
