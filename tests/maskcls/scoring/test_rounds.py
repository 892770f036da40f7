"""Rounds of trainings: differences from the reference by least squares, and looks that may be taken at any time."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri, stdtrit

from maskcls.labels import Factor, LabelSpace
from maskcls.scoring.counts import MIN_JUDGES, Counts, align, count
from maskcls.scoring.intervals import Variance, compare_repeats
from maskcls.scoring.intervals import estimate as interval_estimate
from maskcls.scoring.judges import Judges, Training
from maskcls.scoring.rounds import (
    FIRST_SHARE,
    LATER_SHARE,
    LEAST_DOF,
    LevelLook,
    Look,
    detectable,
    estimate,
    expected_score,
    look,
    with_tuning,
)
from maskcls.scoring.spending import Spending
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import METRICS

NO_TUNING = Variance(0.0, 30.0)
PEOPLE, PHOTOS = 24, 3


def counts_of(rng: np.random.Generator, right: float, crowd: int, uneven: bool = False) -> Counts:
    """Predictions of a crowd's photos, right with this probability; ``uneven``: with half of the people of class 0."""
    person_N = np.repeat([f"{crowd:02d}-{number:02d}" for number in range(PEOPLE)], PHOTOS)
    label_P = np.arange(PEOPLE) % 6
    label_N = np.repeat(np.where(np.arange(PEOPLE) < PEOPLE / 2, 0, label_P) if uneven else label_P, PHOTOS)
    guess_N = rng.integers(6, size=len(label_N))
    return count(person_N, label_N, np.where(rng.random(len(label_N)) < right, label_N, guess_N), MASK_TASK.space)


def trained(right: dict[str, float], rounds: int, seed: int = 0, crowds: int | None = None) -> list[Training]:
    """Every level once a round; ``crowds``: how many there are, in turn."""
    rng = np.random.default_rng(seed)
    return [
        Training(level, number, counts_of(rng, share, number % (crowds or rounds)))
        for number in range(rounds)
        for level, share in right.items()
    ]


LEVELS = {"a": 0.6, "b": 0.7, "c": 0.4}


@pytest.mark.parametrize("crowds", [1, 4, 6])
def test_equal_numbers_give_what_comparing_repeats_gives(crowds: int) -> None:
    trainings = trained(LEVELS, rounds=6, crowds=crowds)
    judges = Judges()
    found = estimate(trainings, "a", judges, NO_TUNING)
    aligned, _ = align([training.counts for training in trainings])
    runs_CR = [aligned[start::3] for start in range(3)]
    people = judges.people
    order = np.argsort(people.person_P)
    sorted_people = type(people)(people.person_P[order], people.stratum_P[order], people.weight_SP[:, order])
    for place, level in ((1, "b"), (2, "c")):
        known = compare_repeats(runs_CR, place, 0, sorted_people)
        assert found[level].value == pytest.approx(np.mean([each_difference(trainings, level, r) for r in range(6)]))
        if crowds == 6:  # with people who judge more than once, a mean over all of them weighs other people more
            assert found[level].value == pytest.approx(known.value)
            assert found[level].error == pytest.approx(known.error)
            assert found[level].dof == pytest.approx(known.dof)


def each_difference(trainings: list[Training], level: str, number: int) -> float:
    from maskcls.scoring.counts import macro_f1

    values = {each.level: float(macro_f1(*each.counts.sums())) for each in trainings if each.round == number}
    return values[level] - values["a"]


@pytest.mark.parametrize("metric", METRICS)
def test_trainings_are_judged_by_their_metric(metric: str) -> None:
    rng = np.random.default_rng(5)
    trainings = [
        replace(each, counts=replace(counts_of(rng, LEVELS[each.level], each.round, uneven=True), metric=metric))
        for each in trained(LEVELS, rounds=4)
    ]
    values = {(each.level, each.round): float(each.counts.score(*each.counts.sums())) for each in trainings}
    found = estimate(trainings, "a", tuning=NO_TUNING)
    for level in ("b", "c"):
        wanted = np.mean([values[level, number] - values["a", number] for number in range(4)])
        assert found[level].value == pytest.approx(wanted)
    by_macro_f1 = estimate([replace(each, counts=replace(each.counts, metric="macro_f1")) for each in trainings], "a")
    assert (found["b"].value == pytest.approx(by_macro_f1["b"].value)) == (metric == "macro_f1")


