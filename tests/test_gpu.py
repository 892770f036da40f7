"""What only a GPU can show. Skipped, with the reason, where there is none."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from maskcls.config import AUGMENTATIONS, ResolvedConfig, TrainConfig, make_config
from maskcls.data.dataset import Dataset, LabelledPhotos, load_dataset, read_table
from maskcls.data.synthetic import draw_dataset
from maskcls.model.classifier import OneHead
from maskcls.model.inference import log_probs, to_device
from maskcls.run.record import STATE
from maskcls.run.result import Result
from maskcls.training import loop
from maskcls.training.cuda_graphs import CaptureError
from maskcls.training.loop import Run, fit
from maskcls.training.numerics import free_memory, resolve

pytestmark = pytest.mark.gpu

GPU = torch.device("cuda")

SMALL = {
    "backbone": "test_efficientnet",
    "image_size": 64,
    "batch_size": 16,
    "lr": 1e-3,
    "memory_format": "channels_last",
}

STEPS = 10


def small(**knobs: object) -> ResolvedConfig:
    return resolve(make_config(SMALL | knobs), GPU)


def random_photos(config: TrainConfig) -> Dataset:
    """48 photos of noise on each side."""
    rng = np.random.default_rng(0)
    image_NCHW = rng.integers(0, 256, (96, 3, *config.image_size), dtype=np.uint8)
    train, valid = (
        LabelledPhotos(np.arange(first, first + 48), rng.integers(0, 18, 48), np.full(48, ""), np.full(48, ""))
        for first in (0, 48)
    )
    return Dataset(image_NCHW, train, valid, "")


def started(config: ResolvedConfig) -> Run:
    run = Run(config, random_photos(config), GPU, None)
    run.model.train()
    return run


def losses_and_weights(config: ResolvedConfig) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The losses of STEPS steps, and what they leave in the model."""
    run = started(config)
    losses = [float(run.step(step)) for step in range(STEPS)]
    return losses, {name: tensor.float().cpu() for name, tensor in run.model.state_dict().items()}


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


def history(result: Result) -> list[tuple[object, float]]:
    """What a run found at each evaluation, without its times."""
    return [(evaluation.scores, evaluation.train_loss) for evaluation in result.history]


def test_a_config_trained_again_starts_alike_and_learns_too(photos: Path, tmp_path: Path) -> None:
    # kernels may add in any order, so two runs part ways as two seeds do; their first epochs do not
    first, second = (train(photos, tmp_path, "cuda") for _ in range(2))
    assert first.history[0].train_loss == pytest.approx(second.history[0].train_loss, rel=0.1)
    assert min(first.best.scores.macro_f1, second.best.scores.macro_f1) > 0.2


def test_a_repeatable_config_trained_again_gives_the_same_to_the_last_bit(photos: Path, tmp_path: Path) -> None:
    first, second = (
        train(photos, tmp_path, "cuda", epochs=3, augment=AUGMENTATIONS, repeatable="on") for _ in range(2)
    )
    assert history(first) == history(second)


def test_numerics_resolve_to_half_precision_and_channels_last() -> None:
    config = resolve(make_config({}), torch.device("cuda"))
    assert config.dtype in ("bfloat16", "float16")
    assert config.memory_format == "channels_last"


def test_float16_with_its_loss_scaler_learns(photos: Path, tmp_path: Path) -> None:
    assert train(photos, tmp_path, "cuda", dtype="float16").best.scores.macro_f1 > 0.3


def test_recorded_steps_learn(photos: Path, tmp_path: Path) -> None:
    assert train(photos, tmp_path, "cuda", cuda_graphs="step").best.scores.macro_f1 > 0.3


