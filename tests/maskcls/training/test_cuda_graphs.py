"""Recording without a GPU: what a step leaves behind, which ways are supported, and what a failed recording becomes.

``record`` is replaced by plain calls of the work; tests/test_gpu.py has the real one.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from maskcls.config import TrainConfig, change
from maskcls.data.dataset import Dataset
from maskcls.run.record import STATE
from maskcls.run.serialize import load_state, state_content
from maskcls.training import cuda_graphs, loop
from maskcls.training.cuda_graphs import CaptureError, supported
from maskcls.training.loop import Run, fit
from tests.helpers.training import CPU, TINY, Log, facts

CUDA = torch.device("cuda")
CONFIG = change(TINY, augment=("flip", "gaussian", "cutmix"), drop_rate=0.3, cuda_graphs="step")


@pytest.fixture
def warm_ups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Runs with cuda_graphs = "step" on the CPU, whose recordings do the work so often (the one number of the list)."""
    times = [cuda_graphs.WARM_UP_STEPS]

    def record(work: Callable[[], None], generators: object, device: torch.device) -> Callable[[], None]:
        for _ in range(times[0]):
            work()
        return work

    monkeypatch.setattr(cuda_graphs, "record", record)
    monkeypatch.setattr(loop, "resolve", lambda config, _: config)
    return times


def trained(config: TrainConfig, data: Dataset, steps: range, state: Path | None = None) -> Run:
    """A run after these steps, from the state that ``save`` has written."""
    run = Run(config, data, CPU, None)
    run.model.train()
    if state is not None:
        stored = load_state(state)
        run.model.load_state_dict(stored.model)
        run.optimizer.load_state_dict(stored.optimizer)
        run.generator.set_state(stored.generator)
        torch.set_rng_state(stored.rng)
    for step in steps:
        run.step(step)
    return run


def save(run: Run, path: Path) -> Path:
    path.write_bytes(state_content(run._state()))
    return path


def assert_same(first: Run, second: Run) -> None:
    for one, other in zip(first._tensors(), second._tensors(), strict=True):
        assert torch.equal(one, other)


def test_recording_leaves_no_trace(few_photos: Dataset, warm_ups: list[int]) -> None:
    recorded = trained(CONFIG, few_photos, range(6))
    warm_ups[0] = 0
    assert_same(recorded, trained(CONFIG, few_photos, range(6)))


def test_a_recorded_step_does_what_any_other_does(few_photos: Dataset, warm_ups: list[int]) -> None:
    recorded = trained(CONFIG, few_photos, range(6))
    launched = trained(change(CONFIG, cuda_graphs="off"), few_photos, range(6))
    for one, other in zip(recorded._tensors(), launched._tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)  # the learning rate is a float32 tensor


def test_each_step_is_of_its_own_photos_and_its_loss_is_added(few_photos: Dataset, warm_ups: list[int]) -> None:
    run, losses = trained(CONFIG, few_photos, range(0)), []
    for step in range(3):
        losses.append(float(run.step(step)))
    assert len(set(losses)) == 3
    assert float(run.loss_sum) == pytest.approx(sum(losses))


def test_photos_that_are_not_on_the_device_are_copied_to_the_step(few_photos: Dataset, warm_ups: list[int]) -> None:
    run = Run(CONFIG, few_photos, CPU, None)
    run.model.train()
    run.train.on_device = False
    run.train.take = lambda index_B: (  # type: ignore[method-assign]
        run.train.image_XCHW[run.train.row_N[index_B]],
        run.train.label_N[index_B],
    )
    for step in range(6):
        run.step(step)
    assert_same(run, trained(CONFIG, few_photos, range(6)))


def test_a_resumed_run_records_after_its_state_is_back(
    few_photos: Dataset, warm_ups: list[int], tmp_path: Path
) -> None:
    state = save(trained(CONFIG, few_photos, range(3)), tmp_path / "resume.pt")
    resumed, undisturbed = trained(CONFIG, few_photos, range(3, 6), state), trained(CONFIG, few_photos, range(6))
    resumed.loss_sum.copy_(undisturbed.loss_sum)  # which counts from the last evaluation
    assert_same(resumed, undisturbed)


