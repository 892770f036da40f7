"""Many photos: what a start with a warm cache takes, what a worker's data weighs, and how an epoch's cost grows.

    python benchmarks/scale.py --photos 12600 25200 50400 100800

The photos are hard links to a few drawn ones, at 64 px: how many there are is the question, not what they show. "start"
is all that a worker does between its imports and its first trial: list, split, hash, find the cache, map it; the median
of --repeats, the files' names in the system's cache. "memory" is what the data adds to the process's anonymous memory,
after an epoch of batches; the pages of the mapped file belong to the system's cache, once for all workers, and can be
taken away. An epoch takes every training photo once through Batches and augment.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from maskcls.config import TrainConfig
from maskcls.data.augment import augment
from maskcls.data.batches import Batches, BatchSampler
from maskcls.data.dataset import Dataset, Table, load_dataset, read_table
from maskcls.data.synthetic import STATES, draw_dataset
from maskcls.system.allocator import return_freed_memory

DRAWN = 60
CONFIG = TrainConfig(image_size=(64, 64), augment=("flip", "contrast"), batch_size=64)


def grow(drawn: Path, folder: Path, num_photos: int) -> Path:
    """A dataset of so many photos (a multiple of seven): links to those of ``drawn`` under new people."""
    people = sorted(path for path in (drawn / "images").iterdir())
    for number in range(num_photos // len(STATES)):
        source = people[number % len(people)]
        home = folder / "images" / f"{number:06d}_{source.name.split('_', 1)[1]}"
        home.mkdir(parents=True)
        for photo in source.iterdir():
            os.link(photo, home / photo.name)
    return folder


def timed(work: Callable[[], object], repeats: int) -> float:
    """Median seconds."""
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def anonymous_mib() -> float:
    """Memory of this process that is no file's."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


def epoch(data: Dataset) -> None:
    """Every training photo once, augmented."""
    cpu = torch.device("cpu")
    batches = Batches(data.image_NCHW, data.train.row_N, data.train.labels(data.task.space, "all"), cpu)
    order = BatchSampler(len(batches), CONFIG.batch_size, 0)
    generator = torch.Generator().manual_seed(0)
    for step in range(order.steps_per_epoch):
        image_BCHW, label_B = batches.take(order.batch(step))
        augment(image_BCHW, torch.nn.functional.one_hot(label_B, 18).float(), CONFIG.augment, generator)


def build(folder: Path, cache: Path) -> float:
    """Seconds of a first start, which decodes the photos."""
    begun = time.perf_counter()
    load_dataset(read_table(folder, CONFIG), CONFIG, cache)
    return time.perf_counter() - begun


def measure(folder: Path, cache: Path, repeats: int) -> str:
    """The rest of the row, with the cache there."""
    before = anonymous_mib()
    tables: list[Table] = []
    listing = timed(lambda: tables.append(read_table(folder, CONFIG)), repeats)
    del tables[1:]
    loaded: list[Dataset] = []
    finding = timed(lambda: loaded.append(load_dataset(tables[0], CONFIG, cache)), repeats)
    del loaded[1:]
    epoch(loaded[0])
    seconds = timed(lambda: epoch(loaded[0]), repeats)
    return_freed_memory()
    added = anonymous_mib() - before
    rate = len(loaded[0].train.row_N) / seconds
    return f"{listing:.2f} | {finding:.2f} | {added:.0f} | {seconds:.2f} | {rate:.0f} |"


def apart(work: Callable[[], object]) -> None:
    """Do it in a process of its own: memory that an earlier row gave back would hide what this one takes."""
    pid = os.fork()
    if pid == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, nargs="+", default=[12_600, 25_200, 50_400, 100_800])
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    print("| photos | cold, s | list and split, s | find and map the cache, s | memory, MiB | epoch, s | photos/s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for num_photos in asked.photos:
        with tempfile.TemporaryDirectory() as home:
            drawn = draw_dataset(Path(home) / "drawn", num_people=DRAWN, size=64)
            folder = grow(drawn, Path(home) / "grown", num_photos)
            cache = Path(home) / "cache"
            apart(lambda: print(f"| {num_photos} | {build(folder, cache):.1f} |", end=" "))  # noqa: B023
            apart(lambda: print(measure(folder, cache, asked.repeats)))  # noqa: B023


if __name__ == "__main__":
    main()
