"""The choice of how a GPU computes: what is tried, what is chosen, that it is remembered. Timed with fakes."""

import json
import os
import socket
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import maskcls.training.autotune
from maskcls.config import ResolvedConfig, TrainConfig, change
from maskcls.data.dataset import Dataset, LabelledPhotos
from maskcls.system.errors import UserError
from maskcls.system.lock import hold
from maskcls.training.autotune import (
    FORGOTTEN_SECONDS,
    MAX_REPEATABLE_COST,
    MIN_SPEEDUP,
    Timing,
    Way,
    choose_numerics,
    fastest,
    photos_per_second,
)
from maskcls.training.numerics import NotRepeatableError, only_repeatable, resolve
from tests.helpers.training import CPU, random_dataset

GPU = torch.device("cuda:0")
TINY = TrainConfig(backbone="test_efficientnet", image_size=(32, 32), batch_size=4, threads=1)

NOBODY = LabelledPhotos(np.empty(0), np.empty(0), np.empty(0), np.empty(0))
FIRST = {"cuda_graphs": "off", "memory_format": "channels_last", "repeatable": "off"}


class Gpu:
    """A GPU that is this fast: (memory_format, cuda_graphs, repeatable) -> photos per second, or the error."""

    def __init__(self) -> None:
        self.speeds: dict[tuple[str, str, str], float | BaseException] = {}
        self.default = 100.0
        self.tried: list[tuple[str, str, str]] = []
        self.meanwhile: Callable[[], object] = lambda: None
        """What others do while a way is tried."""

    def photos_per_second(self, config: TrainConfig, *_: object) -> float:
        way = (config.memory_format, config.cuda_graphs, config.repeatable)
        self.tried.append(way)
        self.meanwhile()
        speed = self.speeds.get(way, self.default)
        if isinstance(speed, BaseException):
            raise speed
        return speed


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    gpu, module = Gpu(), maskcls.training.autotune
    monkeypatch.setattr(module, "photos_per_second", gpu.photos_per_second)
    monkeypatch.setattr(module, "free_memory", lambda _: None)
    monkeypatch.setattr(module, "_not_stored", {})
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a fake")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    return gpu


def no_photos() -> Dataset:
    """For steps that are not made."""
    return Dataset(np.empty(0), NOBODY, NOBODY, "")


def unasked() -> Dataset:
    pytest.fail("photos were asked for")


def chosen(folder: Path, config: TrainConfig = TINY) -> tuple[str, str, str]:
    config = choose_numerics(config, GPU, folder, no_photos)
    return config.memory_format, config.cuda_graphs, config.repeatable


def stored(folder: Path) -> list[dict[str, object]]:
    (rows,) = json.loads((folder / "numerics" / "found.json").read_text()).values()
    return list(rows)


def store(folder: Path, *timings: Timing) -> None:
    (folder / "numerics").mkdir(exist_ok=True)
    path = folder / "numerics" / "found.json"
    maskcls.training.autotune._write_timings(path, {maskcls.training.autotune.cache_key(TINY, GPU): timings})


def test_a_cpu_tries_nothing(tmp_path: Path) -> None:
    assert choose_numerics(TINY, CPU, tmp_path, unasked) == TINY
    assert not list(tmp_path.iterdir())


