"""``repeatable``: what it resolves to, what is set for a run of it, and that a GPU then gives the same bits."""

import warnings
from typing import Any

import pytest
import torch

from maskcls.config import TrainConfig, change, identity_of
from maskcls.data.dataset import Dataset
from maskcls.training import loop
from maskcls.training.cuda_graphs import CaptureError
from maskcls.training.loop import Run, fit
from maskcls.training.numerics import NotRepeatableError, only_repeatable, resolve, set_repeatable
from tests.helpers.training import CPU, TINY, facts

GPU = torch.device("cuda:0")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)


def flags() -> tuple[bool, ...]:
    """(repeatable kernels only, a warning where there is none, memory-efficient attention, cuDNN's, flash, plain)."""
    cuda = torch.backends.cuda
    attention = (cuda.mem_efficient_sdp_enabled(), cuda.cudnn_sdp_enabled())
    fixed = (cuda.flash_sdp_enabled(), cuda.math_sdp_enabled())
    determinism = (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled())
    return (*determinism, *attention, *fixed)


@pytest.mark.parametrize(("asked", "on_gpu"), [("auto", "off"), ("on", "on"), ("off", "off")])
def test_it_resolves_to_on_where_it_is_free_and_else_to_what_was_asked(card: None, asked: str, on_gpu: str) -> None:
    config = change(TINY, repeatable=asked)
    assert resolve(config, CPU).repeatable == "on"
    assert resolve(config, GPU).repeatable == on_gpu
    for device in (CPU, GPU):
        assert resolve(resolve(config, device), device) == resolve(config, device)


def test_a_run_that_is_not_repeatable_after_one_that_is_sets_everything_back(card: None) -> None:
    before = flags()
    try:
        for value, expected in (
            ("on", (True, True, False, False, True, True)),
            ("off", (False, True, True, True, True, True)),
        ):
            set_repeatable(resolve(change(TINY, repeatable=value), GPU), GPU)
            assert flags() == expected
            assert not torch.backends.cudnn.benchmark
            assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        set_repeatable(resolve(change(TINY, repeatable="off"), GPU), GPU)
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = True
    assert flags() == before


def test_on_a_cpu_nothing_is_set(few_photos: Dataset) -> None:
    before = flags()
    fit(change(TINY, epochs=1), few_photos, device=CPU)
    assert flags() == before


def test_records_know_a_config_as_before_where_the_field_changes_nothing(card: None) -> None:
    old = TINY.model_dump_json(exclude={"repeatable", "ema_decay"})
    assert identity_of(resolve(TINY, CPU), "cpu") == old
    on, off = (resolve(change(TINY, repeatable=value), GPU) for value in ("on", "off"))
    assert "repeatable" not in identity_of(off, "cuda")
    assert identity_of(on, "cuda") == on.model_dump_json(exclude={"ema_decay"})


def test_an_operation_without_a_repeatable_kernel_ends_a_run_that_should_repeat(
    card: None, few_photos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Run.step

    def putting(run: Run, number: int) -> torch.Tensor:
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
        return step(run, number)

    monkeypatch.setattr(Run, "step", putting)
    monkeypatch.setattr(loop, "only_repeatable", lambda config, _: only_repeatable(config, GPU))
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with pytest.raises(NotRepeatableError, match=r"^no kernel of put_ gives the same bits every time$"):
            fit(change(TINY, epochs=1), few_photos, device=CPU)
    finally:
        torch.use_deterministic_algorithms(False)
    with pytest.raises(NotRepeatableError, match="no kernel of odd gives"), only_repeatable(TINY, GPU):
        raise CaptureError("not recorded") from UserWarning("odd does not have a deterministic implementation, but")
    for config, device in ((change(TINY, repeatable="off"), GPU), (TINY, CPU)):
        with pytest.warns(UserWarning, match="^odd does not have"), only_repeatable(config, device):
            warnings.warn("odd does not have a deterministic implementation", stacklevel=1)
    with pytest.raises(ValueError, match="other"), only_repeatable(TINY, GPU):
        raise ValueError("other")


BACKBONES = ("test_efficientnet", "test_vit", "resnet18")


@pytest.mark.gpu
@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("graphs", ["off", "on"])
def test_a_repeatable_run_gives_the_same_bits_again(backbone: str, graphs: str, few_photos: Dataset) -> None:
    knobs: dict[str, Any] = {"backbone": backbone, "drop_rate": 0.2, "augment": "flip,contrast", "lr": 1e-3}
    knobs |= {"micro_batch": 0, "dtype": "auto", "memory_format": "channels_last", "threads": 0}
    config = resolve(change(TINY, **knobs, cuda_graphs=graphs, repeatable="on"), GPU)
    first = fit(config, few_photos, device=GPU)
    between: TrainConfig = change(config, repeatable="off", seed=1, epochs=1)
    fit(resolve(between, GPU), few_photos, device=GPU)
    assert not torch.are_deterministic_algorithms_enabled()
    assert facts(fit(config, few_photos, device=GPU)) == facts(first)
