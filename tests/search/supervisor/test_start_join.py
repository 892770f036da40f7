"""search.run --join: work on a stored study, without a plan."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

import search.run
import search.supervisor.start_join
from search.database.connect import load_study, open_storage
from search.policy.stopping import FINISHED, StoppingCriteria
from search.study.attributes import LIMITS, is_own_best
from tests.helpers.one_process import work_in_this_process
from tests.helpers.search import MINE, Place, complain, succeed


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path) -> Place:
    """Where a study of three trials was planned and run, while another command, started before, waited to join."""
    place = Place(tmp_path_factory.mktemp("place"), synthetic_folder)
    (place.folder / "mine.py").write_text(MINE)
    joining = place.start("--join", "--device", "cpu", "--workers", "1")
    assert joining.stdout is not None
    said = joining.stdout.readline()
    assert said == "Waiting for study mine to be stored, 1.0 h at most ...\n" or "60 min" in said
    with pytest.MonkeyPatch.context() as patch:
        work_in_this_process(patch)
        succeed(search.run.main, *place.command, "--n-trials", "3", "--workers", "1")
    (place.folder / "joined").write_text(said + joining.communicate(timeout=300)[0])
    assert joining.returncode == 0
    return place


def test_it_waits_for_the_study_and_ends_when_nothing_is_left(place: Place) -> None:
    told = (place.folder / "joined").read_text()
    assert "  time  " not in told  # no estimate
    assert "  data  " not in told  # no plan
    assert "Joining study mine: " in told or "Nothing is left of study mine (--n-trials 3)" in told
    trials = place.trials()
    assert len(trials) == 3
    assert all(trial.state in FINISHED for trial in trials)


def test_it_takes_trials_of_a_study_that_has_some_left(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    work_in_this_process(monkeypatch)
    had = len(place.trials())
    study = load_study(open_storage(f"sqlite:///{place.folder}/runs/studies.db", create=False), "mine")
    study.set_user_attr(LIMITS, {"n_trials": had + 1, "max_epochs": None, "patience": None})
    runs = ("--runs", str(place.folder / "runs"))
    succeed(search.run.main, "--join", "--study", "mine", *runs, "--device", "cpu", "--workers", "1")
    told = capfd.readouterr().out
    assert f"Joining study mine: {had} of {had + 1} trials are done." in told
    assert "  time  " not in told
    assert [trial.number for trial in place.trials()] == list(range(had + 1))
    assert place.trials()[-1].state in (TrialState.COMPLETE, TrialState.PRUNED)
    succeed(search.run.main, "--join", "--study", "mine", *runs, "--n-trials", str(had + 1))
    assert f"Nothing is left of study mine (--n-trials {had + 1})" in capfd.readouterr().out


def test_it_adds_rounds_of_the_kind_that_the_planning_command_adds(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in_this_process(monkeypatch)
    had = len(place.trials())
    study = load_study(open_storage(f"sqlite:///{place.folder}/runs/studies.db", create=False), "mine")
    study.set_user_attr(LIMITS, StoppingCriteria(had + 4, own_best=True).to_json())
    runs = ("--runs", str(place.folder / "runs"))
    succeed(search.run.main, "--join", "--study", "mine", *runs, "--device", "cpu", "--workers", "1")
    added = [trial for trial in place.trials()[had:] if trial.user_attrs["place"] == 0]
    assert added
    assert all(is_own_best(trial) for trial in added)


@pytest.mark.parametrize(
    ("more", "hints"),
    [
        (("--set", "epochs=3"), "--set cannot be given"),
        (("--seed", "1"), "--seed cannot be given"),
        (("--from", "other"), "--from cannot be given"),
        (("--people", "40"), "--people cannot be given"),
        (("--cold",), "--cold cannot be given"),
        (("--label-fixes", "none"), "--label-fixes cannot be given"),
        (("--skip-unreadable",), "--skip-unreadable cannot be given"),
        (("--n-trials", "99"), "--n-trials 99 cannot be given with --join: study 'mine' was planned with --n-trials"),
        (("--max-epochs", "5"), "--max-epochs 5 cannot be given with --join: study 'mine' was planned without it"),
        (("--patience", "5"), "--patience 5 cannot be given with --join"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_what_the_stored_study_answers_is_refused(
    place: Place,
    more: tuple[str, ...],
    hints: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = load_study(open_storage(f"sqlite:///{place.folder}/runs/studies.db", create=False), "mine")
    study.set_user_attr(LIMITS, {"n_trials": 98, "max_epochs": None, "patience": None})
    words = ("--join", "--study", "mine", "--runs", str(place.folder / "runs"), "--device", "cpu")
    told = complain(monkeypatch, capsys, search.run.main, *words, *more)
    assert hints in told


def test_a_study_of_an_earlier_version_needs_the_number(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search.supervisor.start_join, "LIMITS", "not stored")
    words = ("--join", "--study", "mine", "--runs", str(place.folder / "runs"))
    assert "give --n-trials" in complain(monkeypatch, capsys, search.run.main, *words)


def test_the_wait_has_an_end_and_says_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--join", "--study", "mine.py", "--runs", str(tmp_path / "runs"), "--timeout", "0.2")
    told = complain(monkeypatch, capsys, search.run.main, *words)
    assert "No study named 'mine' was stored within 0 s. There are none yet. Give the command without --join" in told
    assert not (tmp_path / "runs").exists()
