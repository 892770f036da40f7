"""The acceptance on a GPU runs through, without one."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CELL = "test_efficientnet:32:8"


def test_a_dry_run_does_every_measurement(tmp_path: Path) -> None:
    steps = ["facts", "steps", "same", "together"]
    environment = {
        **os.environ,
        **{"DEVICE": "cpu", "CELLS": CELL, "CROWD": CELL, "SECONDS_EACH": "0.05", "PY": sys.executable},
        **{"OUT": str(tmp_path / "out"), "WORK": str(tmp_path / "work"), "BUDGET": "300"},
    }
    done = subprocess.run(
        ["bash", "benchmarks/gpu/acceptance.sh", *steps], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    summary = (tmp_path / "out" / "summary.txt").read_text()
    assert [line.split()[2:4] for line in summary.splitlines() if "install" not in line] == [
        [f"{step}:", "ok,"] for step in steps
    ], done.stdout
    assert done.stdout.count(f"| {CELL} | ") == 6 + 2
    assert done.stdout.count(" tensors equal, largest difference 0,") == 2
    assert "FAILED" not in done.stdout
