"""speed.py against a machine whose speed is known: a clock that every step and every photo moves on."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import maskcls.training.speed
from maskcls.config import TrainConfig, change
from maskcls.data.batches import BatchSampler
from maskcls.data.dataset import Dataset
from maskcls.training.speed import Speed, measure_speed
from tests.helpers.training import CPU, TINY

CONFIG = change(TINY, batch_size=32, micro_batch=32)


@dataclass
class Machine:
    """Takes so many seconds for a step, for each of its photos, and for a photo of validation."""

    step: float
    photo: float
    valid: float
    warm_up: float = 0.0
    """Once, at the first step."""
    most: int = 1000
    """Photos of a forward pass that fit in its memory."""
    frozen_steps: int = 0
    """Steps of the head alone, of 8."""
    frozen_photo: float = 0.0
    """Seconds for a photo of these."""
    now: float = 0.0
    batches: list[int] = field(default_factory=list)

    def perf_counter(self) -> float:
        return self.now

    def log_probs(self, model: Any, batches: list[torch.Tensor], config: TrainConfig) -> None:
        self.now += self.valid * len(batches[0])

    def run(self, config: TrainConfig, *_: object, **__: object) -> "Run":
        return Run(self, config)


class Run:
    """loop.Run, as far as it is asked."""

    def __init__(self, machine: Machine, config: TrainConfig) -> None:
        self.machine, self.config, self.device, self.model = machine, config, CPU, torch.nn.Identity()
        self.train = range(200)
        self.valid = self
        self.sampler = BatchSampler(200, config.batch_size, 0)
        self.frozen_steps, self.stops = machine.frozen_steps, [8]

    def step(self, number: int) -> None:
        machine = self.machine
        if number < self.frozen_steps:
            machine.now += machine.frozen_photo * self.sampler.batch_size
            return
        if self.config.micro_batch > machine.most:
            raise torch.OutOfMemoryError
        machine.now += machine.step + machine.photo * self.sampler.batch_size + machine.warm_up
        machine.warm_up = 0.0
        machine.batches.append(self.sampler.batch_size)

    def in_order(self, batch_size: int) -> Any:
        yield torch.zeros(min(batch_size, 50)), None


def measured(machine: Machine, few_photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> Speed:
    monkeypatch.setattr(maskcls.training.speed, "Run", machine.run)
    monkeypatch.setattr(maskcls.training.speed, "log_probs", machine.log_probs)
    monkeypatch.setattr("maskcls.training.speed.time.perf_counter", machine.perf_counter)
    return measure_speed(CONFIG, few_photos, CPU, None)


def test_a_small_model_is_timed_at_its_own_batch_size(few_photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(step=0.02, photo=0.001, valid=0.0005, warm_up=0.3)
    speed = measured(machine, few_photos, monkeypatch)
    assert speed.train == pytest.approx(32 / 0.052)
    assert speed.valid == pytest.approx(2000)


def test_a_large_model_is_asked_for_a_few_photos_only(few_photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(step=0.0, photo=0.2, valid=0.05)
    speed = measured(machine, few_photos, monkeypatch)
    assert speed.train == pytest.approx(5)
    assert speed.valid == pytest.approx(20)
    assert set(machine.batches) == {4}
    assert machine.now < 3


def test_a_very_large_one_takes_one_step(few_photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(step=0.0, photo=2.0, valid=0.5)
    assert measured(machine, few_photos, monkeypatch) == Speed(0.5, 2.0)
    assert machine.batches == [4]


def test_out_of_memory_halves_the_micro_batch(few_photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(step=0.0, photo=0.001, valid=0.001, most=8)
    assert measured(machine, few_photos, monkeypatch).train == pytest.approx(1000)
    with pytest.raises(torch.OutOfMemoryError):
        measured(Machine(step=0.0, photo=0.001, valid=0.001, most=1), few_photos, monkeypatch)


def test_steps_of_the_head_alone_count_by_their_share(few_photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(step=0.0, photo=0.01, valid=0.01, frozen_steps=2, frozen_photo=0.002)
    assert measured(machine, few_photos, monkeypatch).train == pytest.approx(1 / (0.25 * 0.002 + 0.75 * 0.01))


def test_a_whole_run_is_its_steps_and_its_evaluations(few_photos: Dataset) -> None:
    train, valid = len(few_photos.train.row_N), len(few_photos.valid.row_N)
    config = change(CONFIG, batch_size=8, micro_batch=8, epochs=3, evaluations_per_epoch=1)
    trained = train // 8 * 8 * 3
    assert Speed(10.0, 40.0).seconds(config, few_photos) == pytest.approx(trained / 10 + 3 * valid / 40)
