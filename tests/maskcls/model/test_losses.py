"""The loss against torch's cross entropy, the focal loss against its formula, and what reaches which head."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as reference

from maskcls.config import change
from maskcls.data.dataset import Dataset, Table, load_dataset, training_labels
from maskcls.model.classifier import build_model
from maskcls.model.inference import to_input
from maskcls.model.losses import Targets, class_weights, focal_loss, smooth
from maskcls.tasks.mask import MASK_TASK
from tests.helpers.training import TINY

SPACE = MASK_TASK.space


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(batch: int = 12, classes: int = 18) -> Tensor:
    return 3 * torch.randn(batch, classes, generator=seeded(1))


def soft_targets(batch: int = 12, classes: int = 18) -> Tensor:
    return torch.rand(batch, classes, generator=seeded(2)).softmax(1)


def one_hot(batch: int = 12, classes: int = 18) -> Tensor:
    return torch.eye(classes)[torch.randint(classes, (batch,), generator=seeded(3))]


@pytest.mark.parametrize("target_BK", [soft_targets(), one_hot()], ids=["soft", "one-hot"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_cross_entropy_equals_torch(target_BK: Tensor, smoothing: float) -> None:
    logit_BK = logits()
    expected = reference.cross_entropy(logit_BK, target_BK, label_smoothing=smoothing)
    got = focal_loss(logit_BK.log_softmax(1), smooth(target_BK, smoothing), torch.ones(18), 0.0)
    torch.testing.assert_close(got, expected)


def test_weighted_cross_entropy_equals_torch() -> None:
    logit_BK, target_BK, weight_K = logits(), soft_targets(), torch.rand(18, generator=seeded())
    expected = reference.cross_entropy(logit_BK, target_BK, weight=weight_K)
    torch.testing.assert_close(focal_loss(logit_BK.log_softmax(1), target_BK, weight_K, 0.0), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_loss_equals_its_formula(gamma: float) -> None:
    logit_BK, target_BK, weight_K = logits(), one_hot(), torch.rand(18, generator=seeded())
    chance_B = (logit_BK.softmax(1) * target_BK).sum(1)
    expected = (-((1 - chance_B) ** gamma) * chance_B.log() * (target_BK @ weight_K)).mean()
    torch.testing.assert_close(focal_loss(logit_BK.log_softmax(1), target_BK, weight_K, gamma), expected)


def test_focal_loss_sums_its_formula_over_a_soft_target() -> None:
    logit_BK, target_BK = logits(), soft_targets()
    log_prob_BK = logit_BK.log_softmax(1)
    by_class_K = [focal_loss(log_prob_BK, torch.eye(18)[[k] * 12] * target_BK[:, k : k + 1], torch.ones(18), 2.0)
                  for k in range(18)]  # fmt: skip
    torch.testing.assert_close(focal_loss(log_prob_BK, target_BK, torch.ones(18), 2.0), torch.stack(by_class_K).sum())


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0])
def test_focal_gradient_is_finite_where_the_model_is_sure(gamma: float) -> None:
    logit_BK = (60 * one_hot()).requires_grad_()
    focal_loss(logit_BK.log_softmax(1), one_hot(), torch.ones(18), gamma).backward()
    assert logit_BK.grad is not None
    assert torch.isfinite(logit_BK.grad).all()


@pytest.mark.parametrize("kind", ["none", "sqrt", "balanced"])
def test_class_weights_have_mean_one_over_the_training_photos(kind: str) -> None:
    label_N = np.repeat(np.arange(6), [100, 50, 10, 5, 5, 0])
    weight_K = class_weights(label_N, 6, kind)
    assert weight_K.dtype == np.float32
    assert weight_K[label_N].mean() == pytest.approx(1, rel=1e-5)
    assert weight_K[5] == 1
    power = {"none": 0, "sqrt": 0.5, "balanced": 1}[kind]
    assert weight_K[2] / weight_K[0] == pytest.approx(10**power, rel=1e-5)


def test_balanced_weights_give_every_class_the_same_say() -> None:
    label_N = np.repeat(np.arange(3), [100, 20, 4])
    shares = class_weights(label_N, 3, "balanced") * np.bincount(label_N)
    assert shares == pytest.approx(np.full(3, 124 / 3), rel=1e-5)


@pytest.mark.parametrize("task", ["all", "mask", "gender", "age"])
def test_one_head_is_weighted_cross_entropy_of_its_task(task: str) -> None:
    classes = SPACE.predicted(task).num_classes
    label_N = torch.arange(60) ** 2 % classes
    config = change(TINY, task=task, class_weights="balanced", label_smoothing=0.1)
    targets = Targets(config, SPACE.predicted(task), label_N)
    logit_BK = logits(60, classes)
    weight_K = torch.from_numpy(class_weights(label_N.numpy(), classes, "balanced"))
    target_BK = reference.one_hot(label_N, classes).float()
    expected = reference.cross_entropy(logit_BK, target_BK, weight=weight_K, label_smoothing=0.1)
    got = targets.loss({task: logit_BK.log_softmax(1)}, targets.one_hot(label_N))
    torch.testing.assert_close(got, expected)
    assert targets.chance_loss == pytest.approx(math.log(classes))


@pytest.mark.parametrize("heads", ["three_heads", "three_models"])
def test_three_parts_are_the_sum_of_their_own_cross_entropies(heads: str) -> None:
    label_N = torch.arange(60) ** 2 % 18
    config = change(TINY, heads=heads, class_weights="sqrt", label_smoothing=0.2)
    targets = Targets(config, SPACE, label_N)
    of_part = {part: logits(60, 2 if part == "gender" else 3) for part in SPACE.parts}
    expected = torch.zeros(())
    for part, logit_BK in of_part.items():
        classes = logit_BK.shape[1]
        part_N = torch.from_numpy(SPACE.part_table(part))[label_N]
        weight_K = torch.from_numpy(class_weights(part_N.numpy(), classes, "sqrt"))
        target_BK = reference.one_hot(part_N, classes).float()
        expected = expected + reference.cross_entropy(logit_BK, target_BK, weight=weight_K, label_smoothing=0.2)
    log_probs = {part: logit_BK.log_softmax(1) for part, logit_BK in of_part.items()}
    torch.testing.assert_close(targets.loss(log_probs, targets.one_hot(label_N)), expected)
    assert targets.chance_loss == pytest.approx(math.log(18))


def test_mixed_labels_are_mixed_in_every_part() -> None:
    targets = Targets(change(TINY, heads="three_heads"), SPACE, torch.arange(18))
    mixed_BK = 0.7 * torch.eye(18)[[0]] + 0.3 * torch.eye(18)[[17]]
    sure = {"mask": torch.tensor([[0.5, 0.2, 0.3]]), "gender": torch.tensor([[0.6, 0.4]]), "age": torch.ones(1, 3) / 3}
    got = targets.loss({part: prob.log() for part, prob in sure.items()}, mixed_BK)
    expected = -(0.7 * math.log(0.5) + 0.3 * math.log(0.3) + 0.7 * math.log(0.6) + 0.3 * math.log(0.4)) + math.log(3)
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_mask_loss_moves_the_mask_model_alone() -> None:
    config = change(TINY, heads="three_models")
    model = build_model(config, SPACE, None)
    targets = Targets(config, SPACE, torch.arange(18))
    image_BCHW = to_input(torch.rand(6, 3, 32, 32, generator=seeded()), config)
    found = model(image_BCHW)
    only_mask = {part: log_prob if part == "mask" else log_prob.detach() for part, log_prob in found.items()}
    targets.loss(only_mask, one_hot(6)).backward()
    moved = {name.split(".")[0] for name, value in model.named_parameters() if value.grad is not None}
    assert moved == {"mask"}
    model.zero_grad(set_to_none=True)
    targets.loss(model(image_BCHW), one_hot(6)).backward()
    assert all(value.grad is not None for value in model.parameters())


def test_old_from_changes_training_labels_only(
    synthetic_table: Table, synthetic_data: Dataset, synthetic_cache: Path
) -> None:
    table = Table(synthetic_table.folder, synthetic_table.photos.copy(), synthetic_table.hash)
    person = table.photos.loc[table.photos["split"] == "train"].query("age == 1")["person"].iloc[0]
    judged = table.photos.loc[table.photos["split"] == "valid"].query("age == 1")["person"].iloc[0]
    table.photos.loc[table.photos["person"].isin([person, judged]), "years"] = 58
    early = load_dataset(table, change(TINY, old_from=58), synthetic_cache)
    changed = early.train.label_N - synthetic_data.train.label_N
    nearly_old = table.photos[(table.photos["split"] == "train") & table.photos["years"].between(58, 59)]["person"]
    assert set(early.train.person_N[changed != 0]) == set(nearly_old)
    assert set(changed[early.train.person_N == person]) == {1}
    assert (early.valid.label_N == synthetic_data.valid.label_N).all()
    late = table.photos[table.photos["person"] == person]
    assert set(training_labels(late, MASK_TASK, change(TINY, old_from=59)) % 3) == {1}
    assert set(training_labels(late, MASK_TASK, change(TINY, old_from=57)) % 3) == {2}
