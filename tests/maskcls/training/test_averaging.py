"""``ema_decay``: the average is timm's, it is what is judged and kept; neither a stop nor a recording changes it."""

import copy
import json
from pathlib import Path

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import Tensor

from maskcls.config import LATER, TrainConfig, change, identity_of
from maskcls.data.augment import AUGMENTATIONS
from maskcls.data.dataset import Dataset
from maskcls.model.classifier import build_model
from maskcls.model.inference import log_probs
from maskcls.run.record import STATE, WEIGHTS
from maskcls.run.result import Result
from maskcls.run.serialize import load_state, load_weights, state_content
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.mask import MASK_TASK
from maskcls.training import cuda_graphs, loop
from maskcls.training.loop import Run, fit
from maskcls.training.numerics import resolve
from maskcls.training.run_folder import load_trained, train_into
from tests.helpers.training import CPU, TINY, Log, facts

GPU = torch.device("cuda:0")

CONFIG = change(
    TINY,
    ema_decay=0.7,  # what the warm-up reaches at the sixth step
    augment=AUGMENTATIONS,
    drop_rate=0.5,
    heads="three_models",
    micro_batch=12,  # 12 + 12 + 8
    epochs=3,
    evaluations_per_epoch=2,
)


def trained(config: TrainConfig, data: Dataset, steps: int) -> tuple[Run, list[dict[str, Tensor]]]:
    """(a run after so many steps, copies of its weights after each)."""
    run = Run(resolve(config, CPU), data, CPU, None)
    run.model.train()
    weights = []
    for step in range(steps):
        run.step(step)
        weights.append(copy.deepcopy(run.model.state_dict()))
    return run, weights


@pytest.fixture(scope="module")
def undisturbed(few_photos: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a run of CONFIG that nobody stops, not to be written to, and its result."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, fit(CONFIG, few_photos, device=CPU, folder=folder)


def averages(run: Run) -> dict[str, Tensor]:
    assert run.average is not None
    return run.average.model.state_dict()


@pytest.mark.parametrize(
    ("backbone", "memory_format"),
    [("test_efficientnet", "channels_last"), ("test_efficientnet", "contiguous"), ("test_vit", "contiguous")],
)
def test_the_average_is_the_recursion_of_its_definition(backbone: str, memory_format: str, few_photos: Dataset) -> None:
    run, weights = trained(change(CONFIG, backbone=backbone, memory_format=memory_format), few_photos, 9)
    for name, average in averages(run).items():
        if not average.is_floating_point():
            assert torch.equal(average, weights[-1][name])
            continue
        expected = torch.zeros_like(average, dtype=torch.float64)
        for step, of_step in enumerate(weights):
            decay = min(0.7, 1 - (1 + step) ** (-2 / 3))
            expected = decay * expected + (1 - decay) * of_step[name].double()
        torch.testing.assert_close(average.double(), expected, rtol=1e-5, atol=1e-7)


def test_the_average_is_timms_to_the_last_bit(few_photos: Dataset) -> None:
    run, _ = trained(CONFIG, few_photos, 0)
    timms = ModelEmaV3(run.model, CONFIG.ema_decay, use_warmup=True)
    for step in range(9):
        run.step(step)
        timms.update(run.model, step + 1)
    ours = averages(run)
    assert all(torch.equal(ours[name], value) for name, value in timms.module.state_dict().items())
    assert not all(torch.equal(ours[name], value) for name, value in run.model.state_dict().items())


def test_training_goes_on_from_the_weights_and_the_average_is_judged(
    undisturbed: tuple[Path, Result], few_photos: Dataset
) -> None:
    _, averaged = undisturbed
    plain = fit(change(CONFIG, ema_decay=0.0), few_photos, device=CPU)
    assert [each.train_loss for each in averaged.history] == [each.train_loss for each in plain.history]
    assert all(one.scores != other.scores for one, other in zip(averaged.history, plain.history, strict=True))


@pytest.mark.parametrize("stop_after", [1, 4])
def test_stopped_and_resumed_equals_undisturbed(
    stop_after: int, undisturbed: tuple[Path, Result], few_photos: Dataset, tmp_path: Path
) -> None:
    folder, result = undisturbed
    fit(CONFIG, few_photos, Log(until=stop_after), device=CPU, folder=tmp_path)
    assert (tmp_path / STATE).exists()
    torch.manual_seed(99)
    assert facts(fit(CONFIG, few_photos, device=CPU, folder=tmp_path)) == facts(result)
    assert (folder / WEIGHTS).read_bytes() == (tmp_path / WEIGHTS).read_bytes()
    ours, theirs = (Predictions.load(each / "valid.npz") for each in (folder, tmp_path))
    assert (ours.log_prob_NK == theirs.log_prob_NK).all()


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_kept_weights_are_the_average_that_made_the_kept_predictions(
    keep: str, undisturbed: tuple[Path, Result], few_photos: Dataset, tmp_path: Path
) -> None:
    folder, _ = undisturbed if CONFIG.keep == keep else (tmp_path, None)
    if folder == tmp_path:
        fit(change(CONFIG, keep=keep), few_photos, device=CPU, folder=folder)
    stored = Predictions.load(folder / "valid.npz")
    model = build_model(CONFIG, MASK_TASK.space, None)
    load_weights(folder / WEIGHTS, model.weights())
    photos = torch.from_numpy(few_photos.image_NCHW[few_photos.valid.row_N])
    assert (log_probs(model, photos.split(4 * CONFIG.micro_batch), CONFIG) == stored.log_prob_NK).all()


def test_a_folder_gives_the_averaged_model_and_its_config_trains_to_the_same(
    few_photos: Dataset, tmp_path: Path
) -> None:
    def train(folder: Path, config: TrainConfig) -> None:
        train_into(folder, resolve(config, CPU), few_photos, Log(), origin={}, device=CPU, weight_file=None)

    train(tmp_path / "first", change(CONFIG, keep="last"))
    model, config = load_trained(tmp_path / "first", CPU)
    assert config.ema_decay == 0.7
    run, _ = trained(change(CONFIG, keep="last"), few_photos, 9)
    expected = averages(run)
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    train(tmp_path / "again", config)
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / "first" / WEIGHTS).read_bytes()


