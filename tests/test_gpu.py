"""What only a GPU can show. Skipped, with the reason, where there is none."""

from pathlib import Path

import pytest
import torch

from maskcls.config import make_config
from maskcls.data.dataset import load_dataset, read_table
from maskcls.data.synthetic import draw_dataset
from maskcls.run.result import Result
from maskcls.training.loop import fit
from maskcls.training.numerics import resolve

pytestmark = pytest.mark.gpu

TOLERANCE = 0.05
"""Macro F1 between two trainings of one config on a GPU, as the README states it: kernels add in no fixed order."""


def train(folder: Path, tmp_path: Path, device: str, **knobs: object) -> Result:
    config = make_config(
        {"backbone": "test_efficientnet", "image_size": 96, "epochs": 6, "lr": 1e-2, "augment": ""} | knobs
    )
    config = resolve(config, torch.device(device))
    data = load_dataset(read_table(folder, config), config, tmp_path / "cache")
    return fit(config, data, device=torch.device(device))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_dataset(tmp_path_factory.mktemp("photos") / "synthetic")


def test_a_config_trained_again_gives_the_same_score_within_the_stated_tolerance(photos: Path, tmp_path: Path) -> None:
    first, second = (train(photos, tmp_path, "cuda") for _ in range(2))
    assert first.best.scores.macro_f1 > 0.3
    assert abs(first.best.scores.macro_f1 - second.best.scores.macro_f1) <= TOLERANCE


def test_numerics_resolve_to_half_precision_and_channels_last() -> None:
    config = resolve(make_config({}), torch.device("cuda"))
    assert config.dtype in ("bfloat16", "float16")
    assert config.memory_format == "channels_last"


def test_float16_with_its_loss_scaler_learns(photos: Path, tmp_path: Path) -> None:
    assert train(photos, tmp_path, "cuda", dtype="float16").best.scores.macro_f1 > 0.3


def test_a_resumed_run_on_the_gpu_goes_on(photos: Path, tmp_path: Path) -> None:
    config = make_config({"backbone": "test_efficientnet", "image_size": 96, "epochs": 4, "lr": 1e-2, "augment": ""})
    device = torch.device("cuda")
    config = resolve(config, device)
    data = load_dataset(read_table(photos, config), config, tmp_path / "cache")
    folder = tmp_path / "run"
    folder.mkdir()
    stopped = fit(config, data, lambda step, scores: step < 2, device=device, folder=folder)
    heard: list[int] = []
    whole = fit(config, data, lambda step, scores: heard.append(step) is None, device=device, folder=folder)
    assert len(stopped.history) == 2
    assert heard == [1, 2, 3, 4]
    assert whole.history[:2] == stopped.history
    assert not (folder / "resume.pt").exists()


def test_out_of_memory_is_found_and_halves_the_micro_batch(photos: Path, tmp_path: Path) -> None:
    from maskcls.training.reporter import silent
    from maskcls.training.run_folder import train_into

    device = torch.device("cuda")
    config = make_config({"backbone": "resnet18", "image_size": 224, "epochs": 1, "batch_size": 256})
    config = resolve(config, device)
    data = load_dataset(read_table(photos, config), config, tmp_path / "cache")
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 3 * 2**30 / total))
    try:
        used, _ = train_into(tmp_path / "run", config, data, silent, origin={}, device=device, weight_file=None)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert used.micro_batch < config.micro_batch
    assert used.batch_size == config.batch_size
