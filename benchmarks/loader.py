"""From photos on the disk to a normalised, augmented batch on the device: photos per second, and the share of a step.

    python benchmarks/loader.py --data DIR       # the photos of DIR, enlarged to 384 x 512
    python benchmarks/loader.py --backbone resnet18 --size 224 --device cuda

"plain" and "tuned" are the loaders of arms/plain.py and arms/tuned.py, with their number of workers and nothing else
running. "ours" is an epoch of maskcls.data.batches and maskcls.data.augment in the training process, from a cache that
is there ("first" makes it). The share is of a training step that is fed so: loading / (loading + step), where ours
loads in the step's own thread. Workers of a DataLoader load beside the step, so theirs is what one would wait for:
1 - speed of the loader / speed of the step, where that is above 0, on an idle machine with cores to spare. Median of
the rounds.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import engine_data
import torch
from torch import Tensor

from maskcls.config import TrainConfig, make_config
from maskcls.data.augment import augment
from maskcls.data.batches import Batches, BatchSampler
from maskcls.data.dataset import Dataset, load_dataset, prepare_data_folder, read_table
from maskcls.model.inference import autocast, to_input
from maskcls.training.autotune import choose_numerics
from maskcls.training.loop import Run
from maskcls.training.numerics import pick_device, resolve

HERE = Path(__file__).parent
PLAIN = """
import sys, time
sys.argv = sys.argv[1:]
from plain import DataLoader, DEVICE, JOB, MaskDataset, WORKERS, make_transform
loader = DataLoader(MaskDataset(JOB.train, make_transform(JOB.augment)), batch_size=JOB.batch_size, shuffle=True,
                    drop_last=True, num_workers=WORKERS)
begun = time.perf_counter()
count = sum(len(image.to(DEVICE)) for image, _ in loader)
print(count / (time.perf_counter() - begun))
"""
TUNED = """
import sys, time
sys.argv = sys.argv[1:]
from tuned import TRAIN, to_input
for _ in TRAIN:  # starts the workers, which then stay; a whole epoch, since batches left over would be drained below
    pass
begun = time.perf_counter()
count = sum(len(to_input(image)) for image, _ in TRAIN)
print(count / (time.perf_counter() - begun))
"""


def loader_speed(program: str, job: Path) -> float:
    """Photos per second of a loader of arms/, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(HERE / "arms")}
    words = [sys.executable, "-c", program, "loader", str(job), "-"]
    return float(
        subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1]
    )


def our_epoch(data: Dataset, config: TrainConfig, device: torch.device) -> float:
    """Photos per second of an epoch."""
    batches = Batches(data.image_NCHW, data.train.row_N, data.train.labels(data.task.space, "all"), device)
    order = BatchSampler(len(batches), config.batch_size, 0, batches.index_device)
    generator = torch.Generator(device).manual_seed(0)
    begun = time.perf_counter()
    for step in range(order.steps_per_epoch):
        image_BCHW, label_B = batches.take(order.batch(step))
        target_BK = torch.nn.functional.one_hot(label_B, 18).float()
        to_input(augment(image_BCHW, target_BK, config.augment, generator)[0], config)
    _wait(device)
    return order.steps_per_epoch * order.batch_size / (time.perf_counter() - begun)


def step_speed(data: Dataset, config: TrainConfig, device: torch.device, steps: int = 12) -> float:
    """Photos per second of a training step alone: one batch, on the device and normalised, again and again."""
    run = Run(config, data, device, None)
    run.model.train()
    image_BCHW, label_B = run.train.take(run.sampler.batch(0))
    target_BK = run.targets.one_hot(label_B)
    input_BCHW = to_input(image_BCHW.float() / 255, config)

    def step() -> None:
        with autocast(config, device):
            log_prob_of_part = run.model(input_BCHW)
        loss: Tensor = run.targets.loss(log_prob_of_part, target_BK)
        loss.backward()
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)

    step()
    _wait(device)
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    _wait(device)
    return steps * len(label_B) / (time.perf_counter() - begun)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--backbone", default="mobilenetv3_small_050")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--people", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of our process, on a CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", type=Path, default=Path("runs/engine"))
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    source = prepare_data_folder(asked.data, asked.work)
    folder = engine_data.enlarge_all(source, asked.work / f"photos-{source.resolve().parent.name}-{source.name}")
    device = pick_device(asked.device)
    knobs = {"backbone": asked.backbone, "image_size": asked.size, "batch_size": asked.batch, "people": asked.people}
    config = make_config({**knobs, "augment": ("flip", "contrast"), "threads": asked.threads})
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory(dir=asked.work) as home:
        job = Path(home) / "job.json"
        engine_data.make_job(folder, config, [1e-3], None, str(device)).save(job)
        table, rounds = read_table(folder, config), []
        begun = time.perf_counter()
        data = load_dataset(table, config, Path(home) / "cache")
        building = len(table.photos) / (time.perf_counter() - begun)
        config = resolve(choose_numerics(config, device, Path(home) / "cache", lambda: data), device)
        for _ in range(asked.rounds):
            found = {"plain": loader_speed(PLAIN, job), "tuned": loader_speed(TUNED, job)}
            rounds.append(found | {"ours": our_epoch(data, config, device), "step": step_speed(data, config, device)})
    speed = {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}
    print(f"{asked.backbone}, {asked.size} px, batch {asked.batch}, {asked.threads} threads: {json.dumps(knobs)}")
    print(f"a step alone trains {speed['step']:.0f} photos/s; the cache is made at {building:.0f} photos/s\n")
    print("| loader | photos/s | share of the time of a fed step |")
    print("|---|---|---|")
    for key in ("plain", "tuned"):
        print(f"| {key} | {speed[key]:.0f} | {100 * max(0.0, 1 - speed[key] / speed['step']):.0f} % |")
    print(f"| ours | {speed['ours']:.0f} | {100 * speed['step'] / (speed['step'] + speed['ours']):.1f} % |")


if __name__ == "__main__":
    main()
