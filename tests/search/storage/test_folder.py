"""A study and its folder know each other by an id: renamed, deleted, made again, from another database, from before."""

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

import search.compare
import search.delete
import search.report
import search.storage.folder
import search.worker.create
from maskcls.data.dataset import Table
from maskcls.system.errors import UserError
from search.database.connect import backend_of, create_study, default_url, load_study, open_storage
from search.findings.evidence import answer_of
from search.findings.recipe import check_files
from search.storage.copying import copy_trials
from search.storage.folder import MARKER, claim, claim_in_turn, read_marker, study_folder
from search.storage.predictions import StudyPredictions
from search.storage.retention import trial_folder
from search.study.attributes import STUDY_ID
from search.study.record import KEY
from search.worker.create import find_or_create
from tests.helpers.report import Played, make_study
from tests.helpers.search import TOY_STUDY, complain, make_setup, order_for
from tests.helpers.training import one_line, run


@pytest.fixture(autouse=True)
def nothing_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.worker.create, "show_estimate", lambda *args: None)


def find(runs: Path, table: Table, url: str | None = None, name: str = "toy") -> optuna.Study:
    """Have the study made or found, as the first worker does."""
    runs.mkdir(parents=True, exist_ok=True)
    storage = open_storage(url or default_url(runs), create=True)
    setup = make_setup(runs, table)
    setup.name = name
    find_or_create(setup, storage, order_for(runs, 10))
    return load_study(storage, name)


def rename(study: optuna.Study, name: str) -> optuna.Study:
    """As the dashboard does: a copy, and the study goes."""
    new = optuna.create_study(storage=study._storage, study_name=name, direction="maximize")
    new.add_trials(study.get_trials())
    for key, value in study.user_attrs.items():
        new.set_user_attr(key, value)
    study._storage.delete_study(study._study_id)
    return new


def begun(home: Path) -> Path:
    """A file of a trial."""
    path = trial_folder(home, 0) / "resume.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a state")
    return path


def test_a_new_study_and_its_folder_have_one_id(tmp_path: Path, synthetic_table: Table) -> None:
    study = find(tmp_path, synthetic_table)
    marker = read_marker(tmp_path / "toy")
    assert marker is not None
    assert (marker.id, marker.study, marker.storage) == (study.user_attrs[STUDY_ID], "toy", "studies.db")
    assert find(tmp_path, synthetic_table).user_attrs[STUDY_ID] == marker.id  # the same command again
    assert find(tmp_path, synthetic_table, name="other").user_attrs[STUDY_ID] != marker.id