def test_without_it_records_and_states_are_as_they_were(few_photos: Dataset, tmp_path: Path) -> None:
    off, on = (resolve(change(TINY, ema_decay=decay), CPU) for decay in (0.0, 0.9))
    assert identity_of(off, "cpu") == TINY.model_dump_json(exclude={"repeatable", *LATER})
    assert json.loads(identity_of(on, "cpu"))["ema_decay"] == 0.9
    fit(off, few_photos, Log(until=1), device=CPU, folder=tmp_path)
    assert "average" not in torch.load(tmp_path / STATE, weights_only=True)
    assert "ema_decay" not in (tmp_path / "history.json").read_text()


def test_a_run_from_before_it_existed_goes_on(
    few_photos: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def train(report: Log) -> None:
        train_into(tmp_path, resolve(TINY, CPU), few_photos, report, origin={}, device=CPU, weight_file=None)

    train(Log(until=1))
    written = (tmp_path / "config.toml").read_text()
    assert "ema_decay = 0.0\n" in written
    (tmp_path / "config.toml").write_text(written.replace("ema_decay = 0.0\n", ""))
    trained_steps: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        step = Run.step
        patch.setattr(Run, "step", lambda run, number: (trained_steps.append(number), step(run, number))[1])
        train(Log())
    assert trained_steps == [3, 4, 5]
    assert "starts again" not in caplog.text


def test_a_recorded_step_is_averaged_like_any_other(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(work: object, *_: object) -> object:
        for _ in range(cuda_graphs.WARM_UP_STEPS):
            work()  # type: ignore[operator]
        return work

    monkeypatch.setattr(cuda_graphs, "record", record)
    monkeypatch.setattr(loop, "resolve", lambda config, _: config)
    config = change(CONFIG, micro_batch=32, cuda_graphs="step")

    def run_of(steps: range, state: Path | None = None) -> Run:
        run = Run(config, few_photos, CPU, None)  # type: ignore[arg-type]
        run.model.train()
        if state is not None:
            stored = load_state(state)
            run.model.load_state_dict(stored.model)
            run.optimizer.load_state_dict(stored.optimizer)
            run.generator.set_state(stored.generator)
            torch.set_rng_state(stored.rng)
            assert run.average is not None
            run.average.model.load_state_dict(stored.average or {})
        for step in steps:
            run.step(step)
        return run

    undisturbed = run_of(range(6))
    timms = ModelEmaV3(run_of(range(0)).model, CONFIG.ema_decay, use_warmup=True)
    again = run_of(range(0))
    for step in range(6):
        again.step(step)
        timms.update(again.model, step + 1)
    for name, value in averages(undisturbed).items():
        assert torch.equal(value, timms.module.state_dict()[name])
    (tmp_path / "half").write_bytes(state_content(run_of(range(3))._state()))
    resumed = run_of(range(3, 6), tmp_path / "half")
    assert all(torch.equal(value, averages(undisturbed)[name]) for name, value in averages(resumed).items())


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", ["off", "on", "step"])
def test_on_a_gpu_every_way_of_launching_averages_its_own_weights(graphs: str, few_photos: Dataset) -> None:
    knobs = {"micro_batch": 0, "dtype": "auto", "memory_format": "channels_last", "threads": 0, "cuda_graphs": graphs}
    run = Run(resolve(change(CONFIG, **knobs), GPU), few_photos, GPU, None)
    run.model.train()
    timms = ModelEmaV3(build_model(CONFIG, MASK_TASK.space, None).to(GPU), CONFIG.ema_decay, use_warmup=True)
    for step in range(9):
        run.step(step)
        timms.update(run.model, step + 1)
    for name, value in averages(run).items():
        torch.testing.assert_close(value, timms.module.state_dict()[name], rtol=1e-6, atol=1e-8)
    run.evaluate()
    assert run.history[-1].scores.loss > 0
