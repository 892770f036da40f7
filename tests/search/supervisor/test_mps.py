"""Workers that share a GPU find the daemon through which they compute side by side. The daemon is a fake."""

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import search.supervisor.gpu_holders
import search.supervisor.mps
from search.supervisor.gpu_holders import lock_holder
from search.supervisor.mps import can_share, end_daemons, share_gpus
from search.supervisor.pool import WorkerPool
from search.supervisor.slots import Slot

GPU, OTHER = "GPU-aaaa1111", "GPU-bbbb2222"
DAEMON = """#!/bin/sh
echo "$CUDA_VISIBLE_DEVICES $*" >> "$(dirname "$0")/calls"
if [ "$1" = -d ]; then
    [ -e "$(dirname "$0")/broken" ] && { echo "no right to do that"; exit 1; }
    touch "$CUDA_MPS_PIPE_DIRECTORY/control"
    sleep 30 &  # a daemon keeps the output open
    exit 0
fi
[ -e "$CUDA_MPS_PIPE_DIRECTORY/control" ] || exit 1
read -r word
echo "$word" >> "$(dirname "$0")/calls"
[ "$word" = quit ] && rm "$CUDA_MPS_PIPE_DIRECTORY/control"
exit 0
"""


def slots(*gpus: str) -> list[Slot]:
    return [Slot(f"cuda:0.{index}", "cuda:0", "0", 1, gpu) for index, gpu in enumerate(gpus)]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pipes and locks in a folder of the test's own, and no daemon on this machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(search.supervisor.mps, "DEFAULT_PIPES", tmp_path / "nvidia-mps")
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    search.supervisor.gpu_holders._is_private.cache_clear()
    yield
    search.supervisor.gpu_holders._is_private.cache_clear()


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
    return Path(tempfile.gettempdir()) / f"mask-search-{os.geteuid()}" / f"mps-{gpu}"


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
    assert (control / "calls").read_text() == f"{GPU} -d\n"
    assert directory(GPU).stat().st_mode & 0o777 == 0o700


def test_an_instance_of_a_gpu_and_a_cpu_need_none(control: Path) -> None:
    for gpu in ("MIG-c6d4f1ef", ""):
        assert share_gpus(slots(gpu, gpu)) == slots(gpu, gpu)
    assert not (control / "calls").exists()


def test_commands_share_a_daemon_and_the_last_one_ends_it(control: Path) -> None:
    first, second = share_gpus(slots(GPU, GPU)), share_gpus(slots(GPU, GPU))
    assert first == second
    assert (control / "calls").read_text().count("-d") == 1
    worker = lock_holder(GPU)
    assert worker is not None
    end_daemons(first)
    assert (directory(GPU) / "control").exists()
    os.close(worker)
    end_daemons(second)
    assert not (directory(GPU) / "control").exists()
    end_daemons(second)  # it is gone already
    assert share_gpus(slots(GPU, GPU)) == first  # and starts again


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
def test_a_daemon_that_somebody_runs_already_is_left_alone(
    how: str, control: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "variable":
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/run/mps")
    else:
        (tmp_path / "nvidia-mps").mkdir()
        (tmp_path / "nvidia-mps" / "control").touch()
    assert can_share()
    assert share_gpus(slots(GPU, GPU)) == slots(GPU, GPU)
    assert not (control / "calls").exists()