def test_unequal_numbers_weigh_rounds_and_leave_out_what_nothing_connects() -> None:
    trainings = trained({"a": 0.6, "b": 0.7}, rounds=4)
    more = trained({"a": 0.6}, rounds=4, seed=1)  # the reference twice a round
    alone = [Training("d", 9, counts_of(np.random.default_rng(2), 0.5, 9))]
    one, two = (estimate(each, "a", tuning=NO_TUNING)["b"] for each in (trainings, trainings + more))
    assert two.error < one.error
    assert two.value != pytest.approx(one.value)
    assert set(estimate(trainings + alone, "a")) == {"b"}
    c_only = [Training("c", 9, counts_of(np.random.default_rng(3), 0.5, 9))]
    b_with_c = [Training("b", 9, counts_of(np.random.default_rng(4), 0.7, 9))]
    assert set(estimate(trainings + c_only + b_with_c, "a")) == {"b", "c"}  # c by way of b


def test_few_rounds_never_rest_on_one_degree_of_freedom() -> None:
    found = estimate(trained({"a": 0.6, "b": 0.7}, rounds=2), "a")["b"]
    assert found.seeds.dof == LEAST_DOF
    assert found.dof >= LEAST_DOF
    assert found.error > np.sqrt(found.tuning.value)
    assert estimate(trained({"a": 0.6, "b": 0.7}, rounds=1), "a") == {}


def test_whoever_judges_again_is_the_same_person() -> None:
    runs = trained({"a": 0.6, "b": 0.7}, 2)
    again = [Training(run.level, run.round + 2 * turn, run.counts) for turn in range(3) for run in runs]
    once, thrice = (estimate(each, "a", tuning=NO_TUNING)["b"].people.value for each in (runs, again))
    assert thrice == pytest.approx(once)


def test_looking_again_gives_the_same_estimates_by_the_judges_of_before() -> None:
    trainings, judges = trained(LEVELS, rounds=5), Judges()
    for rounds in (2, 3, 4, 5):
        found = estimate(trainings[: 3 * rounds], "a", judges)
        anew = estimate(trainings[: 3 * rounds], "a")
        assert found == anew


# --- looks ----------------------------------------------------------------------------------------------------------


def test_five_looks_have_the_critical_values_of_the_textbook() -> None:
    spending = Spending(0.05)
    critical = [ndtri(1 - spending.level(number / 5, number) / 2) for number in range(1, 6)]
    assert critical == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=0.002)


