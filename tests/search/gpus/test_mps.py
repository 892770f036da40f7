"""Workers that share a GPU find the daemon through which they compute side by side. The daemon is a fake."""

import fcntl
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import search.gpus.gpu_holders
import search.gpus.mps
from search.gpus.gpu_holders import lock_holder
from search.gpus.mps import can_share, shared_gpus
from search.gpus.slots import Slot
from search.supervisor.pool import WorkerPool

GPU, OTHER = "GPU-aaaa1111", "GPU-bbbb2222"
DAEMON = """#!/bin/sh
echo "$CUDA_VISIBLE_DEVICES $*" >> "$(dirname "$0")/calls"
if [ "$1" = -d ]; then
    [ -e "$(dirname "$0")/broken" ] && { echo "no right to do that"; exit 1; }
    touch "$CUDA_MPS_PIPE_DIRECTORY/control"
    sleep 9 &  # a daemon keeps the output open
    exit 0
fi
[ -e "$CUDA_MPS_PIPE_DIRECTORY/control" ] || exit 1
[ "$CUDA_MPS_PIPE_DIRECTORY" = "$(cat "$(dirname "$0")/dead" 2> /dev/null)" ] && exit 1
read -r word
echo "$word" >> "$(dirname "$0")/calls"
[ "$word" = quit ] && rm "$CUDA_MPS_PIPE_DIRECTORY/control"
[ "$word" = get_server_list ] && cat "$(dirname "$0")/servers" 2> /dev/null
exit 0
"""


def slots(*gpus: str) -> list[Slot]:
    return [Slot(f"cuda:0.{index}", "cuda:0", "0", 1, gpu) for index, gpu in enumerate(gpus)]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pipes and locks in a folder of the test's own, and no daemon on this machine."""
    monkeypatch.setattr(search.gpus.gpu_holders, "COMMON", tmp_path)
    monkeypatch.setattr(search.gpus.mps, "DEFAULT_PIPES", tmp_path / "nvidia-mps")
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    search.gpus.gpu_holders._is_private.cache_clear()
    yield
    search.gpus.gpu_holders._is_private.cache_clear()


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a fake control program, which is found first; ``calls`` in it is what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "nvidia-cuda-mps-control").write_text(DAEMON)
    (folder / "nvidia-cuda-mps-control").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def directory(gpu: str) -> Path:
    return search.gpus.gpu_holders.COMMON / f"mask-search-{os.geteuid()}" / f"mps-{gpu}"


def share_gpus(slots: list[Slot]) -> list[Slot]:
    """The slots as one command has them, which ends at once."""
    with shared_gpus(slots) as shared:
        return shared


def test_without_the_program_workers_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not can_share()
    assert share_gpus(slots(GPU, GPU)) == slots(GPU, GPU)


def test_workers_that_share_a_gpu_get_its_daemon(control: Path) -> None:
    assert can_share()
    first, alone, second = share_gpus(slots(GPU, OTHER, GPU))
    assert first.mps == second.mps == str(directory(GPU))
    assert alone.mps == ""
    environment = first.environment()
    assert environment["CUDA_MPS_PIPE_DIRECTORY"] == str(directory(GPU))
    assert environment["CUDA_VISIBLE_DEVICES"] == GPU  # not the 0 that it has alone
    assert "CUDA_MPS_PIPE_DIRECTORY" not in alone.environment()
    assert (control / "calls").read_text().startswith(f"{GPU} -d\n")
    assert directory(GPU).stat().st_mode & 0o777 == 0o700


def test_an_instance_of_a_gpu_and_a_cpu_need_none(control: Path) -> None:
    for gpu in ("MIG-c6d4f1ef", ""):
        assert share_gpus(slots(gpu, gpu)) == slots(gpu, gpu)
    assert not (control / "calls").exists()


def is_running(gpu: str) -> bool:
    return (directory(gpu) / "control").exists()


