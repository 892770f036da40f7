"""Hyperparameters: what is accepted, what is refused in one sentence, and the file that restores them bit for bit."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from maskcls.config import (
    AUGMENTATIONS,
    HYPERPARAMETERS,
    LATER,
    ResolvedConfig,
    TrainConfig,
    change,
    config_to_toml,
    identity_of,
    load_config,
    make_config,
    parse_assignment,
    save_config,
)
from maskcls.data import augment
from maskcls.system.errors import UserError
from tests.helpers.training import TINY, one_line


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        make_config(values)
    return one_line(caught.value)


def test_unknown_hyperparameter_shows_the_nearest_and_all_of_them() -> None:
    text = refusal({"learning_rate": 1, "lr": 2})
    assert text.startswith("No hyperparameter named 'learning_rate'.")
    text = refusal({"drop_out": 0.5})
    assert "Nearest: drop_rate" in text
    assert ", ".join(HYPERPARAMETERS) in text


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("drop_rate", 1.0, "drop_rate must be less than 1, not 1.0."),
        ("drop_rate", -0.1, "drop_rate must be greater than or equal to 0, not -0.1."),
        ("lr", 0, "lr must be greater than 0, not 0."),
        ("lr", "fast", "lr must be a valid number"),
        ("lr", float("nan"), "lr must be"),
        ("epochs", 0, "epochs must be greater than or equal to 1, not 0."),
        ("epochs", 2.5, "epochs must be a valid integer"),
        ("batch_size", 1, "batch_size must be greater than or equal to 2, not 1."),
        ("ema_decay", 1.0, "ema_decay must be less than 1, not 1.0."),
        ("layer_decay", 0.0, "layer_decay must be greater than 0, not 0.0."),
        ("layer_decay", 1.5, "layer_decay must be less than or equal to 1, not 1.5."),
        ("frozen_share", 1.0, "frozen_share must be less than 1, not 1.0."),
        ("drop_path_rate", 1.0, "drop_path_rate must be less than 1, not 1.0."),
        ("ema_decay", -0.1, "ema_decay must be greater than or equal to 0, not -0.1."),
        ("old_from", 56, "old_from must be greater than or equal to 57, not 56."),
        ("valid_share", 1.0, "valid_share must be less than 1, not 1.0."),
        ("heads", "two_heads", "heads must be 'joint', 'three_heads' or 'three_models', not 'two_heads'."),
        ("task", "", "task must be"),
        ("image_size", 15, "image_size must be greater than or equal to 16, not 15."),
        ("image_size", (64, 4096), "image_size must be less than or equal to 2048, not 4096."),
        ("image_size", (1, 2, 3), "image_size must be"),
        ("crop", 0.0, "crop must be greater than 0, not 0.0."),
        ("crop", (1.0, 1.5), "crop must be less than or equal to 1, not 1.5."),
        ("augment", ("flip", "rotate"), "augment must be chosen from flip, random_resized_crop, affine"),
    ],
)
def test_value_out_of_range_is_refused_in_one_sentence(name: str, value: Any, says: str) -> None:
    text = refusal({name: value})
    assert says in text
    assert "pydantic" not in text


def test_heads_other_than_joint_need_all_classes() -> None:
    for heads in ("three_heads", "three_models"):
        make_config({"heads": heads})
        for task in ("mask", "gender", "age"):
            assert 'needs heads = "joint"' in refusal({"heads": heads, "task": task})


def test_micro_batch_must_fit_into_the_batch() -> None:
    assert "micro_batch (64) must not exceed batch_size (32)" in refusal({"micro_batch": 64, "batch_size": 32})


def test_config_cannot_be_changed_in_place_and_change_checks_again() -> None:
    with pytest.raises(ValidationError):
        TINY.lr = 0.5  # type: ignore[misc]
    assert change(TINY, lr=0.5).lr == 0.5
    assert TINY.lr == 1e-2
    with pytest.raises(UserError, match="lr must be"):
        change(TINY, lr=-1.0)
    with pytest.raises(UserError, match="No hyperparameter named 'lrr'"):
        change(TINY, lrr=1.0)


@pytest.mark.parametrize("value", [96, "96x96", (96, 96), [96, 96]])
def test_one_number_means_square(value: Any) -> None:
    assert make_config({"image_size": value}).image_size == (96, 96)


def test_rows_come_before_columns() -> None:
    assert make_config({"image_size": "128x96", "crop": 0.5}).image_size == (128, 96)
    assert make_config({"crop": 0.5}).crop == (0.5, 0.5)


@pytest.mark.parametrize("value", ["cutmix,flip", ["cutmix", "flip"], ("flip", "cutmix", "flip"), " cutmix , flip "])
def test_augmentations_are_put_in_the_order_in_which_they_run(value: Any) -> None:
    assert make_config({"augment": value}).augment == ("flip", "cutmix")
    assert make_config({"augment": ""}).augment == ()
    assert make_config({"augment": list(reversed(AUGMENTATIONS))}).augment == AUGMENTATIONS == augment.AUGMENTATIONS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr=1e-3", ("lr", 1e-3)),
        ("lr=1.e-3", ("lr", 1e-3)),
        ("drop_rate=.5", ("drop_rate", 0.5)),
        ("epochs=7", ("epochs", 7)),
        ("epochs = 7", ("epochs", 7)),
        ("backbone=test_vit", ("backbone", "test_vit")),
        ('backbone="test_vit"', ("backbone", "test_vit")),
        ("backbone=vit_small_patch16_224.augreg_in21k", ("backbone", "vit_small_patch16_224.augreg_in21k")),
        ("image_size=128x96", ("image_size", "128x96")),
        ("image_size=[128, 96]", ("image_size", [128, 96])),
        ("augment=flip,cutmix", ("augment", "flip,cutmix")),
        ('augment=["flip"]', ("augment", ["flip"])),
        ("augment=", ("augment", "")),
        ("augment=[]", ("augment", [])),
    ],
)
def test_assignment_is_read_as_toml_or_as_a_word(text: str, expected: tuple[str, Any]) -> None:
    assert parse_assignment(text) == expected
    make_config(dict([expected]))


@pytest.mark.parametrize("text", ["lr", "=3", "", " =1"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--set takes KEY=VALUE"):
        parse_assignment(text)


@pytest.mark.parametrize("lr", [0.1 + 0.2, 1 / 3, 1e-5, 5e-324, 2.0**-30, 3.0000000000000004e-4])
def test_file_brings_back_every_bit(tmp_path: Path, lr: float) -> None:
    config = change(
        TINY,
        lr=lr,
        drop_rate=lr / 2,
        image_size=(128, 96),
        crop=(0.1 + 0.2, 1.0),
        augment=("cutmix", "flip"),
        seed=2**31 - 1,
    )
    origin = {"study": 'a "quoted" name', "trial": 7, "value": 0.1 + 0.7, "weights": {"source": "scratch"}}
    save_config(tmp_path / "config.toml", config, origin)
    assert load_config(tmp_path / "config.toml") == (config, origin)
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_file_written_by_hand_keeps_the_defaults_it_does_not_name(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('image_size = 96\nbackbone = "test_vit"\n')
    expected = TrainConfig(backbone="test_vit", image_size=(96, 96))
    assert load_config(tmp_path / "mine.toml") == (expected, {})
    assert config_to_toml(expected, {}).count("\n[origin]") == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"lr = fast", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"lrr = 1.0", "No hyperparameter named 'lrr'"),
        (b"lr = -1.0", "lr must be greater than 0"),
        (
            b"origin = 3\n",
            "origin",
        ),
    ],
)
def test_broken_file_is_refused_by_name(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert str(path) in one_line(caught.value)
    assert says in str(caught.value)


def test_absent_file_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no config file .*search\.export"):
        load_config(tmp_path / "absent.toml")
    with pytest.raises(UserError, match="cannot be read"):
        load_config(tmp_path)


def test_hyperparameters_added_later_leave_the_identity_of_a_config_that_does_not_use_them() -> None:
    config = ResolvedConfig(TrainConfig())
    for device in ("cpu", "cuda"):
        assert not set(LATER) & set(json.loads(identity_of(config, device)))
        assert '"fit":"pad"' in identity_of(ResolvedConfig(change(config, fit="pad")), device)
        assert '"bit_depth":12' in identity_of(ResolvedConfig(change(config, bit_depth=12)), device)


@pytest.mark.parametrize("bit_depth", [1, 7, 17, -1])
def test_bits_that_hold_no_photo_are_refused(bit_depth: int) -> None:
    with pytest.raises(UserError, match="bit_depth must be"):
        make_config({"bit_depth": bit_depth})
