"""What the tests share. Helpers are plain functions and constants, imported as ``from conftest import make_folder``.

A run of TINY on ``synthetic_data`` (60 drawn people, 420 photos) takes about half a second on one core.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

# No test may touch the network, nor find weights that somebody downloaded before. Children inherit all of this.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="maskcls-tests-hf-")
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # idle threads must not spin on cores that others need
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's do
os.environ["MASKCLS_WORKERS"] = "1"  # the tests run side by side themselves
os.environ.pop("MASKCLS_DATA", None)
os.environ.pop("MASKCLS_STORAGE", None)
os.environ.pop("MASKCLS_TOKEN", None)

import numpy as np
import pytest
import torch
from PIL import Image

from maskcls.cli import run_command
from maskcls.config import TrainConfig, save_config
from maskcls.dataset import Dataset, Side, Table, load_dataset, read_table
from maskcls.metrics import Scores
from maskcls.result import Result
from maskcls.synthetic import STATES, draw_dataset
from maskcls.train import main as train

REAL_PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "utkmask18"
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked ``gpu`` need a GPU."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """One thread in every test, whatever the one before has set."""
    torch.set_num_threads(1)


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

    def first(side: Side, count: int) -> Side:
        return Side(side.row_N[:count], side.label_N[:count], side.path_N[:count], side.person_N[:count])

    return Dataset(data.image_NCHW, first(data.train, train), first(data.valid, valid), f"{data.hash}-{train}")


@pytest.fixture(scope="session")
def synthetic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn dataset folder: 60 people, ten of each gender and age band, 48 pixels. Not to be written to."""
    return draw_dataset(tmp_path_factory.mktemp("drawn") / "synthetic", num_people=60, size=48)


@pytest.fixture(scope="session")
def synthetic_table(synthetic_folder: Path) -> Table:
    """That folder, listed and split as TINY says."""
    return read_table(synthetic_folder, TINY)


@pytest.fixture(scope="session")
def synthetic_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for caches that all tests share; its parent serves as ``--runs``."""
    return tmp_path_factory.mktemp("runs") / "cache"


@pytest.fixture(scope="session")
def synthetic_data(synthetic_table: Table, synthetic_cache: Path) -> Dataset:
    """Those photos, decoded for TINY: what ``loop.fit`` takes."""
    return load_dataset(synthetic_table, TINY, synthetic_cache)


@pytest.fixture(scope="session")
def few_photos(synthetic_data: Dataset) -> Dataset:
    """96 photos to train on and 42 to be judged by: a run of TINY takes 0.1 s, and its scores mean nothing."""
    return few(synthetic_data)


@pytest.fixture(scope="session")
def trained(synthetic_folder: Path, synthetic_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that ``maskcls.train`` has written: TINY on the synthetic photos. Not to be written to."""
    folder = tmp_path_factory.mktemp("trained")
    save_config(folder / "tiny.toml", TINY, {})
    options = ["--config", folder / "tiny.toml", "--weights", "scratch", "--runs", synthetic_cache.parent]
    assert run(train, "--data", synthetic_folder, "-o", folder / "model", *options) == 0
    return folder / "model"
