"""The classifier: timm backbones with one head, a head for every factor of the label, or a model for every factor.

Names of the weights in ``best.safetensors``: one head keeps timm's own, so that ``timm.create_model(name,
num_classes=K, checkpoint_path=...)`` loads them; a head for every factor of the label uses ``backbone.`` and the
factors' names (``mask.``, ``gender.``, ``age.``); a model for every factor these names, followed by timm's own.

Shape suffixes: B photos, C H W channels, rows and columns, D features, K classes.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from maskcls.config import TrainConfig
from maskcls.labels import LabelSpace
from maskcls.model.backbones import pretrained_cfg
from maskcls.model.dropout import forward_and_find_dropout
from maskcls.model.layers import depths, drop_paths_passed, head_names
from maskcls.system.errors import UserError, one_line


class OneHead(nn.Module):
    """A timm model over the K classes of a label space."""

    def __init__(self, config: TrainConfig, space: LabelSpace, weight_file: Path | None) -> None:
        super().__init__()
        self.task = config.task
        # the name "net" is in resume.pt
        self.net = _network_with_head(config, space.num_classes, weight_file)

    def forward(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """Task -> log_prob_BK."""
        return {self.task: log_softmax(self.net(image_BCHW))}

    def networks(self) -> dict[str, nn.Module]:
        """Its timm models, by what their parameters' names begin with."""
        return {"net.": self.net}

    def weights(self) -> nn.Module:
        """The module whose state dict is stored."""
        return self.net


class HeadPerFactor(nn.Module):
    """A backbone with a linear head for every factor of the label, on the same features after dropout."""

    def __init__(self, config: TrainConfig, space: LabelSpace, weight_file: Path | None) -> None:
        super().__init__()
        self.backbone, num_features, has_dropout = _build(config, 0, weight_file)
        self.name_of_part = _module_names(self, space)
        for part, size in zip(space.parts, space.sizes, strict=True):
            self.add_module(self.name_of_part[part], nn.Linear(num_features, size))
        # some families of timm have their dropout in the head, which is left out here
        self.drop_rate = 0.0 if has_dropout else config.drop_rate

    def forward(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """Part -> log_prob_BK over that part's classes."""
        feature_BD = functional.dropout(self.backbone(image_BCHW), self.drop_rate, self.training)
        return {part: log_softmax(getattr(self, name)(feature_BD)) for part, name in self.name_of_part.items()}

    def networks(self) -> dict[str, nn.Module]:
        """Its timm models, by what their parameters' names begin with."""
        return {"backbone.": self.backbone}

    def weights(self) -> nn.Module:
        """The module whose state dict is stored."""
        return self


class ModelPerFactor(nn.Module):
    """A separate timm model for every factor of the label; they share only the batches."""

    def __init__(self, config: TrainConfig, space: LabelSpace, weight_file: Path | None) -> None:
        super().__init__()
        self.name_of_part = _module_names(self, space)
        for part, size in zip(space.parts, space.sizes, strict=True):
            self.add_module(self.name_of_part[part], _network_with_head(config, size, weight_file))

    def forward(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """Part -> log_prob_BK over that part's classes."""
        return {part: log_softmax(getattr(self, name)(image_BCHW)) for part, name in self.name_of_part.items()}

    def networks(self) -> dict[str, nn.Module]:
        """Its timm models, by what their parameters' names begin with."""
        return {f"{name}.": getattr(self, name) for name in self.name_of_part.values()}

    def weights(self) -> nn.Module:
        """The module whose state dict is stored."""
        return self


RESERVED = {"backbone", "drop_rate", "name_of_part"}
"""Attributes that the models get by and by."""


def _module_names(model: nn.Module, space: LabelSpace) -> dict[str, str]:
    """Factor -> the name of its module in ``model``: its own, or ``factor_1`` for the second if torch cannot have that.

    A name that begins with ``factor_`` could be the substitute of another factor, so it is replaced too.
    """

    def can_have(part: str) -> bool:
        is_free = part not in RESERVED and not hasattr(model, part) and not part.startswith("factor_")
        return part.isidentifier() and is_free

    return {part: part if can_have(part) else f"factor_{index}" for index, part in enumerate(space.parts)}


Classifier = OneHead | HeadPerFactor | ModelPerFactor
Built = TypeVar("Built")


def build_model(config: TrainConfig, space: LabelSpace, weight_file: Path | None) -> Classifier:
    """The model of ``config`` that predicts ``space``, on the CPU.

    ``weight_file``: pretrained weights of the backbone; None: from scratch.
    Raises UserError when timm cannot build it, or the weights do not fit.
    """
    classes: dict[str, type[Classifier]] = {
        "joint": OneHead,
        "three_heads": HeadPerFactor,
        "three_models": ModelPerFactor,
    }
    return classes[config.heads](config, space, weight_file)


def check_builds(config: TrainConfig, space: LabelSpace) -> None:
    """Raise UserError when ``build_model`` would, without computing anything where timm allows it."""
    _on_meta_device(lambda: build_model(config, space, None))


@cache  # called for every trial of a stored study
def has_dropout_without_head(backbone: str, image_size: tuple[int, int]) -> bool:
    """Whether timm's model without its head still has dropout. Raises UserError when timm cannot build it."""
    config = TrainConfig(backbone=backbone, image_size=image_size, drop_rate=0.5)  # any positive rate shows it
    _, _, has_dropout = _on_meta_device(lambda: _build(config, 0, None))
    return has_dropout


def _on_meta_device(build: Callable[[], Built]) -> Built:
    """What ``build`` returns, on torch's meta device (shapes without values) if timm can build it there."""
    try:
        with torch.device("meta"):
            return build()
    except UserError:  # some models cannot be built without values
        return build()


def _network_with_head(config: TrainConfig, num_classes: int, weight_file: Path | None) -> nn.Module:
    """A timm model over ``num_classes`` classes. Raises UserError when timm cannot build it as the config says."""
    network, num_outputs, has_dropout = _build(config, num_classes, weight_file)
    if num_outputs != num_classes:
        raise UserError(
            f"timm's {config.backbone} has {num_outputs} outputs whatever its head, not {num_classes}."
            " Use another backbone."
        )
    if config.drop_rate and not has_dropout:
        raise UserError(
            f"drop_rate={config.drop_rate} would do nothing: timm's {config.backbone} has no dropout before its head."
            ' Use drop_rate=0, or heads="three_heads".'
        )
    if config.frozen_share and not head_names(network):
        raise UserError(
            f"frozen_share={config.frozen_share} cannot be: timm's {config.backbone} has no head to train alone."
            ' Use frozen_share=0, or heads="three_heads".'
        )
    return network


def _build(config: TrainConfig, num_classes: int, weight_file: Path | None) -> tuple[nn.Module, int, bool]:
    """(a timm model, its outputs for a photo, whether the config's dropout lies on the path to them).

    ``num_classes=0``: the outputs are the pooled features, which some families widen after pooling.
    Raises UserError when timm cannot build the model.
    """
    name = config.backbone
    options: dict[str, Any] = {}
    if pretrained_cfg(name).fixed_input_size:
        options["img_size"] = config.image_size  # resamples the position embeddings
    if config.drop_path_rate:
        options["drop_path_rate"] = config.drop_path_rate
    if weight_file is not None:
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weight_file)}}
    try:
        network = timm.create_model(name, num_classes=num_classes, drop_rate=config.drop_rate, **options)
        # some models reject an image size only in a forward pass
        with drop_paths_passed(network) as drop_paths:
            num_outputs, has_dropout = _forward_once(network, config)
    except Exception as error:  # timm's models raise many kinds
        if config.drop_path_rate and isinstance(error, TypeError) and "drop_path_rate" in str(error):
            raise _no_drop_path(config) from None
        reason = one_line(error).rstrip(".") or type(error).__name__
        weights = f" from {weight_file}" if weight_file else ""
        rows, columns = config.image_size
        raise UserError(
            f"timm cannot build {name}{weights} for {rows} x {columns} pixels, drop_rate={config.drop_rate}: {reason}."
        ) from error
    if config.drop_path_rate and not drop_paths:
        raise _no_drop_path(config)
    if config.layer_decay < 1:
        depths(network, name)  # raises where there are no layers
    return _out_of_place(network), num_outputs, has_dropout


