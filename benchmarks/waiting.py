"""How OpenMP threads should wait: trainings that share a CPU, with spinning and with sleeping threads.

    python benchmarks/waiting.py

Trains the same small model in one process alone and in two at once on the same cores, under OMP_WAIT_POLICY=active
and passive in turn, and prints photos per second per process (median of the rounds).
"""

import os
import platform
import statistics
import subprocess
import sys

ROUNDS = 3
SECONDS = 8.0
CHILD = """
import sys, time, timm, torch
model = timm.create_model("test_efficientnet", num_classes=18).to(memory_format=torch.channels_last).train()
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
image = torch.randn(32, 3, 96, 96).contiguous(memory_format=torch.channels_last)
label = torch.randint(0, 18, (32,))
def step():
    torch.nn.functional.cross_entropy(model(image), label).backward()
    optimizer.step()
    optimizer.zero_grad()
step()
print("ready", flush=True)
sys.stdin.readline()
end, steps = time.perf_counter() + float(sys.argv[1]), 0
while time.perf_counter() < end:
    step()
    steps += 1
print(32 * steps / float(sys.argv[1]))
"""


def measure(policy: str, processes: int) -> float:
    """Photos per second of each of ``processes`` trainings that run at the same time; their mean."""
    environment = {**os.environ, "OMP_WAIT_POLICY": policy}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(processes)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    return statistics.mean(float(child.communicate()[0]) for child in children)


def main() -> None:
    """Print the table."""
    import torch

    print(f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, torch {torch.__version__}, {ROUNDS} rounds")
    cells = [(policy, processes) for processes in (1, 2) for policy in ("active", "passive")]
    rounds = [{cell: measure(*cell) for cell in cells} for _ in range(ROUNDS)]  # interleaved: the machine drifts
    for policy, processes in cells:
        speeds = [found[policy, processes] for found in rounds]
        print(
            f"{processes} at once, {policy:7s}  {statistics.median(speeds):7.1f} photos/s each"
            f"  (from {min(speeds):.1f} to {max(speeds):.1f})"
        )


if __name__ == "__main__":
    main()
