"""GPUs as the driver and the environment show them: MIG instances, words for numbers, warnings, no driver at all."""

import os
import sys
from pathlib import Path

import pytest
import torch

import search.gpus.gpus
from search.gpus.gpus import Gpu, Listed, find_gpus, listed_gpus, usable_gpus
from search.gpus.slots import Slot

AAAA, BBBB = "GPU-aaaa1111-0d6d", "GPU-bbbb2222-0d6d"
QUERY = [f"0, {AAAA}, 100, 80000, 0", f"1, {BBBB}, 70000, 80000, 97"]
LIST = [f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {AAAA})", f"GPU 1: NVIDIA H100 80GB HBM3 (UUID: {BBBB})"]
MIG = [
    LIST[0],
    "  MIG 1g.10gb     Device  0: (UUID: MIG-c6d4f1ef)",
    "  MIG 1c.3g.40gb  Device  1: (UUID: MIG-5d7a0b11)",
    LIST[1],
]
WHOLE = [Listed("0", AAAA, 100, 80_000, 0), Listed("1", BBBB, 70_000, 80_000, 97)]
SPLIT = listed_gpus(QUERY, MIG)

DRIVER = """#!{python}
import sys
if sys.argv[1:] == ["-L"]:
    print({listing!r})
else:
    assert sys.argv[1:] == ["--query-gpu=index,uuid,memory.used,memory.total,utilization.gpu",
                            "--format=csv,noheader,nounits"]
    print({query!r})
sys.exit({status})
"""


def fake_driver(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """An nvidia-smi before any real one, and nobody's worker on its GPUs."""
    (folder / "nvidia-smi").write_text(text)
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(search.gpus.gpus, "count_holders", lambda gpu: 0)


def answer(query: str, listing: str, status: int = 0) -> str:
    return DRIVER.format(python=sys.executable, query=query, listing=listing, status=status)


def nobody(gpu: str) -> int:
    return 0


def names(gpus: list[Gpu]) -> list[tuple[str, str]]:
    return [(gpu.name, gpu.visible) for gpu in gpus]


def test_every_gpu_is_named_as_torch_counts_and_made_visible_by_its_uuid() -> None:
    gpus = usable_gpus(WHOLE, None, {AAAA: 0, BBBB: 2}.__getitem__)
    assert names(gpus) == [("cuda:0", AAAA), ("cuda:1", BBBB)]
    assert [gpu.holders for gpu in gpus] == [0, 2]
    assert [gpu.is_busy for gpu in gpus] == [False, False]
    assert [gpu.is_busy for gpu in usable_gpus(WHOLE, None, nobody)] == [False, True]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1,0", [("cuda:0", "1"), ("cuda:1", "0")]),
        (" 1 ", [("cuda:0", "1")]),
        (BBBB, [("cuda:0", BBBB)]),
        ("GPU-bb", [("cuda:0", "GPU-bb")]),
        ("1,7,0", [("cuda:0", "1")]),  # an unknown one hides all after it
        ("", []),
        ("-1", []),
        ("GPU-", []),
        ("GPU-cc", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_does(visible: str, expected: list[tuple[str, str]]) -> None:
    gpus = usable_gpus(WHOLE, visible, nobody)
    assert names(gpus) == expected
    numbers = {"0": (AAAA, 100), "1": (BBBB, 70_000), "GPU-bb": (BBBB, 70_000), BBBB: (BBBB, 70_000)}
    assert all((gpu.uuid, gpu.used_mib) == numbers[gpu.visible] for gpu in gpus)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["MIG-c6d4f1ef", "MIG-5d7a0b11", BBBB]),
        ("0", ["MIG-c6d4f1ef", "MIG-5d7a0b11"]),
        ("1,0", ["1", "MIG-c6d4f1ef", "MIG-5d7a0b11"]),
        (AAAA, ["MIG-c6d4f1ef", "MIG-5d7a0b11"]),
        ("MIG-5d7a0b11", ["MIG-5d7a0b11"]),
        ("MIG-unlisted", ["MIG-unlisted"]),
        (f"MIG-{AAAA}/7/0,1", [f"MIG-{AAAA}/7/0", "1"]),
        (f"{AAAA}/7/0", [f"{AAAA}/7/0"]),
        ("", []),
    ],
)
def test_a_gpu_with_mig_instances_is_so_many_places_and_none_itself(visible: str | None, expected: list[str]) -> None:
    gpus = usable_gpus(SPLIT, visible, nobody)
    assert [gpu.visible for gpu in gpus] == expected
    assert [gpu.name for gpu in gpus] == [f"cuda:{index}" for index in range(len(gpus))]
    assert not any(gpu.is_busy for gpu in gpus if gpu.uuid != BBBB)


