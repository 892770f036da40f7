"""Where workers run: GPUs as the driver and the environment show them, and shares of the cores."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import search.supervisor.slots
from maskcls.system.errors import UserError
from search.supervisor.slots import Gpu, Slot, cpu_workers, find_gpus, gpus_of, make_slots
from tests.helpers.training import one_line

FIRST, SECOND, THIRD = (
    ("GPU-aaaa1111", 100.0, 80_000.0),
    ("GPU-bbbb2222", 70_000.0, 80_000.0),
    ("GPU-cc", 0.0, 16_000.0),
)
ROWS = {key: row for index, row in enumerate((FIRST, SECOND, THIRD)) for key in (str(index), row[0])}
FREE, BUSY = Gpu("cuda:0", "0", 100, 80_000, False), Gpu("cuda:1", "1", 70_000, 80_000, False)
OURS = Gpu("cuda:2", "2", 70_000, 80_000, True)

DRIVER = """#!{python}
import sys
if "--query-compute-apps=gpu_uuid,pid" in sys.argv:
    print("{apps}")
else:
    assert "--query-gpu=index,uuid,memory.used,memory.total" in sys.argv
    print("0, GPU-aaaa1111, 100, 80000\\n1, GPU-bbbb2222, 70000, 80000")
"""


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.supervisor.slots, "num_cores", lambda: 8)
    monkeypatch.setattr(search.supervisor.slots, "available_gib", lambda: math.inf)


def fake_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """An nvidia-smi before any real one."""
    (folder / "nvidia-smi").write_text(text)
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def names(gpus: list[Gpu]) -> list[tuple[str, str]]:
    return [(gpu.name, gpu.visible) for gpu in gpus]


def test_every_gpu_is_named_as_torch_counts_and_made_visible_by_its_uuid() -> None:
    gpus = gpus_of(ROWS, {"GPU-bbbb2222"}, None)
    assert names(gpus) == [("cuda:0", "GPU-aaaa1111"), ("cuda:1", "GPU-bbbb2222"), ("cuda:2", "GPU-cc")]
    assert [gpu.is_ours for gpu in gpus] == [False, True, False]
    assert [gpu.is_busy for gpu in gpus] == [False, False, False]
    assert [gpu.is_busy for gpu in gpus_of(ROWS, set(), None)] == [False, True, False]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("2,0", [("cuda:0", "2"), ("cuda:1", "0")]),
        (" 1 ", [("cuda:0", "1")]),
        ("GPU-bbbb2222", [("cuda:0", "GPU-bbbb2222")]),
        ("GPU-bb", [("cuda:0", "GPU-bb")]),
        ("1,7,0", [("cuda:0", "1")]),  # an unknown one hides all after it
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_does(visible: str, expected: list[tuple[str, str]]) -> None:
    gpus = gpus_of(ROWS, set(), visible)
    assert names(gpus) == expected
    assert all((gpu.used_mib, gpu.total_mib) == ROWS[gpu.visible][1:] for gpu in gpus if gpu.visible in ROWS)


def test_a_tenth_of_the_memory_is_nobodys_work() -> None:
    assert not Gpu("cuda:0", "0", 8_000, 80_000, False).is_busy
    assert Gpu("cuda:0", "0", 8_001, 80_000, False).is_busy


def test_without_a_gpu_four_workers_share_the_cores(eight_cores: None) -> None:
    slots = [Slot(f"cpu.{index}", "cpu", "", 2) for index in range(4)]
    assert make_slots("auto", None, [], 50) == slots
    assert make_slots("cpu", None, [FREE], 50) == slots


def test_by_default_there_are_no_more_workers_than_trials(eight_cores: None) -> None:
    assert make_slots("cpu", None, [], 1) == [Slot("cpu.0", "cpu", "", 8)]
    assert len(make_slots("auto", None, [FREE, OURS], 1)) == 1


def test_workers_beyond_the_trials_are_left_out_and_that_is_said(
    eight_cores: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(make_slots("cpu", 1000, [], 3)) == 3
    assert capsys.readouterr().out == "--workers 1000 is more than there are trials; 3 are started.\n"
    assert len(make_slots("cpu", 3, [], 3)) == 3
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="--workers 1000 is more than this machine has room for"):
        make_slots("cpu", 1000, [], 9)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("workers", "gib", "most"), [(9, math.inf, 8), (1000, math.inf, 8), (5, 4.5, 4), (2, 1.9, 1), (2, 0.0, 1)]
)
def test_more_workers_than_cores_and_memory_carry_are_refused_unless_forced(
    eight_cores: None, monkeypatch: pytest.MonkeyPatch, workers: int, gib: float, most: int
) -> None:
    monkeypatch.setattr(search.supervisor.slots, "available_gib", lambda: gib)
    for gpus in ([], [FREE]):
        with pytest.raises(UserError) as caught:
            make_slots("auto", workers, gpus, 2000)
        assert f"--workers {workers} is more than this machine has room for: 8 cores" in one_line(caught.value)
        assert f"Take --workers {most} or fewer; --force" in one_line(caught.value)
        assert len(make_slots("auto", workers, gpus, 2000, force=True)) == workers
        assert len(make_slots("auto", most, gpus, 2000)) == most


@pytest.mark.parametrize(
    ("cores", "workers"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (6, 3), (7, 3), (9, 3), (64, 4)]
)
def test_a_cpu_trains_side_by_side_with_hardly_a_core_idle(cores: int, workers: int) -> None:
    assert cpu_workers(cores, math.inf) == workers


def test_little_memory_means_fewer_workers() -> None:
    assert [cpu_workers(8, gib) for gib in (0.5, 3, 6.5, 7, 12, 100)] == [1, 1, 2, 2, 4, 4]


@pytest.mark.parametrize(("workers", "cores"), [(1, 8), (3, 2), (8, 1), (20, 1)])
def test_workers_share_the_cores(workers: int, cores: int, eight_cores: None) -> None:
    slots = make_slots("cpu", workers, [], 50, force=True)
    assert [slot.name for slot in slots] == [f"cpu.{index}" for index in range(workers)]
    assert {slot.cores for slot in slots} == {cores}


def test_by_default_each_gpu_that_nobody_else_uses_has_one_worker(eight_cores: None) -> None:
    for device in ("auto", "cuda"):
        slots = make_slots(device, None, [FREE, BUSY, OURS], 50)
        assert [(slot.name, slot.device, slot.visible) for slot in slots] == [
            ("cuda:0.0", "cuda:0", "0"),
            ("cuda:2.1", "cuda:0", "2"),  # its own process sees no other
        ]
        assert {slot.cores for slot in slots} == {4}


def test_more_workers_than_gpus_are_spread_evenly(eight_cores: None) -> None:
    slots = make_slots("auto", 5, [FREE, OURS], 50)
    assert [slot.name for slot in slots] == ["cuda:0.0", "cuda:2.1", "cuda:0.2", "cuda:2.3", "cuda:0.4"]
    assert {slot.cores for slot in slots} == {1}


def test_a_gpu_asked_for_by_name_is_used_though_it_is_busy(eight_cores: None) -> None:
    assert [slot.visible for slot in make_slots("cuda:1", 2, [FREE, BUSY], 50)] == ["1", "1"]


def test_when_every_gpu_is_busy_the_message_says_how_busy_and_the_ways_out() -> None:
    with pytest.raises(UserError, match=r"cuda:1 68 of 78 GiB.*--device cuda:1 .*--device cpu"):
        make_slots("auto", None, [BUSY], 50)


@pytest.mark.parametrize(
    ("device", "gpus", "known"),
    [("cuda:4", [FREE], "auto, cpu, cuda, cuda:0."), ("cuda", [], "auto, cpu."), ("tpu", [FREE], "cuda:0.")],
)
def test_an_unknown_device_is_told_the_known_ones(device: str, gpus: list[Gpu], known: str) -> None:
    with pytest.raises(UserError, match=f"There is no device {device} here") as caught:
        make_slots(device, None, gpus, 50)
    assert str(caught.value).endswith(known)


def test_a_worker_sees_its_gpu_alone_and_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("MARK", "inherited")
    environment = Slot("cuda:1.0", "cuda:0", "1", 3).environment()
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MARK")
    assert tuple(map(environment.get, names)) == ("1", "3", "inherited")


def test_the_driver_is_asked_for_the_gpus_and_for_who_works_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [sys.executable, "-c", "input()", "search.worker.worker"]  # a process that calls itself one of ours
    with subprocess.Popen(words, stdin=subprocess.PIPE) as ours:
        fake_driver(tmp_path, monkeypatch, DRIVER.format(python=sys.executable, apps=f"GPU-bbbb2222, {ours.pid}"))
        gpus = find_gpus()
        ours.communicate(b"\n")
    assert names(gpus) == [("cuda:0", "GPU-aaaa1111"), ("cuda:1", "GPU-bbbb2222")]
    assert [(gpu.used_mib, gpu.total_mib) for gpu in gpus] == [(100, 80_000), (70_000, 80_000)]
    assert [gpu.is_ours for gpu in gpus] == [False, True]
    fake_driver(tmp_path, monkeypatch, DRIVER.format(python=sys.executable, apps=f"GPU-bbbb2222, {os.getpid()}"))
    assert [gpu.is_busy for gpu in find_gpus()] == [False, True]  # this process is somebody else's
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert names(find_gpus()) == [("cuda:0", "1")]


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\n", "#!/no/such/interpreter\n"])
def test_a_driver_that_does_not_answer_is_no_gpu(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_driver(tmp_path, monkeypatch, script)
    assert find_gpus() == []


def test_without_a_driver_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus() == []
