"""Every optimizer steps as timm's own, with timm's layer decay, and goes on from a state as if it had not stopped."""

import copy
from pathlib import Path
from typing import get_args

import pytest
import torch
from timm.optim import create_optimizer_v2, list_optimizers, param_groups_layer_decay
from torch import Tensor, nn

from maskcls.config import LATER, TrainConfig, change
from maskcls.data.dataset import Dataset
from maskcls.model.classifier import build_model
from maskcls.run.record import WEIGHTS
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from maskcls.training.loop import Run, fit
from maskcls.training.optimizer import LR_SCALE, OF_BACKBONE, head_parameters, parameter_groups
from maskcls.training.run_folder import train_into
from maskcls.training.schedule import lr_factor
from tests.helpers.training import CPU, TINY, Log, facts

OPTIMIZERS = get_args(TrainConfig.model_fields["optimizer"].annotation)
BACKBONES = ("test_vit", "test_convnext", "test_resnet", "test_efficientnet")


def decayed(config: TrainConfig, **values: object) -> dict[str, tuple[float, float]]:
    """Name of a parameter -> its (factor of the learning rate, weight decay) of the config with ``layer_decay``."""
    model = build_model(change(config, layer_decay=0.7, weight_decay=0.2, **values), MASK_TASK.space, None)
    groups = parameter_groups(model, change(config, layer_decay=0.7, weight_decay=0.2, **values))
    return names_of(model, groups)


def names_of(model: nn.Module, groups: list[dict]) -> dict[str, tuple[float, float]]:
    name_of = {id(value): name for name, value in model.named_parameters()}
    return {
        name_of[id(value)]: (group[LR_SCALE], group["weight_decay"]) for group in groups for value in group["params"]
    }


@pytest.mark.parametrize("backbone", BACKBONES)
def test_layers_learn_as_timms_groups_say(backbone: str) -> None:
    ours = decayed(change(TINY, backbone=backbone))
    net = build_model(change(TINY, backbone=backbone), MASK_TASK.space, None).weights()
    timms = names_of(net, param_groups_layer_decay(net, 0.2, layer_decay=0.7))
    assert ours == {f"net.{name}": pytest.approx(values) for name, values in timms.items()}
    assert len({scale for scale, _ in ours.values()}) > 3


@pytest.mark.parametrize("backbone", BACKBONES)
def test_backbones_of_every_kind_of_heads_learn_alike(backbone: str) -> None:
    one = decayed(change(TINY, backbone=backbone))
    heads = decayed(change(TINY, backbone=backbone), heads="three_heads")
    models = decayed(change(TINY, backbone=backbone), heads="three_models")
    for name, values in one.items():
        bare = name.removeprefix("net.")
        assert {models[f"{part}.{bare}"] for part in MASK_TASK.space.parts} == {values}
        assert heads.get(f"backbone.{bare}", values) == values
    assert {heads[f"{part}.weight"] for part in MASK_TASK.space.parts} == {(1.0, 0.2)}
    assert {heads[f"{part}.bias"] for part in MASK_TASK.space.parts} == {(1.0, 0.0)}


def test_the_groups_of_a_run_without_either_are_as_they_were() -> None:
    model = build_model(TINY, MASK_TASK.space, None)
    assert [set(group) for group in parameter_groups(model, TINY)] == [{"params", "weight_decay"}] * 2


@pytest.mark.parametrize("heads", ["joint", "three_heads", "three_models"])
def test_heads_are_told_from_backbones(heads: str) -> None:
    config = change(TINY, heads=heads, frozen_share=0.5)
    model = build_model(config, MASK_TASK.space, None)
    groups = parameter_groups(model, config)
    of_head = {id(value) for group in groups if not group[OF_BACKBONE] for value in group["params"]}
    assert of_head == {id(value) for name, value in model.named_parameters() if name in head_parameters(model)}
    assert len(head_parameters(model)) == (2 if heads == "joint" else 6)


