"""The training loop: the same bits every time, also across a stop; scores that belong to the files; its failures."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maskcls.config import TrainConfig, change
from maskcls.data.augment import AUGMENTATIONS
from maskcls.data.dataset import Dataset
from maskcls.model.classifier import build_model
from maskcls.model.inference import log_probs
from maskcls.run.serialize import load_weights
from maskcls.scoring.metrics import Scores, score
from maskcls.scoring.predictions import Predictions
from maskcls.tasks.mask import MASK_TASK
from maskcls.training import loop
from maskcls.training.loop import DivergedError, Run, fit
from maskcls.training.numerics import resolve
from tests.helpers.training import CPU, TINY, Log, facts, few

HARD = change(
    TINY,
    augment=AUGMENTATIONS,
    drop_rate=0.5,
    heads="three_heads",
    micro_batch=12,  # 12 + 12 + 8
    label_smoothing=0.1,
    class_weights="sqrt",
    evaluations_per_epoch=2,
)
"""All that draws random numbers, and all that accumulates."""

FEW_STEPS = change(TINY, batch_size=48, micro_batch=48, epochs=2, evaluations_per_epoch=2)


@pytest.mark.parametrize("config", [TINY, HARD], ids=["plain", "hard"])
def test_same_config_gives_the_same_bits(config: TrainConfig, few_photos: Dataset) -> None:
    first = fit(config, few_photos, device=CPU)
    torch.rand(7)  # what happened in the process before does not matter
    assert facts(fit(config, few_photos, device=CPU)) == facts(first)
    assert facts(fit(change(config, seed=1), few_photos, device=CPU)) != facts(first)


def test_every_knob_of_training_changes_the_result(few_photos: Dataset) -> None:
    base = change(TINY, epochs=1, drop_rate=0.2, loss="focal")
    variants = [{}, {"lr": 1.1e-2}, {"weight_decay": 0.5}, {"drop_rate": 0.3}, {"label_smoothing": 0.1},
                {"warmup_share": 0.9}, {"augment": ()}, {"augment": ("flip", "blur")}, {"loss": "cross_entropy"},
                {"focal_gamma": 1.0}, {"class_weights": "balanced"}, {"heads": "three_heads"},
                {"heads": "three_models"}, {"micro_batch": 16}, {"epochs": 2}, {"seed": 1},
                {"ema_decay": 0.9}, {"optimizer": "sgd"}, {"layer_decay": 0.9}, {"frozen_share": 0.5},
                {"tta": "flip"}, {"backbone": "test_resnet"},
                {"backbone": "test_resnet", "drop_path_rate": 0.5}]  # fmt: skip
    losses = [fit(change(base, **values), few_photos, device=CPU).history[0].scores.loss for values in variants]
    assert len(set(losses)) == len(variants)


@pytest.mark.parametrize("config", [FEW_STEPS, HARD], ids=["plain", "hard"])
@pytest.mark.parametrize("stop_after", [1, 3])
def test_stopped_and_resumed_equals_undisturbed(
    config: TrainConfig, stop_after: int, few_photos: Dataset, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("undisturbed", "stopped")]
    for folder in folders:
        folder.mkdir()
    undisturbed = fit(config, few_photos, device=CPU, folder=folders[0])
    stopped = fit(config, few_photos, Log(until=stop_after), device=CPU, folder=folders[1])
    assert facts(stopped) == facts(undisturbed)[:stop_after]
    assert (folders[1] / "resume.pt").exists()
    torch.manual_seed(99)
    resumed = fit(config, few_photos, device=CPU, folder=folders[1])
    assert facts(resumed) == facts(undisturbed)
    assert (folders[0] / "best.safetensors").read_bytes() == (folders[1] / "best.safetensors").read_bytes()
    ours, theirs = (Predictions.load(folder / "valid.npz") for folder in folders)
    assert (ours.log_prob_NK == theirs.log_prob_NK).all()
    assert sorted(path.name for path in folders[1].iterdir()) == ["best.safetensors", "history.json", "valid.npz"]
    assert resumed.history[-1].seconds > stopped.history[-1].seconds


def test_past_evaluations_are_reported_again_without_training(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Log(until=2), Log(until=2)
    fit(FEW_STEPS, few_photos, first, device=CPU, folder=tmp_path)
    monkeypatch.setattr(Run, "step", lambda *_: pytest.fail("trained"))
    fit(FEW_STEPS, few_photos, second, device=CPU, folder=tmp_path)
    assert second.heard == first.heard
    assert [step for step, _ in second.heard] == [1, 2]


def test_state_of_another_run_is_ignored(few_photos: Dataset, synthetic_data: Dataset, tmp_path: Path) -> None:
    others = [(change(FEW_STEPS, lr=2e-2), few_photos), (FEW_STEPS, few(synthetic_data, 104))]
    expected = fit(FEW_STEPS, few_photos, device=CPU)
    for config, photos in others:
        fit(config, photos, Log(until=1), device=CPU, folder=tmp_path)
        assert (tmp_path / "resume.pt").exists()
        assert facts(fit(FEW_STEPS, few_photos, device=CPU, folder=tmp_path)) == facts(expected)


@pytest.mark.parametrize("stop_after", [2, 10])
def test_stored_files_belong_to_the_best_evaluation(few_photos: Dataset, tmp_path: Path, stop_after: int) -> None:
    config = change(HARD, epochs=3)
    result = fit(config, few_photos, Log(until=stop_after), device=CPU, folder=tmp_path)
    best = max(result.history, key=lambda evaluation: evaluation.scores.macro_f1)
    assert result.best == best
    stored = Predictions.load(tmp_path / "valid.npz")
    assert score(stored.log_prob_NK, stored.label_N, MASK_TASK.space) == best.scores
    assert (stored.path_N == few_photos.valid.path_N).all()
    assert (stored.person_N == few_photos.valid.person_N).all()
    model = build_model(config, MASK_TASK.space, None)
    load_weights(tmp_path / "best.safetensors", model.weights())
    photos = torch.from_numpy(few_photos.image_NCHW[few_photos.valid.row_N])
    assert (log_probs(model, photos.split(4 * config.micro_batch), config) == stored.log_prob_NK).all()
    written = json.loads((tmp_path / "history.json").read_text())["evaluations"]
    assert [Scores.from_dict(entry["scores"]) for entry in written] == [e.scores for e in result.history]


def test_a_run_that_keeps_the_last_is_judged_by_it(
    few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, falling = loop.score, iter([0.9, 0.5, 0.7, 0.6])
    monkeypatch.setattr(loop, "score", lambda *given: replace(real(*given), macro_f1=next(falling)))
    result = fit(change(FEW_STEPS, keep="last"), few_photos, device=CPU, folder=tmp_path)
    last = result.history[-1]
    assert result.best == last
    stored = Predictions.load(tmp_path / "valid.npz")
    assert score(stored.log_prob_NK, stored.label_N, MASK_TASK.space).loss == last.scores.loss


def test_best_is_the_first_of_the_highest(few_photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.5, 0.7, 0.7, 0.6])
    monkeypatch.setattr(loop, "score", lambda *_: Scores(next(values), 0.5, 1.0, (), {}))
    kept: list[int] = []
    monkeypatch.setattr(loop, "weights_content", lambda *_: kept.append(len(kept)) or b"")
    result = fit(FEW_STEPS, few_photos, device=CPU, folder=tmp_path)
    assert result.best.step == 2
    assert len(kept) == 2  # at 0.5 and at the first 0.7


def test_validation_sees_every_photo_once_and_as_it_is(few_photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def noting(model: torch.nn.Module, batches: object, config: TrainConfig) -> np.ndarray:
        assert isinstance(model, torch.nn.Module)
        taken = list(batches)  # type: ignore[call-overload]
        seen.append(torch.cat(taken))
        return log_probs(model, taken, config)

    monkeypatch.setattr(loop, "log_probs", noting)
    fit(change(HARD, micro_batch=5), few_photos, device=CPU)  # 42 photos in batches of 20
    expected = torch.from_numpy(few_photos.image_NCHW[few_photos.valid.row_N])
    assert len(seen) == 4
    assert all(torch.equal(images, expected) for images in seen)


def test_training_photos_are_augmented(few_photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[tuple[str, ...]] = []

    def noting(
        image: torch.Tensor, target: torch.Tensor, chosen: tuple[str, ...], generator: torch.Generator
    ) -> object:
        names.append(chosen)
        return loop_augment(image, target, chosen, generator)

    loop_augment = loop.augment
    monkeypatch.setattr(loop, "augment", noting)
    fit(change(TINY, augment=("flip", "blur")), few_photos, device=CPU)
    assert names == [("flip", "blur")] * 6


@pytest.mark.parametrize("backbone", ["test_vit", "test_convnext"])
def test_accumulated_gradients_are_those_of_the_whole_batch(backbone: str, few_photos: Dataset) -> None:
    config = change(TINY, backbone=backbone, augment=("flip", "cutmix"), lr=1e-3, class_weights="balanced")
    losses, gradients = [], []
    for micro_batch in (32, 12):
        run = Run(change(config, micro_batch=micro_batch), few_photos, CPU, None)
        run.optimizer.zero_grad = lambda **_: None  # type: ignore[method-assign]
        losses.append(float(run.step(0)))
        gradients.append([value.grad for value in run.model.parameters()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    for whole, accumulated in zip(*gradients, strict=True):
        torch.testing.assert_close(accumulated, whole, rtol=1e-3, atol=1e-6)


def test_no_micro_batch_is_a_single_photo(few_photos: Dataset) -> None:
    fit(change(TINY, batch_size=33, micro_batch=16), few_photos, device=CPU)


def test_exploding_learning_rate_is_called_diverged(few_photos: Dataset) -> None:
    with pytest.raises(DivergedError, match=r"loss .* after \d+ of \d+ steps"):
        fit(change(TINY, backbone="test_vit", lr=1.0, epochs=8, warmup_share=0.0), few_photos, device=CPU)


def test_loss_that_is_no_number_is_called_diverged(few_photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "step", lambda run, _: run.loss_sum.fill_(float("nan")))
    with pytest.raises(DivergedError, match="training loss nan"):
        fit(TINY, few_photos, device=CPU)


def test_learning_rate_follows_the_schedule(few_photos: Dataset) -> None:
    run = Run(change(TINY, warmup_share=0.5), few_photos, CPU, None)
    rates = []
    for step in range(6):
        run.step(step)
        rates.append(run.optimizer.param_groups[0]["lr"] / TINY.lr)
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 1, 0.75, 0.25])


def test_config_must_be_resolved_first(few_photos: Dataset) -> None:
    config = change(TINY, dtype="auto")
    with pytest.raises(AssertionError):
        fit(config, few_photos, device=CPU)
    assert resolve(config, CPU) == TINY


@pytest.mark.parametrize("task", ["mask", "gender", "age"])
def test_single_task_trains_on_its_own_classes(task: str, few_photos: Dataset, tmp_path: Path) -> None:
    fit(change(TINY, task=task), few_photos, device=CPU, folder=tmp_path)
    stored = Predictions.load(tmp_path / "valid.npz")
    assert stored.log_prob_NK.shape == (42, 2 if task == "gender" else 3)
    assert stored.label_N.max() < stored.log_prob_NK.shape[1]
