"""Photos a second of several trainings on one GPU, a process each: in turns, and side by side through MPS."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping

from cell import ON_GPU, make_run, parse, say, wait

from search.gpus.gpus import find_gpus
from search.gpus.mps import shared_gpus
from search.gpus.slots import make_slots

CELLS = os.environ["CROWD"].split()
COUNTS = (1, 2, 3) if ON_GPU else (1, 2)
WAIT_EVERY = 8
"""Steps after which a training waits for the GPU, so that none runs ahead of what is counted."""


def train() -> None:
    """The child: ready for every cell, then for each line ``CELL SECONDS`` it answers photos a second."""
    runs = {cell: make_run(*parse(cell), cuda_graphs="step") for cell in CELLS}
    for run in runs.values():
        for number in range(5):
            run.step(number)
    wait()
    say("ready")
    for line in sys.stdin:
        cell, seconds = line.split()
        run, begun, count = runs[cell], time.perf_counter(), 0
        while time.perf_counter() - begun < float(seconds):
            run.step(count % run.stops[-1])
            count += 1
            if count % WAIT_EVERY == 0:
                wait()
        wait()
        say(f"{count * run.sampler.batch_size / (time.perf_counter() - begun):.1f}")


def measure(how: str, environment: Mapping[str, str]) -> None:
    """Print the speed of one, two and three processes with this environment, as rows of a table."""
    child = [sys.executable, __file__, "train"]
    crowd = [
        subprocess.Popen(child, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(max(COUNTS))
    ]
    for one in crowd:
        answer(one)
    for cell in CELLS:
        alone = 0.0
        for count in COUNTS:
            for one in crowd[:count]:
                assert one.stdin is not None
                one.stdin.write(f"{cell} 1.2\n")
                one.stdin.flush()
            speed = sum(float(answer(one)) for one in crowd[:count])
            alone = alone or speed
            say(f"| {cell} | {count} {how} | {speed:.0f} photos/s | {speed / alone:.2f} x one |")
    for one in crowd:
        one.communicate(timeout=20)


def answer(child: "subprocess.Popen[str]") -> str:
    """The next line of a child."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def main() -> None:
    measure("in turns", os.environ)
    if not ON_GPU:
        return
    with shared_gpus(make_slots("cuda", max(COUNTS), find_gpus()[:1], max(COUNTS))) as slots:
        if slots[0].mps:
            measure("side by side", slots[0].environment())


if __name__ == "__main__":
    train() if sys.argv[1:] == ["train"] else main()
