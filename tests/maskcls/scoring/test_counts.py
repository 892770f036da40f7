"""Predictions counted person by person: every score equals scikit-learn's on the photos."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from maskcls.scoring.counts import SCORES, align, count, macro_f1
from maskcls.scoring.metrics import confusion_matrix, f1, f1_per_class, score
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import METRICS

SPACE = MASK_TASK.space


def draw(seed: int, people: int = 40, photos: int = 7, classes: int = 18) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(person_N, label_N, predicted_N), about half right, in mixed order."""
    rng = np.random.default_rng(seed)
    person_N = np.repeat([f"p{number:03d}" for number in range(people)], photos)
    label_N = rng.integers(classes, size=people * photos)
    predicted_N = np.where(rng.random(len(label_N)) < 0.5, label_N, rng.integers(classes, size=len(label_N)))
    order = rng.permutation(len(label_N))
    return person_N[order], label_N[order], predicted_N[order]


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    person_N, label_N, predicted_N = draw(seed)
    sums = count(person_N, label_N, predicted_N, SPACE).sums()
    wanted = f1_score(label_N, predicted_N, labels=range(18), average=None, zero_division=0)
    assert f1(*sums) == pytest.approx(wanted, abs=1e-12)
    assert macro_f1(*sums) == pytest.approx(wanted.mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "reference"), [("accuracy", accuracy_score), ("balanced_accuracy", balanced_accuracy_score)]
)
def test_other_metrics_are_those_of_scikit_learn(metric: str, reference: Callable[..., float]) -> None:
    person_N, label_N, predicted_N = draw(3)
    predicted_N = np.where(person_N < "p010", label_N, predicted_N)  # or both would be about the same number
    label_N, predicted_N = label_N[label_N != 4], predicted_N[label_N != 4]  # a class that is predicted only
    person_N = person_N[: len(label_N)]
    counts = count(person_N, label_N, predicted_N, SPACE, metric=metric)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the class without photos
        wanted = reference(label_N, predicted_N)
    assert counts.score(*counts.sums()) == pytest.approx(wanted, abs=1e-12)
    assert counts.score(*counts.sums(np.ones((2, len(counts.person_P))))) == pytest.approx([wanted] * 2, abs=1e-12)
    for part in SPACE.parts:
        of_part = count(person_N, label_N, predicted_N, SPACE, part, metric)
        wanted = reference(SPACE.part_of(label_N, part), SPACE.part_of(predicted_N, part))
        assert of_part.score(*of_part.sums()) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_of_counts_is_that_of_the_judge(metric: str) -> None:
    person_N, label_N, predicted_N = draw(8)
    judged = score(np.eye(18, dtype=np.float32)[predicted_N], label_N, SPACE, metric)
    counts = count(person_N, label_N, predicted_N, SPACE, metric=metric)
    assert float(counts.score(*counts.sums())) == judged.value
    assert counts.score is SCORES[metric]
    assert {run.metric for run in align([counts, counts])[0]} == {metric}
    assert counts.of_people(counts.person_P < "p003").metric == metric


def test_every_metric_can_be_typed_and_counted() -> None:
    assert set(SCORES) == set(METRICS)


def test_scores_without_photos_are_zero() -> None:
    nothing = (np.zeros((2, 3)),) * 3
    assert [SCORES[metric](*nothing).tolist() for metric in METRICS] == [[0.0, 0.0]] * 3


def test_some_people_have_the_counts_of_their_photos() -> None:
    person_N, label_N, predicted_N = draw(4)
    whole, is_theirs_N = count(person_N, label_N, predicted_N, SPACE), person_N < "p007"
    some = whole.of_people(whole.person_P < "p007")
    wanted = count(person_N[is_theirs_N], label_N[is_theirs_N], predicted_N[is_theirs_N], SPACE)
    for name in ("person_P", "stratum_P", "true_PK", "predicted_PK", "true_positive_PK"):
        assert np.array_equal(getattr(some, name), getattr(wanted, name))


@pytest.mark.parametrize("part", ["mask", "gender", "age"])
def test_part_of_the_label_is_scored_alone(part: str) -> None:
    person_N, label_N, predicted_N = draw(5)
    sums = count(person_N, label_N, predicted_N, SPACE, part).sums()
    true, predicted = SPACE.part_of(label_N, part), SPACE.part_of(predicted_N, part)
    assert macro_f1(*sums) == pytest.approx(f1_score(true, predicted, average="macro"), abs=1e-12)
    single = count(person_N, true, predicted, SPACE.predicted(part))
    assert macro_f1(*single.sums()) == pytest.approx(float(macro_f1(*sums)), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_macro_f1_of_counts_is_that_of_the_judge_to_the_last_bit(seed: int) -> None:
    person_N, label_N, predicted_N = draw(seed)
    judged = score(np.eye(18, dtype=np.float32)[predicted_N], label_N, SPACE)
    assert float(macro_f1(*count(person_N, label_N, predicted_N, SPACE).sums())) == judged.macro_f1


def test_class_that_is_neither_there_nor_predicted_counts_zero() -> None:
    counts = count(np.array(["a", "b"]), np.array([0, 5]), np.array([0, 5]), SPACE)
    assert macro_f1(*counts.sums()) == pytest.approx(2 / 18)


def test_weighted_people_are_people_seen_more_often() -> None:
    person_N, label_N, predicted_N = draw(1)
    counts = count(person_N, label_N, predicted_N, SPACE)
    weight_P = np.random.default_rng(0).integers(0, 4, size=len(counts.person_P))
    times_N = weight_P[np.searchsorted(counts.person_P, person_N)]
    repeated = confusion_matrix(np.repeat(label_N, times_N), np.repeat(predicted_N, times_N), 18)
    assert f1(*counts.sums(weight_P[None].astype(float)))[0] == pytest.approx(f1_per_class(repeated), abs=1e-12)


def test_nudging_a_person_is_weighting_them_more() -> None:
    counts = count(*draw(2), SPACE)
    weight_P = np.random.default_rng(0).random(len(counts.person_P))
    rows_PP = np.tile(weight_P, (len(weight_P), 1))
    rows_PP[np.diag_indices(len(weight_P))] *= 1.01
    for nudged, wanted in zip(counts.nudged(weight_P, 0.01), counts.sums(rows_PP), strict=True):
        assert nudged == pytest.approx(wanted, abs=1e-12)


def test_people_of_one_stratum_show_the_same_labels() -> None:
    person_N = np.repeat(["b", "a", "c"], 3)
    label_N = np.array([0, 6, 12, 0, 6, 12, 5, 11, 17])
    counts = count(person_N, label_N, label_N, SPACE)
    assert counts.person_P.tolist() == ["a", "b", "c"]
    assert counts.stratum_P[0] == counts.stratum_P[1] != counts.stratum_P[2]


def test_runs_with_other_judges_are_put_side_by_side() -> None:
    first = count(np.array(["a", "b"]), np.array([0, 1]), np.array([0, 0]), SPACE)
    second = count(np.array(["b", "c"]), np.array([1, 2]), np.array([1, 2]), SPACE)
    (one, two), first_P = align([first, second])
    assert one.person_P.tolist() == two.person_P.tolist() == ["a", "b", "c"]
    assert first_P.tolist() == [0, 0, 1]
    assert [table.tolist() for table in one.sums()] == [table.tolist() for table in first.sums()]
    assert [table.tolist() for table in two.sums()] == [table.tolist() for table in second.sums()]
    assert len(set(one.stratum_P)) == 3
    assert SPACE.num_classes == one.true_PK.shape[1]