def test_a_password_is_not_written_beside_the_trials(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:S3CRET@/studies?host=/run/pg&password=S3CRET"
    storage = SimpleNamespace(engine=SimpleNamespace(url=sqlalchemy.make_url(url)))
    assert search.storage.folder.address_of(storage, tmp_path) == "postgresql:///run/pg/studies"  # type: ignore[arg-type]


def test_a_renamed_study_keeps_its_folder(
    tmp_path: Path, synthetic_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = make_study(tmp_path, synthetic_folder)
    claim(played.study, tmp_path)
    before = answer_of(played.study, played.stored, tmp_path)
    renamed = rename(played.study, "called otherwise")
    assert study_folder(renamed, tmp_path) == tmp_path / "toy"
    assert answer_of(renamed, played.stored, tmp_path) == before
    words = ("--study", "called otherwise", "--runs", tmp_path)
    assert run(search.report.main, *words) == 0
    assert (tmp_path / "toy" / "report" / "report.html").is_file()
    assert run(search.delete.main, *words, "--yes") == 0
    assert not (tmp_path / "toy").exists()


def test_the_name_of_a_renamed_study_is_not_free(tmp_path: Path, synthetic_table: Table) -> None:
    study = find(tmp_path, synthetic_table)
    kept = begun(tmp_path / "toy")
    rename(study, "renamed")
    with pytest.raises(UserError) as caught:
        find(tmp_path, synthetic_table)
    assert "toy is the folder of study 'renamed'. Give that name, or a new --name." in one_line(caught.value)
    assert kept.exists()
    assert study_folder(find(tmp_path, synthetic_table, name="renamed"), tmp_path) == tmp_path / "toy"


def test_what_a_deleted_study_left_is_set_aside(
    tmp_path: Path, synthetic_table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    study = find(tmp_path, synthetic_table)
    begun(tmp_path / "toy")
    study._storage.delete_study(study._study_id)  # in the dashboard, which knows of no folder
    capsys.readouterr()
    again = find(tmp_path, synthetic_table)
    told = capsys.readouterr().out
    assert f"{tmp_path}/toy held trials of a study that is no longer stored; they are in " in told
    (aside,) = tmp_path.glob("toy.set-aside-*")
    assert (trial_folder(aside, 0) / "resume.pt").read_bytes() == b"a state"
    assert not trial_folder(tmp_path / "toy", 0).exists()
    assert study_folder(again, tmp_path) == tmp_path / "toy"


def test_a_study_of_another_database_does_not_get_the_folder(tmp_path: Path, synthetic_table: Table) -> None:
    runs, url = tmp_path / "runs", f"sqlite:///{tmp_path}/second.db"
    find(runs, synthetic_table)
    kept = begun(runs / "toy")
    with pytest.raises(UserError) as caught:
        find(runs, synthetic_table, url)
    assert f"of another study 'toy', stored in {runs}/studies.db. Give the --runs" in one_line(caught.value)
    assert not optuna.get_all_study_names(open_storage(url, create=False))
    assert kept.exists()
    # and the other way round, where the database cannot be looked at any more
    other = tmp_path / "elsewhere"
    find(other, synthetic_table, url)
    (tmp_path / "second.db").rename(tmp_path / "moved.db")
    with pytest.raises(UserError, match=r"stored in .*second\.db"):
        find(other, synthetic_table)


def test_a_study_from_before_there_were_ids_gets_one_when_its_files_are_its_own(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    played = make_study(tmp_path, synthetic_folder)
    assert study_folder(played.study, tmp_path) == tmp_path / "toy"  # reading does without
    assert not (tmp_path / "toy" / MARKER).exists()
    assert claim(played.study, tmp_path) == tmp_path / "toy"
    marker = read_marker(tmp_path / "toy")
    assert marker is not None
    assert marker.id == played.study.user_attrs[STUDY_ID]


def test_a_machine_without_files_of_the_study_reads_none_of_them_in_its_turn(
    tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = make_study(tmp_path, synthetic_folder)
    monkeypatch.setattr(StudyPredictions, "predictions", None)  # which would look into the database too
    assert claim_in_turn(backend_of(played.study), "toy", tmp_path / "elsewhere") == tmp_path / "elsewhere" / "toy"
    assert read_marker(tmp_path / "elsewhere" / "toy") is not None


def foreign(played: Played, number: int) -> None:
    """The trial's predictions are another's now: two databases had one folder."""
    other = trial_folder(played.runs / "toy", 8 if number != 8 else 7)
    shutil.copy(other / "valid.npz", trial_folder(played.runs / "toy", number) / "valid.npz")


def test_a_study_from_before_whose_files_are_not_its_own_is_refused(tmp_path: Path, synthetic_folder: Path) -> None:
    played = make_study(tmp_path, synthetic_folder)
    foreign(played, 1)
    with pytest.raises(UserError) as caught:
        claim(played.study, tmp_path)
    assert "holds files of another study: The predictions of trial 1 in" in one_line(caught.value)
    assert STUDY_ID not in load_study(played.study._storage, "toy").user_attrs


def test_a_folder_of_nobody_known_is_not_taken_by_another_database(tmp_path: Path, synthetic_table: Table) -> None:
    runs = tmp_path / "runs"
    kept = begun(runs / "toy")
    with pytest.raises(UserError, match="holds trials of an unknown study"):
        find(runs, synthetic_table, f"sqlite:///{tmp_path}/second.db")
    assert kept.exists()
    find(runs, synthetic_table)  # the database beside it knows no such study
    assert not kept.exists()
    assert len(list(runs.glob("toy.set-aside-*/trial-0000/resume.pt"))) == 1


def test_two_studies_with_one_id_are_not_both_gone_on_with(tmp_path: Path, synthetic_table: Table) -> None:
    study = find(tmp_path, synthetic_table)
    optuna.copy_study(
        from_study_name="toy", from_storage=study._storage, to_storage=study._storage, to_study_name="twin"
    )
    with pytest.raises(UserError, match=r"'toy' and 'twin' share one id"):
        find(tmp_path, synthetic_table, name="twin")


def test_a_copy_goes_on_from_the_states_of_the_study_it_was_copied_from(tmp_path: Path, synthetic_table: Table) -> None:
    old = find(tmp_path, synthetic_table)
    old.add_trial(optuna.trial.create_trial(state=TrialState.WAITING, user_attrs={}))
    begun(tmp_path / "toy")
    new = find(tmp_path, synthetic_table, name="more")
    copy_trials(old, new, TOY_STUDY, tmp_path)
    assert new.get_trials()[0].user_attrs["files_of"] == old.user_attrs[STUDY_ID]
    assert (trial_folder(tmp_path / "more", 0) / "resume.pt").exists()


@pytest.mark.parametrize("name", ["../outside", "cache", "~x~y", "."])
def test_a_name_that_no_folder_can_have_is_refused_as_one(tmp_path: Path, name: str) -> None:
    study = create_study(open_storage(default_url(tmp_path), create=True), name, {KEY: {}})
    with pytest.raises(UserError, match="is also its folder"):
        study_folder(study, tmp_path)


def victim(tmp_path: Path, name: str) -> tuple[Path, Path]:
    """(runs, a folder outside of it): a study with this name has the id that stands in the folder's marker."""
    runs, outside = tmp_path / "runs", tmp_path / "victim"
    for folder in (runs, outside):
        folder.mkdir()
    (outside / MARKER).write_text('{"id": "feed", "study": "victim", "storage": "studies.db"}')
    create_study(open_storage(default_url(runs), create=True), name, {KEY: {}, STUDY_ID: "feed"})
    return runs, outside


@pytest.mark.parametrize("name", ["../victim", "ABSOLUTE", "n" * 300, "ä" * 150, "nul\0in it"])
def test_a_name_that_leads_elsewhere_is_no_path_and_its_study_can_be_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    name = name.replace("ABSOLUTE", str(tmp_path / "victim"))
    runs, outside = victim(tmp_path, name)
    with pytest.raises(UserError, match="is also its folder"):
        study_folder(load_study(open_storage(default_url(runs), create=False), name), runs)
    assert run(search.delete.main, "--study", name, "--runs", runs, "--yes") == 0
    assert (outside / MARKER).is_file()
    assert optuna.get_all_study_names(open_storage(default_url(runs), create=False)) == []


def test_a_marker_that_the_disk_does_not_give_is_nobodys_leave_either(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = find(tmp_path, synthetic_table)
    real = Path.read_text

    def read_text(path: Path, *given: str, **options: str) -> str:
        if path.name == MARKER:
            raise OSError(errno.EIO, "Input/output error")
        return real(path, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", read_text)
        with pytest.raises(UserError, match=r"toy/study.json, which names the folder.s study, cannot be read"):
            study_folder(study, tmp_path)
        with pytest.raises(UserError, match="cannot be read"):
            find(tmp_path, synthetic_table)
    assert study_folder(study, tmp_path) == tmp_path / "toy"


# --- what no answer may rest on --------------------------------------------------------------------------------------


def test_predictions_that_are_not_what_a_trial_was_judged_by_are_left_out_and_named(
    tmp_path: Path, synthetic_folder: Path
) -> None:
    played = make_study(tmp_path, synthetic_folder)
    foreign(played, 4)
    found = answer_of(played.study, played.stored, tmp_path)
    assert (found.left_out, found.foreign) == ((4,), (4,))
    assert any("score something else than" in caveat and "trial 4." in caveat for caveat in found.caveats)


def test_a_trial_whose_files_say_another_value_is_neither_exported_nor_compared(
    tmp_path: Path, synthetic_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played = make_study(tmp_path, synthetic_folder)
    check_files(played.study, played.study.get_trials()[1], tmp_path)
    foreign(played, 1)
    with pytest.raises(UserError) as caught:
        check_files(played.study, played.study.get_trials()[1], tmp_path)
    assert "trial 1 in" in one_line(caught.value)
    assert "are not those that it was judged by: they score" in str(caught.value)
    told = complain(monkeypatch, capsys, search.compare.main, "toy:1", "toy:0", "--runs", str(tmp_path))
    assert "are not those that it was judged by" in told


def test_the_marker_that_cannot_be_read_is_nobodys_leave(tmp_path: Path, synthetic_table: Table) -> None:
    find(tmp_path, synthetic_table)
    (tmp_path / "toy" / MARKER).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        find(tmp_path, synthetic_table)