def test_each_knob_is_tried_with_the_best_of_those_before_and_the_choice_remembered(
    gpu: Gpu, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.speeds = {
        ("channels_last", "step", "off"): 200,
        ("contiguous", "step", "off"): 300,
        ("contiguous", "step", "on"): 250,
    }
    assert chosen(tmp_path) == ("contiguous", "step", "off")
    tried = [("channels_last", "off", "off"), ("channels_last", "step", "off"), ("contiguous", "step", "off")]
    assert gpu.tried == [*tried, ("contiguous", "step", "on")]
    assert "timing how test_efficientnet trains fastest" in capsys.readouterr().out
    with hold(tmp_path):  # somebody decodes photos meanwhile
        assert chosen(tmp_path, change(TINY, lr=1e-2, drop_rate=0.5, seed=3)) == ("contiguous", "step", "off")
    assert len(gpu.tried) == 4
    assert capsys.readouterr().out == ""
    assert stored(tmp_path)[0]["way"] == FIRST
    assert [row["photos_per_second"] for row in stored(tmp_path)] == [100, 200, 300, 250]


@pytest.mark.parametrize(("speed", "repeatable"), [(100, "on"), (96, "on"), (94, "off"), (0, "off")])
def test_repeatable_kernels_are_chosen_where_they_cost_little(
    speed: float, repeatable: str, gpu: Gpu, tmp_path: Path
) -> None:
    assert 100 / 96 < MAX_REPEATABLE_COST < 100 / 94
    gpu.speeds = {("channels_last", "off", "on"): speed}
    assert chosen(tmp_path) == ("channels_last", "off", repeatable)


@pytest.mark.parametrize(
    "other", [{"backbone": "test_vit"}, {"image_size": 48}, {"batch_size": 8}, {"heads": "three_heads"}]
)
def test_what_a_step_costs_otherwise_is_tried_anew(other: dict[str, object], gpu: Gpu, tmp_path: Path) -> None:
    assert chosen(tmp_path) == ("channels_last", "off", "on")
    gpu.speeds = {("channels_last", "step", "off"): 150}
    assert chosen(tmp_path, change(TINY, **other)) == ("channels_last", "step", "off")
    assert chosen(tmp_path) == ("channels_last", "off", "on")


def test_what_a_config_says_is_kept_and_the_rest_chosen(gpu: Gpu, tmp_path: Path) -> None:
    gpu.speeds = {("contiguous", "step", "off"): 200, ("contiguous", "step", "on"): 200}
    assert chosen(tmp_path, change(TINY, memory_format="contiguous")) == ("contiguous", "step", "on")
    all_said = change(TINY, memory_format="contiguous", cuda_graphs="off", repeatable="off")
    assert choose_numerics(all_said, GPU, tmp_path, unasked) == all_said
    gpu.tried.clear()
    assert chosen(tmp_path, change(TINY, repeatable="on"))[2] == "on"
    assert {way[2] for way in gpu.tried} == {"on"}


def test_a_step_in_parts_is_not_recorded(gpu: Gpu, tmp_path: Path) -> None:
    gpu.speeds = {("contiguous", "auto", "off"): 200}
    config = choose_numerics(change(TINY, micro_batch=2), GPU, tmp_path, no_photos)
    assert config.memory_format == "contiguous"
    assert resolve(change(config, cuda_graphs="on"), GPU).cuda_graphs == "off"
    assert resolve(change(config, cuda_graphs="on", micro_batch=0), GPU).cuda_graphs == "on"


def test_a_way_that_fails_is_not_chosen_and_its_reason_kept(gpu: Gpu, tmp_path: Path) -> None:
    gpu.speeds = {("channels_last", "step", "off"): RuntimeError("not permitted\nwhile capturing")}
    assert chosen(tmp_path)[1] == "off"
    assert stored(tmp_path)[1]["error"] == "RuntimeError: not permitted while capturing"
    assert chosen(tmp_path)[1] == "off"
    assert len(gpu.tried) == 4


def test_a_way_that_takes_the_gpu_away_is_raised_and_left_alone_for_a_day(
    gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = ("channels_last", "step", "off")
    gpu.speeds = {recorded: RuntimeError("CUDA error: an illegal memory access")}
    with pytest.raises(RuntimeError, match="illegal memory access"):
        chosen(tmp_path)
    assert [row["error"] for row in stored(tmp_path)] == ["RuntimeError: CUDA error: an illegal memory access"]
    gpu.speeds, gpu.tried = {recorded: 900}, []  # in the next process
    assert chosen(tmp_path)[1] == "off"
    assert recorded not in gpu.tried
    gpu.tried.clear()
    assert chosen(tmp_path)[1] == "off"
    assert not gpu.tried
    tomorrow = time.time() + FORGOTTEN_SECONDS
    monkeypatch.setattr(time, "time", lambda: tomorrow)  # a fault of another process may have come through MPS
    assert chosen(tmp_path)[1] == "step"


def test_a_way_is_noted_before_it_is_tried_and_the_note_goes_with_the_result(gpu: Gpu, tmp_path: Path) -> None:
    noted = []
    gpu.meanwhile = lambda: noted.append(stored(tmp_path)[-1])
    chosen(tmp_path)
    assert [(row["process"], row["host"]) for row in noted] == 4 * [(os.getpid(), socket.gethostname())]
    assert all(row["process"] == 0 for row in stored(tmp_path))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UserError("timm cannot build it.")])
