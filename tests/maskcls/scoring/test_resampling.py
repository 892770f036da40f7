"""Resampled people: as many of every stratum, and a variance as large as it is."""

import numpy as np
import pytest

from maskcls.scoring.counts import Counts
from maskcls.scoring.resampling import resample


def people(strata: list[str], value_P: np.ndarray | None = None) -> Counts:
    """One photo each of one class; ``value_P`` of it are true positives."""
    ones = np.ones((len(strata), 1))
    true_positives = ones if value_P is None else value_P[:, None]
    names = np.array([f"p{number:04d}" for number in range(len(strata))])
    return Counts(names, np.array(strata), ones, ones, true_positives)


def test_every_resample_has_as_many_people_of_every_stratum() -> None:
    strata = ["young"] * 30 + ["old"] * 4
    weight_SP = resample(people(strata), resamples=200).weight_SP
    assert weight_SP[:, :30].sum(1) == pytest.approx(np.full(200, 30.0))
    assert weight_SP[:, 30:].sum(1) == pytest.approx(np.full(200, 4.0))


@pytest.mark.parametrize("size", [2, 4, 17])
def test_variance_of_a_mean_is_that_of_the_textbook(size: int) -> None:
    value_P = np.random.default_rng(size).normal(size=size)
    counts = people(["one"] * size, value_P)
    drawn_S = resample(counts, resamples=40_000).weight_SP @ value_P / size
    assert drawn_S.mean() == pytest.approx(value_P.mean(), abs=0.02)
    assert drawn_S.var() == pytest.approx(
        value_P.var(ddof=1) / size, rel=0.05
    )  # plain resampling: (size - 1) / size of it


def test_people_who_are_alone_in_their_stratum_stand_for_each_other() -> None:
    resamples = resample(people(["a"] * 5 + ["b", "c"]), resamples=100)
    assert np.bincount(resamples.stratum_P).tolist() == [2, 5]
    assert resamples.weight_SP[:, 5:].std(0).min() > 0


def test_one_who_is_alone_goes_with_the_smallest_other_stratum() -> None:
    resamples = resample(people(["a"] * 5 + ["b"] * 3 + ["c"]), resamples=100)
    assert sorted(np.bincount(resamples.stratum_P).tolist()) == [4, 5]


def test_single_person_says_nothing_of_the_spread() -> None:
    assert resample(people(["a"]), resamples=5).weight_SP.tolist() == [[1.0]] * 5


def test_same_seed_same_people() -> None:
    counts = people(["a"] * 9)
    assert np.array_equal(resample(counts, 3).weight_SP, resample(counts, 3).weight_SP)
    assert not np.array_equal(resample(counts, 3).weight_SP, resample(counts, 4).weight_SP)


def test_groups_are_kept_apart() -> None:
    resamples = resample(people(["a"] * 6), resamples=50, group_P=np.array([0, 0, 0, 1, 1, 1]))
    assert resamples.weight_SP[:, :3].sum(1) == pytest.approx(np.full(50, 3.0))
