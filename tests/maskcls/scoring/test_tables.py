"""Large tables: rows of filled cells give the scores and intervals of arrays."""

from collections.abc import Callable
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest

from maskcls.labels import Factor, LabelSpace
from maskcls.scoring import tables
from maskcls.scoring.counts import SCORES, Counts, Score, align, count
from maskcls.scoring.intervals import compare, compare_classes, compare_recipes, interval, select
from maskcls.scoring.judges import Training
from maskcls.scoring.metrics import f1
from maskcls.scoring.resampling import resample
from maskcls.scoring.rounds import estimate
from maskcls.scoring.tables import as_array, distinct

SPACE = LabelSpace((Factor("kind", tuple(map(str, range(30)))),))


def draw(seed: int, units: int = 120, each: int = 1, crowd: str = "") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(person_N, label_N, predicted_N) of people with so many photos each, about half of them right."""
    rng = np.random.default_rng(seed)
    person_N = np.repeat([f"{crowd}p{number:04d}" for number in range(units)], each)
    label_N = np.repeat(np.arange(units) % 30, each)
    predicted_N = np.where(rng.random(len(label_N)) < 0.5, label_N, rng.integers(30, size=len(label_N)))
    return person_N, label_N, predicted_N


def models(number: int, each: int = 1) -> list[Counts]:
    return [count(*draw(seed, each=each), SPACE) for seed in range(number)]


def as_rows(work: Callable[[], Any]) -> Any:
    """The work's result with every table as rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "DENSE_CELLS", 0)
        patch.setattr(tables, "BLOCK_CELLS", 3000)  # several blocks of everything
        patch.setattr("maskcls.scoring.counts.BLOCK_CELLS", 3000)
        return work()


def test_the_tables_of_people_in_few_classes_are_arrays_and_those_of_many_classes_are_rows() -> None:
    rng = np.random.default_rng(0)
    for people, classes, is_array in ((13_000, 18, True), (3_000, 500, False)):
        space = LabelSpace((Factor("kind", tuple(map(str, range(classes)))),))
        label_N = rng.integers(classes, size=people)
        counts = count(np.arange(people).astype(str), label_N, label_N, space)
        assert all(isinstance(table, np.ndarray) == is_array for table in counts.tables)
    assert counts.true_PK.data.nbytes + counts.true_PK.indices.nbytes < 100_000  # the array would be 12 MB


@pytest.mark.parametrize("each", [1, 4])
def test_rows_hold_the_same_photos(each: int) -> None:
    wanted, (found,) = models(1, each)[0], as_rows(lambda: models(1, each))
    weight_XP = np.random.default_rng(0).random((7, len(wanted.person_P)))
    chosen_P = np.arange(len(wanted.person_P)) % 3 == 0
    for ours, theirs in zip(found.tables, wanted.tables, strict=True):
        assert np.array_equal(as_array(ours), theirs)
    for weights in (None, weight_XP[0], weight_XP):
        for ours, theirs in zip(found.sums(weights), wanted.sums(weights), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-12)
    assert np.array_equal(as_array(found.of_people(chosen_P).true_PK), wanted.of_people(chosen_P).true_PK)
    for ours, theirs in zip(found.nudged(weight_XP[0], 0.1), wanted.nudged(weight_XP[0], 0.1), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_people_with_equal_rows_and_weights_are_one() -> None:
    found = as_rows(lambda: count(*draw(0), SPACE))
    _, label_N, predicted_N = draw(0)
    first_U, which_P = distinct(found.tables, np.ones(120))
    cells = label_N * 30 + predicted_N
    assert len(first_U) == len(np.unique(cells)) < 120
    assert np.array_equal(cells[first_U][which_P], cells)
    assert len(distinct(found.tables, np.arange(120.0))[0]) == 120


@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize("metric", SCORES)
def test_rows_give_the_intervals_of_arrays(metric: str, each: int) -> None:
    weight_P = np.random.default_rng(1).uniform(0.5, 2, 120)

    def found() -> list[Any]:
        runs = [replace(counts, metric=metric) for counts in models(5, each)]
        resamples = resample(runs[0], resamples=200)
        trainings = [Training("abc"[n % 3], n // 3, count(*draw(n, crowd=str(n // 6)), SPACE)) for n in range(12)]
        return [
            *(astuple(compare((runs[0],), (runs[1],), resamples, weight_P=weights)) for weights in (None, weight_P)),
            astuple(interval(runs[0], resamples)),
            astuple(compare_recipes(runs[:2], runs[2:], resamples)),
            astuple(select(runs, resamples))[:2],
            *(astuple(each)[:3] for each in estimate(trainings, "a").values()),
            *map(astuple, compare_classes(runs[:2], runs[2:4], resamples, 30)),
        ]

    for ours, theirs in zip(as_rows(found), found(), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("metric", SCORES)
def test_rows_correct_for_selection_as_arrays_do(metric: str) -> None:
    """But for ties, which models of an equal accuracy have in many resamples: the last digits decide them."""

    def found() -> float:
        runs = [replace(counts, metric=metric) for counts in models(5)]
        return select(runs, resample(runs[0], resamples=200)).corrected

    assert as_rows(found) == pytest.approx(found(), abs=1e-12 if metric == "macro_f1" else 0.003)


def f1_of(index: int) -> Score:
    return lambda *sums: f1(*sums)[..., index]


def test_all_classes_at_once_are_each_class_alone_to_the_last_digit() -> None:
    runs = models(4, each=3)
    resamples = resample(runs[0], resamples=300)
    alone = [compare(runs[:1], runs[1:], resamples, f1_of(index), comparisons=30) for index in range(30)]
    assert compare_classes(runs[:1], runs[1:], resamples, comparisons=30) == alone


def test_runs_with_other_judges_are_put_side_by_side_as_rows() -> None:
    def found() -> list[np.ndarray]:
        runs, first_P = align([count(*draw(seed, crowd=str(seed % 2)), SPACE) for seed in range(4)])
        return [first_P, *(as_array(table) for run in runs for table in run.tables), *(f1(*run.sums()) for run in runs)]

    for ours, theirs in zip(as_rows(found), found(), strict=True):
        assert np.array_equal(ours, theirs)
