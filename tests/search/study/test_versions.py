"""What has changed since a study began is said when it goes on."""

from pathlib import Path
from typing import Any

import optuna
import pytest

import search.worker.create
from maskcls.data.dataset import Table
from maskcls.images.decode import DECODER
from maskcls.system.provenance import commit, versions
from search.database.connect import default_url, load_study, open_storage
from search.study.versions import changes_since_creation, creation_facts
from search.worker.create import find_or_create
from tests.helpers.search import make_setup, order_for


def begun(**facts: Any) -> optuna.Study:
    study = optuna.create_study()
    for name, value in {**creation_facts(decoder=DECODER), **facts}.items():
        study.set_user_attr(name, value)
    return study


def test_nothing_is_said_while_all_is_as_it_was() -> None:
    assert changes_since_creation(begun(), decoder=DECODER) == ""


def test_versions_commit_and_decoder_that_differ_are_named_with_both() -> None:
    study = begun(versions={**versions(), "torch": "2.13.0", "pillow": "12.0"}, commit="abc", decoder="older")
    told = changes_since_creation(study, decoder=DECODER)
    for change in (
        f"torch 2.13.0 -> {versions()['torch']}",
        f"pillow 12.0 -> {versions()['pillow']}",
        f"commit abc -> {commit()}",
        f"decoder older -> {DECODER}",
    ):
        assert change in told
    assert "numpy" not in told


@pytest.mark.parametrize("facts", [{"commit": "unknown"}, {"versions": None}, {"versions": {}}, {"decoder": None}])
def test_what_was_not_written_down_has_not_changed(facts: dict[str, Any]) -> None:
    assert changes_since_creation(begun(**facts), decoder=DECODER) == ""


def test_the_plan_says_it_and_a_new_study_has_nothing_to_say(
    tmp_path: Path, synthetic_table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search.worker.create, "show_estimate", lambda *args: None)
    storage = open_storage(default_url(tmp_path), create=True)
    find_or_create(make_setup(tmp_path, synthetic_table), storage, order_for(tmp_path, 4))
    assert "changed" not in capsys.readouterr().out
    find_or_create(make_setup(tmp_path, synthetic_table), storage, order_for(tmp_path, 4))
    assert "changed" not in capsys.readouterr().out
    study = load_study(storage, "toy")
    study.set_user_attr("versions", {**versions(), "torch": "2.13.0"})
    find_or_create(make_setup(tmp_path, synthetic_table), storage, order_for(tmp_path, 4))
    told = capsys.readouterr().out
    assert told.count("changed   since the study began: torch 2.13.0 -> ") == 1
