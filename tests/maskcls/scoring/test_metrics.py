"""Scores against scikit-learn, on random predictions and on degenerate ones."""

import json
import warnings

import numpy as np
import pytest
from sklearn import metrics as reference

from maskcls.labels import Factor, LabelSpace
from maskcls.scoring.metrics import Scores, confusion_matrix, f1_per_class, mean_recall, score
from maskcls.tasks.mask import GENDER, MASK_TASK
from maskcls.tasks.task import METRICS

SPACE = MASK_TASK.space
TASKS = ["all", *SPACE.parts]
FLOWER = Factor("flower", ("aster", "iris", "rose", "tulip", "violet"))


def random_log_probs(count: int, classes: int, seed: int = 0) -> np.ndarray:
    logit_NK = np.random.default_rng(seed).normal(size=(count, classes))
    return (logit_NK - np.log(np.exp(logit_NK).sum(1, keepdims=True))).astype(np.float32)


def certain(predicted_N: np.ndarray, classes: int) -> np.ndarray:
    """log_prob_NK that are nearly sure of ``predicted_N``."""
    prob_NK = np.full((len(predicted_N), classes), 0.01 / (classes - 1), np.float32)
    prob_NK[np.arange(len(predicted_N)), predicted_N] = 0.99
    return np.log(prob_NK)


