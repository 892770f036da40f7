"""Stored predictions: read once, and let go of when all of them take too much memory, but for their counts."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy
from optuna.trial import FrozenTrial

import search.storage.predictions
from maskcls.labels import Factor, LabelSpace
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.task import Source, Task
from search.database.connect import backend_of, default_url, load_study, open_to_read
from search.storage.predictions import StudyPredictions

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from many_classes import NAME, store


def test_many_predictions_are_let_go_but_not_their_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task("many", LabelSpace((Factor("kind", tuple(map(str, range(30)))),)), Source("folders"))
    store(tmp_path, task, photos=90, people=0, trials=6)
    trials = load_study(open_to_read(default_url(tmp_path)), NAME).get_trials()
    plenty = StudyPredictions(tmp_path / NAME, task.space)
    wanted = [plenty.counts(trial) for trial in trials]
    read: Counter[int] = Counter()
    content = StudyPredictions.content

    def watched(shelf: StudyPredictions, trial: FrozenTrial) -> bytes | None:
        read[trial.number] += 1
        return content(shelf, trial)

    monkeypatch.setattr(StudyPredictions, "content", watched)
    monkeypatch.setattr(search.storage.predictions, "MAX_HELD_BYTES", 2 * 90 * 30 * 4)
    shelf = StudyPredictions(tmp_path / NAME, task.space)
    assert shelf.with_predictions(trials) == trials
    assert sorted(shelf._predictions) == [4, 5]
    for trial, counts in zip(trials, wanted, strict=True):
        assert all(map(np.array_equal, shelf.counts(trial).tables, counts.tables))
    assert shelf.with_predictions(trials) == trials
    assert set(read.values()) == {1}
    again = shelf.predictions(trials[0])
    assert again is not None
    assert np.array_equal(again.log_prob_NK, Predictions.load(tmp_path / NAME / "trial-0000" / "valid.npz").log_prob_NK)
    assert sorted(shelf._predictions) == [0, 5]


def test_the_database_is_asked_for_nothing_that_is_in_the_folder(tmp_path: Path) -> None:
    task = Task("many", LabelSpace((Factor("kind", ("a", "b", "c")),)), Source("folders"))
    store(tmp_path, task, photos=30, people=0, trials=6)
    study = load_study(open_to_read(default_url(tmp_path)), NAME)
    trials = study.get_trials()
    statements: list[str] = []
    sqlalchemy.event.listen(backend_of(study).engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    shelf = StudyPredictions(tmp_path / NAME, task.space, study=study)
    assert shelf.with_predictions(trials) == trials
    assert [shelf.predictions(trial) is not None for trial in trials] == [True] * 6
    assert statements == []
