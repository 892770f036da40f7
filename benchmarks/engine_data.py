"""The photos and the trial list that every arm of engine.py gets."""

import os
import shutil
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from arms.job import Job
from PIL import Image

from maskcls.config import TrainConfig
from maskcls.data.dataset import read_table
from maskcls.model.backbones import pixel_statistics
from maskcls.system.cores import num_cores

PHOTO_SIZE = (384, 512)
"""Columns and rows of a photo of the competition."""
NOISE_STD = 3.0
"""Of 255: a camera's noise. Without it an enlarged photo would be a smaller file than a real one, and decode faster."""


def enlarge_all(source: Path, target: Path) -> Path:
    """The dataset ``source`` with every photo at 384 x 512, noisy, as JPEG of quality 90; made once."""
    if target.exists():
        return target
    part = target.with_name(f".{target.name}")
    shutil.rmtree(part, ignore_errors=True)
    paths = [path.relative_to(source) for path in sorted((source / "images").glob("*/*"))]
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(partial(enlarge, source, part), paths, chunksize=64))
    shutil.copy(source / "train.csv", part)
    part.rename(target)
    return target


def enlarge(source: Path, target: Path, path: Path) -> None:
    """One photo."""
    image = np.asarray(Image.open(source / path).convert("RGB").resize(PHOTO_SIZE, Image.Resampling.BICUBIC))
    noise = np.random.default_rng(zlib.crc32(str(path).encode())).normal(0, NOISE_STD, image.shape)
    out = target / path.with_suffix(".jpg")
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image + noise).clip(0, 255).astype(np.uint8)).save(out, quality=90)


def make_job(folder: Path, config: TrainConfig, lrs: list[float], weight_file: Path | None, device: str) -> Job:
    """The trial list, with the very split that the project makes of ``folder`` for ``config``."""
    photos = read_table(folder, config).photos
    sides = {
        side: list(zip(part["path"].tolist(), part["label"].tolist(), strict=True))
        for side, part in photos.groupby("split")
    }
    mean, std = pixel_statistics(config.backbone)
    return Job(
        str(folder.resolve()),
        sides["train"],
        sides["valid"],
        lrs,
        config.backbone,
        str(weight_file.resolve()) if weight_file else "",
        config.image_size[0],
        config.batch_size,
        config.epochs,
        list(config.augment),
        list(mean),
        list(std),
        config.seed,
        device,
        config.weight_decay,
        config.warmup_share,
        num_cores(),
    )
