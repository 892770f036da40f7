"""Cores and memory that a container, systemd or a batch system leaves, by drawn files of either version of cgroups."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

import maskcls.system.cgroups
import maskcls.system.cores
from maskcls.system.cores import BATCH_CORES, available_gib, num_cores

V2 = "30 24 0:26 {root} {mount}/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 24 0:27 {root} {mount}/cpu,cpuacct rw,nosuid shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
    "32 24 0:28 {root} {mount}/memory rw,nosuid - cgroup cgroup rw,memory\n"
)
GIB = 2**30


@pytest.fixture(autouse=True)
def six_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And 8 GiB, with no batch system and no group around."""
    for name in (*BATCH_CORES, "SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.setattr(maskcls.system.cgroups, "PROC", tmp_path / "proc")
    monkeypatch.setattr(maskcls.system.cores, "MEMORY_INFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 8388608 kB\n")


def draw(tmp_path: Path, groups: str, mounts: str, files: Mapping[str, str], root: str = "/") -> None:
    """This process's groups, what is mounted, and the files there."""
    (tmp_path / "proc").mkdir(exist_ok=True)
    (tmp_path / "proc" / "cgroup").write_text(groups)
    (tmp_path / "proc" / "mountinfo").write_text(
        "22 1 8:1 / / rw,relatime - ext4 /dev/sda rw\n" + mounts.format(root=root, mount=tmp_path)
    )
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 6), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("900000 100000", 6), ("", 6)],
)
def test_a_containers_quota_of_version_2_counts(quota: str, expected: int, tmp_path: Path) -> None:
    draw(tmp_path, "0::/\n", V2, {"unified/cpu.max": quota})
    assert num_cores() == expected


@pytest.mark.parametrize(
    ("quota", "expected"), [("-1", 6), ("200000", 2), ("150000", 2), ("10000", 1), ("900000", 6), ("", 6)]
)
def test_a_containers_quota_of_version_1_counts(quota: str, expected: int, tmp_path: Path) -> None:
    files = {"cpu,cpuacct/cpu.cfs_quota_us": quota, "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    draw(tmp_path, "4:cpu,cpuacct:/\n3:memory:/\n", V1, files)
    assert num_cores() == expected


@pytest.mark.parametrize("tightest", ["", "user.slice/", "user.slice/job.service/"])
def test_a_quota_of_any_group_around_the_process_counts(tightest: str, tmp_path: Path) -> None:
    """As systemd's CPUQuota= sets it, on a service or on a slice above it."""
    groups = ("", "user.slice/", "user.slice/job.service/")
    files = {f"unified/{group}cpu.max": f"{300000 if group == tightest else 500000} 100000" for group in groups}
    other = {"unified/other.service/cpu.max": "100000 100000"}
    draw(tmp_path, "0::/user.slice/job.service\n", V2, {**files, **other})
    assert num_cores() == 3


@pytest.mark.parametrize("group", ["/docker/0a1b", "/docker/0a1b/inner"])
def test_a_container_that_sees_its_own_group_as_the_root_is_told_by_the_mount(group: str, tmp_path: Path) -> None:
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    draw(tmp_path, f"4:cpu,cpuacct:{group}\n", V1, files, root="/docker/0a1b")
    assert num_cores() == 2


def test_a_group_that_is_not_to_be_seen_here_leaves_what_is_mounted(tmp_path: Path) -> None:
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    draw(tmp_path, "4:cpu,cpuacct:/docker/0a1b\n", V1, files)
    assert num_cores() == 2
    draw(tmp_path, "4:cpu,cpuacct:/docker/0a1b2c\n", V1, files, root="/docker/0a1b")
    assert num_cores() == 2


def test_where_both_versions_are_mounted_the_tighter_counts(tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "400000",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "unified/cpu.max": "200000 100000",
    }
    draw(tmp_path, "4:cpu,cpuacct:/\n0::/\n", V1 + V2, files)
    assert num_cores() == 2
    (tmp_path / "unified" / "cpu.max").unlink()
    assert num_cores() == 4


def test_a_folder_with_a_space_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "a b"
    home.mkdir()
    monkeypatch.setattr(maskcls.system.cgroups, "PROC", home / "proc")
    mount = V2.replace("{mount}", f"{tmp_path}/a\\040b")  # as the kernel writes it
    draw(home, "0::/\n", mount, {"unified/cpu.max": "100000 100000"})
    assert num_cores() == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"SLURM_CPUS_PER_TASK": "2"}, 2),
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "4"}, 2),
        ({"SLURM_CPUS_ON_NODE": "4"}, 4),
        ({"SLURM_CPUS_PER_TASK": "64"}, 6),
        ({"SLURM_CPUS_PER_TASK": "two"}, 6),
        ({"SLURM_CPUS_PER_TASK": "0", "NSLOTS": "3"}, 3),
        ({"PBS_NCPUS": "5"}, 5),
        ({"LSB_DJOB_NUMPROC": "1"}, 1),
    ],
)
def test_what_a_batch_system_gave_the_job_counts(
    given: Mapping[str, str], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    assert num_cores() == expected


def test_without_any_of_it_taskset_alone_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    before = os.sched_getaffinity(0)
    all_of_them = num_cores()
    try:
        os.sched_setaffinity(0, {min(before)})
        assert num_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert num_cores() == all_of_them


def test_memory_is_what_machine_and_groups_leave(tmp_path: Path) -> None:
    assert available_gib() == 8
    draw(tmp_path, "0::/a\n", V2, {"unified/a/memory.max": "max", "unified/a/memory.current": f"{GIB}"})
    assert available_gib() == 8
    (tmp_path / "unified" / "memory.max").write_text(f"{4 * GIB}")
    (tmp_path / "unified" / "memory.current").write_text(f"{GIB}")
    assert available_gib() == 3
    (tmp_path / "unified" / "memory.stat").write_text(f"anon 5\ninactive_file {GIB // 2}\n")
    assert available_gib() == 3.5  # files read are given up
    (tmp_path / "meminfo").unlink()
    (tmp_path / "unified" / "memory.max").write_text("max")
    assert available_gib() == math.inf


def test_memory_of_version_1_counts_and_its_largest_number_is_no_limit(tmp_path: Path) -> None:
    files = {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": f"{GIB}"}
    draw(tmp_path, "3:memory:/\n", V1, files)
    assert available_gib() == 8
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{2 * GIB}")
    assert available_gib() == 1
    (tmp_path / "memory" / "memory.stat").write_text(f"inactive_file 9\ntotal_inactive_file {GIB // 4}\n")
    assert available_gib() == 1.25
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text(f"{9 * GIB}")
    assert available_gib() == 0


def test_memory_that_slurm_gave_the_job_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "512")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert available_gib() == 2
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1024")
    assert available_gib() == 1
