"""Who is on a GPU: counted by the locks of workers, which no container hides and no crash leaves behind."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import search.gpus.gpu_holders
from search.gpus.gpu_holders import MAX_HOLDERS, count_holders, lock_holder
from search.gpus.slots import Slot
from search.supervisor.pool import WorkerPool

GPU, OTHER, OLD_MIG = "GPU-aaaa1111", "MIG-c6d4f1ef", "MIG-GPU-aaaa1111/7/0"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the locks, in a temporary folder of the test's own."""
    monkeypatch.setattr(search.gpus.gpu_holders, "COMMON", tmp_path)
    search.gpus.gpu_holders._is_private.cache_clear()
    yield tmp_path / f"mask-search-{os.geteuid()}"
    search.gpus.gpu_holders._is_private.cache_clear()


def take(gpu: str) -> int:
    descriptor = lock_holder(gpu)
    assert descriptor is not None
    return descriptor


@pytest.mark.parametrize("gpu", [GPU, OTHER, OLD_MIG])
def test_those_who_hold_a_gpu_are_counted(gpu: str, folder: Path) -> None:
    assert count_holders(gpu) == 0
    first, second = take(gpu), take(gpu)
    assert count_holders(gpu) == 2
    assert count_holders("GPU-cccc") == 0
    os.close(first)
    assert count_holders(gpu) == 1
    third = take(gpu)  # in the free place
    assert count_holders(gpu) == 2
    assert len(list(folder.iterdir())) == 2
    os.close(second)
    os.close(third)
    assert count_holders(gpu) == 0


def test_the_folder_is_the_users_alone(folder: Path) -> None:
    os.close(take(GPU))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_commands_with_different_tmpdir_see_each_other(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = take(GPU)
    of_a_job = tmp_path_factory.mktemp("job")
    monkeypatch.setattr(tempfile, "tempdir", str(of_a_job))
    assert count_holders(GPU) == 1
    os.close(held)
    monkeypatch.setattr(search.gpus.gpu_holders, "COMMON", folder / "absent")
    os.close(take(GPU))
    assert [path.name for path in of_a_job.iterdir()] == [folder.name]


@pytest.mark.parametrize("how", ["link", "open to others", "a file"])
def test_a_folder_that_another_user_may_have_made_is_not_trusted(
    how: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if how == "link":
        (folder.parent / "mine").mkdir(mode=0o700)
        folder.symlink_to(folder.parent / "mine")
    elif how == "a file":
        folder.touch(0o600)
    else:
        folder.mkdir()
        folder.chmod(0o770)
    assert lock_holder(GPU) is None
    assert count_holders(GPU) == 0
    assert capsys.readouterr().err.count("is not a folder of this user alone") == 1


def test_a_link_in_a_locks_place_is_not_followed(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    target = folder.parent / "precious"
    (folder / f"{GPU}.0").symlink_to(target)
    assert lock_holder(GPU) is None
    assert not target.exists()
    assert count_holders(GPU) == 0


def test_more_workers_than_can_be_told_apart_start_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.gpus.gpu_holders, "MAX_HOLDERS", 2)
    assert MAX_HOLDERS > 2
    held = [take(GPU), take(GPU)]
    assert lock_holder(GPU) is None
    assert count_holders(GPU) == 2
    for descriptor in held:
        os.close(descriptor)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_is_counted_from_its_start_until_it_has_ended(number: signal.Signals) -> None:
    """Seen from another process, too."""
    slots = [Slot(f"cuda:0.{index}", "cuda:0", "0", 1, GPU, 2) for index in range(2)]
    slots.append(Slot("cpu.2", "cpu", "", 1))
    pool = WorkerPool(slots, arguments=("-c", "import time; time.sleep(60)"))
    with pool:
        for slot in slots:
            pool.start(slot)
        assert count_holders(GPU) == 2
        common = str(search.gpus.gpu_holders.COMMON)
        script = f"""
import pathlib, search.gpus.gpu_holders as holders
holders.COMMON = pathlib.Path({common!r})
print(holders.count_holders({GPU!r}))
"""
        assert subprocess.check_output([sys.executable, "-c", script]) == b"2\n"
        pool.workers[0].process.send_signal(number)
        pool.workers[0].process.wait()
        assert count_holders(GPU) == 1
    assert count_holders(GPU) == 0


def test_a_worker_is_told_how_many_share_its_gpu() -> None:
    assert Slot("cuda:0.1", "cuda:0", "0", 1, GPU, 3).environment()["MASKCLS_GPU_SHARERS"] == "3"
    assert Slot("cpu.0", "cpu", "", 1).environment()["MASKCLS_GPU_SHARERS"] == "1"