def test_commands_share_a_daemon_and_the_last_one_ends_it(control: Path) -> None:
    with shared_gpus(slots(GPU, GPU)) as first:
        with shared_gpus(slots(GPU, GPU)) as second:
            assert first == second
        assert is_running(GPU)  # though no worker of the first command holds the GPU yet
    assert not is_running(GPU)
    assert (control / "calls").read_text().count("-d") == 1
    assert share_gpus(slots(GPU, GPU)) == first  # it starts again
    assert (control / "calls").read_text().count("-d") == 2


def test_a_worker_whose_command_was_killed_keeps_the_daemon(control: Path) -> None:
    worker = lock_holder(GPU)
    assert worker is not None
    share_gpus(slots(GPU, GPU))
    assert is_running(GPU)
    os.close(worker)
    share_gpus(slots(GPU, GPU))
    assert not is_running(GPU)


def test_a_command_waits_while_another_ends_the_daemon(control: Path) -> None:
    share_gpus(slots(GPU, GPU))
    with Path(f"{directory(GPU)}.lock").open("w") as ending:
        fcntl.flock(ending, fcntl.LOCK_EX)
        script = f"""
import pathlib, search.gpus.gpu_holders
from search.gpus.mps import shared_gpus
from search.gpus.slots import Slot
search.gpus.gpu_holders.COMMON = pathlib.Path({str(control.parent)!r})
with shared_gpus([Slot("cuda:0.0", "cuda:0", "0", 1, {GPU!r})] * 2) as slots:
    print(slots[0].mps)
"""
        other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1)
    output, _ = other.communicate(timeout=30)
    assert output == f"{directory(GPU)}\n"


def test_a_client_is_ended_by_the_daemon_before_it_is_killed(control: Path) -> None:
    """A kill in the middle of a kernel may take the other clients with it."""
    (control / "servers").write_text("4711\n")
    with WorkerPool(slots(GPU, GPU), arguments=("-c", "import time; time.sleep(60)")) as pool:
        worker = pool.start(pool.slots[0])
        alone = pool.start(replace(pool.slots[1], mps=""))
        for _ in range(3):  # as a shutdown does until it has ended
            pool.kill(worker, is_overdue=False)
        assert worker.process.wait(10) == -9
        pool.kill(alone, is_overdue=False)
    calls = (control / "calls").read_text()
    assert calls.count(f"terminate_client 4711 {worker.process.pid}\n") == 1
    assert calls.count("terminate_client") == 1


def test_a_pool_has_the_daemon_while_it_is_open(control: Path) -> None:
    with WorkerPool(slots(GPU, GPU)) as pool:
        assert [slot.mps for slot in pool.slots] == 2 * [str(directory(GPU))]
        assert (directory(GPU) / "control").exists()
    assert not (directory(GPU) / "control").exists()


def test_a_daemon_that_does_not_start_is_said(control: Path, caplog: pytest.LogCaptureFixture) -> None:
    (control / "broken").touch()
    caplog.set_level(logging.INFO)
    assert share_gpus(slots(GPU, GPU)) == slots(GPU, GPU)
    assert f"NVIDIA MPS does not start (no right to do that), so the workers on {GPU} take turns." in caplog.text


@pytest.mark.parametrize("how", ["variable", "folder"])
@pytest.mark.parametrize("answers", [True, False])
def test_a_daemon_that_somebody_runs_already_is_left_alone(
    answers: bool, how: str, control: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is dead, and has left its pipes behind."""
    folder = tmp_path / ("mps" if how == "variable" else "nvidia-mps")
    if how == "variable":
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(folder))
    folder.mkdir()
    (folder / "control").touch()
    if not answers:
        (control / "dead").write_text(str(folder))
    assert can_share()
    shared = share_gpus(slots(GPU, GPU))
    assert (shared == slots(GPU, GPU)) is answers
    assert ("-d\n" in (control / "calls").read_text()) is not answers
    assert shared[0].environment().get("CUDA_MPS_PIPE_DIRECTORY") == str(directory(GPU)) or answers
