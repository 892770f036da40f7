"""search.copy: what it refuses, what is left behind, and that a copy that was cut off is made anew."""

import errno
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import search.confirm
import search.copy
import search.delete
import search.run
import search.terminal.copying
from maskcls.config import change
from maskcls.data.dataset import read_table
from maskcls.system.errors import UserError
from search.database.connect import create_study, default_url, load_study, open_storage
from search.findings.evidence import answer_of
from search.policy.confirmation import SUFFIX, TEAM_SUFFIX
from search.policy.stopping import StoppingCriteria
from search.storage.folder import read_marker
from search.study.attributes import CONFIRMED_ID, MOVED_TO, STUDY_ID, WORKER
from search.study.record import KEY, Stored, read_stored
from search.supervisor.launch import Launch
from search.supervisor.start import _is_done
from search.system.processes import describe_myself
from search.terminal.copying import copy_study
from tests.helpers.confirmation import confirming
from tests.helpers.database.copying import check_is_copied_once, copy_twice, make_study_to_copy
from tests.helpers.report import Played, complete, make_study
from tests.helpers.search import complain
from tests.helpers.training import TINY, run

BOTH = ("toy", f"toy{SUFFIX}")


@pytest.fixture
def played(tmp_path: Path, synthetic_folder: Path) -> Played:
    """A study with two complete trials."""
    made = make_study(tmp_path, synthetic_folder, trials=False)
    table = read_table(synthetic_folder, change(TINY, valid_share=0.4))
    complete(made, table, 0, 0.0, 1e-2, role="baseline", right=0.45)
    complete(made, table, 1, 0.5, 1e-2, right=0.8)
    return made


def other(runs: Path) -> str:
    return f"sqlite:///{runs}/other.db"


def words(runs: Path, *more: str) -> tuple[str, ...]:
    return ("--study", "toy", "--to", other(runs), "--runs", str(runs), *more)


def study_in(url: str, name: str = "toy") -> optuna.Study:
    return load_study(open_storage(url, create=False), name)


def confirm(played: Played, runs: Path) -> Stored:
    """Store a confirmation of the study without trials; returns its document."""
    played.study.set_user_attr(STUDY_ID, "0" * 32)
    document = confirming(study=played.stored.study)
    facts = {STUDY_ID: "1" * 32, CONFIRMED_ID: "0" * 32, KEY: document.to_json()}
    create_study(open_storage(default_url(runs), create=False), f"toy{SUFFIX}", facts)
    return document


