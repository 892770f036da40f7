"""Intervals and verdicts: on toys with a known answer, and by small simulations of benchmarks/evidence.py."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from maskcls.scoring.counts import SCORES, Counts, Floats, align, macro_f1
from maskcls.scoring.intervals import (
    Estimate,
    Variance,
    compare,
    compare_recipes,
    compare_repeats,
    estimate,
    interval,
    select,
)
from maskcls.scoring.resampling import Resamples, resample
from maskcls.tasks.task import METRICS

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from simulated import Crowd, classify, counts_of, draw_crowd, truth


def accuracy(true_XK: Floats, _: Floats, true_positive_XK: Floats) -> Floats:
    return np.asarray(true_positive_XK.sum(-1) / true_XK.sum(-1))


def means(value_P: np.ndarray, strata: int = 1) -> Counts:
    """People of one photo each, of which a share is right: ``accuracy`` is the mean of the values."""
    ones = np.ones((len(value_P), 1))
    names = np.array([f"p{number:04d}" for number in range(len(value_P))])
    return Counts(
        names, np.array([f"stratum {number % strata}" for number in range(len(value_P))]), ones, ones, value_P[:, None]
    )


def test_interval_of_a_mean_is_students() -> None:
    value_P = np.random.default_rng(0).normal(0.5, 0.1, size=12)
    counts = means(value_P)
    found = interval(counts, resample(counts, resamples=50_000), accuracy)
    error = value_P.std(ddof=1) / np.sqrt(12)
    assert found.value == pytest.approx(value_P.mean())
    assert found.dof == pytest.approx(11, rel=0.01)
    assert found.high - found.value == pytest.approx(student.ppf(0.975, 11) * error, rel=0.02)


def test_difference_is_paired() -> None:
    hard_P = np.random.default_rng(0).normal(0.5, 0.3, size=200)
    ours, theirs = means(hard_P + 0.01), means(hard_P)
    resamples = resample(ours)
    found = compare((ours,), (theirs,), resamples, accuracy)
    assert found.value == pytest.approx(0.01)
    assert found.error < 1e-9
    assert found.verdict == "better"
    assert compare((theirs,), (ours,), resamples, accuracy).verdict == "worse"
    assert interval(ours, resamples, accuracy).error > 0.01


def test_model_compared_with_itself_is_not_distinguishable() -> None:
    counts = counts_of(crowd := draw_crowd(np.random.default_rng(0), 60), classify(np.random.default_rng(1), crowd))
    found = compare((counts,), (counts,), resample(counts))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.verdict == "not distinguishable"


def test_score_that_hangs_on_few_people_has_few_degrees_of_freedom() -> None:
    value_P = np.concatenate([np.full(200, 0.5), np.random.default_rng(0).random(8)])
    ones = np.ones((208, 1))
    stratum_P = np.array(["many"] * 200 + ["few"] * 8)
    counts = Counts(np.array([f"{n:03d}" for n in range(208)]), stratum_P, ones, ones, value_P[:, None])
    found = interval(counts, resample(counts), accuracy)
    assert found.dof == pytest.approx(7, rel=0.01)


def test_looking_at_many_differences_widens_each() -> None:
    one, many = (estimate(0.02, [Variance(1e-4, 200)], comparisons) for comparisons in (1, 18))
    assert one.verdict == "better"
    assert many.verdict == "not distinguishable"
    assert many.critical == pytest.approx(student.ppf(0.5 + 0.95 ** (1 / 18) / 2, 200))


def test_minimum_detectable_effect_is_found_four_times_in_five() -> None:
    known = estimate(0.0, [Variance(1e-4, 500)])
    rng = np.random.default_rng(0)
    found = [
        estimate(known.minimum_detectable_effect + 0.01 * rng.normal(), [Variance(1e-4, 500)]).verdict
        for _ in range(1500)
    ]
    assert found.count("better") / len(found) == pytest.approx(0.8, abs=0.035)


def test_one_repetition_alone_counts_as_one_degree_of_freedom() -> None:
    people, seeds = Variance(1e-4, 100), Variance(3e-4, 1, observed=4e-4)
    assert estimate(0.1, [people, seeds]).critical == pytest.approx(student.ppf(0.975, 1))
    assert estimate(0.1, [people, Variance(0.0, 1)]).dof == pytest.approx(100)


def test_intervals_of_scores_stay_within_0_and_1() -> None:
    counts = means(np.array([1.0, 1.0, 1.0, 0.6]))
    found = interval(counts, resample(counts), accuracy)
    assert found.high == 1.0
    assert found.low < 0.9


@pytest.mark.parametrize("metric", METRICS)
def test_models_are_compared_by_the_metric_that_they_are_judged_by(metric: str) -> None:
    rng = np.random.default_rng(3)
    crowd = draw_crowd(rng, 60)
    ours, theirs, third = (
        replace(counts_of(crowd, classify(rng, crowd, skill)), metric=metric) for skill in (1.2, 1, 0.9)
    )
    resamples, named = resample(ours, resamples=200), SCORES[metric]
    by_metric = {name: replace(ours, metric=name).score(*ours.sums()) for name in METRICS}
    assert interval(ours, resamples).value == pytest.approx(by_metric[metric])
    assert len(set(np.round(list(by_metric.values()), 6))) == 3  # the three are told apart here
    assert interval(ours, resamples) == interval(ours, resamples, named)
    assert compare((ours,), (theirs,), resamples) == compare((ours,), (theirs,), resamples, named)
    repeated = ((ours, theirs), (theirs, third))
    assert compare_recipes(*repeated, resamples) == compare_recipes(*repeated, resamples, named)
    assert compare_repeats(repeated, 0, 1, resamples) == compare_repeats(repeated, 0, 1, resamples, named)
    chosen = select((theirs, ours, third), resamples)
    assert chosen == select((theirs, ours, third), resamples, named)
    assert chosen.raw == pytest.approx(max(float(named(*run.sums())) for run in (ours, theirs, third)))


# --- simulations: a fraction of benchmarks/evidence.py, with limits that chance seldom passes ---


def differs(found: Estimate) -> bool:
    return found.verdict != "not distinguishable"


def test_equally_good_models_are_seldom_told_apart() -> None:
    false = 0
    for index in range(100):
        rng = np.random.default_rng([11, index])
        crowd = draw_crowd(rng, 120)
        pair = [counts_of(crowd, classify(rng, crowd)) for _ in range(2)]
        false += differs(compare(pair[:1], pair[1:], resample(pair[0], index, 300)))
    assert 1 <= false <= 13  # 5 % is 5, with a standard deviation of 2.2


def test_interval_holds_the_truth() -> None:
    known, held, narrow = truth(1.0, 240), 0, 0
    for index in range(80):
        rng = np.random.default_rng([12, index])
        crowd = draw_crowd(rng, 240)
        counts = counts_of(crowd, classify(rng, crowd))
        found = interval(counts, resample(counts, index, 300))
        held += found.low <= known <= found.high
        narrow += found.error < 0.015  # the standard deviation of the score is .027
    assert held >= 70  # 95 % is 76, with a standard deviation of 2
    assert narrow == 0


def test_large_difference_is_found_and_has_the_right_sign() -> None:
    found = []
    for index in range(10):
        rng = np.random.default_rng([13, index])
        crowd = draw_crowd(rng, 540)
        better, worse = (counts_of(crowd, classify(rng, crowd, skill)) for skill in (1.25, 1.0))
        found.append(compare((better,), (worse,), resample(better, index, 500)).verdict)
    assert found.count("better") >= 9
    assert "worse" not in found


def runs_of(rng: np.random.Generator, people: int, number: int, spread: float) -> list[Counts]:
    """Trainings of one recipe, judged by the same people; the seed moves the skill."""
    crowd = draw_crowd(rng, people)
    return [counts_of(crowd, classify(rng, crowd, rng.normal(1.0, spread))) for _ in range(number)]


def test_two_runs_differ_where_their_recipe_does_not() -> None:
    models = recipes = 0
    for index in range(30):
        runs = runs_of(np.random.default_rng([14, index]), 120, 6, spread=0.15)
        resamples = resample(runs[0], index, 300)
        models += differs(compare(runs[:3], runs[3:], resamples))
        recipes += differs(compare_recipes(runs[:3], runs[3:], resamples))
    assert models >= 8
    assert recipes <= 6  # 5 % is 1.5


def test_other_settings_tell_of_the_spread_between_seeds() -> None:
    runs = runs_of(np.random.default_rng(15), 120, 8, spread=0.1)
    resamples = resample(runs[0], 0, 300)
    with pytest.raises(ValueError, match="no recipe has run twice"):
        compare_recipes(runs[:1], runs[1:2], resamples)
    alone = compare(runs[:1], runs[1:2], resamples)
    found = compare_recipes(runs[:1], runs[1:2], resamples, others=[runs[2:5], runs[5:8]])
    assert found.value == alone.value
    assert found.error > alone.error
    assert found.dof < 40


def repeated(rng: np.random.Generator, repeats: int, better: float = 0.0) -> tuple[list[list[Counts]], np.ndarray]:
    """Three recipes over repeats with people of their own, the last one better; and whose repeat each person is of."""
    runs: list[list[Counts]] = [[], [], []]
    for number in range(repeats):
        crowd = draw_crowd(rng, 90)
        hard = rng.normal(0, 0.2)  # a split that all of them find hard
        for recipe, gain in zip(runs, (0.0, 0.0, better), strict=True):
            counts = counts_of(crowd, classify(rng, crowd, 1.2 + hard + gain + rng.normal(0, 0.05)))
            recipe.append(Counts(np.char.add(f"{number}-", counts.person_P), *_tables(counts)))
    flat, first_P = align([counts for recipe in runs for counts in recipe])
    return [flat[number * repeats : (number + 1) * repeats] for number in range(3)], first_P


def _tables(counts: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return counts.stratum_P, counts.true_PK, counts.predicted_PK, counts.true_positive_PK


def test_repeats_find_the_better_recipe_and_no_other() -> None:
    false = found = 0
    for index in range(10):
        runs_CR, first_P = repeated(np.random.default_rng([16, index]), 5, better=0.5)
        resamples = resample(runs_CR[0][0], index, 300, first_P)
        false += differs(compare_repeats(runs_CR, 1, 0, resamples))
        found += compare_repeats(runs_CR, 2, 0, resamples).verdict == "better"
    assert found >= 9
    assert false <= 3


def test_difference_of_recipes_is_the_mean_over_the_repeats() -> None:
    runs_CR, first_P = repeated(np.random.default_rng(17), 3)
    found = compare_repeats(runs_CR, 2, 0, resample(runs_CR[0][0], 0, 100, first_P))
    gaps = [macro_f1(*a.sums()) - macro_f1(*b.sums()) for a, b in zip(runs_CR[2], runs_CR[0], strict=True)]
    assert found.value == pytest.approx(np.mean(gaps))
    with pytest.raises(ValueError, match="repeated at least twice"):
        compare_repeats([runs[:1] for runs in runs_CR], 2, 0, resample(runs_CR[0][0], 0, 100, first_P))


def test_score_of_the_best_of_many_is_corrected() -> None:
    raw, corrected = [], []
    known = truth(1.0, 240)
    for index in range(12):
        rng = np.random.default_rng([18, index])
        crowd = draw_crowd(rng, 240)
        chosen = select([counts_of(crowd, classify(rng, crowd)) for _ in range(20)], resample_of(rng, crowd, index))
        raw.append(chosen.raw - known)
        corrected.append(chosen.corrected - known)
    assert np.mean(raw) > 0.03
    assert abs(np.mean(corrected)) < 0.016  # standard error .006


def resample_of(rng: np.random.Generator, crowd: Crowd, index: int) -> Resamples:
    return resample(counts_of(crowd, classify(rng, crowd)), index, 200)


def test_clear_winner_needs_no_correction() -> None:
    crowd = draw_crowd(np.random.default_rng(0), 240)
    models = [
        counts_of(crowd, classify(np.random.default_rng(n), crowd, skill)) for n, skill in enumerate((0.6, 1.4, 0.7))
    ]
    chosen = select(models, resample(models[0], 0, 200))
    assert chosen.index == 1
    assert chosen.raw == pytest.approx(float(macro_f1(*models[1].sums())))
    assert chosen.corrected == pytest.approx(chosen.raw, abs=0.005)