@pytest.mark.parametrize(
    "knobs",
    [
        {"cuda_graphs": "off"},
        {"cuda_graphs": "off", "augment": AUGMENTATIONS},
        {"cuda_graphs": "off", "dtype": "float16"},
        {"cuda_graphs": "off", "micro_batch": 8, "loss": "focal", "heads": "three_heads"},
        {"cuda_graphs": "on", "augment": AUGMENTATIONS},
        {"cuda_graphs": "on", "dtype": "float16"},
        {"cuda_graphs": "step", "augment": AUGMENTATIONS},
        {"cuda_graphs": "step", "dtype": "float32", "heads": "three_models"},
    ],
    ids=str,
)
def test_no_step_waits_for_the_gpu(knobs: dict[str, object]) -> None:
    run = started(small(**knobs))
    run.step(0)  # makes constants and records
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 8):  # three epochs
            run.step(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert float(run.loss_sum) > 0


@pytest.mark.parametrize(
    "knobs",
    [
        {"augment": AUGMENTATIONS},
        {"drop_rate": 0.5},
        {"heads": "three_heads", "augment": AUGMENTATIONS},
        {"heads": "three_models"},
        {"dtype": "float32", "memory_format": "contiguous"},
        {"backbone": "test_vit", "image_size": 160},
    ],
    ids=str,
)
@pytest.mark.parametrize("graphs", ["off", "on", "step"])
def test_repeatable_steps_are_the_same_recorded_or_not(knobs: dict[str, object], graphs: str) -> None:
    losses, weights = losses_and_weights(small(**knobs, cuda_graphs="off", repeatable="on"))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        got_losses, got_weights = losses_and_weights(small(**knobs, cuda_graphs=graphs, repeatable="on"))
    assert not [str(one.message) for one in found if "AccumulateGrad" in str(one.message)]
    assert got_losses == losses
    assert [name for name, tensor in weights.items() if not torch.equal(got_weights[name], tensor)] == []


@pytest.mark.parametrize("graphs", ["on", "step"])
def test_recorded_steps_lose_as_launched_ones_do(graphs: str) -> None:
    losses, _ = losses_and_weights(small(cuda_graphs="off"))
    got_losses, _ = losses_and_weights(small(cuda_graphs=graphs))
    assert got_losses == pytest.approx(losses, rel=5e-2)  # kernels add in any order


@pytest.mark.parametrize("graphs", ["on", "step"])
@pytest.mark.parametrize(
    "knobs",
    [{"optimizer": "radamw"}, {"optimizer": "sgd"}, {"optimizer": "lamb"}, {"frozen_share": 0.4, "layer_decay": 0.8},
     {"drop_path_rate": 0.2, "backbone": "test_resnet"}],
)  # fmt: skip
def test_other_recipes_recorded_lose_as_launched_ones_do(knobs: dict[str, object], graphs: str) -> None:
    losses, _ = losses_and_weights(small(**knobs, epochs=4, cuda_graphs="off", repeatable="on"))
    got_losses, _ = losses_and_weights(small(**knobs, epochs=4, cuda_graphs=graphs, repeatable="on"))
    assert got_losses == pytest.approx(losses, rel=1e-2)


def test_a_recorded_step_takes_photos_that_are_not_on_the_gpu() -> None:
    config = small(cuda_graphs="step", augment="flip")
    expected, _ = losses_and_weights(config)
    run = started(config)
    data = random_photos(config)
    batches = run.train
    batches.on_device = False
    batches.image_XCHW, batches.row_N = torch.from_numpy(data.image_NCHW), torch.from_numpy(data.train.row_N)
    batches.index_device = run.sampler.device = torch.device("cpu")
    batches._label_N = batches.label_N.cpu()
    got = [float(run.step(step)) for step in range(STEPS)]
    assert got == pytest.approx(expected, rel=2e-2)


@pytest.mark.parametrize(
    ("resume_seconds", "stop_seconds"),
    [(0.0, math.inf), (math.inf, 0.0), (math.inf, math.inf)],
    ids=["a state each", "a state at stops", "no state"],
)
@pytest.mark.parametrize("recipe", [{}, {"frozen_share": 0.4, "layer_decay": 0.8, "optimizer": "radamw"}])
@pytest.mark.parametrize("graphs", ["off", "on", "step"])
def test_an_interrupted_run_equals_an_undisturbed_one(
    graphs: str,
    recipe: dict[str, object],
    resume_seconds: float,
    stop_seconds: float,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "RESUME_SECONDS", {"cuda": resume_seconds})
    monkeypatch.setattr(loop, "STOP_SECONDS", stop_seconds)
    knobs: dict[str, object] = {"epochs": 4, "augment": "flip,gaussian", "drop_rate": 0.2, "cuda_graphs": graphs}
    config = small(**knobs, **recipe, repeatable="on")
    data = load_dataset(read_table(photos, config), config, tmp_path / "cache")
    undisturbed = fit(config, data, device=GPU)
    folder = tmp_path / "run"
    folder.mkdir()
    stopped = fit(config, data, lambda step, _: step < 2, device=GPU, folder=folder)
    assert (folder / STATE).exists() == (min(resume_seconds, stop_seconds) == 0)
    monkeypatch.setattr(loop, "RESUME_SECONDS", {"cuda": math.inf})
    monkeypatch.setattr(loop, "STOP_SECONDS", math.inf)
    longer = fit(config, data, lambda step, _: step < 3, device=GPU, folder=folder)  # the state is older from here on
    whole = fit(config, data, device=GPU, folder=folder)
    assert (len(stopped.history), len(longer.history), len(undisturbed.history)) == (2, 3, 4)
    assert history(whole) == history(undisturbed)


@pytest.mark.parametrize("graphs", ["on", "step"])
def test_a_recording_that_fails_says_so_and_the_next_run_works(graphs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = OneHead.forward

    def reading(model: OneHead, image_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        image_BCHW.sum().item()  # launched steps may wait for the GPU, recorded ones cannot
        return forward(model, image_BCHW)

    monkeypatch.setattr(OneHead, "forward", reading)
    with pytest.raises(CaptureError, match="CUDA graphs could not be recorded"):
        started(small(cuda_graphs=graphs, drop_rate=0.5)).step(0)
    monkeypatch.undo()
    for again in ("off", graphs):
        run = started(small(cuda_graphs=again, drop_rate=0.5, augment=AUGMENTATIONS))
        assert 0 < float(run.step(0)) < 10
        assert torch.cuda.current_stream() == torch.cuda.default_stream()


@pytest.mark.parametrize("graphs", ["on", "step"])
def test_the_memory_of_recorded_steps_does_not_pile_up(graphs: str) -> None:
    config, held = small(cuda_graphs=graphs, image_size=96, batch_size=32), []
    for _ in range(4):
        run = started(config)
        run.step(0)
        torch.cuda.synchronize()
        del run
        free_memory(GPU)
        held.append(torch.cuda.memory_reserved())
    assert max(held[1:]) <= held[0] + 2**22


@pytest.mark.parametrize("flip", [False, True])
def test_validation_is_the_same_in_batches_of_any_size(flip: bool) -> None:
    config = small(dtype="float32")
    run = started(config)
    image_BCHW = torch.from_numpy(random_photos(config).image_NCHW).cuda()
    whole = log_probs(run.model, [image_BCHW], config, flip)
    parts = log_probs(run.model, image_BCHW.split(40), config, flip)  # the last has 16
    np.testing.assert_allclose(parts, whole, atol=5e-3)  # of TF32
    on_cpu = log_probs(to_device(run.model, config, torch.device("cpu")), [image_BCHW.cpu()], config, flip)
    np.testing.assert_allclose(on_cpu, whole, atol=2e-2)


def test_validation_waits_once() -> None:
    config = small()
    run = started(config)
    image_BCHW = torch.from_numpy(random_photos(config).image_NCHW).cuda()
    log_probs(run.model, [image_BCHW], config)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        log_probs(run.model, image_BCHW.split(40), config)
        torch.cuda.set_sync_debug_mode("default")
    assert len([one for one in found if "synchroniz" in str(one.message)]) <= 1


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
