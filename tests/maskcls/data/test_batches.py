"""Which photos a step sees, and that taking them gives the right rows."""

import weakref

import numpy as np
import pytest
import torch

from maskcls.data.batches import Batches, BatchSampler, derive_seed
from tests.helpers.training import CPU


def numbered(count: int = 10) -> np.ndarray:
    """uint8 photos, each filled with its own row number."""
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 4, 5), np.uint8)


def epoch_of(order: BatchSampler, epoch: int) -> list[int]:
    first = epoch * order.steps_per_epoch
    return torch.cat([order.batch(first + place) for place in range(order.steps_per_epoch)]).tolist()


def test_every_epoch_is_another_permutation() -> None:
    order = BatchSampler(60, 10, seed=3)
    epochs = [epoch_of(order, epoch) for epoch in range(5)]
    assert order.steps_per_epoch == 6
    assert all(sorted(epoch) == list(range(60)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert list(range(60)) not in epochs


def test_order_depends_on_seed_and_step_alone() -> None:
    forward, fresh = BatchSampler(50, 8, seed=1), BatchSampler(50, 8, seed=1)
    walked = [forward.batch(step).tolist() for step in range(20)]
    torch.manual_seed(9)  # the global generator has no part in it
    assert [fresh.batch(step).tolist() for step in reversed(range(20))] == walked[::-1]
    assert [BatchSampler(50, 8, seed=1).batch(step).tolist() for step in (17, 3)] == [walked[17], walked[3]]
    assert [BatchSampler(50, 8, seed=2).batch(step).tolist() for step in range(20)] != walked


def test_neighbouring_seeds_do_not_share_epochs() -> None:
    seen = {tuple(epoch_of(BatchSampler(30, 5, seed), epoch)) for seed in range(4) for epoch in range(4)}
    assert len(seen) == 16


def test_leftover_photos_wait_and_are_others_every_epoch() -> None:
    order = BatchSampler(53, 10, seed=0)
    assert order.steps_per_epoch == 5
    epochs = [set(epoch_of(order, epoch)) for epoch in range(8)]
    assert all(len(epoch) == 50 for epoch in epochs)
    assert set().union(*epochs) == set(range(53))


def test_batch_larger_than_the_dataset_is_all_of_it() -> None:
    order = BatchSampler(7, 32, seed=0)
    assert (order.batch_size, order.steps_per_epoch) == (7, 1)
    assert sorted(order.batch(4).tolist()) == list(range(7))


def test_take_gives_the_rows_of_its_side_and_their_labels() -> None:
    row_N, label_N = np.array([8, 2, 5, 9]), np.array([3, 1, 0, 2])
    batches = Batches(numbered(), row_N, label_N, CPU)
    image_BCHW, label_B = batches.take(torch.tensor([3, 0, 0]))
    assert image_BCHW.dtype == torch.uint8
    assert image_BCHW.shape == (3, 3, 4, 5)
    assert image_BCHW[:, 1, 2, 3].tolist() == [9, 8, 8]
    assert (image_BCHW == image_BCHW[:, :1, :1, :1]).all()
    assert label_B.tolist() == [2, 3, 3]
    assert len(batches) == 4


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (3, [3, 3, 3, 1]), (99, [10])])
def test_in_order_shows_every_photo_once_with_a_smaller_last_batch(batch_size: int, sizes: list[int]) -> None:
    row_N = np.arange(10)[::-1]
    seen = list(Batches(numbered(), row_N, row_N * 2, CPU).in_order(batch_size))
    assert [len(image) for image, _ in seen] == sizes
    assert torch.cat([image[:, 0, 0, 0] for image, _ in seen]).tolist() == row_N.tolist()
    assert torch.cat([label for _, label in seen]).tolist() == (row_N * 2).tolist()


def test_what_is_done_to_a_batch_does_not_reach_the_photos() -> None:
    image_NCHW = numbered()
    batches = Batches(image_NCHW, np.arange(10), np.arange(10), CPU)
    batches.take(torch.arange(4))[0].fill_(200)
    next(batches.in_order(4))[0].fill_(200)
    assert (image_NCHW == numbered()).all()


def test_derived_seeds_are_steady_and_do_not_collide() -> None:
    derived = {derive_seed(a, b) for a in range(50) for b in range(50)}
    assert len(derived) == 2500
    assert derive_seed(3, 4) == derive_seed(3, 4)
    assert all(0 <= seed < 2**63 for seed in derived)


META = torch.device("meta")
"""A device without memory that can be told from the CPU: what moves there can be seen without a GPU."""


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every device has room; the list gets the number of photos of every move."""
    moves: list[int] = []
    monkeypatch.setattr("maskcls.data.batches._fits", lambda image_XCHW, count, device: moves.append(count) is None)
    return moves


def test_the_photos_of_a_dataset_move_once_for_all_trials(roomy: list[int]) -> None:
    image_NCHW, train, valid = numbered(), np.arange(7), np.arange(7, 10)
    trials = [[Batches(image_NCHW, rows, rows, META) for rows in (train, valid)] for _ in range(3)]
    assert roomy == [7, 3]
    assert all(of_trial[side].image_XCHW is trials[0][side].image_XCHW for of_trial in trials for side in (0, 1))
    assert [len(batches.image_XCHW) for batches in trials[2]] == [7, 3]
    Batches(image_NCHW, np.arange(1, 8), train, META)  # as many others
    assert roomy == [7, 3, 7]


def test_another_dataset_takes_the_place_of_the_last(roomy: list[int]) -> None:
    first, second = numbered(), numbered()
    there = weakref.ref(Batches(first, np.arange(7), np.arange(7), META).image_XCHW)
    Batches(second, np.arange(7), np.arange(7), META)
    assert there() is None
    Batches(first, np.arange(7), np.arange(7), META)
    assert roomy == [7, 7, 7]


def test_a_dataset_that_is_gone_does_not_keep_its_photos_for_the_next_at_its_address(roomy: list[int]) -> None:
    for _ in range(5):
        Batches(numbered(), np.arange(7), np.arange(7), META)
    assert roomy == [7] * 5


@pytest.mark.gpu
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_gpu_gives_the_same_batches_with_photos_on_it_or_not(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr("maskcls.data.batches.SPARE_SHARE", share)
    row_N, label_N = np.array([8, 2, 5, 9]), np.array([3, 1, 0, 2])
    batches = Batches(numbered(), row_N, label_N, torch.device("cuda"))
    assert batches.on_device == (share > 0)
    image_BCHW, label_B = batches.take(torch.tensor([3, 0, 1]))
    assert image_BCHW[:, 0, 0, 0].tolist() == [9, 8, 2]
    assert label_B.tolist() == [2, 3, 1]
