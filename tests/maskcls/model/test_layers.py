"""Heads and layers of timm's models, and what is refused for models that lack them."""

import pytest
import timm
import torch
from torch import nn

from maskcls.config import change
from maskcls.model import classifier, layers
from maskcls.model.classifier import build_model
from maskcls.model.layers import depths, drop_paths_passed, head_names
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from tests.helpers.training import TINY, one_line


def network(backbone: str, **options: object) -> nn.Module:
    with torch.device("meta"):
        net: nn.Module = timm.create_model(backbone, num_classes=3, **options)
    return net


@pytest.mark.parametrize(
    ("backbone", "names"),
    [
        ("test_efficientnet", {"classifier.weight", "classifier.bias"}),
        ("test_convnext", {"head.fc.weight", "head.fc.bias"}),
        (
            "deit_tiny_distilled_patch16_224",
            {f"{head}.{kind}" for head in ("head", "head_dist") for kind in ("weight", "bias")},
        ),
    ],
)
def test_the_head_is_the_last_linear_layer_or_several(backbone: str, names: set[str]) -> None:
    assert head_names(network(backbone)) == names


def test_without_a_head_there_is_none() -> None:
    assert head_names(timm.create_model("test_vit", num_classes=0)) == set()
    assert head_names(nn.Linear(2, 2)) == set()


def test_layers_count_from_the_head_down() -> None:
    found = depths(network("test_vit"), "test_vit")
    blocks = len(network("test_vit").blocks)  # type: ignore[arg-type]
    assert found["head.weight"] == 0
    assert found[f"blocks.{blocks - 1}.attn.qkv.weight"] == found["norm.weight"] == 1  # as timm has it
    assert found["blocks.0.attn.qkv.weight"] == blocks
    assert found["patch_embed.proj.weight"] == found["cls_token"] == blocks + 1


@pytest.mark.parametrize("backbone", ["test_vit", "test_convnext", "test_resnet", "test_efficientnet"])
def test_a_model_without_a_head_has_the_same_layers(backbone: str) -> None:
    whole, bare = network(backbone), timm.create_model(backbone, num_classes=0)
    expected = {name: depth for name, depth in depths(whole, backbone).items() if name not in head_names(whole)}
    assert depths(bare, backbone) == expected


def test_a_model_that_timm_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match=r"timm does not divide pit_ti_224 into layers\. Use layer_decay=1\."):
        depths(network("pit_ti_224"), "pit_ti_224")


@pytest.mark.parametrize(
    ("backbone", "rate", "passes"),
    [("test_resnet", 0.1, True), ("test_resnet", 0.0, False), ("test_efficientnet", 0.1, False)],
)
def test_stochastic_depth_is_seen_where_a_photo_comes_to_it(backbone: str, rate: float, passes: bool) -> None:
    net = network(backbone, drop_path_rate=rate).eval()
    with drop_paths_passed(net) as passed:
        net(torch.zeros(1, 3, 64, 64, device="meta"))
    assert bool(passed) == passes
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("heads", ["joint", "three_heads", "three_models"])
def test_what_a_backbone_lacks_is_refused_when_it_is_built(heads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for backbone in ("ghostnet_050", "test_efficientnet"):  # one that does not take the rate, and one that ignores it
        config = change(TINY, backbone=backbone, heads=heads, drop_path_rate=0.1)
        with pytest.raises(
            UserError, match=r"drop_path_rate=0\.1 would do nothing: .* Use drop_path_rate=0\."
        ) as caught:
            build_model(config, MASK_TASK.space, None)
        one_line(caught.value)
    monkeypatch.setattr(layers, "group_parameters", lambda *_, **__: {})
    with pytest.raises(UserError, match="layer_decay below 1 would do nothing"):
        build_model(change(TINY, heads=heads, layer_decay=0.9), MASK_TASK.space, None)
    monkeypatch.setattr(classifier, "head_names", lambda _: set())
    frozen = change(TINY, heads=heads, frozen_share=0.5)
    if heads == "three_heads":
        build_model(frozen, MASK_TASK.space, None)  # its heads are its own
        return
    with pytest.raises(UserError, match=r'no head to train alone\. Use frozen_share=0, or heads="three_heads"\.'):
        build_model(frozen, MASK_TASK.space, None)