@pytest.mark.parametrize(("rounds", "horizons"), [(6, 1), (12, 1), (8, 3)])
def test_looking_after_every_round_is_false_in_at_most_one_study_of_twenty(rounds: int, horizons: int) -> None:
    """Whoever goes on whenever there is no verdict yet, with twice the budget, is no exception.

    Draws of one difference a round, their variance made up to LEAST_DOF by a prior that is a little too small.
    """
    studies, spending = 20_000, Spending(0.05)
    total = rounds * 2 ** (horizons - 1)
    draw_NR = np.random.default_rng(rounds).normal(size=(studies, total))
    is_false_N = np.zeros(studies, dtype=bool)
    for horizon in range(horizons):
        spending.begin(FIRST_SHARE if horizon == 0 else LATER_SHARE)
        end = rounds * 2**horizon
        for number in range(max(2, rounds * 2**horizon // 2 + 1) if horizon else 2, end + 1):
            seen_NR = draw_NR[:, :number]
            t_N = np.abs(seen_NR.mean(1)) / (seen_NR.std(1, ddof=1) / np.sqrt(number))
            is_false_N |= t_N > stdtrit(number - 1, 1 - spending.level(number / end, number) / 2)
    assert 0.01 < is_false_N.mean() < 0.052


def look_after(rounds: int, earlier: list[Look], matters: float = 0.005, horizon: float = 6, end: int = 6) -> Look:
    right = {"a": 0.9, "b": 0.9, "c": 0.1}
    trainings = trained(right, rounds=rounds)
    return look(trainings, "a", ("b", "c"), rounds / end, earlier, matters, horizon=horizon)


def test_a_level_that_is_decided_keeps_its_look() -> None:
    looks: list[Look] = []
    for rounds in range(2, 7):
        looks.append(look_after(rounds, looks))
    decided = next(each for each in looks if "c" in each.decided)
    assert decided.levels["c"].verdict == "worse"
    assert decided.levels["c"].high < 0
    assert looks[-1].levels["c"] == decided.levels["c"]
    assert decided.round == decided.levels["c"].round
    assert looks[-1].levels["b"].verdict == "open"
    assert looks[-1].levels["b"].round == 5


@pytest.mark.parametrize(("judges", "verdict"), [(MIN_JUDGES, "worse"), (MIN_JUDGES - 1, "no verdict")])
def test_fewer_than_ten_judges_in_any_round_give_no_verdict(judges: int, verdict: str) -> None:
    trainings = trained({"a": 1.0, "b": 0.05}, rounds=6)
    kept_P = np.arange(PEOPLE) < judges
    trainings = [replace(each, counts=each.counts.of_people(kept_P)) if each.round == 2 else each for each in trainings]
    found = look(trainings, "a", ("b",), 1.0, [], 0.05).levels["b"]
    assert (found.verdict, found.is_decided) == (verdict, verdict == "worse")
    assert found.high < 0  # the difference is shown all the same
    alike = look(trained({"a": 0.9, "b": 0.9}, rounds=6), "a", ("b",), 1.0, [], 0.5)
    assert alike.levels["b"].verdict == "no difference that matters"
    few = [replace(each, counts=each.counts.of_people(kept_P)) for each in trained({"a": 0.9, "b": 0.9}, rounds=6)]
    assert (look(few, "a", ("b",), 1.0, [], 1.0).levels["b"].verdict == "no verdict") == (judges < MIN_JUDGES)


def test_a_level_that_enough_judges_have_decided_stays_decided() -> None:
    trainings = trained({"a": 1.0, "b": 0.05}, rounds=6)
    first = look(trainings, "a", ("b",), 0.9, [], 0.05)
    kept_P = np.arange(PEOPLE) < MIN_JUDGES - 1
    later = [Training("a", 6, trainings[0].counts.of_people(kept_P))]
    assert look([*trainings, *later], "a", ("b",), 1.0, [first], 0.05).levels["b"] == first.levels["b"]


def test_a_difference_that_cannot_matter_is_a_verdict() -> None:
    found = look_after(6, [], matters=0.5).levels["b"]
    assert found.verdict == "no difference that matters"
    assert found.bound < 0.5


def test_intervals_end_where_no_difference_can_be() -> None:
    rng = np.random.default_rng(5)
    trainings = [
        Training(level, number, counts_of(rng, share, number))
        for number in range(2)
        for level, share in (("a", 0.9), ("b", 0.1))
    ]
    found = look(trainings, "a", ("b",), 0.1, [], 0.05).levels["b"]
    assert (found.low, found.high) == (-1, 1)
    assert np.isfinite(found.critical)


def test_a_look_comes_back_from_json_as_it_was() -> None:
    made = look_after(4, [])
    assert Look.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_going_on_with_a_larger_budget_costs_width_but_what_was_said_stands() -> None:
    looks: list[Look] = []
    for rounds in (2, 4, 6):
        looks.append(look_after(rounds, looks))
    same = look_after(8, [], end=8).levels["b"]
    gone_on = look_after(8, looks, horizon=8, end=8)
    assert gone_on.levels["c"] == looks[-1].levels["c"]
    assert gone_on.levels["b"].critical > same.critical


def test_more_trainings_find_less_but_never_less_than_the_settings_allow() -> None:
    known = LevelLook(0.01, -0.06, 0.08, 0.03, 12.0, 2.33, "open", 4)
    effects = [known.effect_after(growth, 3) for growth in (1, 2, 4, 1e6)]
    assert effects == sorted(effects, reverse=True)
    assert effects[0] == pytest.approx(detectable(0.03, 12.0, 3))
    assert effects[-1] > 2.8 * 0.0113


def test_recipes_as_levels_are_less_certain_by_the_luck_of_their_settings() -> None:
    found = interval_estimate(0.05, [Variance(0.01**2, 3)])
    level = with_tuning(found)
    assert level.error == pytest.approx(np.hypot(0.01, 0.018))
    assert level.high - level.low > found.high - found.low
    assert (level.value, level.dof) == (found.value, found.dof)


CLASSES = LabelSpace((Factor("class", tuple("abcdefgh")),))


def seen_by(rng: np.random.Generator, logit_KK: np.ndarray, people: int, own: float) -> Counts:
    """What a model says of twenty photos each of people who show a class each, in turn.

    ``own``: standard deviation of what is a person's own in the logits of what the model says.
    """
    label_P = (np.arange(people) + rng.integers(8)) % 8
    logit_PK = logit_KK[label_P] + rng.normal(0, own, (people, 8))
    prob_PK = np.exp(logit_PK) / np.exp(logit_PK).sum(1, keepdims=True)
    said_N = np.repeat(np.tile(np.arange(8), people), rng.multinomial(20, prob_PK).ravel())
    names_N = np.repeat([f"{number:04d}" for number in range(people)], 20)
    return count(names_N, np.repeat(label_P, 20), said_N, CLASSES)


def promised_less_true(people: int, seeds: float, studies: int) -> tuple[np.ndarray, float]:
    """(mean of five rounds, score to expect), each less the mean of the five models' true scores, [S, 2]; the best
    model's true score less that mean. ``seeds``: how much the models differ."""
    rng = np.random.default_rng(0)
    common_KK = 3 * np.eye(8) + rng.normal(0, 0.5, (8, 8))
    models = [common_KK + rng.normal(0, seeds, (8, 8)) + rng.normal(0, seeds, 8) for _ in range(5)]
    true = [float(seen.score(*seen.sums())) for seen in (seen_by(rng, model, 2000, 1.0) for model in models)]
    rows = []
    for _ in range(studies):
        rounds = [Training("a", number, seen_by(rng, model, people, 1.0)) for number, model in enumerate(models)]
        mean = float(np.mean([each.counts.score(*each.counts.sums()) for each in rounds]))
        rows.append((mean, expected_score(mean, rounds)))
    return np.array(rows) - np.mean(true), max(true) - float(np.mean(true))


def test_ten_judges_a_round_promise_about_what_all_people_would_say() -> None:
    found, _ = promised_less_true(people=10, seeds=0.3, studies=100)
    (mean, expected), error = found.mean(0), found.std(0, ddof=1) / 10
    assert mean < -6 * error[0]
    assert mean / 2 < expected < 2 * error[1]
    assert np.abs(found[:, 1]).mean() < 0.85 * np.abs(found[:, 0]).mean()


def test_trainings_that_differ_do_not_raise_what_many_judges_promise() -> None:
    found, best = promised_less_true(people=100, seeds=0.6, studies=30)
    (mean, expected), error = found.mean(0), found.std(0, ddof=1) / np.sqrt(30)
    assert mean < expected < mean + 0.004  # all judges together say .007 more
    assert expected < 3 * error[1]
    assert best > 0.02


def test_a_class_that_a_rounds_judges_do_not_show_costs_no_promise() -> None:
    rng = np.random.default_rng(1)
    logit_KK = 5 * np.eye(8)
    rounds = [Training("a", number, seen_by(rng, logit_KK, 7, 0.3)) for number in range(6)]
    scores = [float(each.counts.score(*each.counts.sums())) for each in rounds]
    everyone = seen_by(rng, logit_KK, 2000, 0.3)
    true = float(everyone.score(*everyone.sums()))
    assert np.mean(scores) < true - 0.1
    assert expected_score(float(np.mean(scores)), rounds) == pytest.approx(true, abs=0.03)


def test_one_round_promises_its_mean() -> None:
    rng = np.random.default_rng(2)
    rounds = [Training("a", 1, seen_by(rng, 3 * np.eye(8), 10, 1.0)) for _ in range(2)]
    assert expected_score(0.625, rounds) == 0.625
    assert expected_score(0.625, []) == 0.625


@pytest.mark.parametrize(
    ("metric", "least", "most"), [("accuracy", 0, 0), ("balanced_accuracy", 0, 0.001), ("macro_f1", 0.012, 0.026)]
)
def test_few_judges_take_something_from_f1_alone_and_raise_no_mean(metric: str, least: float, most: float) -> None:
    rng = np.random.default_rng(3)
    gains = []
    for _ in range(10):
        seen = [replace(seen_by(rng, 3 * np.eye(8), 10, 1.0), metric=metric) for _ in range(5)]
        mean = float(np.mean([counts.score(*counts.sums()) for counts in seen]))
        gains.append(expected_score(mean, [Training("a", number, counts) for number, counts in enumerate(seen)]) - mean)
    assert least <= min(gains) <= max(gains) <= most
