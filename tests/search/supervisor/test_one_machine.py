"""Two machines on one SQLite file are refused by every command that trains, before anything is begun."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

import search.confirm
import search.run
from maskcls.system.errors import UserError
from search.database.connect import create_study, default_url, load_study, open_storage
from search.database.reconnecting import ReconnectingStorage
from search.policy.stopping import StoppingCriteria
from search.storage.queue import next_trial
from search.study.record import KEY
from search.supervisor.launch import Launch
from search.supervisor.one_machine import check_no_other_machine
from tests.helpers.confirmation import stored_as
from tests.helpers.queue import MYSELF, POLICY
from tests.helpers.search import DROPOUT, MINE, TOY_STUDY, complain

FAR = replace(MYSELF, machine="another-boot pid:[1]", host="far")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two studies in one file, one of which another machine works on."""
    storage = open_storage(default_url(tmp_path), create=True)
    create_study(storage, "toy", {KEY: stored_as(TOY_STUDY).to_json()})
    theirs = create_study(storage, "theirs", {KEY: stored_as(DROPOUT).to_json()})
    assert next_trial(theirs, POLICY, StoppingCriteria(9), FAR) is not None
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (search.run.main, ("--study", "{runs}/mine.py", "--data", "{runs}")),
        (search.run.main, ("--study", "{runs}/mine.py", "--name", "new", "--from", "toy", "--data", "{runs}")),
        (search.run.main, ("--join", "--study", "toy")),
        (search.run.main, ("--join", "--study", "theirs")),
        (search.confirm.main, ("--study", "toy")),
        (search.confirm.main, ("--study", "theirs", "--own-best")),
        (search.confirm.main, ("--study", "toy", "--ensemble", "team.toml")),
    ],
)
def test_whatever_study_the_other_machine_works_on(
    runs: Path,
    main: Any,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Launch, "make_order", None)  # whoever comes to it has made the plan
    typed = [word.format(runs=runs) for word in words]
    told = complain(monkeypatch, capsys, main, *typed, "--runs", str(runs), "--device", "cpu", "--workers", "1")
    assert "Study 'theirs' is stored in an SQLite file, and far works on it" in told
    assert sorted(path.name for path in runs.iterdir() if not path.name.startswith((".", "studies"))) == ["mine.py"]


def test_a_study_that_somebody_deletes_meanwhile_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(default_url(tmp_path), create=True)
    for name in ("first", "toy"):
        create_study(storage, name, {KEY: stored_as(TOY_STUDY).to_json()})
    listed = storage.get_all_studies()

    def list_and_delete(_: ReconnectingStorage) -> list[Any]:
        with suppress(KeyError):
            optuna.delete_study(study_name="first", storage=default_url(tmp_path))
        return listed

    monkeypatch.setattr(ReconnectingStorage, "get_all_studies", list_and_delete)
    check_no_other_machine(default_url(tmp_path))
    theirs = load_study(storage, "toy")
    assert next_trial(theirs, POLICY, StoppingCriteria(9), FAR) is not None
    with pytest.raises(UserError, match="Study 'toy' is stored in an SQLite file, and far works on it"):
        check_no_other_machine(default_url(tmp_path))
