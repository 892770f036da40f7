"""Speed of training steps, way by way: launched one by one, recorded in parts, recorded whole; and where the time goes.

python steps.py              # as the project trains
python steps.py benchmark    # with cudnn.benchmark, in a process of its own: plans found are kept for both
"""

import collections
import os
import sys
import time
import traceback
from typing import Any

import torch
from cell import ON_GPU, Step, make_run, measure, parse, say, wait
from torch.profiler import ProfilerActivity, profile

WAYS: dict[str, dict[str, Any]] = {
    "launched": {},
    "both passes recorded": {"cuda_graphs": "on"},
    "whole step recorded": {"cuda_graphs": "step"},
    "the same, repeatable": {"cuda_graphs": "step", "repeatable": "on"},
    "the same, contiguous": {"cuda_graphs": "step", "memory_format": "contiguous"},
    "both passes, float16": {"cuda_graphs": "on", "dtype": "float16"},
}


def main() -> None:
    with_benchmark = sys.argv[1:] == ["benchmark"]
    columns = "cell | way | photos/s | ms a step | ms CPU | ms kernels | kernels | GiB | set-up s"
    say(f"\n| {'cudnn.benchmark, ' if with_benchmark else ''}{columns} |")
    say("|---|---|---|---|---|---|---|---|---|")
    for cell in os.environ["CELLS"].split():
        for name, fields in WAYS.items():
            try:
                say(row(cell, name, fields, with_benchmark))
            except Exception as error:
                say(f"| {cell} | {name} | FAILED: {type(error).__name__}: {str(error).splitlines()[0][:150]} |")
                traceback.print_exc()


def row(cell: str, name: str, fields: dict[str, Any], with_benchmark: bool) -> str:
    """A row of the table, and a line with the longest kernels."""
    backbone, size, batch = parse(cell)
    begun = time.perf_counter()
    run = make_run(backbone, size, batch, **fields)
    torch.backends.cudnn.benchmark = with_benchmark
    run.step(0)
    wait()
    ready = time.perf_counter() - begun
    ms, cpu = measure(run.step, run.stops[-1])
    kernels, count, longest = profiled(run.step) if ON_GPU else (0.0, 0.0, "")
    gib = torch.cuda.max_memory_reserved() / 2**30 if ON_GPU else 0.0
    return (
        f"| {cell} | {name} | {1e3 * batch / ms:.0f} | {ms:.2f} | {cpu:.2f} | {kernels:.2f} | {count:.0f} | {gib:.2f} |"
        f" {ready:.1f} |\n    loss {float(run.step(0)):.3f}; longest kernels, ms: {longest}"
    )


def profiled(step: Step, count: int = 3) -> tuple[float, float, str]:
    """(ms of kernels a step, kernels a step, the longest ones)."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        for number in range(count):
            step(number)
        wait()
    events = [event for event in found.events() if "CUDA" in str(event.device_type)]
    spent: collections.Counter[str] = collections.Counter()
    for event in events:
        spent[event.name[:70]] += event.time_range.elapsed_us() / 1e3 / count
    longest = "; ".join(f"{ms:.2f} {name}" for name, ms in spent.most_common(6))
    return sum(spent.values()), len(events) / count, longest


if __name__ == "__main__":
    main()