@pytest.mark.parametrize(("resume_seconds", "stop_seconds"), [(0.0, math.inf), (math.inf, 0.0), (math.inf, math.inf)])
def test_an_interrupted_run_of_recorded_steps_equals_an_undisturbed_one(
    resume_seconds: float,
    stop_seconds: float,
    few_photos: Dataset,
    warm_ups: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = change(CONFIG, epochs=4)
    undisturbed = fit(config, few_photos, device=CPU)
    monkeypatch.setattr(loop, "WRITES_BESIDE", ("cpu",))
    monkeypatch.setattr(loop, "RESUME_SECONDS", {"cpu": resume_seconds})
    monkeypatch.setattr(loop, "STOP_SECONDS", stop_seconds)
    fit(config, few_photos, Log(until=2), device=CPU, folder=tmp_path)
    assert (tmp_path / STATE).exists() == (min(resume_seconds, stop_seconds) == 0)
    monkeypatch.setattr(loop, "RESUME_SECONDS", {"cpu": math.inf})
    fit(config, few_photos, Log(until=3), device=CPU, folder=tmp_path)
    torch.manual_seed(99)
    assert facts(fit(config, few_photos, device=CPU, folder=tmp_path)) == facts(undisturbed)


@pytest.mark.parametrize(("before", "after"), [("off", "step"), ("step", "off")])
def test_states_of_recorded_and_of_launched_steps_are_interchangeable(
    before: str, after: str, few_photos: Dataset, warm_ups: list[int], tmp_path: Path
) -> None:
    state = save(trained(change(CONFIG, cuda_graphs=before), few_photos, range(3)), tmp_path / "resume.pt")
    run = trained(change(CONFIG, cuda_graphs=after), few_photos, range(3, 6), state)
    expected = trained(change(CONFIG, cuda_graphs=after), few_photos, range(6))
    for group in run.optimizer.param_groups:
        assert isinstance(group["lr"], torch.Tensor) == group["capturable"] == (after == "step")
    for one, other in zip(run.model.parameters(), expected.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "device", "dtype", "accumulates", "used"),
    [
        ("step", CUDA, "bfloat16", False, "step"),
        ("step", CUDA, "float32", False, "step"),
        ("step", CUDA, "float16", False, "on"),
        ("step", CUDA, "bfloat16", True, "off"),
        ("step", CPU, "float32", False, "off"),
        ("on", CUDA, "float16", False, "on"),
        ("on", CUDA, "bfloat16", True, "off"),
        ("on", CPU, "float32", False, "off"),
        ("auto", CUDA, "bfloat16", False, "off"),
        ("off", CUDA, "bfloat16", False, "off"),
    ],
)
def test_what_is_recorded_depends_on_device_dtype_and_accumulation(
    asked: str, device: torch.device, dtype: str, accumulates: bool, used: str
) -> None:
    assert supported(asked, device, dtype, accumulates) == used
    assert supported(used, device, dtype, accumulates) == used


@pytest.mark.parametrize("optimizer", ["nadamw", "adoptw", "adan", "lamb", "lion", "sgd", "radamw"])
def test_a_whole_step_is_recorded_only_of_an_optimizer_that_can_be(optimizer: str) -> None:
    config = change(CONFIG, optimizer=optimizer, dtype="bfloat16", cuda_graphs="step")
    used = supported(config.cuda_graphs, CUDA, config.dtype, False, config.optimizer)
    assert used == ("step" if optimizer == "radamw" else "on")
    assert supported("on", CUDA, "bfloat16", False, optimizer) == "on"
    assert supported("off", CUDA, "bfloat16", False, optimizer) == "off"


@pytest.fixture
def undone(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a failed recording put back; torch.cuda, as far as ``_recording`` asks it."""
    done: list[str] = []
    generator = SimpleNamespace(clone_state=lambda: "usable", graphsafe_set_state=done.append)
    monkeypatch.setattr(cuda_graphs, "default_generator", lambda _: generator)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 7))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: None)
    for name in ("device", "stream"):
        monkeypatch.setattr(torch.cuda, name, lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: done.append("synchronized"))
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", lambda *of: done.append(f"ended {of}"), raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda *of: done.append(f"released {of}"), raising=False)
    return done


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore"), ValueError("no")]
)
def test_a_failed_recording_says_why_and_leaves_torch_usable(error: Exception, undone: list[str]) -> None:
    reason = "operation not permitted when stream is capturing" if isinstance(error, RuntimeError) else "no"
    words = rf"^CUDA graphs could not be recorded: .*{reason}\.$"
    with pytest.raises(CaptureError, match=words) as raised, cuda_graphs._recording(CUDA):
        raise error
    assert raised.value.__cause__ is error
    assert undone == ["usable", "synchronized", "ended (0, (0, 7))", "released (0, (0, 7))"]


def test_the_reason_is_what_broke_the_recording_not_that_its_end_failed_then(undone: list[str]) -> None:
    end = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    end.__context__ = torch.OutOfMemoryError("no space for a workspace")
    with pytest.raises(CaptureError, match="no space for a workspace"), cuda_graphs._recording(CUDA):
        raise end


def test_out_of_memory_and_a_lost_gpu_are_no_matter_of_recording(undone: list[str]) -> None:
    with pytest.raises(torch.OutOfMemoryError), cuda_graphs._recording(CUDA):
        raise torch.OutOfMemoryError("out of memory")
    assert undone
    undone.clear()
    with pytest.raises(torch.AcceleratorError), cuda_graphs._recording(CUDA):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    assert not undone  # such a GPU must not be asked again


def test_what_a_user_interrupts_is_interrupted(undone: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt), cuda_graphs._recording(CUDA):
        raise KeyboardInterrupt
