"""Whether two trainings from one seed leave the same bits, and what it costs to make them.

Without a GPU the flags are set all the same, and everything is equal anyway.
"""

import os
import time
import warnings

import torch
from cell import ON_GPU, make_run, parse, say, wait

STEPS = 21 if ON_GPU else 3


def main() -> None:
    for cell in os.environ["CELLS"].split():
        for repeatable in ("off", "on"):
            try:
                say(f"{cell}, repeatable {repeatable}: {compare(cell, repeatable)}")
            except Exception as error:
                say(f"{cell}, repeatable {repeatable}: FAILED {type(error).__name__}: {str(error).splitlines()[0]}")


def compare(cell: str, repeatable: str) -> str:
    """What two trainings have in common, and the time of the faster one."""
    weights, spent = [], []
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(2):
            run = make_run(*parse(cell), cuda_graphs="step", repeatable=repeatable)
            run.step(0)
            wait()
            begun = time.perf_counter()
            for number in range(1, STEPS):
                run.step(number)
            wait()
            spent.append(time.perf_counter() - begun)
            weights.append([tensor.detach().clone() for tensor in run.model.state_dict().values()])
            run = None
    equal = sum(torch.equal(*two) for two in zip(*weights, strict=True))
    far = max(float((a.double() - b.double()).abs().max()) for a, b in zip(*weights, strict=True))
    told = {str(one.message).split(". ")[0][:110] for one in found if "determin" in str(one.message)}
    return (
        f"{equal} of {len(weights[0])} tensors equal, largest difference {far:.2g},"
        f" {min(spent):.3f} s for {STEPS - 1} steps {told or ''}"
    )


if __name__ == "__main__":
    main()