def _no_drop_path(config: TrainConfig) -> UserError:
    return UserError(
        f"drop_path_rate={config.drop_path_rate} would do nothing: timm's {config.backbone} has no residual branches"
        " to leave out. Use drop_path_rate=0."
    )


def _forward_once(network: nn.Module, config: TrainConfig) -> tuple[int, bool]:
    """(outputs for a photo, whether dropout lies on the path to them: False at drop_rate 0), in evaluation mode.

    Raises ValueError when the output for one photo is not one row of numbers.
    """
    was_training = network.training
    network.eval()
    image_BCHW = torch.zeros(1, 3, *config.image_size)
    if config.drop_rate:
        out, has_dropout = forward_and_find_dropout(network, image_BCHW, config.drop_rate)
    else:
        with torch.inference_mode():
            out, has_dropout = network(image_BCHW), False
    network.train(was_training)
    if not isinstance(out, Tensor) or out.ndim != 2:
        shape = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(f"it outputs {shape} for one photo, not one row of numbers")
    return out.shape[1], has_dropout


def _out_of_place(network: nn.Module) -> nn.Module:
    """Make activations keep their input; the values are the same.

    The backward pass of these activations needs their input, so autograd copies an input that is overwritten: a pass
    over the largest tensors, 5 to 10 % of a step of mobilenetv3_small_050. ReLU needs only its output.
    """
    for module in network.modules():
        if isinstance(module, nn.SiLU | nn.Hardswish | nn.Hardsigmoid | nn.Mish):
            module.inplace = False
    return network


def log_softmax(logit_BK: Tensor) -> Tensor:
    """log_prob_BK in float32, whatever the dtype of the logits."""
    return logit_BK.float().log_softmax(1)


def joint_log_prob(log_prob_of_part: dict[str, Tensor]) -> Tensor:
    """log_prob_BK over the classes of the label: one head's own, or the sums of the factors', in their order."""
    joint_BK, *others = log_prob_of_part.values()
    for log_prob_BK in others:
        joint_BK = (joint_BK[:, :, None] + log_prob_BK[:, None]).flatten(1)
    return joint_BK
