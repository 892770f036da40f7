"""Photos, configs and commands for the tests, as plain functions and constants."""

import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskcls.config import TrainConfig
from maskcls.data.dataset import Dataset, LabelledPhotos
from maskcls.data.synthetic import STATES
from maskcls.predict import main as predict
from maskcls.run.result import Result
from maskcls.scoring.metrics import Scores
from maskcls.system.console import run_command

REAL_PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "utkmask18"
"""Real photos in the layout; a machine has them or not."""

needs_real_photos = pytest.mark.skipif(not REAL_PHOTOS.is_dir(), reason=f"there are no real photos in {REAL_PHOTOS}")

CPU = torch.device("cpu")

TINY = TrainConfig(
    backbone="test_efficientnet",
    image_size=(32, 32),
    epochs=2,
    batch_size=32,
    lr=1e-2,
    # numerics, resolved as for a CPU: one thread, for the same bits on every machine that runs the tests
    micro_batch=32,
    dtype="float32",
    memory_format="contiguous",
    cuda_graphs="off",
    repeatable="on",
    threads=1,
)
"""A run of seconds, ready for ``loop.fit``. ``config.change(TINY, ...)`` for another."""

SIX_CELLS = (
    "000001_male_Asian_20",
    "000002_male_Asian_45",
    "000003_male_Asian_60",
    "000004_female_Asian_20",
    "000005_female_Asian_45",
    "000006_female_Asian_60",
)
"""Folder names of six people, one of every gender and age band."""


def make_folder(
    folder: Path, people: Iterable[str] = SIX_CELLS, files: Sequence[str] = tuple(f"{state}.jpg" for state in STATES)
) -> Path:
    """Write ``folder/images/<person>/<file>`` for all of ``files``: small real photos, each another. No train.csv."""
    rng = np.random.default_rng(0)
    for person in people:
        home = folder / "images" / person
        home.mkdir(parents=True)
        for file in files:
            save_photo(home / file, rng.integers(256, size=(5, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1))
    return folder


def save_photo(path: Path, image_HWC: np.ndarray) -> None:
    """uint8 RGB as the file's ending says, in upper case too."""
    Image.fromarray(image_HWC).save(path, format="PNG" if path.suffix.lower() == ".png" else "JPEG", quality=95)


def one_line(error: BaseException) -> str:
    """The message of an error meant for the user, which must be one line and end like a sentence."""
    text = str(error)
    assert "\n" not in text
    assert text.endswith((".", ")", "'"))
    return text


def run(main: Callable[..., object], *arguments: object) -> int:
    """Run a command as its module does when it is called, in this process; returns its exit status."""
    before = sys.argv
    sys.argv = ["command", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as end:
            run_command(main)
    finally:
        sys.argv = before
    assert isinstance(end.value.code, int)
    return end.value.code


def heed_signals() -> None:
    """``preexec_fn`` of a command that a test is going to interrupt: what is ignored here stays ignored there."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Log:
    """A reporter that notes what it hears and stops the run after ``until`` evaluations."""

    def __init__(self, until: int = 10**6) -> None:
        self.until, self.heard = until, list[tuple[int, Scores]]()

    def __call__(self, step: int, scores: Scores) -> bool:
        self.heard.append((step, scores))
        return len(self.heard) < self.until


def facts(result: Result) -> list[tuple[int, Scores, float]]:
    """The history without what a clock or the memory has told: the part that must be equal to the last bit."""
    return [(evaluation.step, evaluation.scores, evaluation.train_loss) for evaluation in result.history]


def few(data: Dataset, train: int = 96, valid: int = 42) -> Dataset:
    """The first photos of either side."""

    def first(side: LabelledPhotos, count: int) -> LabelledPhotos:
        return LabelledPhotos(side.row_N[:count], side.label_N[:count], side.path_N[:count], side.person_N[:count])

    return Dataset(data.image_NCHW, first(data.train, train), first(data.valid, valid), f"{data.hash}-{train}")


def random_dataset(config: TrainConfig) -> Dataset:
    """Two batches of random uint8 photos, of the config's image_size, in each of training and validation."""
    count, rng = 2 * config.batch_size, np.random.default_rng(0)
    image_NCHW = rng.integers(0, 256, (2 * count, 3, *config.image_size), dtype=np.uint8)
    train, valid = (
        LabelledPhotos(
            np.arange(first, first + count), rng.integers(0, 18, count), np.full(count, ""), np.full(count, "")
        )
        for first in (0, count)
    )
    return Dataset(image_NCHW, train, valid, "")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Exit status 2 and one line on stderr; nothing is written."""
    assert run(predict, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err
