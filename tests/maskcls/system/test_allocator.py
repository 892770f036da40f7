"""Memory that tensors give back stays with the process, and nothing else changes."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
if sys.argv[1] == "picked":
    from maskcls.training.numerics import pick_device
    pick_device("cpu")
torch.set_num_threads(1)
def step():
    tensors = [torch.ones(2_000_000) for _ in range(8)]  # 8 MB each, as a large activation
    return float(sum(tensor[-1] for tensor in tensors))
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str, **environment: str) -> int:
    """Of ten steps that allocate what the three before them gave back; a step is 16,000 pages."""
    without = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    words = [sys.executable, "-c", PROGRAM, how]
    ended = subprocess.run(words, env={**without, **environment}, capture_output=True, text=True, check=True)
    return int(ended.stdout)


# with these every large tensor is mapped anew; left to itself glibc does so only if nothing lies above the tensors
MAPPED = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072", "MALLOC_MMAP_THRESHOLD_": "131072"}


def test_once_a_cpu_is_picked_hardly_a_page_is_asked_for_twice() -> None:
    assert page_faults("picked") < page_faults("as it is", **MAPPED) / 10


@pytest.mark.parametrize("name", MAPPED)
def test_settings_of_the_environment_are_left_alone(name: str) -> None:
    assert page_faults("picked", **{name: MAPPED[name]}) > page_faults("as it is", **MAPPED) / 2
