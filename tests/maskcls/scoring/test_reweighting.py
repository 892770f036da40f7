"""A stated prior: what is read from the option, and the weights that reach it."""

from dataclasses import replace

import numpy as np
import pytest

from maskcls.labels import Factor, LabelSpace
from maskcls.scoring.counts import count, macro_f1
from maskcls.scoring.reweighting import (
    Prior,
    check_predicts_groups,
    effective_people,
    groups_of,
    parse_prior,
    prior_names,
    targets,
    weights_of,
)
from maskcls.system.errors import UserError
from maskcls.tasks.mask import AGE, MASK_TASK
from maskcls.tasks.task import PHOTO, Source, Task, Unit
from tests.helpers.training import one_line

SPACE = MASK_TASK.space

GENDER_P = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
AGE_P = np.array([0, 1, 1, 2, 0, 0, 1, 1, 1, 2])


def weigh(shares: dict[str, float], gender_P: np.ndarray, age_P: np.ndarray) -> np.ndarray:
    return weights_of(Prior(MASK_TASK, shares), {"gender": gender_P, "age": age_P})


def test_names_and_shares_are_read() -> None:
    assert parse_prior("male=0.6, old=0.25", MASK_TASK).shares == {"male": 0.6, "old": 0.25}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("male", "NAME=SHARE"),
        ("", "NAME=SHARE"),
        ("men=0.6", "has no group 'men'"),
        ("male=0.6,male=0.5", "twice"),
        ("male=1.5", "between 0 and 1"),
        ("male=0", "between 0 and 1"),
        ("male=many", "'many'"),
        ("male=0.6,female=0.5", "must sum to 1"),
        ("male=0.6,female=0.3", "male=0.6 + female=0.3 is 0.9"),
        ("young=0.6,old=0.4", "leave room"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(text: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        parse_prior(text, MASK_TASK)
    assert told in one_line(error.value)


def test_the_sample_s_own_shares_change_nothing() -> None:
    own = {"male": 0.4, "young": 0.3, "old": 0.2}
    assert weigh(own, GENDER_P, AGE_P) == pytest.approx(np.ones(10), abs=1e-9)
    assert weigh({}, GENDER_P, AGE_P) == pytest.approx(np.ones(10), abs=1e-9)


def test_a_gender_by_itself_weighs_everybody_of_it_alike() -> None:
    """Ages are spread alike over both genders here, so raking has nothing else to mend."""
    gender_P, age_P = np.repeat([0, 1, 1], 3), np.tile([0, 1, 2], 3)
    weight_P = weigh({"male": 2 / 3}, gender_P, age_P)
    assert weight_P == pytest.approx(np.where(gender_P == 0, 2.0, 0.5))


def test_stated_shares_are_reached_and_the_others_keep_their_proportions() -> None:
    weight_P = weigh({"male": 0.6, "old": 0.4}, GENDER_P, AGE_P)
    assert weight_P.mean() == pytest.approx(1)
    assert weight_P[GENDER_P == 0].sum() / 10 == pytest.approx(0.6)
    assert weight_P[AGE_P == 2].sum() / 10 == pytest.approx(0.4)
    assert weight_P[AGE_P == 0].sum() / weight_P[AGE_P == 1].sum() == pytest.approx(3 / 5)


def test_a_factor_that_is_not_named_keeps_its_shares() -> None:
    weight_P = weigh({"male": 0.7}, GENDER_P, AGE_P)
    assert np.bincount(AGE_P, weight_P) / 10 == pytest.approx([0.3, 0.5, 0.2])


def test_a_group_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(UserError, match="the validation split does not have: 60 and over"):
        targets(Prior(MASK_TASK, {"old": 0.2}), AGE, np.array([0, 1, 1]))
    with pytest.raises(UserError, match="no weights"):
        weigh({"male": 0.9, "young": 0.9}, np.array([0, 1]), np.array([1, 0]))


def test_twice_the_weight_is_the_same_person_twice() -> None:
    rng = np.random.default_rng(0)
    person_N = np.repeat([f"p{index}" for index in range(9)], 4)
    gender_N, age_N = np.repeat(np.repeat([0, 1, 1], 3), 4), np.repeat(np.tile([0, 1, 2], 3), 4)
    label_N = SPACE.encode(np.zeros(36, int), gender_N, age_N)
    predicted_N = np.where(rng.random(36) < 0.6, label_N, rng.integers(18, size=36))
    groups = groups_of(person_N, label_N, MASK_TASK)
    gender_P, age_P = groups["gender"], groups["age"]
    weight_P = weigh({"male": 0.5}, gender_P, age_P) * 4 / 3  # men are a third: 2 to 1
    assert weight_P == pytest.approx(np.where(gender_P == 0, 2.0, 1.0))
    weighted = macro_f1(*count(person_N, label_N, predicted_N, SPACE).sums(weight_P[None]))[0]
    twice = np.concatenate([np.arange(36), np.flatnonzero(gender_N == 0)])
    repeated = count(person_N[twice], label_N[twice], predicted_N[twice], SPACE)
    assert weighted == pytest.approx(macro_f1(*repeated.sums()))


def test_effective_people() -> None:
    assert effective_people(np.ones(10)) == 10
    assert effective_people(np.array([1.0, 0.0])) == 1


# --- other tasks ------------------------------------------------------------------------------------------------------

SEX = Factor("sex", ("female", "male"), of_group=True)
SITE = Factor("site", ("A", "B", "C"), of_group=True)
EYE = Factor("eye", ("A", "left"), of_group=True)
FINDING = Factor("finding", ("none", "some"))


def patients(*factors: Factor) -> Task:
    return Task("patients", LabelSpace(factors), Source("table"), unit=Unit("patient", "patients"))


def test_raking_reaches_the_shares_of_any_number_of_factors() -> None:
    task = patients(FINDING, SEX, SITE, replace(EYE, classes=("right", "left")))
    rng = np.random.default_rng(0)
    groups = {factor.name: rng.integers(len(factor.classes), size=400) for factor in task.space.factors[1:]}
    weight_P = weights_of(parse_prior("male=0.7,A=0.5,C=0.2,left=0.25", task), groups)
    shares = {name: np.bincount(class_P, weight_P) / 400 for name, class_P in groups.items()}
    assert shares["sex"] == pytest.approx([0.3, 0.7])
    assert shares["site"] == pytest.approx([0.5, 0.3, 0.2])
    assert shares["eye"] == pytest.approx([0.75, 0.25])
    # what raking leaves alone: the odds ratios of the table
    table = np.zeros((2, 3, 2))
    weighted = np.zeros((2, 3, 2))
    np.add.at(table, tuple(groups.values()), 1)
    np.add.at(weighted, tuple(groups.values()), weight_P)
    odds = [each[0, 0, 0] * each[1, 1, 0] / (each[0, 1, 0] * each[1, 0, 0]) for each in (table, weighted)]
    assert odds[0] == pytest.approx(odds[1])


def test_a_single_factor_is_weighed_by_its_shares() -> None:
    task = patients(SITE)
    person_N, label_N = np.array(["p0", "p0", "p1", "p2", "p3"]), np.array([0, 0, 1, 1, 2])
    groups = groups_of(person_N, label_N, task)
    assert groups["site"].tolist() == [0, 1, 1, 2]
    weight_P = weights_of(parse_prior("A=0.5", task), groups)
    assert weight_P / 4 == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6])


