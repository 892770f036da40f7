"""Where workers run: on how many of the GPUs, and with which shares of them and of the cores."""

import math

import pytest

import search.gpus.slots
from maskcls.system.errors import UserError
from search.gpus.gpus import Gpu
from search.gpus.slots import Slot, cpu_workers, gpu_workers, make_slots
from tests.helpers.training import one_line

FREE, BUSY = Gpu("cuda:0", "0", "GPU-a", 100, 16_000), Gpu("cuda:1", "1", "GPU-b", 14_000, 16_000)
OURS = Gpu("cuda:2", "2", "GPU-c", 14_000, 16_000, 97, holders=1)
LARGE, LARGE_OURS = Gpu("cuda:0", "0", "GPU-d", 500, 81_559), Gpu("cuda:1", "1", "GPU-e", 20_000, 81_559, 90, holders=2)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.gpus.slots, "num_cores", lambda: 8)
    monkeypatch.setattr(search.gpus.slots, "available_gib", lambda: math.inf)


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
    monkeypatch.setattr(search.gpus.slots, "available_gib", lambda: gib)
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


@pytest.mark.parametrize(
    ("free_gib", "cores", "gpus", "workers"),
    [(79, 16, 1, 3), (79, 6, 1, 2), (79, 5, 1, 1), (79, 1, 1, 1), (35, 64, 1, 2), (5, 64, 1, 1), (79, 64, 8, 2)],
)
def test_a_large_gpu_has_as_many_workers_as_its_memory_and_the_cores_carry(
    free_gib: float, cores: int, gpus: int, workers: int
) -> None:
    assert gpu_workers(free_gib, cores, gpus) == workers


def test_by_default_large_gpus_have_several_workers_who_are_told_so(
    eight_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = make_slots("auto", None, [LARGE], 50, side_by_side=True)
    assert [(slot.name, slot.gpu, slot.sharers, slot.cores) for slot in slots] == [
        ("cuda:0.0", "GPU-d", 2, 4),
        ("cuda:0.1", "GPU-d", 2, 4),
    ]
    monkeypatch.setattr(search.gpus.slots, "num_cores", lambda: 64)
    slots = make_slots("auto", None, [LARGE, LARGE_OURS, FREE], 50, side_by_side=True)
    assert [(slot.name, slot.sharers) for slot in slots] == [  # another command has two on the second already
        ("cuda:0.0", 3),
        ("cuda:1.1", 3),
        ("cuda:0.2", 1),
        ("cuda:0.3", 3),
        ("cuda:0.4", 3),
    ]
    assert [slot.name for slot in make_slots("auto", None, [LARGE, FREE], 2, side_by_side=True)] == [
        "cuda:0.0",
        "cuda:0.1",
    ]
    assert len(make_slots("auto", None, [LARGE, LARGE], 1, side_by_side=True)) == 1


def test_by_default_workers_that_would_take_turns_have_a_gpu_each(eight_cores: None) -> None:
    slots = make_slots("auto", None, [LARGE, FREE], 50)
    assert [(slot.name, slot.sharers) for slot in slots] == [("cuda:0.0", 1), ("cuda:0.1", 1)]
    assert [slot.gpu for slot in slots] == [LARGE.uuid, FREE.uuid]


def test_little_memory_of_the_machine_leaves_each_gpu_one_worker(
    eight_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gib, count in ((2, 1), (5.9, 1), (6, 2), (100, 2)):
        monkeypatch.setattr(search.gpus.slots, "available_gib", lambda gib=gib: gib)
        assert len(make_slots("auto", None, [LARGE], 50, side_by_side=True)) == count


def test_more_workers_than_gpus_are_spread_evenly(eight_cores: None) -> None:
    slots = make_slots("auto", 5, [FREE, OURS], 50)
    assert [slot.name for slot in slots] == ["cuda:0.0", "cuda:2.1", "cuda:0.2", "cuda:2.3", "cuda:0.4"]
    assert [slot.sharers for slot in slots] == [3, 3, 3, 3, 3]  # on the second GPU with one of another command
    assert {slot.cores for slot in slots} == {1}


def test_a_gpu_asked_for_by_name_is_used_though_it_is_busy(eight_cores: None) -> None:
    assert [slot.visible for slot in make_slots("cuda:1", 2, [FREE, BUSY], 50)] == ["1", "1"]


def test_when_every_gpu_is_busy_the_message_says_how_busy_and_the_ways_out() -> None:
    with pytest.raises(
        UserError, match=r"cuda:1 14 of 16 GiB, computing 0 % of the time.*--device cuda:1 .*--device cpu"
    ):
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
