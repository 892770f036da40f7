"""The parts of a training step: never one photo alone, and as few as the memory allows."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from maskcls.config import TrainConfig, change
from maskcls.data.dataset import Dataset
from maskcls.system.errors import UserError
from maskcls.training import run_folder
from maskcls.training.loop import Run, fit
from maskcls.training.numerics import num_micro_batches, resolve
from maskcls.training.reporter import silent
from maskcls.training.run_folder import train_into
from tests.helpers.training import CPU, TINY, few, one_line


def sizes_of(photos: int, micro_batch: int) -> list[int]:
    return [len(part) for part in torch.zeros(photos).tensor_split(num_micro_batches(photos, micro_batch))]


@pytest.mark.parametrize("photos", range(2, 70))
def test_no_part_is_a_single_photo_and_all_are_about_equal(photos: int) -> None:
    for micro_batch in range(1, photos + 1):
        sizes = sizes_of(photos, micro_batch)
        assert sum(sizes) == photos
        assert min(sizes) >= 2
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= max(micro_batch, 3)
        if micro_batch > 2 or (micro_batch == 2 and photos % 2 == 0):  # as ever
            assert len(sizes) == math.ceil(photos / micro_batch)


def test_one_photo_cannot_be_trained_on(few_photos: Dataset) -> None:
    with pytest.raises(UserError) as caught:
        num_micro_batches(1, 2)
    assert one_line(caught.value) == "A training step needs at least 2 photos, not 1. Use more photos."
    with pytest.raises(UserError, match="at least 2 photos"):
        Run(TINY, few(few_photos, train=1), CPU, None)


@pytest.mark.parametrize(("given", "resolved"), [(0, 6), (1, 2), (2, 2), (6, 6)])
def test_a_micro_batch_of_one_is_two(given: int, resolved: int) -> None:
    config = resolve(TrainConfig(batch_size=6, micro_batch=given), CPU)
    assert config.micro_batch == resolved
    assert resolve(config, CPU) == config


def norm_inputs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Photos that every batch norm sees in training, from now on."""
    seen: list[int] = []
    real = functional.batch_norm

    def noting(x: torch.Tensor, *more: Any, **options: Any) -> torch.Tensor:
        if options.get("training", more[4] if len(more) > 4 else False):
            seen.append(len(x))
        return real(x, *more, **options)

    monkeypatch.setattr(functional, "batch_norm", noting)
    return seen


@pytest.mark.parametrize(
    ("batch_size", "micro_batch", "expected"),
    [(3, 2, {3}), (5, 2, {2, 3}), (8, 2, {2}), (33, 16, {11}), (64, 2, {2, 3})],  # 64: of 25 photos there are
)
def test_batch_norm_never_sees_one_photo(
    batch_size: int, micro_batch: int, expected: set[int], few_photos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = few(few_photos, train=25 if batch_size == 64 else 67)
    seen = norm_inputs(monkeypatch)
    config = change(TINY, backbone="test_byobnet", epochs=1, batch_size=batch_size, micro_batch=micro_batch)
    fit(config, photos, device=CPU)
    assert set(seen) == expected


def test_steps_at_16_pixels_train_with_the_smallest_parts(few_photos: Dataset) -> None:
    small = few_photos.image_NCHW[:, :, ::2, ::2].copy()
    photos = Dataset(small, few_photos.train, few_photos.valid, "small")
    config = resolve(change(TINY, image_size=16, batch_size=5, micro_batch=1, epochs=1), CPU)
    assert math.isfinite(fit(config, photos, device=CPU).history[0].train_loss)


def test_halving_an_odd_batch_ends_with_no_single_photo(
    few_photos: Dataset, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def full(config: TrainConfig, *_: object, **__: object) -> None:
        tried.append((config.micro_batch, sizes_of(7, config.micro_batch)))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(run_folder, "fit", full)
    config = change(TINY, batch_size=7, micro_batch=7)
    with pytest.raises(torch.OutOfMemoryError):
        train_into(
            tmp_path,
            config,
            few_photos,
            silent,
            origin={},
            device=CPU,
            weight_file=None,  # type: ignore[arg-type]
        )
    assert tried == [(7, [7]), (3, [3, 2, 2]), (2, [3, 2, 2])]
