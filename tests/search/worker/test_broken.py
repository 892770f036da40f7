"""A worker's process that has lost its GPU: it tells so and exits, without freeing what would call the GPU."""

import json
import os
import subprocess
import sys

import pytest
import torch

from maskcls.training.numerics import memory_of_others
from search.worker.messages import BROKEN

FAKE = """
class Photos:
    def __del__(self):
        os.abort()

def work(order, lines, events):
    photos = Photos()
    raise torch.AcceleratorError("CUDA error: misaligned address" + chr(10) + "hints")
"""

REAL = """
def work(order, lines, events):
    try:
        return train()
    except Exception as error:
        raise BrokenProcessError(sticky_cause(error)) from error

def train():
    photos = torch.ones(1 << 20).pin_memory().to("cuda", non_blocking=True)
    pinned = torch.ones(1 << 20).pin_memory()
    copied = pinned.to("cuda", non_blocking=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        doubled = 2 * photos
    graph.replay()
    photos[torch.tensor([1 << 21], device="cuda")]  # a device assert
    torch.cuda.synchronize()
"""

SCRIPT = """
import os, sys, torch
import search.worker.worker
from maskcls.system.console import log_to_console
from maskcls.system.errors import sticky_cause
from search.worker.events import EventWriter
from search.worker.job import BrokenProcessError
{work}
log_to_console()
search.worker.worker._work = work
search.worker.worker.WorkOrder.from_line = staticmethod(lambda line: None)
events = EventWriter({descriptor})
search.worker.worker._carry_out("", iter(()), events)
"""


def end_of(work: str) -> tuple[int, list[object], str]:
    """(exit status, last event, output) of a worker whose work is this."""
    read_end, write_end = os.pipe()
    script = SCRIPT.format(work=work, descriptor=write_end)
    done = subprocess.run(
        [sys.executable, "-c", script], pass_fds=[write_end], capture_output=True, text=True, timeout=120
    )
    os.close(write_end)
    with os.fdopen(read_end) as events:
        lines = events.read().splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else [], done.stdout + done.stderr


def test_a_process_that_has_lost_its_gpu_tells_so_and_exits() -> None:
    status, event, output = end_of(FAKE)
    assert (status, event) == (1, ["ended", BROKEN, "CUDA error: misaligned address"]), output
    assert "this process has lost its GPU and exits: CUDA error: misaligned address" in output


@pytest.mark.gpu
def test_so_it_does_after_a_real_failure_with_tensors_and_graphs_alive() -> None:
    status, event, output = end_of(REAL)
    assert status == 1, output
    assert event[:2] == ["ended", BROKEN]
    assert "CUDA error: device-side assert triggered" in str(event[2])


HOLDER = "import torch; held = torch.empty(8 << 30, dtype=torch.uint8, device='cuda'); print(1, flush=True); input()"


@pytest.mark.gpu
def test_memory_that_another_process_holds_is_told_from_ones_own() -> None:
    device = torch.device("cuda")
    mine = torch.empty(4 << 30, dtype=torch.uint8, device=device)
    before = memory_of_others(device)
    words = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "1\n"
        assert 6 < memory_of_others(device) - before < 12  # other tests may run beside this one
        other.communicate("\n")
    del mine