def test_an_interrupted_attempt_leaves_no_note(error: BaseException, gpu: Gpu, tmp_path: Path) -> None:
    gpu.speeds = {("contiguous", "off", "off"): error}
    with pytest.raises(type(error)):
        chosen(tmp_path)
    assert json.loads((tmp_path / "numerics" / "found.json").read_text()) == {}


def attempt(host: str, process: int, age: float, deaths: int = 1) -> Timing:
    way = {**FIRST, "cuda_graphs": "step"}
    return Timing(way, 0.0, "begun", process, host, time.time() - age, deaths)


def dead_process() -> int:
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


HERE = socket.gethostname()


@pytest.mark.parametrize(
    ("host", "is_alive", "age", "is_tried"),
    [
        (HERE, False, 1, False),
        (HERE, False, FORGOTTEN_SECONDS + 1, True),
        (HERE, True, 1, True),
        ("elsewhere", False, 1, True),
        ("elsewhere", False, 1000, False),
        ("elsewhere", False, FORGOTTEN_SECONDS + 1, True),
    ],
)
def test_a_second_note_without_a_result_says_that_its_process_has_died_of_it(
    host: str, is_alive: bool, age: float, is_tried: bool, gpu: Gpu, tmp_path: Path
) -> None:
    store(tmp_path, attempt(host, os.getppid() if is_alive else dead_process(), age))
    gpu.speeds = {("channels_last", "step", "off"): 200}
    assert chosen(tmp_path)[1] == ("step" if is_tried else "off")
    assert (("channels_last", "step", "off") in gpu.tried) == is_tried
    gpu.tried.clear()
    chosen(tmp_path)
    assert not gpu.tried


def test_a_process_that_was_killed_for_another_reason_is_no_reason_to_leave_a_way(gpu: Gpu, tmp_path: Path) -> None:
    both = [attempt(HERE, dead_process(), 1, deaths=0), attempt("elsewhere", 1, 1000, deaths=0)]
    store(tmp_path, *both)  # two that a reboot ended
    noted = list[object]()
    gpu.meanwhile = lambda: noted.append(stored(tmp_path)[-1]["deaths"])
    gpu.speeds = {("channels_last", "step", "off"): 200}
    assert chosen(tmp_path)[1] == "step"
    assert noted == [0, 2, 0, 0]  # killed now, it would have been the third to die of "step"
    gpu.tried.clear()
    assert chosen(tmp_path)[1] == "step"
    assert not gpu.tried


def test_of_two_that_measure_at_once_the_first_to_end_chooses_for_both(gpu: Gpu, tmp_path: Path) -> None:
    def other_process() -> None:
        if len(gpu.tried) != 3:
            return
        gpu.meanwhile = lambda: None
        gpu.speeds = {}
        assert chosen(tmp_path) == ("channels_last", "off", "on")
        gpu.speeds = {("channels_last", "step", "off"): 200}

    gpu.meanwhile = other_process
    assert chosen(tmp_path) == ("channels_last", "off", "on")
    assert len(gpu.tried) == 8
    assert all(row["process"] == 0 for row in stored(tmp_path))


def test_no_lock_is_held_while_steps_are_timed(gpu: Gpu, tmp_path: Path) -> None:
    def lock() -> None:
        with hold(tmp_path / "numerics", limit=0.5):
            pass

    gpu.meanwhile = lock
    chosen(tmp_path)


