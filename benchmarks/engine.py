"""How long one and the same trial list takes: a user's script, an expert's, decoding once, timm's train.py, and us.

    python benchmarks/engine.py --data DIR                       # the photos of DIR, enlarged to 384 x 512
    python benchmarks/engine.py --backbones resnet18 --image-size 224 --device cuda

Every arm is one command in fresh processes and makes everything itself: imports, cache, compilation, database. All arms
have the same photos, split, weights, augmentation, epochs and learning rates (arms/job.py). They run in turn, round
after round. Equal macro F1 is a precondition: a t test of the paired differences from ours, over trials and rounds,
must not find one at 1 %, else the row says so and the exit status is 1; fewer than four pairs are not judged. Prints
Markdown; -o keeps the numbers.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import engine_data
import engine_table
import torch
from engine_arms import GLIBCS_OWN, Data, Ours, Script, TimmTrain
from engine_study import LRS

from maskcls.config import TrainConfig, make_config
from maskcls.data.dataset import prepare_data_folder
from maskcls.model.weights import resolve_weights
from search.gpus.gpus import find_gpus
from search.gpus.mps import can_share
from search.gpus.slots import make_slots

OURS = "ours"
ARMS: dict[str, Any] = {
    "plain": Script("plain"),
    "tuned": Script("tuned"),
    "once": Script("once"),
    OURS: Ours(),
}
WITHOUT: dict[str, Any] = {
    "one worker": Ours(options=("--workers", "1")),
    "one worker, threads that spin": Ours(options=("--workers", "1"), environment={"OMP_WAIT_POLICY": "ACTIVE"}),
    "freed memory given back": Ours(environment=GLIBCS_OWN),
    "contiguous": Ours(options=("--set", "memory_format=contiguous")),
    "one command a trial": Ours(one_command_a_trial=True),
    "no CUDA graphs": Ours(options=("--set", "cuda_graphs=off")),
    "with the cache there": Ours(warm_cache=True),
}


class GpuWatch(threading.Thread):
    """How much of the time the GPU had work, by the driver's own count."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.shares: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Until told to stop; without a driver nothing is found."""
        ask = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while shutil.which(ask[0]) and not self.over.wait(0.2):
            text = subprocess.run(ask, capture_output=True, text=True).stdout.split("\n")[0]
            if text.strip().isdigit():
                self.shares.append(float(text) / 100)

    @property
    def busy(self) -> float | None:
        """Mean share."""
        return statistics.mean(self.shares) if self.shares else None


def time_arm(arm: Any, job: Any, data: Data, work: Path) -> dict[str, Any]:
    """One run of one arm."""
    home = Path(tempfile.mkdtemp(dir=work))
    watch = GpuWatch()
    watch.start()
    begun = time.perf_counter()
    arm.run(job, home, data)
    seconds = time.perf_counter() - begun
    watch.over.set()
    outcomes = arm.outcomes(job, home, data)
    shutil.rmtree(home)
    return {"seconds": seconds, "busy": watch.busy, "trials": [asdict(outcome) for outcome in outcomes]}


def at_once(arm: Any, device: str, num_trials: int) -> int:
    """How many trials the arm trains side by side."""
    if not isinstance(arm, Ours) or "--workers" in arm.options or arm.one_command_a_trial:
        return 1
    return len(make_slots(device, None, find_gpus(), num_trials, side_by_side=can_share()))


def cells(asked: argparse.Namespace) -> list[TrainConfig]:
    """Every combination of what is varied."""
    return [
        make_config(
            {
                **{"backbone": backbone, "image_size": size, "batch_size": batch, "people": people},
                **{"epochs": asked.epochs, "augment": tuple(asked.augment)},
            }
        )
        for backbone in asked.backbones
        for size in asked.image_size
        for batch in asked.batch_size
        for people in asked.people
    ]


def run_cell(config: TrainConfig, folder: Path, asked: argparse.Namespace, arms: dict[str, Any]) -> dict[str, Any]:
    """All arms on one trial list, interleaved; prints its table."""
    weight_file = resolve_weights(asked.weights, [config.backbone]).file(config.backbone)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    with tempfile.TemporaryDirectory(dir=asked.work) as work:
        data = Data(Path(work) / "cache", config.people, asked.weights)
        for number in range(asked.rounds):
            job = engine_data.make_job(folder, config, LRS[: asked.trials], weight_file, asked.device)
            job = replace(job, seed=number)
            order = sorted(arms, key=lambda name: (name == OURS, name) if number % 2 else (name != OURS, name))
            for name in order:
                found[name].append(time_arm(arms[name], job, data, Path(work)))
                print(f"  round {number}, {name}: {found[name][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    photos = len(job.train) // job.batch_size * job.batch_size * job.epochs
    task = engine_table.Task(config, asked.device, photos)
    of = f"batch {config.batch_size}, {len(job.train)} + {len(job.valid)} photos"
    title = f"{config.backbone}, {config.image_size[0]} px, {of}"
    print(f"\n### {title}, {config.epochs} epochs, {asked.trials} trials, {asked.rounds} rounds\n")
    rows, equal = {}, True
    for name, arm in arms.items():
        side_by_side = at_once(arm, asked.device, asked.trials)
        rows[name], is_equal = engine_table.row(found[name], found[OURS], task, side_by_side)
        equal = equal and is_equal
    print(engine_table.markdown(rows), flush=True)
    return {"cell": title, "arms": found, "equal": equal}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic", help="dataset folder; its photos are enlarged to 384 x 512")
    parser.add_argument("--backbones", nargs="+", default=["mobilenetv3_small_050"])
    parser.add_argument("--image-size", type=int, nargs="+", default=[128])
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32])
    parser.add_argument("--people", type=int, nargs="+", default=[0], help="0: all")
    parser.add_argument("--augment", nargs="*", default=["flip", "contrast"], choices=["flip", "contrast"])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--trials", type=int, default=4, choices=[2, 3, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--levers", action="store_true", help="ours also with each lever switched off")
    parser.add_argument("--timm", type=Path, help="checkout of pytorch-image-models, for its train.py")
    parser.add_argument("--weights", default="scratch")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--work", type=Path, default=Path("runs/engine"), help="for the enlarged photos and the runs")
    parser.add_argument("-o", "--out", type=Path, help="JSON with every number")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    source = prepare_data_folder(asked.data, asked.work)
    folder = engine_data.enlarge_all(source, asked.work / f"photos-{source.resolve().parent.name}-{source.name}")
    arms = {name: arm for name, arm in ARMS.items() if name in asked.arms or name == OURS}
    if asked.timm:
        arms["timm"] = TimmTrain(asked.timm.resolve())
    if asked.levers:
        arms |= {f"ours, {name}": arm for name, arm in WITHOUT.items() if asked.device != "cpu" or "CUDA" not in name}
    facts = engine_table.hardware()
    print("; ".join(f"{name} {value}" for name, value in facts.items()), flush=True)
    results = [run_cell(config, folder, asked, arms) for config in cells(asked)]
    if asked.out:
        asked.out.write_text(json.dumps({"of": facts, "cells": results}, indent=1))
    return 0 if all(result["equal"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
