"""Which photos a step sees, and that taking them gives the right rows."""

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from maskcls.data import batches
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
    side = Batches(numbered(), row_N, label_N, CPU)
    image_BCHW, label_B = side.take(torch.tensor([3, 0, 0]))
    assert image_BCHW.dtype == torch.uint8
    assert image_BCHW.shape == (3, 3, 4, 5)
    assert image_BCHW[:, 1, 2, 3].tolist() == [9, 8, 8]
    assert (image_BCHW == image_BCHW[:, :1, :1, :1]).all()
    assert label_B.tolist() == [2, 3, 3]
    assert len(side) == 4


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (3, [3, 3, 3, 1]), (99, [10])])
def test_in_order_shows_every_photo_once_with_a_smaller_last_batch(batch_size: int, sizes: list[int]) -> None:
    row_N = np.arange(10)[::-1]
    seen = list(Batches(numbered(), row_N, row_N * 2, CPU).in_order(batch_size))
    assert [len(image) for image, _ in seen] == sizes
    assert torch.cat([image[:, 0, 0, 0] for image, _ in seen]).tolist() == row_N.tolist()
    assert torch.cat([label for _, label in seen]).tolist() == (row_N * 2).tolist()


def test_what_is_done_to_a_batch_does_not_reach_the_photos() -> None:
    image_NCHW = numbered()
    side = Batches(image_NCHW, np.arange(10), np.arange(10), CPU)
    side.take(torch.arange(4))[0].fill_(200)
    next(side.in_order(4))[0].fill_(200)
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
    """Every device has room; the list gets the number of bytes of every move."""
    moves: list[int] = []
    batches.release_photos()
    monkeypatch.setattr(batches, "_fits", lambda size, device: moves.append(size) is None)
    return moves


def moved(image_NCHW: np.ndarray, *rows: int) -> torch.Tensor:
    """The photos that batches of these rows index."""
    return Batches(image_NCHW, np.array(rows), np.array(rows), META).image_XCHW


def test_the_photos_of_a_dataset_move_once_for_all_sides_and_trials(roomy: list[int]) -> None:
    image_NCHW = numbered()
    first = moved(image_NCHW, *range(7))
    assert all(moved(image_NCHW, *rows) is first for rows in (range(7, 10), range(7), range(1, 8), [3]))
    assert roomy == [600]
    assert first.shape == image_NCHW.shape


def mapped(path: Path) -> np.ndarray:
    return np.asanyarray(np.load(path, mmap_mode="c"))


def test_maps_of_one_file_are_one_dataset(roomy: list[int], tmp_path: Path) -> None:
    """Every value of ``old_from`` and every repeat of a confirmation has a map of its own."""
    path = tmp_path / "photos.npy"
    np.save(path, numbered())
    first = moved(mapped(path), 1)
    assert moved(mapped(path), 2) is first
    assert moved(mapped(path)[:5], 2) is not first  # a part of it
    assert roomy == [600, 300]
    whole = mapped(path)
    again = moved(whole, 1)
    np.save(tmp_path / "other.npy", numbered())
    (tmp_path / "other.npy").replace(path)
    assert moved(mapped(path), 1) is not again  # other photos under the name
    path.unlink()
    assert moved(whole, 1) is moved(whole, 2)
    assert len(roomy) == 5


def test_another_dataset_takes_the_place_of_the_last(roomy: list[int]) -> None:
    first, second = numbered(), numbered()
    there = weakref.ref(moved(first, 1))
    moved(second, 1)
    assert there() is None
    moved(first, 1)
    assert roomy == [600] * 3


def test_a_dataset_that_is_gone_does_not_keep_its_photos_for_the_next_at_its_address(roomy: list[int]) -> None:
    for _ in range(5):
        moved(numbered(), 1)
    assert roomy == [600] * 5


def test_photos_released_or_kept_back_leave_the_device(roomy: list[int]) -> None:
    image_NCHW = numbered()
    there = weakref.ref(moved(image_NCHW, 1))
    batches.release_photos()
    assert there() is None
    kept = Batches(image_NCHW, np.array([1]), np.array([1]), META, move=False)
    assert not kept.on_device
    assert kept.image_XCHW.device == kept.index_device == CPU
    assert roomy == [600]


def test_photos_for_which_others_leave_no_room_stay(roomy: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image_NCHW: np.ndarray, device: torch.device) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(batches, "_upload", full)
    assert not Batches(numbered(), np.array([1]), np.array([1]), META).on_device
    assert not batches.photos_are_moved()
    assert roomy == [600]


@pytest.mark.parametrize("photos_a_piece", [1, 3, 10, 99])
def test_all_photos_arrive_whatever_the_size_of_a_piece(monkeypatch: pytest.MonkeyPatch, photos_a_piece: int) -> None:
    monkeypatch.setattr(batches, "PIECE_BYTES", photos_a_piece * 60 + 59)
    arrived = batches._upload(numbered(), CPU)
    assert (arrived.numpy() == numbered()).all()


def test_a_photo_larger_than_a_piece_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PIECE_BYTES", 1)
    assert (batches._upload(numbered(), CPU).numpy() == numbered()).all()


@pytest.mark.parametrize(("sharers", "fits"), [(None, True), ("1", True), ("3", True), ("4", False), ("many", True)])
def test_workers_that_share_a_gpu_share_its_memory(
    monkeypatch: pytest.MonkeyPatch, sharers: str | None, fits: bool
) -> None:
    monkeypatch.delenv("MASKCLS_GPU_SHARERS", raising=False)
    if sharers is not None:
        monkeypatch.setenv("MASKCLS_GPU_SHARERS", sharers)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (6000, 80000))
    assert batches._fits(1000, META) == fits


@pytest.mark.gpu
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_gpu_gives_the_same_batches_with_photos_on_it_or_not(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    batches.release_photos()
    monkeypatch.setattr(batches, "SPARE_SHARE", share)
    monkeypatch.setattr(batches, "PIECE_BYTES", 200)
    row_N, label_N = np.array([8, 2, 5, 9]), np.array([3, 1, 0, 2])
    side = Batches(numbered(), row_N, label_N, torch.device("cuda"))
    assert side.on_device == (share > 0)
    image_BCHW, label_B = side.take(torch.tensor([3, 0, 1]))
    assert image_BCHW[:, 0, 0, 0].tolist() == [9, 8, 2]
    assert label_B.tolist() == [2, 3, 1]


@pytest.mark.gpu
def test_the_photos_of_a_file_are_on_the_gpu_once_and_leave_it(tmp_path: Path) -> None:
    batches.release_photos()
    device, before = torch.device("cuda"), torch.cuda.memory_allocated()
    rng = np.random.default_rng(0)
    np.save(tmp_path / "photos.npy", rng.integers(256, size=(3000, 3, 96, 96), dtype=np.uint8))  # 83 MB: two pieces
    sides = [Batches(mapped(tmp_path / "photos.npy"), row_N, row_N, device) for row_N in (np.arange(9), np.arange(5))]
    assert sides[0].image_XCHW is sides[1].image_XCHW
    assert (sides[0].image_XCHW.cpu().numpy() == mapped(tmp_path / "photos.npy")).all()
    taken = torch.cuda.memory_allocated() - before
    assert 0 <= taken - 3000 * 3 * 96 * 96 < 1 << 20
    kept = Batches(mapped(tmp_path / "photos.npy"), np.arange(9), np.arange(9), device, move=False)
    assert torch.equal(kept.take(torch.arange(9))[0], sides[0].take(torch.arange(9))[0])
    del sides
    batches.release_photos()
    assert torch.cuda.memory_allocated() - before < 1 << 20
