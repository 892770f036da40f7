"""A dataset folder and a config -> the data of a training: the table with its split, and the decoded photos."""

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from maskcls.config import TrainConfig
from maskcls.data.split import check_split, choose_judges, split_hash, split_photos, take_people
from maskcls.data.splitters import GIVEN, choose_splitter
from maskcls.images.depth import why_dark
from maskcls.labels import LabelSpace
from maskcls.reading import hf, source
from maskcls.reading.source import SourceOptions, read_photos
from maskcls.system.errors import UserError, count_of, some
from maskcls.system.liveness import beat
from maskcls.system.streams import is_terminal
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import Source, Task

if TYPE_CHECKING:
    from maskcls.data.cache import Cache

logger = logging.getLogger(__name__)

ALL_READ = "-all"
"""What Dataset.identity and Dataset.seen end with where an earlier version would have left photos out."""

SYNTHETIC = "synthetic"
"""``--data synthetic``: photos drawn by maskcls.data.synthetic, in a folder beside the caches."""


@dataclass(frozen=True)
class Table:
    """A dataset with its split, before any photo is opened."""

    folder: Path
    photos: pd.DataFrame
    """One row per photo: the columns of reading.source.read_photos, and "split": "train" or "valid"."""
    hash: str
    """split.split_hash of the photos."""
    task: Task = MASK_TASK
    notes: tuple[str, ...] = ()
    """What the listing left out and what the label fixes changed, in sentences for the user."""
    test: pd.DataFrame | None = None
    """The photos that the data holds back for a test, none of which trains or validates; None without any."""

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
    """The whole label, int64; for training, with the last cut of ``Task.bands`` as the config says."""
    path_N: np.ndarray
    """Paths relative to the dataset's folder, as text."""
    person_N: np.ndarray
    """Names of the people, as text."""

    def labels(self, space: LabelSpace, task: str) -> np.ndarray:
        """What a model of ``TrainConfig.task`` predicts of the label in ``space``: int64 [N], 0..K-1."""
        return space.part_of(self.label_N, task)


@dataclass(frozen=True)
class Dataset:
    """Training and validation photos for loop.fit."""

    image_NCHW: np.ndarray
    """uint8, the photos of both sides."""
    train: LabelledPhotos
    valid: LabelledPhotos
    hash: str
    """Table.hash."""
    task: Task = MASK_TASK
    content: str = ""
    """Cache.content."""
    turned_anew: tuple[str, ...] = ()
    """Cache.turned_anew."""
    read_anew: tuple[str, ...] = ()
    """Cache.read_anew."""

    @property
    def identity(self) -> str:
        """Name of the data, and whether earlier versions saw other pixels: a run continues on what it began with."""
        return self.hash + ("-upright" if self.turned_anew else "") + (ALL_READ if self.read_anew else "")

    @property
    def seen(self) -> str:
        """``content``, marked where earlier versions did not see all of these photos: what a study keeps of them."""
        return self.content + (ALL_READ if self.read_anew else "")


def open_data(
    data: str, runs: Path, options: SourceOptions, known: Source = source.FOLDERS, cache: Path | None = None
) -> tuple[Path, SourceOptions]:
    """The folder that ``--data`` means, and how to read it: ``synthetic`` is drawn, ``hf:DIR`` written, into the cache.

    ``known``: as in source.find_source. ``cache``: --cache, None for cache/ in ``runs``, where the photos of earlier
    versions lie in any case. Raises UserError as hf.open_data.
    """
    if data != SYNTHETIC:
        own = runs / "cache"
        return hf.open_data(data, options, cache or own, logger.info, known.path, own)
    from maskcls.data.synthetic import draw_dataset

    return draw_dataset(synthetic_folder(runs)), options


def prepare_data_folder(data: str, runs: Path, task: Task = MASK_TASK, cache: Path | None = None) -> Path:
    """The folder that ``--data`` means, for a task that is known. ``cache``: as in open_data."""
    return open_data(data, runs, SourceOptions(), task.source, cache)[0]


def photo_folder(data: str, runs: Path, task: Task, cache: Path | None = None) -> Path:
    """The same folder, where nothing is drawn or written if it is not there. Raises UserError as hf.open_data."""
    if data == SYNTHETIC:
        return synthetic_folder(runs)
    own = runs / "cache"
    return hf.place_of(data, cache or own, task.source.path, own)


