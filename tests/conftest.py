"""Fixtures that the tests share; what they are made with is in ``helpers/``.

A run of TINY on ``synthetic_data`` (60 drawn people, 420 photos) takes about half a second on one core.
"""

import os
import shutil
import tempfile
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

import pytest
import torch

from maskcls.config import save_config
from maskcls.data.dataset import Dataset, Table, load_dataset, read_table
from maskcls.data.synthetic import draw_dataset
from maskcls.system.console import log_to_console
from maskcls.train import main as train
from tests.helpers.training import TINY, few, run


def pytest_unconfigure() -> None:
    """Leave no folder of weights behind."""
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


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


@pytest.fixture(autouse=True)
def printed_log() -> None:
    """What is logged in a test is printed, as a command prints it; ``capsys`` has it."""
    log_to_console()


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
