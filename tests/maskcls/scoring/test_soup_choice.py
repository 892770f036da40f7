"""The choice of a soup, and what its corrected score promises, with linear models, whose soups are exact."""

import sys
from pathlib import Path

import numpy as np

from maskcls.scoring.counts import Counts
from maskcls.scoring.resampling import resample
from maskcls.scoring.soup_choice import MIN_RESAMPLES, Models, SoupProcedure, tried_soups

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from soups import FEATURES, People, mean_of, once


def test_the_corrected_score_is_what_other_people_give() -> None:
    """The correction for the soups that were tried, in the order that these people gave them, promises too much."""
    rows = [list(once(repeat, trained=20, kept=5, noise=1.3, resamples=40).values()) for repeat in range(18)]
    measured, tried_alone, corrected = np.mean(rows, axis=0)
    error = np.std(rows, axis=0, ddof=1) / np.sqrt(len(rows))
    difference = np.array(rows)[:, 1] - np.array(rows)[:, 2]
    assert error.max() < 0.011
    assert abs(corrected) < 2.5 * error[2]
    assert tried_alone - corrected > 2 * difference.std(ddof=1) / np.sqrt(len(rows))
    assert measured > tried_alone


def test_the_greedy_order_is_that_of_the_scores_and_the_mean_of_all_is_tried() -> None:
    value_of = {(1, 2): 0.5, (0, 1, 2): 0.7, (0, 2): 0.8, (0, 1): 0.1}
    made: list[Models] = []

    def look_up(soup: Models) -> float:
        made.append(soup)
        return value_of[soup]

    assert tried_soups(np.array([0.2, 0.3, 0.6]), look_up) == [(1, 2), (0, 2), (0, 1, 2)]  # 1 lowers it, 0 does not
    assert made == [(1, 2), (0, 2)]
    value_of[1, 2] = 0.6  # as good is good enough
    assert tried_soups(np.array([0.2, 0.3, 0.6]), look_up) == [(1, 2), (0, 1, 2)]
    assert tried_soups(np.array([0.6, 0.6]), lambda soup: 0.0) == [(0, 1)]


def test_a_soup_is_made_once_and_so_many_at_most() -> None:
    rng = np.random.default_rng(5)
    true_FK = rng.normal(size=(FEATURES, 3))
    people = People.draw(rng, 30, true_FK)
    weight_TFK = [true_FK + 2 * rng.normal(size=true_FK.shape) for _ in range(9)]
    made: list[Models] = []

    def make(soup: Models) -> Counts:
        made.append(soup)
        return people.counts(mean_of(weight_TFK, soup))

    procedure = SoupProcedure([people.counts(each) for each in weight_TFK], make)
    drawn_SP = resample(procedure.singles[0], 0, 200).weight_SP
    rows = procedure.affordable(drawn_SP, most=30, least=2)
    assert 2 <= rows < 200
    assert 30 <= len(made) < 30 + 9  # the last row is done
    assert procedure(drawn_SP[:rows], (drawn_SP[:rows] == 0).astype(float)).shape == (rows,)
    assert len(made) == len(set(made)) < 30 + 9
    assert procedure.affordable(drawn_SP, most=0, least=MIN_RESAMPLES) >= MIN_RESAMPLES