def synthetic_folder(runs: Path) -> Path:
    """The folder of the synthetic photos, named by a hash of the code that draws them: other code draws others."""
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in ("synthetic.py", "faces.py"))
    return runs / f"synthetic-{hashlib.sha256(code).hexdigest()[:8]}"


def read_table(folder: Path, config: TrainConfig, label_fixes: str = "auto", task: Task = MASK_TASK) -> Table:
    """List, subset and split the photos of a task. Raises UserError unless they can be trained on."""
    task.check(config)
    notes: list[str] = []
    photos, test = read_apart(folder, task, label_fixes, notes.append)
    photos = take_people(photos, config.people, config.split_seed, task.strata, task.splitter, task.unit)
    photos, warning = split_photos(photos, task.splitter, config.valid_share, config.split_seed, task.unit)
    notes += [warning] if warning else []
    check_split(photos, task, config.task)
    return with_judges(Table(folder, photos, _hash(photos, test), task, tuple(notes), test), config)


def find_task(folder: Path, options: SourceOptions, known: Source = source.FOLDERS) -> Task:
    """The task of the photos in a folder, with the splitter that suits its groups.

    ``known``: as in source.find_source. Raises UserError as source does.
    """
    task, photos = source.find_photos(folder, options, known)
    if photos is None:
        return task
    photos, _ = _apart(photos)
    is_given = "split" in photos and (photos["split"] == "valid").any()
    return replace(task, splitter=GIVEN if is_given else choose_splitter(photos))


def read_apart(
    folder: Path, task: Task, label_fixes: str = "auto", note: Callable[[str], None] = lambda _: None
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """(the photos to train and validate, those held back for a test; None without any). A given split is "split".

    ``label_fixes``, ``note`` and what is raised: as source.read_photos.
    """
    return _apart(read_photos(folder, task, label_fixes, note))


def _apart(photos: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    if "split_given" not in photos:
        return photos, None
    photos = photos.rename(columns={"split_given": "split"})
    is_test = photos["split"] == "test"
    test = photos[is_test].reset_index(drop=True) if is_test.any() else None
    return photos[~is_test].reset_index(drop=True), test


def _hash(photos: pd.DataFrame, test: pd.DataFrame | None) -> str:
    """split_hash of all photos."""
    return split_hash(photos if test is None else pd.concat([photos, test]))


def with_judges(table: Table, config: TrainConfig) -> Table:
    """The table with the validation people of the config's ``judge_round``. Raises UserError for an unusable split."""
    if config.judge_round == 0:
        return table
    task, round_ = table.task, config.judge_round
    photos = choose_judges(table.photos, round_, config.valid_share, config.split_seed, task.strata, task.splitter)
    check_split(photos, task, config.task)
    return replace(table, photos=photos, hash=_hash(photos, table.test))


def load_dataset(table: Table, config: TrainConfig, cache_dir: Path, skip_unreadable: bool = False) -> Dataset:
    """The table's photos at the config's size.

    Raises UserError for unreadable photos unless they are skipped, for 16-bit photos that would be nearly black, and
    for a disk without room for the cache.
    """
    cache = _cache_of(table, config, cache_dir, skip_unreadable)
    if dark := why_dark(cache.used_bits, cache.deep_photos, config.bit_depth):
        raise UserError(dark)
    photos = _readable(table, cache)
    check_split(photos, table.task, config.task)
    train, valid = (photos[photos["split"] == side] for side in ("train", "valid"))
    return Dataset(
        cache.image_NCHW,
        labelled_photos(train, training_labels(train, table.task, config)),
        labelled_photos(valid, valid["label"].to_numpy()),
        table.hash,
        table.task,
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


def training_labels(photos: pd.DataFrame, task: Task, config: TrainConfig) -> np.ndarray:
    """The labels int64 [N], with the last cut of the task's bands as the config says. Scoring never uses these."""
    if task.bands is None:
        return photos["label"].to_numpy()
    last_cut = getattr(config, task.bands.hyperparameter)
    classes = {factor.name: photos[factor.name].to_numpy() for factor in task.space.factors}
    classes[task.bands.factor] = task.bands.classes(photos[task.bands.column].to_numpy(), last_cut)
    return task.space.encode(*classes.values())


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
