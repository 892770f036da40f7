"""A dataset folder and a config -> the data of a training: the table with its split, and the decoded photos."""

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maskcls.config import TrainConfig
from maskcls.data.photos import list_photos
from maskcls.data.split import check_split, choose_judges, split_by_person, split_hash, take_people
from maskcls.images.depth import why_dark
from maskcls.labels import age_band, encode, part_of
from maskcls.system.errors import UserError, count_of, some
from maskcls.system.liveness import beat
from maskcls.system.streams import is_terminal

if TYPE_CHECKING:
    from maskcls.data.cache import Cache

logger = logging.getLogger(__name__)

ALL_READ = "-all"
"""What Dataset.seen ends with where an earlier version would have left photos out."""

SYNTHETIC = "synthetic"
"""``--data synthetic``: photos drawn by maskcls.data.synthetic, in a folder beside the caches."""


@dataclass(frozen=True)
class Table:
    """A dataset with its split, before any photo is opened."""

    folder: Path
    photos: pd.DataFrame
    """One row per photo: the columns of photos.list_photos, and "split"."""
    hash: str
    """split.split_hash of the photos."""
    notes: tuple[str, ...] = ()
    """What the listing left out and what the label fixes changed, in sentences for the user."""

    def count(self, side: str) -> tuple[int, int]:
        """(people, photos) on one side of the split."""
        rows = self.photos[self.photos["split"] == side]
        return rows["person"].nunique(), len(rows)


@dataclass(frozen=True)
class LabelledPhotos:
    """Photos with their labels, usually one side of the split."""

    row_N: np.ndarray
    """Row of each in image_NCHW."""
    label_N: np.ndarray
    """Class 0..17, int64; for training, with the old age band from ``old_from``."""
    path_N: np.ndarray
    """Paths relative to the dataset's folder, as text."""
    person_N: np.ndarray
    """Names of the people, as text."""

    def labels(self, task: str) -> np.ndarray:
        """The labels within the task: int64 [N], 0..K-1."""
        return np.asarray(part_of(self.label_N, task))


@dataclass(frozen=True)
class Dataset:
    """Training and validation photos for loop.fit."""

    image_NCHW: np.ndarray
    """uint8, the photos of both sides."""
    train: LabelledPhotos
    valid: LabelledPhotos
    hash: str
    """Table.hash."""
    content: str = ""
    """Cache.content."""
    turned_anew: tuple[str, ...] = ()
    """Cache.turned_anew."""
    read_anew: tuple[str, ...] = ()
    """Cache.read_anew."""

    @property
    def identity(self) -> str:
        """Name of the data, and whether earlier versions saw other pixels: a run continues on what it began with."""
        return self.hash + ("-upright" if self.turned_anew else "") + ("-all" if self.read_anew else "")

    @property
    def seen(self) -> str:
        """``content``, marked where earlier versions did not see all of these photos: what a study keeps of them."""
        return self.content + (ALL_READ if self.read_anew else "")


def prepare_data_folder(data: str, runs: Path) -> Path:
    """The folder that ``--data`` means; that of ``synthetic`` is drawn if it does not exist."""
    if data != SYNTHETIC:
        return Path(data)
    from maskcls.data.synthetic import draw_dataset

    return draw_dataset(synthetic_folder(runs))


def synthetic_folder(runs: Path) -> Path:
    """The folder of the synthetic photos, named by a hash of the code that draws them: other code draws others."""
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in ("synthetic.py", "faces.py"))
    return runs / f"synthetic-{hashlib.sha256(code).hexdigest()[:8]}"


def read_table(folder: Path, config: TrainConfig, label_fixes: str = "auto") -> Table:
    """List, subset and split the photos. Raises UserError unless they can be trained on."""
    notes: list[str] = []
    photos = take_people(list_photos(folder, label_fixes, notes.append), config.people, config.split_seed)
    photos = split_by_person(photos, config.valid_share, config.split_seed)
    check_split(photos, config.task)
    return with_judges(Table(folder, photos, split_hash(photos), tuple(notes)), config)


def with_judges(table: Table, config: TrainConfig) -> Table:
    """The table with the validation people of the config's ``judge_round``. Raises UserError for an unusable split."""
    if config.judge_round == 0:
        return table
    photos = choose_judges(table.photos, config.judge_round, config.valid_share, config.split_seed)
    check_split(photos, config.task)
    return Table(table.folder, photos, split_hash(photos), table.notes)