def test_an_instances_memory_is_in_its_profiles_name() -> None:
    assert [gpu.total_mib for gpu in usable_gpus(SPLIT, None, nobody)] == [10_240, 40_960, 80_000]
    assert [gpu.total_mib for gpu in usable_gpus(SPLIT, "MIG-5d7a0b11,MIG-unlisted", nobody)] == [40_960, 0]


def test_a_tenth_of_the_memory_is_nobodys_work_and_neither_is_less_than_half_of_the_time() -> None:
    assert not Gpu("cuda:0", "0", AAAA, 8_000, 80_000).is_busy
    assert Gpu("cuda:0", "0", AAAA, 8_001, 80_000).is_busy
    assert not Gpu("cuda:0", "0", AAAA, 8_001, 80_000, holders=1).is_busy
    assert not Gpu("cuda:0", "0", AAAA, 500, 80_000, 49).is_busy
    assert Gpu("cuda:0", "0", AAAA, 500, 80_000, 50).is_busy
    assert not Gpu("cuda:0", "0", AAAA, 500, 80_000, 100, holders=1).is_busy
    assert not Gpu("cuda:0", "0", AAAA, 500, 0).is_busy  # nothing is known of it


@pytest.mark.parametrize("word", ["[N/A]", "[Insufficient Permissions]", "[Not Supported]", "[Unknown Error]", "", "-"])
def test_a_word_in_the_place_of_a_number_counts_as_idle(word: str) -> None:
    (gpu,) = usable_gpus(listed_gpus([f"0, {AAAA}, {word}, {word}, {word}"], LIST[:1]), None, nobody)
    assert (gpu.visible, gpu.used_mib, gpu.total_mib, gpu.percent, gpu.is_busy) == (AAAA, 0, 0, 0, False)


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: infoROM is corrupted at gpu 0000:3B:00.0",
        "Unable to determine the device handle for GPU0: 0000:3B:00.0: Unknown Error",
        "Attention : le pilote, 1, 2, 3, 4",
        f"[N/A], {AAAA}, 0, 80000, 0",
        "0, [N/A], 0, 80000, 0",
        f"0, {AAAA}, 0",
        "",
    ],
)
def test_a_line_that_is_no_gpu_is_left_out(line: str) -> None:
    assert listed_gpus([line, *QUERY, line], []) == WHOLE
    assert listed_gpus([line, *QUERY], [line, *LIST, line]) == WHOLE
    assert [gpu.uuid for gpu in listed_gpus([line], LIST)] == [AAAA, BBBB]


def test_the_driver_is_asked_for_the_gpus_and_for_their_instances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_driver(tmp_path, monkeypatch, answer("\n".join(QUERY), "\n".join(MIG)))
    gpus = find_gpus()
    assert [(gpu.visible, gpu.used_mib, gpu.percent) for gpu in gpus] == [
        ("MIG-c6d4f1ef", 0, 0),
        ("MIG-5d7a0b11", 0, 0),
        (BBBB, 70_000, 97),
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert names(find_gpus()) == [("cuda:0", "1")]


def test_a_driver_that_ends_with_an_error_is_believed_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = "WARNING: infoROM is corrupted at gpu 0000:3B:00.0"
    fake_driver(tmp_path, monkeypatch, answer("\n".join([*QUERY, warning]), "\n".join(LIST), status=14))
    assert [gpu.used_mib for gpu in find_gpus()] == [100, 70_000]


@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/sh\nexit 9\n",
        "#!/bin/sh\n",
        "#!/no/such/interpreter\n",
        "#!/bin/sh\necho No devices were found\nexit 6\n",
        "#!/bin/sh\necho NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.\nexit 9\n",
        "#!/bin/sh\nprintf '\\377\\376, \\0, x\\n'\n",
    ],
)
def test_a_driver_that_names_no_gpu_is_none(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_driver(tmp_path, monkeypatch, script)
    assert find_gpus() == []


def test_a_driver_that_hangs_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.gpus.gpus, "DRIVER_SECONDS", 0.1)
    fake_driver(tmp_path, monkeypatch, "#!/bin/sh\nexec sleep 60\n")
    assert find_gpus() == []


def test_without_a_driver_there_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus() == []


@pytest.mark.gpu
def test_the_gpu_of_this_machine_is_found_as_torch_sees_it() -> None:
    gpus = find_gpus()
    assert len(gpus) >= torch.cuda.device_count()
    first, properties = gpus[0], torch.cuda.get_device_properties(0)
    assert str(properties.uuid) in first.uuid
    assert first.total_mib == pytest.approx(properties.total_memory / 2**20, rel=0.05)
    assert 0 <= first.used_mib < first.total_mib
    assert Slot("cuda:0.0", "cuda:0", first.visible, 1, first.uuid).environment()["MASKCLS_GPU_SHARERS"] == "1"
