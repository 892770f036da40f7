"""What is shown of many classes: the right ones, sums that lose no photo, names that can be read."""

import numpy as np
import pytest

from maskcls.labels import Factor, LabelSpace
from maskcls.scoring.condensed import axis_names, cell_text, condense, extremes, extremes_note, most_confused
from maskcls.tasks.mask import MASK_TASK


def space_of(*sizes: int) -> LabelSpace:
    return LabelSpace(
        tuple(Factor(f"f{n}", tuple(f"f{n} class {each}" for each in range(size))) for n, size in enumerate(sizes))
    )


def matrix_of(classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(0.7, size=(classes, classes)) + 5 * np.eye(classes, dtype=int)


def test_the_most_confused_classes_are_shown_in_their_order() -> None:
    matrix_KK = 9 * np.eye(100, dtype=int)
    for number in range(24):  # 4 is taken for each of these
        matrix_KK[4, 3 * number + 5] = 2
    matrix_KK[98, 98] = 1000  # always right
    assert most_confused(matrix_KK).tolist() == [4, *(3 * number + 5 for number in range(24))]
    other_KK = 9 * np.eye(100, dtype=int)
    other_KK[97, 96] = 50
    assert {96, 97} <= set(most_confused(matrix_KK, other_KK).tolist())


def test_the_others_are_summed_and_no_photo_is_lost() -> None:
    matrix_KK = matrix_of(100)
    shown = most_confused(matrix_KK)
    found = condense(matrix_KK, space_of(100), shown)
    others = np.setdiff1d(np.arange(100), shown)
    assert (len(shown), found.others, found.names[-1]) == (25, 75, "75 others")
    assert np.array_equal(found.photos_MM[:-1, :-1], matrix_KK[np.ix_(shown, shown)])
    assert np.array_equal(found.photos_MM[:-1, -1], matrix_KK[np.ix_(shown, others)].sum(1))
    assert np.array_equal(found.photos_MM[-1, :-1], matrix_KK[np.ix_(others, shown)].sum(0))
    assert found.photos_MM[-1, -1] == matrix_KK[np.ix_(others, others)].sum()
    assert found.mistakes_MM.sum() == matrix_KK.sum() - np.trace(matrix_KK)
    assert found.mistakes_MM[-1, -1] == matrix_KK[np.ix_(others, others)].sum() - matrix_KK[others, others].sum()
    assert not np.diagonal(found.mistakes_MM)[:-1].any()
    assert found.share_MM.sum(1) == pytest.approx(np.ones(26))
    assert found.most == (matrix_KK - np.diag(np.diagonal(matrix_KK)))[np.ix_(shown, shown)].max()
    assert "25 most confused of 100 classes, and the other 75 as one" in found.note


@pytest.mark.parametrize("classes", [2, 18, 26])
def test_few_classes_are_all_shown(classes: int) -> None:
    matrix_KK = matrix_of(classes)
    found = condense(matrix_KK, space_of(classes), most_confused(matrix_KK))
    assert np.array_equal(found.photos_MM, matrix_KK)
    assert np.array_equal(found.mistakes_MM, matrix_KK - np.diag(np.diagonal(matrix_KK)))
    assert (found.others, found.note, len(found.names)) == (0, "", classes)


def test_names_on_an_axis_are_short_and_show_every_factor() -> None:
    assert axis_names(MASK_TASK.space, np.arange(18)) == MASK_TASK.space.short_names
    long = Factor(
        "long", tuple(f"a name that is much longer than an axis has room for, {number}" for number in range(3))
    )
    assert axis_names(LabelSpace((long,)), np.array([2])) == ("a name that is...s room for, 2",)
    both = axis_names(LabelSpace((long, Factor("side", ("left", "right")))), np.array([1]))
    assert both == ("a name...or, 0 right",)


def test_extremes_are_the_best_and_the_worst() -> None:
    value_K = np.random.default_rng(1).permutation(500) / 500
    assert value_K[extremes(value_K)].tolist() == [n / 500 for n in (*range(499, 479, -1), *range(19, -1, -1))]
    assert extremes(value_K[:40]).tolist() == list(range(40))
    assert extremes_note(500, "best", "worst") == "Of 500 classes the 20 best and the 20 worst"
    assert extremes_note(40, "best", "worst") == ""


def test_acell_text_has_room_in_its_cell() -> None:
    assert [cell_text(value) for value in (7, 9_999, 12_400, 999_400, 999_500, 3_200_000)] == [
        *("7", "9999", "12k", "999k", "1M", "3M")
    ]
