"""Every name that is taken is built to one row of classes a photo; every other is refused in a line."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from timm.models import get_deprecated_models

from maskcls.config import TrainConfig, change, save_config
from maskcls.model.backbones import check_backbones, pixel_statistics
from maskcls.model.classifier import build_model, check_builds
from maskcls.model.weights import resolve_weights
from maskcls.system.errors import UserError
from maskcls.tasks.mask import MASK_TASK
from maskcls.training.run_folder import load_trained
from tests.helpers.training import CPU, TINY, one_line

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
from timm_names import HEADS, try_name

SPACE = MASK_TASK.space

RENAMED = get_deprecated_models()

FAMILIES = [
    *("test_vit3", "levit_128s", "efficientvit_m0", "cpubone_nano", "crossvit_9_240", "dla46_c", "densenet121"),
    *("hgnetv2_b0", "mobilenetv4_conv_small_050", "pvt_v2_b0", "swin_tiny_patch4_window7_224", "efficientformer_l1"),
    *("mambaout_femto", "deit_tiny_distilled_patch16_224", "efficientvim_m1", "naflexvit_base_patch16_gap"),
]
"""One each of families that put their head, their dropout or their size of photo elsewhere."""


def refusal(name: str) -> str:
    with pytest.raises(UserError) as caught:
        check_backbones([name])
    return one_line(caught.value)


def test_every_name_of_timms_lists_is_taken() -> None:
    check_backbones([*timm.list_models(), *timm.list_models(include_tags=True)])


@pytest.mark.parametrize("tag", ["", ".some_tag"])
def test_every_name_that_timm_has_given_up_is_refused_with_todays(tag: str) -> None:
    assert len(RENAMED) > 200
    for old, today in RENAMED.items():
        told = refusal(old + tag)
        assert told.startswith(f"timm has dropped the name '{old}'. ")
        assert today is not None
        if today in timm.list_models(include_tags=True) or today in timm.list_models():
            assert f" Use {today}." in told
            check_backbones([today])
        else:  # the weights of that name are gone as well
            assert f"It was {today.partition('.')[0]} with weights that timm no longer has; there are: " in told


def test_a_name_without_any_of_today_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskcls.model.backbones.get_deprecated_models", lambda: {"gone": None})
    assert refusal("gone") == "timm has dropped the name 'gone'. It has no successor; use another backbone."


@pytest.mark.parametrize(
    "name", ["hf-hub:timm/resnet18.a1_in1k", "hf_hub:x/y", "HF-HUB:x/y", "local-dir:/models/x", "timm/resnet18", "a\\b"]
)
def test_models_from_elsewhere_are_refused_wherever_a_name_is_taken(name: str, tmp_path: Path) -> None:
    assert f"one of timm's own names, for example resnet50, not {name!r}" in refusal(name)
    config = change(TINY, backbone=name)
    for source in ("scratch", "auto", "pretrained", str(tmp_path)):
        with pytest.raises(UserError, match="timm's own names"):
            resolve_weights(source, ["resnet18", name])
    with pytest.raises(UserError, match="timm's own names"):
        build_model(config, SPACE, None)
    with pytest.raises(UserError, match="timm's own names"):
        pixel_statistics(name)
    save_config(tmp_path / "config.toml", config, {})
    with pytest.raises(UserError, match="timm's own names"):
        load_trained(tmp_path, CPU)


def test_unknown_weights_of_a_known_backbone_are_refused_with_those_there_are() -> None:
    assert "timm has no weights 'nonsense' of resnet18. There are: resnet18.a1_in1k, " in refusal("resnet18.nonsense")
    assert "timm has no weights '' of resnet18. " in refusal("resnet18.")
    assert refusal("test_mambaout.x").endswith("There are: none, so use test_mambaout.")


def test_a_strange_name_is_told_in_one_line() -> None:
    assert refusal("a\nb") == "timm has no backbone named 'a b'."
    assert len(refusal("x" * 5000)) < 300


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_all_kinds_are_built_with_dropout_before_their_heads(name: str) -> None:
    for heads in HEADS:
        row = try_name(name, heads)
        assert (row["outcome"], row["why"]) == ("built", "")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("deepseek_vit_412m_enc", "one row of numbers"),
        ("gemma4_vit_167m_enc", "unexpected keyword argument 'drop_rate'"),
    ],
)
def test_a_model_that_is_no_classifier_is_refused(name: str, why: str) -> None:
    with pytest.raises(UserError) as caught, torch.device("meta"):
        build_model(TrainConfig(backbone=name, drop_rate=0.5), SPACE, None)
    assert one_line(caught.value).startswith(f"timm cannot build {name} for ")
    assert why in str(caught.value)


def test_whatever_timm_raises_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("a\nb")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(UserError) as caught:
        build_model(TINY, SPACE, None)
    assert one_line(caught.value).startswith("timm cannot build test_efficientnet for 32 x 32 pixels")


def test_a_check_computes_nothing_and_says_what_a_build_would() -> None:
    before = torch.get_rng_state()
    check_builds(TrainConfig(backbone="vit_large_patch16_224", drop_rate=0.5, heads="three_models"), SPACE)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(UserError, match=r"timm cannot build test_vit for 50 x 70 pixels"):
        check_builds(change(TINY, backbone="test_vit", image_size=(50, 70)), SPACE)
