"""What gets confused with what: counts, rates and directions on confusions made by hand."""

import numpy as np
import pytest

from maskcls.labels import ALL, Factor, LabelSpace
from maskcls.scoring.confusions import (
    Confusion,
    compare_rates,
    count_confusion,
    directions,
    is_distinguishable,
    rate_of,
)
from maskcls.scoring.counts import count
from maskcls.scoring.intervals import Estimate
from maskcls.scoring.predictions import Predictions
from maskcls.scoring.resampling import resample
from maskcls.tasks.mask import MASK_TASK

SPACE = MASK_TASK.space

WORN, NOT_WORN, MEN, WOMEN, YOUNG, MIDDLE, OLD = 0, 2, 0, 1, 0, 1, 2


def predictions(rows: list[tuple[str, tuple[int, int, int], tuple[int, int, int]]]) -> Predictions:
    """From (person, true, called), each (mask, gender, age)."""
    label_N, called_N = (np.array([SPACE.encode(*row[side]) for row in rows]) for side in (1, 2))
    log_prob_NK = np.full((len(rows), 18), np.log(0.1 / 17), np.float32)
    log_prob_NK[np.arange(len(rows)), called_N] = np.log(0.9)
    path_N = np.array([f"{index}.jpg" for index in range(len(rows))])
    return Predictions(path_N, np.array([row[0] for row in rows]), label_N, log_prob_NK)


BY_HAND = predictions(
    [
        ("ann", (WORN, WOMEN, MIDDLE), (WORN, MEN, MIDDLE)),
        ("ann", (WORN, WOMEN, MIDDLE), (WORN, MEN, YOUNG)),
        ("ann", (NOT_WORN, WOMEN, MIDDLE), (NOT_WORN, WOMEN, MIDDLE)),
        ("bea", (WORN, WOMEN, YOUNG), (WORN, WOMEN, OLD)),
        ("bea", (NOT_WORN, WOMEN, YOUNG), (WORN, WOMEN, YOUNG)),
        ("cid", (WORN, MEN, OLD), (WORN, MEN, YOUNG)),
        ("cid", (WORN, MEN, OLD), (WORN, MEN, OLD)),
        ("cid", (NOT_WORN, MEN, OLD), (NOT_WORN, WOMEN, OLD)),
    ]
)


@pytest.mark.parametrize(
    ("confusion", "wrong", "photos", "affected", "people"),
    [
        (Confusion(SPACE, "gender", WOMEN, MEN, ("mask", WORN)), 2, 3, 1, 2),
        (Confusion(SPACE, "gender", MEN, WOMEN, ("mask", WORN)), 0, 2, 0, 1),
        (Confusion(SPACE, "gender", MEN, WOMEN, ("mask", NOT_WORN)), 1, 1, 1, 1),
        (Confusion(SPACE, "gender", WOMEN, MEN), 2, 5, 1, 2),
        (Confusion(SPACE, "age", MIDDLE, YOUNG, ("mask", WORN)), 1, 2, 1, 1),
        (Confusion(SPACE, "age", YOUNG, MIDDLE, ("mask", WORN)), 0, 1, 0, 1),
        (Confusion(SPACE, "age", YOUNG, OLD, ("mask", WORN)), 1, 1, 1, 1),
        (Confusion(SPACE, "age", OLD, YOUNG, ("mask", WORN)), 1, 2, 1, 1),
        (Confusion(SPACE, "age", context=("mask", WORN)), 3, 5, 3, 3),
        (Confusion(SPACE, "age"), 3, 8, 3, 3),
        (Confusion(SPACE, "mask", NOT_WORN, WORN), 1, 3, 1, 3),
        (Confusion(SPACE, "mask"), 1, 8, 1, 3),
    ],
)
def test_rates_and_directions_of_a_confusion_made_by_hand(
    confusion: Confusion, wrong: int, photos: int, affected: int, people: int
) -> None:
    found = rate_of(confusion, BY_HAND)
    assert (found.wrong, found.photos, found.affected, found.people) == (wrong, photos, affected, people)
    assert found.value == wrong / photos


def test_every_direction_is_there_once_and_says_which_way() -> None:
    texts = [confusion.text for confusion in directions(SPACE, "gender")]
    assert texts == ["men taken for women", "women taken for men"]
    texts = [confusion.text for confusion in directions(SPACE, "age", ("mask", WORN))]
    assert len(set(texts)) == 6
    assert texts[2] == "30 to 59 taken for under 30"


def test_odd_names_of_classes_are_told_on_one_line_of_readable_length() -> None:
    space = LabelSpace((Factor("kind", ("x" * 300, "a\u202eb")),))
    (there, back) = (way.text for way in directions(space, ALL))
    assert there == f"{'x' * 29}...{'x' * 28} taken for a\\u202eb"
    assert back.startswith("a\\u202eb taken for xxx")


def test_the_directions_add_up_to_the_photos_that_are_wrong() -> None:
    for part in ("mask", "gender", "age"):
        wrong = sum(rate_of(confusion, BY_HAND).wrong for confusion in directions(SPACE, part))
        assert wrong == rate_of(Confusion(SPACE, part), BY_HAND).wrong


def test_a_rate_that_nobody_is_at_risk_of_is_zero() -> None:
    found = rate_of(Confusion(SPACE, "gender", MEN, WOMEN, ("mask", 1)), BY_HAND)
    assert (found.photos, found.value) == (0, 0.0)


def crowd(seed: int, wrong_share: float, people: int = 60) -> Predictions:
    """Women of 30 to 59 with five photos each, of whom a share is taken for men on all."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(people):
        called = MEN if rng.random() < wrong_share else WOMEN
        rows += [(f"p{person:03d}", (WORN, WOMEN, MIDDLE), (WORN, called, MIDDLE))] * 5
    return predictions(rows)


def compared(ours: Predictions, theirs: Predictions) -> tuple[Estimate, bool]:
    confusion = Confusion(SPACE, "gender", WOMEN, MEN)
    resamples = resample(count(ours.person_N, ours.label_N, ours.log_prob_NK.argmax(1), SPACE))
    found = compare_rates(count_confusion(confusion, ours), count_confusion(confusion, theirs), resamples, 1)
    return found, is_distinguishable(found, rate_of(confusion, ours), rate_of(confusion, theirs))


def test_a_large_difference_is_real_and_a_small_one_is_not() -> None:
    found, real = compared(crowd(0, 0.6), crowd(1, 0.1))
    assert real
    assert found.value == pytest.approx(
        rate_of(Confusion(SPACE, "gender", WOMEN, MEN), crowd(0, 0.6)).value
        - rate_of(Confusion(SPACE, "gender", WOMEN, MEN), crowd(1, 0.1)).value
    )
    assert not compared(crowd(0, 0.3), crowd(1, 0.25))[1]


def test_the_interval_is_of_people_and_not_of_photos() -> None:
    found, _ = compared(crowd(0, 0.3), crowd(1, 0.0))
    value = rate_of(Confusion(SPACE, "gender", WOMEN, MEN), crowd(0, 0.3)).value
    assert found.error == pytest.approx(np.sqrt(value * (1 - value) / 60), rel=0.1)  # 60 people, not 300 photos


def test_nothing_is_real_of_a_handful_of_people() -> None:
    assert not compared(crowd(0, 0.9, people=9), crowd(1, 0.0, people=9))[1]