def labels_and_predictions(classes: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kind of predictions -> (label_N, predicted_N)."""
    rng = np.random.default_rng(7)
    label_N, predicted_N = rng.integers(classes, size=(2, 300))
    return {
        "random": (label_N, predicted_N),
        "mostly right": (label_N, np.where(rng.random(300) < 0.8, label_N, predicted_N)),
        "perfect": (label_N, label_N),
        "one class only": (label_N, np.zeros_like(label_N)),
        "classes absent from the labels": (label_N % 2, predicted_N),
        "classes absent from both": (label_N % 2, predicted_N % 2),
        "nothing right": (label_N, (label_N + 1) % classes),
        "one photo": (label_N[:1], predicted_N[:1]),
    }


def by_scikit_learn(label_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> dict[str, float]:
    """Metric -> its value."""
    f1 = reference.f1_score(label_N, predicted_N, labels=range(classes), average="macro", zero_division=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that are predicted and that no photo has
        balanced = reference.balanced_accuracy_score(label_N, predicted_N)
    return {
        "macro_f1": f1,
        "accuracy": reference.accuracy_score(label_N, predicted_N),
        "balanced_accuracy": balanced,
    }


KINDS = list(labels_and_predictions(18))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_scores_equal_scikit_learn(task: str, kind: str) -> None:
    classes = SPACE.predicted(task).num_classes
    label_N, predicted_N = labels_and_predictions(classes)[kind]
    log_prob_NK = certain(predicted_N, classes)
    scores = score(log_prob_NK, label_N, SPACE.predicted(task))
    every = range(classes)
    f1_K = reference.f1_score(label_N, predicted_N, labels=every, average=None, zero_division=0)
    assert scores.f1_per_class == pytest.approx(f1_K.tolist(), abs=1e-12)
    expected = reference.f1_score(label_N, predicted_N, labels=every, average="macro", zero_division=0)
    assert scores.macro_f1 == pytest.approx(expected, abs=1e-12)
    assert scores.accuracy == pytest.approx(reference.accuracy_score(label_N, predicted_N), abs=1e-12)
    matrix_KK = confusion_matrix(label_N, predicted_N, classes)
    assert (matrix_KK == reference.confusion_matrix(label_N, predicted_N, labels=every)).all()


@pytest.mark.parametrize("task", TASKS)
def test_loss_and_choice_of_class_equal_scikit_learn(task: str) -> None:
    classes = SPACE.predicted(task).num_classes
    log_prob_NK = random_log_probs(400, classes)
    label_N = np.random.default_rng(1).integers(classes, size=400)
    scores = score(log_prob_NK, label_N, SPACE.predicted(task))
    prob_NK = np.exp(log_prob_NK.astype(np.float64))
    prob_NK /= prob_NK.sum(1, keepdims=True)  # of the rounding that scikit-learn would warn about
    assert scores.loss == pytest.approx(reference.log_loss(label_N, prob_NK, labels=range(classes)), rel=1e-6)
    expected = reference.f1_score(label_N, prob_NK.argmax(1), labels=range(classes), average="macro", zero_division=0)
    assert scores.macro_f1 == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_equal_scikit_learn_on_the_parts_of_the_labels(kind: str) -> None:
    label_N, predicted_N = labels_and_predictions(18)[kind]
    scores = score(certain(predicted_N, 18), label_N, SPACE)
    assert list(scores.f1_per_part) == ["mask", "gender", "age"]
    for part, f1 in scores.f1_per_part.items():
        true_N, got_N = SPACE.part_of(label_N, part), SPACE.part_of(predicted_N, part)
        every = range(SPACE.predicted(part).num_classes)
        expected = reference.f1_score(true_N, got_N, labels=every, average="macro", zero_division=0)
        assert f1 == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("task", TASKS[1:])
def test_single_task_has_no_parts(task: str) -> None:
    classes = SPACE.predicted(task).num_classes
    assert score(random_log_probs(50, classes), np.arange(50) % classes, SPACE.predicted(task)).f1_per_part == {}


def test_class_that_is_nowhere_counts_as_zero_in_the_mean() -> None:
    label_N = np.arange(17)
    scores = score(certain(label_N, 18), label_N, SPACE)
    assert scores.macro_f1 == pytest.approx(17 / 18)
    assert scores.f1_per_class[17] == 0
    assert f1_per_class(np.zeros((3, 3), np.int64)).tolist() == [0, 0, 0]


def test_rows_of_the_confusion_are_true_classes() -> None:
    matrix_KK = confusion_matrix(np.array([0, 0, 2]), np.array([1, 1, 0]), 3)
    assert matrix_KK.tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("metric", METRICS)
def test_scores_survive_a_trip_through_json_bit_for_bit(metric: str) -> None:
    scores = score(random_log_probs(200, 18), np.arange(200) % 18, SPACE, metric)
    assert Scores.from_dict(json.loads(json.dumps(scores.to_dict()))) == scores


def test_the_record_of_macro_f1_has_the_keys_of_the_first_records() -> None:
    first = ["macro_f1", "accuracy", "loss", "f1_per_class", "f1_per_part"]
    log_prob_NK, label_N = random_log_probs(200, 18), np.arange(200) % 18
    assert list(score(log_prob_NK, label_N, SPACE).to_dict()) == first
    assert list(score(log_prob_NK, label_N, SPACE, "accuracy").to_dict()) == [*first, "balanced_accuracy", "metric"]


@pytest.mark.parametrize("space", [SPACE, LabelSpace((FLOWER,)), LabelSpace((FLOWER, GENDER))])
@pytest.mark.parametrize("kind", KINDS)
def test_the_value_is_that_of_the_metric_by_scikit_learn(space: LabelSpace, kind: str) -> None:
    label_N, predicted_N = labels_and_predictions(space.num_classes)[kind]
    log_prob_NK = certain(predicted_N, space.num_classes)
    expected = by_scikit_learn(label_N, predicted_N, space.num_classes)
    for metric in METRICS:
        scores = score(log_prob_NK, label_N, space, metric)
        assert scores.metric == metric
        assert scores.value == pytest.approx(expected[metric], abs=1e-12)
        assert scores.accuracy == pytest.approx(expected["accuracy"], abs=1e-12)
        assert scores.macro_f1 == pytest.approx(expected["macro_f1"], abs=1e-12)


def test_balanced_accuracy_is_the_mean_over_the_classes_with_photos() -> None:
    true_XK, right_XK = np.array([[4, 2, 0], [0, 0, 0], [1, 1, 2]]), np.array([[4, 1, 0], [0, 0, 0], [0, 1, 1]])
    assert mean_recall(true_XK, right_XK).tolist() == [0.75, 0.0, 0.5]