def load_dataset(table: Table, config: TrainConfig, cache_dir: Path, skip_unreadable: bool = False) -> Dataset:
    """The table's photos at the config's size.

    Raises UserError for unreadable photos unless they are skipped, for 16-bit photos that would be nearly black, and
    for a disk without room for the cache.
    """
    cache = _cache_of(table, config, cache_dir, skip_unreadable)
    if dark := why_dark(cache.used_bits, cache.deep_photos, config.bit_depth):
        raise UserError(dark)
    photos = _readable(table, cache)
    check_split(photos, config.task)
    train, valid = (photos[photos["split"] == side] for side in ("train", "valid"))
    return Dataset(
        cache.image_NCHW,
        labelled_photos(train, training_labels(train, config.old_from)),
        labelled_photos(valid, valid["label"].to_numpy()),
        table.hash,
        cache.content,
        cache.turned_anew,
        cache.read_anew,
    )


def load_photos(
    table: Table, config: TrainConfig, cache_dir: Path, skip_unreadable: bool
) -> tuple[np.ndarray, pd.DataFrame]:
    """(image_NCHW uint8, the table's readable photos with a column "row", their rows in it).

    Raises UserError for unreadable photos unless they are skipped. Reports 16-bit photos that are nearly black.
    """
    cache = _cache_of(table, config, cache_dir, skip_unreadable)
    if dark := why_dark(cache.used_bits, cache.deep_photos, config.bit_depth):
        logger.info(f"CAUTION: {dark}")
    return cache.image_NCHW, _readable(table, cache)


def _cache_of(table: Table, config: TrainConfig, cache_dir: Path, skip_unreadable: bool) -> "Cache":
    from maskcls.data.cache import load_cache
    from maskcls.images.decode import unreadable_error

    paths = table.photos["path"].tolist()
    with progress_bar(f"decoding {len(paths)} photos", len(paths)) as tick:
        size, crop, fit, bit_depth = config.pixels
        cache = load_cache(table.folder, paths, size, crop, cache_dir, tick, fit, bit_depth)
    if cache.unreadable and not skip_unreadable:
        raise unreadable_error(table.folder, cache.unreadable, "Replace them, or leave them out: --skip-unreadable.")
    if cache.unreadable:
        photos = count_of(len(cache.unreadable), "photo")
        logger.info(f"Left out {photos} that cannot be read: {some(cache.unreadable, 3)}.")
    if cache.odd:
        warnings = some((f"{path} ({warning})" for path, warning in cache.odd.items()), 3)
        logger.info(f"{count_of(len(cache.odd), 'photo')} used despite a warning of the decoder: {warnings}.")
    return cache


def _readable(table: Table, cache: "Cache") -> pd.DataFrame:
    photos = table.photos.assign(row=np.arange(len(table.photos)))
    return photos[~photos["path"].isin([photo.path for photo in cache.unreadable])]


def training_labels(photos: pd.DataFrame, old_from: int) -> np.ndarray:
    """Class 0..17, with the old age band from ``old_from`` years. Scoring never uses these."""
    age = age_band(photos["years"].to_numpy(), old_from)
    return np.asarray(encode(photos["mask"].to_numpy(), photos["gender"].to_numpy(), age))


def labelled_photos(photos: pd.DataFrame, label_N: np.ndarray) -> LabelledPhotos:
    """Rows of a table with a column "row", with these labels instead of its own."""
    return LabelledPhotos(
        photos["row"].to_numpy(),
        label_N.astype(np.int64),
        photos["path"].to_numpy(dtype=str),
        photos["person"].to_numpy(dtype=str),
    )


@contextmanager
def progress_bar(text: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error if that is a terminal. Yields the function to call after every item."""
    if not is_terminal(sys.stderr):
        yield beat
        return
    from rich.console import Console
    from rich.progress import Progress

    # a descriptor of its own: what libraries print to standard error is held back (maskcls.images.codec_messages)
    with (
        open(os.dup(sys.stderr.fileno()), "w", encoding="utf-8") as terminal,  # noqa: PTH123
        Progress(console=Console(file=terminal), transient=True) as bar,
    ):
        task = bar.add_task(text, total=total)

        def tick() -> None:
            beat()
            bar.advance(task)

        yield tick