def test_a_way_without_memory_is_not_remembered_for_later_processes(
    gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.speeds = {("channels_last", "step", "off"): torch.OutOfMemoryError("CUDA out of memory")}
    for _ in range(2):  # tried once a process
        assert chosen(tmp_path)[1] == "off"
    assert len(gpu.tried) == 4
    monkeypatch.setattr(maskcls.training.autotune, "_not_stored", {})
    gpu.speeds = {("channels_last", "step", "off"): 200}
    assert chosen(tmp_path)[1] == "step"


def test_when_not_even_the_first_way_works_nothing_is_remembered(
    gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.default = 0.0
    gpu.speeds = {("channels_last", "off", "off"): RuntimeError("no")}
    for _ in range(2):
        assert chosen(tmp_path) == ("channels_last", "off", "off")
    assert len(gpu.tried) == 4
    monkeypatch.setattr(maskcls.training.autotune, "_not_stored", {})
    gpu.speeds, gpu.default = {("channels_last", "step", "off"): 200}, 100.0
    assert chosen(tmp_path)[1] == "step"


def test_full_memory_is_known_by_whatever_words(gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`")
    monkeypatch.setattr(maskcls.training.autotune, "is_out_of_memory", lambda error: error is full)
    gpu.speeds = {("channels_last", "step", "off"): full}
    assert chosen(tmp_path)[1] == "off"
    assert json.loads((tmp_path / "numerics" / "found.json").read_text()) == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": [{"way": {}}]}', '{"a": [{"odd": 1}]}'])
def test_a_damaged_file_is_nothing_lost(text: str, gpu: Gpu, tmp_path: Path) -> None:
    (tmp_path / "numerics").mkdir()
    (tmp_path / "numerics" / "found.json").write_text(text)
    gpu.speeds = {("channels_last", "step", "off"): 200}
    for _ in range(2):
        assert chosen(tmp_path)[1] == "step"
    assert len(gpu.tried) == 4


def test_timings_of_an_earlier_version_which_had_fewer_fields_are_made_again(gpu: Gpu, tmp_path: Path) -> None:
    old = [Timing({"memory_format": layout, "cuda_graphs": "off"}, 100.0) for layout in ("channels_last", "contiguous")]
    store(tmp_path, *old)
    assert chosen(tmp_path) == ("channels_last", "off", "on")
    assert stored(tmp_path)[0]["way"] == FIRST


def test_only_a_clearly_faster_way_displaces_the_one_before() -> None:
    for speed, graphs in ((100.0, "off"), (99 * MIN_SPEEDUP, "off"), (101 * MIN_SPEEDUP, "step")):

        def timing_of(way: Way, speed: float = speed) -> Timing:
            return Timing(way, speed if way["cuda_graphs"] == "step" else 100.0)

        assert fastest(["cuda_graphs"], timing_of) == {"cuda_graphs": graphs}


def test_real_steps_are_timed_and_a_model_that_cannot_be_built_is_refused() -> None:
    assert photos_per_second(TINY, CPU, random_dataset(TINY)) > 1
    odd = change(TINY, backbone="test_vit", image_size=33)
    with pytest.raises(UserError, match="timm cannot build test_vit"):
        photos_per_second(odd, CPU, random_dataset(odd))


def test_an_operation_without_a_repeatable_kernel_makes_the_way_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def to_device(model: nn.Module, config: ResolvedConfig, device: torch.device) -> nn.Module:
        warnings.warn("pool_backward does not have a deterministic implementation, but you set", stacklevel=1)
        return model

    monkeypatch.setattr("maskcls.training.loop.to_device", to_device)
    monkeypatch.setattr(maskcls.training.autotune, "only_repeatable", lambda config, _: only_repeatable(config, GPU))
    with pytest.raises(NotRepeatableError, match="no kernel of pool_backward gives the same bits"):
        photos_per_second(TINY, CPU, random_dataset(TINY))


@pytest.mark.gpu
@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_vit", "resnet18"])
def test_a_choice_is_made_within_seconds(backbone: str, tmp_path: Path) -> None:
    config = change(TINY, backbone=backbone, image_size=64, batch_size=32)
    data, began = random_dataset(config), time.perf_counter()
    way = choose_numerics(config, GPU, tmp_path, lambda: data)
    seconds = time.perf_counter() - began
    print(backbone, f"{seconds:.1f} s", stored(tmp_path))
    assert {way.memory_format, way.cuda_graphs, way.repeatable}.isdisjoint({"auto"})
    assert len(stored(tmp_path)) == 4
    assert not [row["error"] for row in stored(tmp_path) if row["error"]]
    assert seconds < 30
    assert choose_numerics(config, GPU, tmp_path, unasked) == way


def test_a_choice_holds_for_one_optimizer_and_one_number_of_parameter_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a GPU")
    plain, *others = (
        maskcls.training.autotune.cache_key(change(TINY, **values), CPU)
        for values in ({}, {"optimizer": "lion"}, {"layer_decay": 0.75})
    )
    assert "optimizer" not in plain  # so that choices stored before are still found
    assert others == [f"{plain}, optimizer=lion", f"{plain}, layer_decay=0.75"]