def test_it_continues_in_the_other_database_only_and_what_is_left_can_go(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = answer_of(played.study, played.stored, tmp_path)
    assert run(search.copy.main, *words(tmp_path, "--name", "new")) == 0
    told = capsys.readouterr().out
    assert "as new: 2 trials, with the predictions of 2 and 0 pictures" in told
    copied, left = study_in(other(tmp_path), "new"), study_in(default_url(tmp_path))
    assert answer_of(copied, played.stored, tmp_path) == wanted == answer_of(left, played.stored, tmp_path)
    assert copied.user_attrs[STUDY_ID] == left.user_attrs[STUDY_ID]
    assert MOVED_TO not in copied.user_attrs
    marker = read_marker(tmp_path / "toy")
    assert marker is not None
    assert (marker.study, marker.storage) == ("new", "other.db")

    for command, more in ((search.confirm.main, ()), (search.run.main, ("--join",))):
        said = complain(monkeypatch, capsys, command, "--study", "toy", "--runs", str(tmp_path), *more)
        assert f"Study 'toy' was copied to {other(tmp_path)} as 'new' and continues there" in said
    assert "is in" in complain(monkeypatch, capsys, search.copy.main, *words(tmp_path))
    assert run(search.delete.main, "--study", "toy", "--runs", tmp_path, "--yes") == 0
    assert answer_of(copied, played.stored, tmp_path) == wanted  # the files are the copy's
    assert (
        run(
            search.copy.main,
            "--study",
            "new",
            "--storage",
            other(tmp_path),
            "--to",
            default_url(tmp_path),
            "--runs",
            tmp_path,
            "--name",
            "toy",
        )
        == 0
    )
    assert answer_of(study_in(default_url(tmp_path)), played.stored, tmp_path) == wanted


def test_a_study_that_runs_is_refused(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = played.study.ask()
    trial.set_user_attr(WORKER, describe_myself("cpu.0").to_json())
    assert "Study 'toy' is running: trial 2 on" in complain(monkeypatch, capsys, search.copy.main, *words(tmp_path))
    trial.set_user_attr(WORKER, None)  # its process died
    assert run(search.copy.main, *words(tmp_path)) == 0
    assert study_in(other(tmp_path)).get_trials()[2].state == TrialState.WAITING


def test_what_cannot_be_copied_is_refused_and_nothing_is_stored(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*more: str) -> str:
        told = complain(monkeypatch, capsys, search.copy.main, *words(tmp_path, *more))
        assert MOVED_TO not in study_in(default_url(tmp_path)).user_attrs
        return told

    create_study(open_storage(other(tmp_path), create=True), "taken", {KEY: played.stored.to_json()})
    assert "has a study 'taken' already. Give another --name." in refused("--name", "taken")
    assert "cannot be" in refused("--name", "-x") or "made of letters" in refused("--name", "-x")
    assert "No study named 'toys' is stored. Nearest: toy." in refused("--study", "toys")
    assert "Give the --runs folder where the study ran." in refused(
        "--runs", str(tmp_path / "empty"), "--storage", default_url(tmp_path)
    )
    assert "There is no folder" in refused("--to", f"sqlite:///{tmp_path}/nowhere/other.db")
    played.study.set_user_attr(STUDY_ID, "0" * 32)
    assert "is in sqlite" in refused("--to", default_url(tmp_path), "--name", "second")
    assert optuna.get_all_study_names(open_storage(other(tmp_path), create=False)) == ["taken"]


def test_a_copy_that_was_cut_off_is_made_anew(played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = search.terminal.copying.store_trial, iter(range(2))

    def killed(*arguments: object) -> int:
        if next(calls, None) == 1:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(search.terminal.copying, "store_trial", killed)
    assert run(search.copy.main, *words(tmp_path)) == 130
    left = study_in(default_url(tmp_path))
    assert left.user_attrs[MOVED_TO] is None  # it continues here
    assert len(study_in(other(tmp_path)).get_trials()) == 1
    left.set_user_attr(MOVED_TO, {"storage": other(tmp_path), "name": "toy"})  # as after kill -9
    assert run(search.copy.main, *words(tmp_path)) == 0
    assert len(study_in(other(tmp_path)).get_trials()) == 2


def test_of_two_commands_at_once_the_second_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study_to_copy(tmp_path)
    second, first = copy_twice(other(tmp_path), tmp_path, monkeypatch)
    assert first is None
    assert isinstance(second, UserError)
    assert "Another search.copy is copying to" in str(second)
    check_is_copied_once(other(tmp_path), tmp_path)


@pytest.mark.parametrize("step", ["store_trial", "hand_over", "in_turn", "_complete"])
def test_cut_off_at_any_step_a_study_and_its_confirmation_are_copied_by_the_same_command(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    confirm(played, tmp_path)
    real = getattr(search.terminal.copying, step)
    earlier = iter(range({"store_trial": 1, "hand_over": 1, "in_turn": 2, "_complete": 0}[step]))

    def cut_off(*arguments: Any) -> Any:
        """At the last call, which is the search's, or that of both."""
        if next(earlier, None) is None:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(search.terminal.copying, step, cut_off)
        patch.setattr(search.terminal.copying, "_move_back", lambda *_: None)  # as after kill -9
        assert run(search.copy.main, *words(tmp_path)) == 130
    assert [KEY in study_in(other(tmp_path), name).user_attrs for name in BOTH] == [False, False]
    assert run(search.copy.main, *words(tmp_path)) == 0
    assert [KEY in study_in(other(tmp_path), name).user_attrs for name in BOTH] == [True, True]
    assert len(study_in(other(tmp_path)).get_trials()) == 2


@pytest.mark.parametrize("step", ["_say_counted", "_place"])
def test_once_the_copy_is_complete_nothing_lets_the_study_go_on_here(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(search.terminal.copying, step, full)
    with pytest.raises(OSError, match="No space"):
        copy_study(played.study, open_storage(other(tmp_path), create=True), "toy", tmp_path)
    assert KEY in study_in(other(tmp_path)).user_attrs
    assert played.study.user_attrs[MOVED_TO] == {"storage": other(tmp_path), "name": "toy"}


def test_interrupted_right_after_the_documents_are_stored_the_study_has_moved(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = search.terminal.copying._complete

    def interrupted(*arguments: Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(search.terminal.copying, "_complete", interrupted)
    assert run(search.copy.main, *words(tmp_path)) == 130
    assert played.study.user_attrs[MOVED_TO] == {"storage": other(tmp_path), "name": "toy"}


def test_a_study_that_has_moved_is_not_copied_to_a_third_database_nor_read_as_one_that_is_done(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = Launch(tmp_path, None, "cpu", None, False, None, 60)
    assert _is_done("toy", played.stored, launch, StoppingCriteria(2))
    assert run(search.copy.main, *words(tmp_path)) == 0
    third = ("--study", "toy", "--to", f"sqlite:///{tmp_path}/third.db", "--runs", str(tmp_path))
    assert "was copied to" in complain(monkeypatch, capsys, search.copy.main, *third)
    assert played.study.user_attrs[MOVED_TO] == {"storage": other(tmp_path), "name": "toy"}
    with pytest.raises(UserError, match=r"was copied to .* and continues there"):
        _is_done("toy", played.stored, launch, StoppingCriteria(2))


def test_its_confirmations_go_with_a_search(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played.study.set_user_attr(STUDY_ID, "0" * 32)
    documents = {
        SUFFIX: confirming(study=played.stored.study),
        TEAM_SUFFIX: confirming(study=played.stored.study, weights=(0, 2, 1)),
    }
    for number, (suffix, document) in enumerate(documents.items(), start=1):
        facts = {STUDY_ID: str(number) * 32, CONFIRMED_ID: "0" * 32, KEY: document.to_json()}
        create_study(open_storage(default_url(tmp_path), create=False), f"toy{suffix}", facts)
        alone = ("--study", f"toy{suffix}", "--to", other(tmp_path), "--runs", str(tmp_path))
        assert "is the confirmation of " in complain(monkeypatch, capsys, search.copy.main, *alone)
    assert run(search.copy.main, *words(tmp_path, "--name", "new")) == 0
    for suffix, document in documents.items():
        copied = study_in(other(tmp_path), f"new{suffix}")
        assert copied.user_attrs[CONFIRMED_ID] == "0" * 32
        assert read_stored(copied).confirmation == {**(document.confirmation or {}), "of": "new"}
