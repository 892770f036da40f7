"""The table of engine.py: a row an arm, and whether its score is ours."""

import math
import os
import platform
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine_arms import Outcome
from scipy.special import stdtrit

from maskcls.config import TrainConfig
from maskcls.system.provenance import commit

FALSE_ALARMS = 0.01
"""Share of the checks of equal scores that fail by chance."""

MIN_PAIRS = 4
"""Fewer differences are shown and not judged: after a few steps every model says one class, and two pairs can agree."""

CEILINGS = {
    ("H100", "resnet18", 224): (24_135, 46_179),
    ("H100", "resnet50", 224): (7_474, 13_351),
    ("H100", "efficientnet_b3", 224): (5_860, 12_354),
    ("H100", "densenet121", 224): (6_135, 10_209),
    ("H100", "vit_small_patch16_224", 224): (14_621, 25_503),
    ("H200", "resnet50", 224): (8_936, 15_148),
    ("H200", "efficientnet_b3", 288): (4_527, 9_488),
    ("H200", "densenet121", 224): (7_706, 12_642),
    ("H200", "vit_small_patch16_224", 224): (15_519, 23_980),
}
"""Training photos a second that arithmetic and memory traffic allow in bfloat16: when every operation reads and writes
memory, and when pointwise ones are free. Estimates by the roofline model; no script here counts them."""

Rounds = list[dict[str, Any]]


@dataclass(frozen=True)
class Task:
    """What all arms did."""

    config: TrainConfig
    device: str
    photos: int
    """That one trial trains on, over all epochs."""


def row(rounds: Rounds, ours: Rounds, task: Task, at_once: int) -> tuple[dict[str, str], bool]:
    """The cells of a row by their column, and whether its score is ours.

    ``at_once``: trials that train side by side, whose speeds add up.
    """
    whole = statistics.median(found["seconds"] for found in rounds)
    ratio = statistics.median(found["seconds"] / mine["seconds"] for found, mine in zip(rounds, ours, strict=True))
    trials = [Outcome(**trial) for found in rounds for trial in found["trials"]]
    is_timm = math.isnan(trials[0].macro_f1)
    score, is_equal = compare("accuracy" if is_timm else "macro_f1", rounds, ours)
    shown = {"study, s": f"{whole:.1f}", "/ ours": f"{ratio:.2f}"}
    if is_timm:  # its train.py tells neither its F1 nor what it trains and validates in
        shown |= {"photos/s": "-", "s a trial beside": "-", "macro F1 (difference)": f"accuracy {score}"}
    else:
        speed = task.photos * len(trials) / sum(trial.train_seconds for trial in trials) * at_once
        beside = statistics.median(_beside(found, at_once) for found in rounds)
        shown |= {"photos/s": f"{speed:.0f}", "s a trial beside": f"{beside:.1f}", "macro F1 (difference)": score}
    if task.device.startswith("cuda"):
        shown |= {"GPU busy": _busy(rounds)}
        shown |= {"of the ceiling": "-" if is_timm else _of_the_ceiling(speed, task.config)}
    return shown, is_equal


def _beside(found: dict[str, Any], at_once: int) -> float:
    """Seconds a trial that are neither training nor validation."""
    inside = sum(trial["train_seconds"] + trial["valid_seconds"] for trial in found["trials"]) / at_once
    return float(found["seconds"] - inside) / len(found["trials"])


def _busy(rounds: Rounds) -> str:
    """Of the first GPU, over all rounds."""
    shares = [found["busy"] for found in rounds if found["busy"] is not None]
    return f"{100 * statistics.mean(shares):.0f} %" if shares else "-"


def _of_the_ceiling(photos_per_second: float, config: TrainConfig) -> str:
    """Of both, where they are known for this GPU, backbone and size."""
    for (gpu, backbone, size), ceilings in CEILINGS.items():
        if gpu in gpu_name() and (config.backbone, config.image_size[0]) == (backbone, size):
            return " / ".join(f"{100 * photos_per_second / ceiling:.0f} %" for ceiling in ceilings)
    return "-"


def compare(score: str, rounds: Rounds, ours: Rounds) -> tuple[str, bool]:
    """The mean score, its difference from ours over trials and rounds, and whether chance explains that."""
    values = [trial[score] for found in rounds for trial in found["trials"]]
    differences = [
        trial[score] - mine[score]
        for found, other in zip(rounds, ours, strict=True)
        for trial, mine in zip(found["trials"], other["trials"], strict=True)
    ]
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    allowed = stdtrit(len(differences) - 1, 1 - FALSE_ALARMS / 2)
    is_judged = rounds is not ours and len(differences) >= MIN_PAIRS
    is_equal = not is_judged or bool(abs(mean) <= allowed * error)
    text = f"{statistics.mean(values):.3f}"
    differs = "" if is_equal else ", DIFFERS"
    return text if rounds is ours else f"{text} ({mean:+.3f} ± {error:.3f}{differs})", is_equal


@cache
def gpu_name() -> str:
    """The driver's name of the first GPU. Asking torch would open it, and in exclusive mode keep the arms from it."""
    ask = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    text = subprocess.run(ask, capture_output=True, text=True).stdout if shutil.which(ask[0]) else ""
    return text.partition("\n")[0] or "no GPU"


def hardware() -> dict[str, str]:
    """What the numbers are of."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if line.startswith("model name")
    ]
    name = models[0].split(":")[1].strip() if models else platform.machine()
    return {
        "cpu": f"{len(os.sched_getaffinity(0))} cores, {name}",
        "gpu": gpu_name(),
        **{package: version(package) for package in ("torch", "torchvision", "timm", "optuna")},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def markdown(rows: dict[str, dict[str, str]]) -> str:
    """A line an arm."""
    columns = ["arm", *next(iter(rows.values()))]
    lines = [columns, ["---"] * len(columns), *([name, *cells.values()] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
