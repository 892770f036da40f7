"""``frozen_share``: the head alone learns at first, from the features that an evaluation sees."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from maskcls.config import TrainConfig, change
from maskcls.data.dataset import Dataset
from maskcls.model.classifier import build_model
from maskcls.model.inference import to_input
from maskcls.tasks.mask import MASK_TASK
from maskcls.training import cuda_graphs, loop
from maskcls.training.head_first import HeadFirst
from maskcls.training.loop import Run
from maskcls.training.optimizer import head_parameters
from maskcls.training.schedule import frozen_steps, lr_factor
from tests.helpers.training import CPU, TINY

CONFIG = change(TINY, frozen_share=0.5, augment=())  # 3 of 6 steps


def begun(config: TrainConfig, data: Dataset) -> Run:
    run = Run(config, data, CPU, None)  # type: ignore[arg-type]
    run.model.train()
    return run


def changed(run: Run, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize(
    ("heads", "backbone"),
    [("joint", "test_vit"), ("three_heads", "test_resnet"), ("three_models", "test_resnet")],
)
def test_the_backbone_stays_as_it_is_and_then_learns(heads: str, backbone: str, few_photos: Dataset) -> None:
    run = begun(change(CONFIG, heads=heads, backbone=backbone, drop_path_rate=0.2, micro_batch=16), few_photos)
    before, of_head = copy.deepcopy(run.model.state_dict()), head_parameters(run.model)
    for step in range(3):
        run.step(step)
        if step == 1:
            run.evaluate()  # which puts the whole model into another mode
            run.model.train()
    assert changed(run, before) == of_head
    run.step(3)
    weights = {name for name, value in run.model.named_parameters() if value.ndim > 1}
    assert changed(run, before) >= weights
    run.step(4)
    counts = [value for name, value in run.model.state_dict().items() if name.endswith("num_batches_tracked")]
    assert {int(value) for value in counts} <= {4}  # two steps of two micro-batches


def test_a_heads_own_batch_norm_trains() -> None:
    model = build_model(change(TINY, backbone="levit_128s", image_size=224), MASK_TASK.space, None).train()
    HeadFirst(model, 1).prepare(0)
    training = {name for name, module in model.named_modules() if isinstance(module, _BatchNorm) and module.training}
    assert training == {"net.head.bn", "net.head_dist.bn"}


def test_the_head_learns_as_a_linear_classifier_on_the_features_of_an_evaluation(few_photos: Dataset) -> None:
    run = begun(CONFIG, few_photos)
    net: Any = copy.deepcopy(run.model.weights()).eval()
    head = copy.deepcopy(net.classifier)
    groups = [{"params": [head.weight], "weight_decay": CONFIG.weight_decay}, {"params": [head.bias]}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    for step in range(3):
        image_BCHW, label_B = run.train.take(run.sampler.batch(step))
        with torch.no_grad():
            map_BCHW = net.forward_features(to_input(image_BCHW, run.config))
            features_BD = net.forward_head(map_BCHW, pre_logits=True)
        for group in optimizer.param_groups:
            group["lr"] = CONFIG.lr * lr_factor(step, 6, CONFIG.warmup_share)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(features_BD), label_B).backward()
        optimizer.step()
        run.step(step)
    for name, value in head.named_parameters():
        ours = run.model.weights().get_parameter(f"classifier.{name}")
        torch.testing.assert_close(ours, value, rtol=1e-4, atol=1e-6)


def test_the_backward_pass_ends_at_the_head(few_photos: Dataset) -> None:
    run = begun(CONFIG, few_photos)
    seen: list[bool] = []
    head = run.model.weights().get_submodule("classifier")
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].requires_grad))
    for step in range(4):
        run.step(step)
    assert seen == [False, False, False, True]


def test_the_last_step_trains_all() -> None:
    assert [frozen_steps(10, share) for share in (0.0, 0.04, 0.25, 0.5, 0.99)] == [0, 0, 2, 5, 9]


@pytest.mark.parametrize("resumed_at", [0, 2, 4])
def test_passes_are_captured_when_the_backbone_joins(
    resumed_at: int, few_photos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[int] = []
    monkeypatch.setattr(loop, "resolve", lambda config, _: config)
    monkeypatch.setattr(loop, "capture", lambda *_: captured.append(run.steps_done))
    run = begun(change(CONFIG, cuda_graphs="on"), few_photos)
    for step in range(resumed_at, 6):
        run.steps_done = step
        run.step(step)
    assert captured == [max(3, resumed_at)]


def test_a_step_is_recorded_when_the_backbone_joins(few_photos: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[int] = []
    times = [0, cuda_graphs.WARM_UP_STEPS]

    def record(work: Callable[[], object], *_: object) -> Callable[[], object]:
        recorded.append(number)
        for _ in range(times[len(recorded) - 1]):
            work()
        return work

    monkeypatch.setattr(cuda_graphs, "record", record)
    monkeypatch.setattr(loop, "resolve", lambda config, _: config)
    config = change(CONFIG, layer_decay=0.8, drop_rate=0.3, augment=("flip", "cutmix"), cuda_graphs="step")
    runs = []
    for _ in times:
        runs.append(begun(config, few_photos))
        for number in range(6):
            runs[-1].step(number)
    assert recorded == [3, 3]
    assert all(torch.equal(one, other) for one, other in zip(*(run._tensors() for run in runs), strict=True))
    assert all(
        isinstance(group["lr"], torch.Tensor) and group["capturable"] for group in runs[0].optimizer.param_groups
    )