def test_a_name_that_two_factors_share_needs_its_factor() -> None:
    task = patients(FINDING, SITE, EYE)
    assert list(prior_names(task)) == ["site:A", "B", "C", "eye:A", "left"]
    assert parse_prior("site:A=0.2,eye:A=0.4", task).shares == {"site:A": 0.2, "eye:A": 0.4}
    assert parse_prior("site:B=0.2", task).shares == {"B": 0.2}  # with its factor, although nobody must
    assert parse_prior("left=0.2,site:A=0.3", task).text == "site:A = 0.3, left = 0.2"
    with pytest.raises(UserError, match="--prior A may be site:A or eye:A; write one of them"):
        parse_prior("A=0.2", task)
    with pytest.raises(UserError, match="The shares of eye must sum to 1"):
        parse_prior("eye:A=0.2,left=0.4", task)


@pytest.mark.parametrize("task", [patients(FINDING), replace(patients(FINDING, SITE), unit=PHOTO)])
def test_a_task_without_groups_or_their_factors_has_no_prior(task: Task) -> None:
    with pytest.raises(UserError) as error:
        parse_prior("A=0.2", task)
    assert "--prior needs a factor of the label that is the same for all photos of a" in one_line(error.value)


def test_errors_speak_of_the_task_s_groups() -> None:
    with pytest.raises(UserError, match="share to patients that the validation split does not have: C"):
        weights_of(parse_prior("C=0.2", patients(SITE)), {"site": np.array([0, 1])})
    with pytest.raises(UserError, match="no weights of the validation patients reach"):
        weights_of(
            parse_prior("male=0.9,B=0.9", patients(SEX, SITE)), {"sex": np.array([1, 0]), "site": np.array([0, 1])}
        )
    with pytest.raises(UserError, match="--prior needs sex of the patients, which a model of finding does not know"):
        check_predicts_groups(LabelSpace((FINDING,)), patients(FINDING, SEX))
