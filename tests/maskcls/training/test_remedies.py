"""Running out of memory and steps that cannot be recorded: what is tried, in which order, with which files in place."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from maskcls.config import ResolvedConfig, TrainConfig, change, load_config
from maskcls.data import batches
from maskcls.data.dataset import Dataset
from maskcls.run.result import Result
from maskcls.system.liveness import beats
from maskcls.training import remedies, run_folder
from maskcls.training.cuda_graphs import CaptureError
from maskcls.training.loop import fit
from maskcls.training.numerics import NotRepeatableError, memory_of_others, resolve
from maskcls.training.remedies import Attempt, until_it_works
from maskcls.training.reporter import Reporter, silent
from tests.helpers.training import CPU, TINY, Log, facts

GPU = torch.device("cuda:0")
FULL = torch.OutOfMemoryError("CUDA out of memory")


@dataclass
class Gpu:
    """A GPU of 80 GiB on which a training raises these errors, one after the other."""

    errors: list[Exception] = field(default_factory=list)
    others_gib: float = 0.0
    tried: list[tuple[int, str, bool]] = field(default_factory=list)
    """(micro-batch, CUDA graphs, photos on the GPU)."""
    waited: list[float] = field(default_factory=list)

    def train(self, attempt: Attempt) -> str:
        self.tried.append((attempt.config.micro_batch, attempt.config.cuda_graphs, attempt.photos_on_gpu))
        if self.errors:
            raise self.errors.pop(0)
        return "trained"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu = Gpu()
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * 2**30))
    monkeypatch.setattr(remedies, "memory_of_others", lambda _: gpu.others_gib)
    monkeypatch.setattr(remedies.time, "sleep", gpu.waited.append)
    monkeypatch.setattr(batches, "_moved", object())
    return gpu


def recorded(**values: Any) -> ResolvedConfig:
    return resolve(change(TINY, batch_size=8, micro_batch=8, cuda_graphs="on", **values), GPU)


def test_what_changes_no_number_comes_first(gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    gpu.errors, gpu.others_gib = 5 * [FULL], 20.0
    config, result = until_it_works(Attempt(recorded()), GPU, gpu.train)
    assert gpu.tried == [
        (8, "on", True),
        (8, "on", False),
        (8, "off", False),
        (8, "off", False),  # after a wait
        (4, "off", False),
        (2, "off", False),
    ]
    assert gpu.waited == [remedies.WAIT_SECONDS]
    assert (config.micro_batch, config.batch_size, result) == (2, 8, "trained")
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "the photos leave it",
        "the run begins again and no longer records its steps",
        "others hold part of it, so the run waits 20 s",
        "the run begins again with 4 photos in a forward pass",
        "the run begins again with 2 photos in a forward pass",
    ]


def test_a_run_with_evaluations_waits_before_it_begins_again(gpu: Gpu) -> None:
    evaluations = list[int]()

    def train(attempt: Attempt) -> str:
        evaluations.append(1)
        return gpu.train(attempt)

    for others_gib, tried in ((20.0, [(8, "on", True), (8, "on", False), (8, "on", False), (8, "off", False)]),
                              (7.9, [(8, "on", True), (8, "on", False), (8, "off", False)])):  # fmt: skip
        gpu.errors, gpu.others_gib, gpu.tried = (len(tried) - 1) * [FULL], others_gib, []
        evaluations.clear()
        until_it_works(Attempt(recorded(), has_evaluations=lambda: len(evaluations) > 0), GPU, train)
        assert gpu.tried == tried
    assert gpu.waited == [remedies.WAIT_SECONDS]


def test_photos_leave_only_a_gpu_that_they_are_on(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_moved", None)
    gpu.errors = [FULL]
    until_it_works(Attempt(recorded()), GPU, gpu.train)
    assert gpu.tried == [(8, "on", True), (8, "off", True)]


def test_full_memory_is_known_by_whatever_words(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    full, other = RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED"), RuntimeError("odd")
    monkeypatch.setattr(remedies, "is_out_of_memory", lambda error: error is full)
    gpu.errors = [full]
    until_it_works(Attempt(recorded()), GPU, gpu.train)
    assert gpu.tried[1:] == [(8, "on", False)]
    gpu.errors = 9 * [full]
    with pytest.raises(torch.OutOfMemoryError, match="CUBLAS_STATUS_NOT_INITIALIZED"):
        until_it_works(Attempt(recorded()), GPU, gpu.train)
    gpu.errors = [other]
    with pytest.raises(RuntimeError, match="odd"):
        until_it_works(Attempt(recorded()), GPU, gpu.train)


def test_a_run_that_cannot_repeat_says_so_and_its_config_too(gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    gpu.errors = [NotRepeatableError("no kernel of pool_backward gives the same bits every time")]
    config, _ = until_it_works(Attempt(recorded(repeatable="on")), GPU, gpu.train)
    assert config == recorded(repeatable="off")
    why = "no kernel of pool_backward gives the same bits every time"
    assert caplog.messages == [f'test_efficientnet trains with repeatable = "off": {why}']
    for device, left in ((GPU, config), (CPU, resolve(TINY, CPU))):
        gpu.errors = [NotRepeatableError("odd")]
        with pytest.raises(NotRepeatableError):
            until_it_works(Attempt(left), device, gpu.train)


def test_others_are_waited_for_only_when_they_hold_much(gpu: Gpu) -> None:
    gpu.errors, gpu.others_gib = 3 * [FULL], 7.9
    until_it_works(Attempt(recorded()), GPU, gpu.train)
    assert gpu.tried[-2:] == [(8, "off", False), (4, "off", False)]
    gpu.errors, gpu.others_gib = 3 * [FULL], 20.0
    until_it_works(Attempt(recorded(), has_waited=True), GPU, gpu.train)
    assert not gpu.waited


def test_when_nothing_is_left_the_error_is_raised(gpu: Gpu) -> None:
    gpu.errors = 9 * [FULL]
    with pytest.raises(torch.OutOfMemoryError):
        until_it_works(Attempt(recorded()), GPU, gpu.train)
    assert gpu.tried[-1] == (2, "off", False)
    assert len(gpu.tried) == 5


def test_photos_that_have_left_are_no_longer_held(few_photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    held = object()
    monkeypatch.setattr(batches, "_moved", held)
    fit(change(TINY, epochs=1), few_photos, device=CPU)
    assert batches._moved is held
    fit(change(TINY, epochs=1), few_photos, device=CPU, photos_on_gpu=False)
    assert batches._moved is None


def test_a_wait_is_no_hanging(gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(_: float) -> None:
        began = beats()
        while beats() == began:
            pass

    real = remedies.beating
    monkeypatch.setattr(remedies, "beating", lambda: real(every=0.01))
    monkeypatch.setattr(remedies.time, "sleep", sleep)
    gpu.errors, gpu.others_gib = 3 * [FULL], 20.0
    until_it_works(Attempt(recorded()), GPU, gpu.train)


def test_a_step_that_cannot_be_recorded_is_launched(gpu: Gpu, caplog: pytest.LogCaptureFixture) -> None:
    gpu.errors = [CaptureError("operation not permitted when stream is capturing\nmore")]
    config, _ = until_it_works(Attempt(recorded()), GPU, gpu.train)
    assert gpu.tried == [(8, "on", True), (8, "off", True)]
    assert config.cuda_graphs == "off"
    (said,) = caplog.messages
    assert said == "test_efficientnet trains without CUDA graphs: operation not permitted when stream is capturing more"
    gpu.errors = [CaptureError("odd")]
    with pytest.raises(CaptureError):
        until_it_works(Attempt(config), GPU, gpu.train)


def test_on_a_cpu_only_the_micro_batch_helps(gpu: Gpu) -> None:
    gpu.errors, gpu.others_gib = 2 * [FULL], 20.0
    until_it_works(Attempt(resolve(change(TINY, batch_size=8, micro_batch=8), CPU)), CPU, gpu.train)
    assert gpu.tried == [(8, "off", True), (4, "off", True), (2, "off", True)]


def test_memory_of_others_is_what_neither_is_free_nor_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_of_others(CPU) == 0
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (50 * 2**30, 80 * 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 10 * 2**30)
    assert memory_of_others(GPU) == 20
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 31 * 2**30)
    assert memory_of_others(GPU) == 0


Remedy = Callable[[Attempt, torch.device], Attempt | None]


def once(change_attempt: Callable[[Attempt], Attempt]) -> Remedy:
    """A remedy that is there once."""
    used: list[bool] = []

    def remedy(attempt: Attempt, _: torch.device) -> Attempt | None:
        if used:
            return None
        used.append(True)
        return change_attempt(attempt)

    return remedy


@pytest.mark.parametrize("changes_config", [False, True])
def test_a_run_goes_on_from_its_files_unless_another_config_begins(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes_config: bool
) -> None:
    errors, heard = [FULL], []

    def runs_out(config: TrainConfig, data: Dataset, report: Reporter, **options: Any) -> Result:
        if errors:
            fit(config, data, Log(until=1), **options)  # type: ignore[arg-type]
            raise errors.pop()
        heard.append((tmp_path / "history.json").exists())
        return fit(config, data, report, **options)  # type: ignore[arg-type]

    def remedy(attempt: Attempt) -> Attempt:
        values = {"micro_batch": 16} if changes_config else {}
        return Attempt(resolve(change(attempt.config, **values), CPU), photos_on_gpu=False)

    monkeypatch.setattr(run_folder, "fit", runs_out)
    monkeypatch.setattr(remedies, "REMEDIES", ((once(remedy), "tried"),))
    arguments: dict[str, Any] = {"origin": {}, "device": CPU, "weight_file": None}
    config, result = run_folder.train_into(tmp_path, TINY, few_photos, silent, **arguments)
    assert heard == [not changes_config]
    assert config == load_config(tmp_path / "config.toml")[0] == change(TINY, micro_batch=16 if changes_config else 32)
    assert facts(result) == facts(fit(config, few_photos, device=CPU))


@pytest.mark.gpu
def test_the_memory_of_this_process_is_not_that_of_others() -> None:
    held = torch.zeros(2**30, dtype=torch.uint8, device=GPU)
    before = memory_of_others(GPU)
    more = torch.zeros(2**31, dtype=torch.uint8, device=GPU)
    assert abs(memory_of_others(GPU) - before) < 0.5
    del held, more


@pytest.mark.gpu
def test_photos_leave_a_gpu_that_is_full_and_the_numbers_stay(few_photos: Dataset, tmp_path: Path) -> None:
    config = resolve(change(TINY, micro_batch=0, dtype="auto", repeatable="on"), GPU)
    errors, on_gpu = [FULL], []

    def train(attempt: Attempt) -> Result:
        on_gpu.append(attempt.photos_on_gpu)
        if errors:
            raise errors.pop()
        return fit(attempt.config, few_photos, device=GPU, photos_on_gpu=attempt.photos_on_gpu)

    used, result = until_it_works(Attempt(config), GPU, train)
    assert (used, on_gpu) == (config, [True, False])
    assert facts(result) == facts(fit(config, few_photos, device=GPU))
