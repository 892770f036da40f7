"""Studies of other programs in the same database, and of ours that somebody has changed: nothing stops at them."""

from pathlib import Path
from typing import Any

import optuna
import pytest

import search.compare
import search.confirm
import search.delete
import search.export
import search.report
import search.status
from maskcls.system.errors import UserError
from search.database.connect import create_study, default_url, load_study, open_storage
from search.findings.status import overview_of
from search.policy.warm_starts import choose_warm_starts
from search.storage.files import pictures_of
from search.study.names import checked_name
from search.study.record import KEY, VERSION, Stored, document_in, is_fully_created, read_stored
from tests.helpers.search import TOY_STUDY, complain
from tests.helpers.training import run

STORED = Stored(TOY_STUDY, "synthetic", "0123abcd", {"source": "scratch"}, "scratch", "auto", False, 0)

BAD_DOCUMENTS: list[Any] = [
    "resnet ablation", 5, None, [], {}, {"question": "Does it?"}, {"confirmation": "x"},
    {**STORED.to_json(), "scientific": "lr"},
    {**STORED.to_json(), "nuisance": {"lr": {"kind": "Float"}}},
    {**STORED.to_json(), "fixed": {"no_such_knob": 1}},
    {**STORED.to_json(), "confirmation": {"finalists": []}, "baseline": []},
    {**STORED.to_json(), "version": VERSION + 1},
    {**STORED.to_json(), "version": "two"},
]  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path


def open_(runs: Path) -> Any:
    return open_storage(default_url(runs), create=True)


def add(runs: Path, name: str, document: Any, directions: tuple[str, ...] = ("maximize",)) -> optuna.Study:
    storage = optuna.storages.RDBStorage(default_url(runs))
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    study.add_trial(optuna.trial.create_trial(values=[0.25] * len(directions), params={}, distributions={}))
    if document is not None:
        study.set_user_attr(KEY, document)
    return study


@pytest.mark.parametrize("document", BAD_DOCUMENTS)
@pytest.mark.parametrize("directions", [("maximize",), ("minimize", "maximize"), ("minimize",)])
def test_a_strange_study_stops_no_command(
    document: Any, directions: tuple[str, ...], runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create_study(open_(runs), "ours", {KEY: STORED.to_json()})
    strange = add(runs, "strange", document, directions)
    strange._storage.set_study_system_attr(strange._study_id, "artifacts:x", {"not": "json"})
    assert document_in(strange) is None
    assert overview_of(load_study(open_(runs), "strange")).best is None
    assert choose_warm_starts(open_(runs), STORED, 8) is not None
    assert pictures_of(load_study(open_(runs), "ours"), runs) == []
    assert run(search.status.main, "--runs", runs) == 0
    assert "strange" in capsys.readouterr().out
    with pytest.raises(UserError, match="'strange'"):
        read_stored(load_study(open_(runs), "strange"))
    assert run(search.delete.main, "--study", "strange", "--yes", "--runs", runs) == 0
    assert optuna.get_all_study_names(open_(runs)) == ["ours"]


def test_a_document_of_a_later_version_says_so(runs: Path) -> None:
    add(runs, "later", {**STORED.to_json(), "version": VERSION + 1})
    with pytest.raises(UserError, match=r"newer version .* Update"):
        read_stored(load_study(open_(runs), "later"))


def test_a_document_from_before_there_were_versions_is_read(runs: Path) -> None:
    legacy = STORED.to_json()
    del legacy["version"]
    add(runs, "old", legacy)
    assert read_stored(load_study(open_(runs), "old")) == Stored.from_json(STORED.to_json())


def test_an_empty_study_that_somebody_has_made_notes_on_is_not_made_anew(runs: Path) -> None:
    study = optuna.create_study(storage=open_(runs), study_name="theirs")
    assert not is_fully_created(study)
    study.set_user_attr("purpose", "mine")
    assert is_fully_created(study)


BAD_NAMES = ["../../outside", "..", ".", "cache", "artifacts", "synthetic-1", "studies.db", "x\x1b[2J\x1b]0;OWNED\x07",
             "a/b", "two goals", "~x", "é" * 128, "語" * 90]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name)[:20])
def test_a_name_that_no_folder_can_have_is_never_a_path(
    name: str, runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = runs / "a" / "runs"
    home.mkdir(parents=True)
    add(home, name, STORED.to_json())
    before = sorted(runs.rglob("*"))
    where = ("--runs", str(home))
    for main, words in (
        (search.report.main, ("--study", name)),
        (search.compare.main, (f"{name}:0", f"{name}:0")),
        (search.confirm.main, ("--study", name)),
    ):
        told = complain(monkeypatch, capsys, main, *words, *where)
        assert "\x1b" not in told
        assert repr(name) in told
        assert "rename it" in told
    assert run(search.status.main, *where) == 0
    assert run(search.status.main, "--study", name, *where) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert run(search.delete.main, "--study", name, "--yes", *where) == 0
    assert optuna.get_all_study_names(open_(home)) == []
    after = {
        path for path in runs.rglob("*") if path.name not in (".studies.db.lock", "studies.db-wal", "studies.db-shm")
    }
    assert after == set(before)


@pytest.mark.parametrize("name", [*BAD_NAMES, "", "-x"], ids=lambda name: repr(name)[:20])
def test_no_study_is_made_under_it(name: str) -> None:
    with pytest.raises(UserError, match=r"Use (another )?--name"):
        checked_name(name)
