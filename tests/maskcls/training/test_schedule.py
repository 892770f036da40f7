"""The learning rate, and when a run stops to look, as pure functions."""

import itertools
import math

import pytest

from maskcls.training.schedule import evaluation_steps, lr_factor


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    factors = [lr_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert factors[9] == factors[10] == max(factors) == 1


def test_after_the_warm_up_follows_a_cosine_to_just_above_zero() -> None:
    factors = [lr_factor(step, 100, 0.1) for step in range(10, 100)]
    assert factors == pytest.approx([(1 + math.cos(math.pi * index / 90)) / 2 for index in range(90)])
    assert all(later < earlier for earlier, later in itertools.pairwise(factors))
    assert 0 < factors[-1] < 0.001
    assert factors[45] == pytest.approx(0.5)


@pytest.mark.parametrize("warmup_share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("num_steps", [1, 2, 7, 1000])
def test_every_step_of_every_run_moves(num_steps: int, warmup_share: float) -> None:
    factors = [lr_factor(step, num_steps, warmup_share) for step in range(num_steps)]
    assert all(0 < factor <= 1 for factor in factors)


def test_without_warm_up_the_first_step_is_the_peak() -> None:
    assert lr_factor(0, 50, 0.0) == 1


@pytest.mark.parametrize(
    ("num_steps", "epochs", "per_epoch", "expected"),
    [
        (40, 4, 1, [10, 20, 30, 40]),
        (40, 2, 4, [5, 10, 15, 20, 25, 30, 35, 40]),
        (10, 1, 3, [3, 7, 10]),
        (3, 3, 5, [1, 2, 3]),
        (1, 1, 1, [1]),
    ],
)
def test_evaluations_are_even_and_the_last_is_at_the_end(
    num_steps: int, epochs: int, per_epoch: int, expected: list[int]
) -> None:
    assert evaluation_steps(num_steps, epochs, per_epoch) == expected


def test_evaluations_never_fall_together() -> None:
    for epochs in (1, 2, 3, 7):
        for steps_per_epoch in range(1, 40):
            for per_epoch in (1, 2, 3, 5, 10, 100):
                num_steps = epochs * steps_per_epoch
                stops = evaluation_steps(num_steps, epochs, per_epoch)
                assert len(set(stops)) == len(stops) == min(num_steps, epochs * per_epoch)
                assert stops == sorted(stops)
                assert stops[0] >= 1
                assert stops[-1] == num_steps
