"""A study that two search.copy commands copy at once."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

import search.terminal.copying
from search.database.connect import create_study, default_url, load_study, open_storage
from search.study.attributes import MOVED_TO, STUDY_ID
from search.study.record import KEY
from search.terminal.copying import copy_study
from tests.helpers.confirmation import stored_as
from tests.helpers.search import TOY_STUDY


def make_study_to_copy(runs: Path) -> optuna.Study:
    """``toy`` with two trials that have no files."""
    facts = {STUDY_ID: "0" * 32, KEY: stored_as(TOY_STUDY).to_json()}
    study = create_study(open_storage(default_url(runs), create=True), "toy", facts)
    for score in (0.25, 0.5):
        study.add_trial(create_trial(state=TrialState.PRUNED, value=score))
    return study


def copy_twice(to: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """Copy ``toy`` by two commands, the second typed when the first has copied one trial; what each raised, the second
    first."""
    real, ended = search.terminal.copying.store_trial, list[BaseException | None]()

    def command() -> None:
        study = load_study(open_storage(default_url(runs), create=False), "toy")
        try:
            copy_study(study, open_storage(to, create=True), "toy", runs)
        except Exception as error:
            ended.append(error)
        else:
            ended.append(None)

    def store(study: optuna.Study, trial: FrozenTrial) -> int:
        if trial.number == 1 and not ended:
            monkeypatch.setattr(search.terminal.copying, "store_trial", real)
            command()
        return real(study, trial)

    monkeypatch.setattr(search.terminal.copying, "store_trial", store)
    command()
    return ended


def check_is_copied_once(to: str, runs: Path) -> None:
    """The copy is whole, and the study continues there alone."""
    left = load_study(open_storage(default_url(runs), create=False), "toy")
    assert left.user_attrs[MOVED_TO]["name"] == "toy"
    storage = open_storage(to, create=False)
    assert optuna.get_all_study_names(storage) == ["toy"]
    copied = load_study(storage, "toy")
    assert KEY in copied.user_attrs
    assert MOVED_TO not in copied.user_attrs
    assert [trial.value for trial in copied.get_trials()] == [0.25, 0.5]