def gradients_and_weights(config: TrainConfig, data: Dataset, steps: int) -> list[tuple[list[Tensor], list[Tensor]]]:
    """[before the first step, and after each]: (the gradients of the step, the weights after it)."""
    run = Run(config, data, CPU, None)  # type: ignore[arg-type]
    run.model.train()
    values = list(run.model.parameters())
    found: list[tuple[list[Tensor], list[Tensor]]] = [([], [value.detach().clone() for value in values])]
    zero_grad = run.optimizer.zero_grad

    def noting(set_to_none: bool = True) -> None:
        gradients = [value.grad.clone() for value in values if value.grad is not None]
        found.append((gradients, [value.detach().clone() for value in values]))
        zero_grad(set_to_none)

    run.optimizer.zero_grad = noting  # type: ignore[method-assign]
    for step in range(steps):
        run.step(step)
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_steps_as_timms_own(name: str, few_photos: Dataset) -> None:
    assert name in list_optimizers()
    config = change(TINY, optimizer=name, lr=1e-3, weight_decay=0.3, epochs=3)
    (_, begin), *steps = gradients_and_weights(config, few_photos, 4)
    twin = build_model(config, MASK_TASK.space, None)
    with torch.no_grad():
        for value, first in zip(twin.parameters(), begin, strict=True):
            value.copy_(first)
    timms = create_optimizer_v2(twin, name, lr=1e-3, weight_decay=0.3)
    for number, (gradients, weights) in enumerate(steps):
        for group in timms.param_groups:
            group["lr"] = 1e-3 * lr_factor(number, 9, config.warmup_share)
        for value, gradient in zip(twin.parameters(), gradients, strict=True):
            value.grad = gradient
        timms.step()
        for value, ours in zip(twin.parameters(), weights, strict=True):
            torch.testing.assert_close(value.detach(), ours, rtol=1e-5, atol=1e-7)
    assert not all(torch.equal(*pair) for pair in zip(begin, steps[-1][1], strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_stopped_and_resumed_equals_undisturbed(name: str, few_photos: Dataset, tmp_path: Path) -> None:
    config = change(TINY, optimizer=name, backbone="test_resnet", lr=1e-3, evaluations_per_epoch=2, frozen_share=0.4,
                    layer_decay=0.8, drop_path_rate=0.3, micro_batch=16, tta="flip")  # fmt: skip
    folders = [tmp_path / each for each in ("undisturbed", "stopped")]
    for folder in folders:
        folder.mkdir()
    undisturbed = fit(config, few_photos, device=CPU, folder=folders[0])  # type: ignore[arg-type]
    for stop_after in (1, 3):  # while the backbone is frozen, and later
        fit(config, few_photos, Log(until=stop_after), device=CPU, folder=folders[1])  # type: ignore[arg-type]
        torch.manual_seed(99)
    assert facts(fit(config, few_photos, device=CPU, folder=folders[1])) == facts(undisturbed)  # type: ignore[arg-type]
    assert (folders[0] / WEIGHTS).read_bytes() == (folders[1] / WEIGHTS).read_bytes()


@pytest.mark.parametrize("name", ["lamb", "adan"])
def test_an_optimizer_that_counts_for_a_group_counts_from_when_it_joins(name: str, few_photos: Dataset) -> None:
    run = Run(change(TINY, optimizer=name, frozen_share=0.5), few_photos, CPU, None)  # type: ignore[arg-type]
    run.model.train()
    for step in range(5):
        run.step(step)
    counted = {group[OF_BACKBONE]: int(group["step"]) for group in run.optimizer.param_groups}
    assert counted == {True: 2, False: 5}


def test_the_rates_are_the_schedules_times_the_layers(few_photos: Dataset) -> None:
    config = change(TINY, layer_decay=0.5, frozen_share=0.34, warmup_share=0.34)  # 2 of 6 steps each
    run = Run(config, few_photos, CPU, None)  # type: ignore[arg-type]
    run.model.train()
    rates = []
    for step in range(6):
        run.step(step)
        groups = run.optimizer.param_groups
        assert all(group["lr"] > 0 for group in groups)
        head = next(group["lr"] for group in groups if not group[OF_BACKBONE])
        last = next(group["lr"] for group in groups if group[OF_BACKBONE] and group[LR_SCALE] == 0.5)
        rates.append((head / TINY.lr, last / (0.5 * TINY.lr)))
    factors = [lr_factor(step, 6, 0.34) for step in range(6)]
    assert [head for head, _ in rates] == pytest.approx(factors)
    assert [last for _, last in rates[2:]] == pytest.approx([factors[2] / 2, *factors[3:]])


def test_a_learning_rate_of_one_group_does_not_change_the_others(few_photos: Dataset) -> None:
    runs = [Run(change(TINY, layer_decay=decay), few_photos, CPU, None) for decay in (1.0, 0.999999)]  # type: ignore[arg-type]
    for run in runs:
        run.model.train()
        run.step(0)
    plain, nearly = (copy.deepcopy(run.model.state_dict()) for run in runs)
    for name, value in plain.items():
        torch.testing.assert_close(value, nearly[name], rtol=1e-3, atol=1e-5)


def test_a_run_from_before_these_hyperparameters_goes_on(few_photos: Dataset, tmp_path: Path) -> None:
    def train(report: Log) -> None:
        train_into(tmp_path, TINY, few_photos, report, origin={}, device=CPU, weight_file=None)  # type: ignore[arg-type]

    train(Log(until=1))
    written = (tmp_path / "config.toml").read_text().splitlines(keepends=True)
    old = [line for line in written if line.partition(" = ")[0] not in LATER]
    assert len(written) - len(old) == len(LATER)
    (tmp_path / "config.toml").write_text("".join(old))
    trained_steps: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        step = Run.step
        patch.setattr(Run, "step", lambda run, number: (trained_steps.append(number), step(run, number))[1])
        train(Log())
    assert trained_steps == [3, 4, 5]


def test_an_optimizer_that_is_not_offered_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"^optimizer must be 'adamw', .* or 'sgd', not 'muon'\.$"):
        change(TINY, optimizer="muon")
