"""Whose weights the best ensemble needs, as trial after trial ends."""

from pathlib import Path

import pytest
from optuna.trial import FrozenTrial

from maskcls.run.record import WEIGHTS
from search.answer.ensembles import find_ensemble
from search.database.connect import default_url, load_study, open_storage
from search.storage.retention import remove_large_files, trial_folder
from search.storage.team import TeamFinder
from search.study.record import read_stored
from tests.helpers.predictions import LABEL, store, wrong

SAID = [wrong("all", share, seed) for seed, share in enumerate((0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.97, 0.98))]
"""The worse the later; the last two are of no use."""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    facts = [*({} for _ in SAID), {"round": 1, "judge_round": 1, "level": "off"}]
    store(folder, "whole", "all", [*SAID, LABEL], facts=facts)
    return folder


def finder_of(runs: Path) -> tuple[TeamFinder, list[FrozenTrial]]:
    study = load_study(open_storage(default_url(runs), create=False), "whole")
    return TeamFinder(study, read_stored(study), runs / "whole"), study.get_trials()


def with_weights(runs: Path) -> set[int]:
    return {number for number in range(len(SAID) + 1) if (trial_folder(runs / "whole", number) / WEIGHTS).exists()}


def test_what_search_ensemble_would_choose_is_kept(runs: Path) -> None:
    chosen = find_ensemble(["whole"], 5, open_storage(default_url(runs), create=False), runs)
    members = {model.trial.number for model in chosen.models}
    finder, trials = finder_of(runs)
    remove_large_files(trials, runs / "whole", 1, finder)
    assert len(members) == 5
    assert with_weights(runs) == members | {0, 9}  # the best one, and the best training of the round's side
    again = find_ensemble(["whole"], 5, open_storage(default_url(runs), create=False), runs)
    assert {model.trial.number for model in again.models} <= members | {0}


def test_every_prediction_is_read_once(runs: Path) -> None:
    finder, trials = finder_of(runs)
    first = finder(trials[:6])
    for number in range(6):
        (trial_folder(runs / "whole", number) / "valid.npz").unlink()
    assert finder(trials[:6]) == first
    finder(trials[6:8])
    assert finder(trials[:6]) == set()  # forgotten, as their weights are gone


def test_trials_without_usable_predictions_are_no_members(runs: Path) -> None:
    (trial_folder(runs / "whole", 0) / "valid.npz").write_bytes(b"damaged")
    (trial_folder(runs / "whole", 1) / "valid.npz").write_bytes(
        (trial_folder(runs / "whole", 2) / "valid.npz").read_bytes()
    )
    finder, trials = finder_of(runs)
    assert finder(trials[:3]) == {2}


def test_a_confirmation_has_no_ensemble(runs: Path) -> None:
    store(runs, "confirmed", "all", SAID[:3], confirmation={"of": "whole"})
    study = load_study(open_storage(default_url(runs), create=False), "confirmed")
    assert TeamFinder(study, read_stored(study), runs / "confirmed")(study.get_trials()) == set()
