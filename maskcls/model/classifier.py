"""timm backbones with one head, three heads or three models; all give log probabilities over the task's classes.

Names of the weights in ``best.safetensors``: one head keeps timm's own, so that ``timm.create_model(name,
num_classes=K, checkpoint_path=...)`` loads them; three heads use ``backbone.``, ``mask.``, ``gender.``, ``age.``;
three models ``mask.``, ``gender.``, ``age.`` followed by timm's own.

Shape suffixes: B photos, C H W channels, rows and columns, D features, K classes of a task, M G A those of its parts.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from maskcls.config import TrainConfig
from maskcls.labels import CLASS_NAMES, PARTS
from maskcls.model.backbones import pretrained_cfg
from maskcls.model.dropout import forward_and_find_dropout
from maskcls.system.errors import UserError, one_line


class OneHead(nn.Module):
    """One timm model over the K classes of one task."""

    def __init__(self, config: TrainConfig, weight_file: Path | None) -> None:
        super().__init__()
        self.task = config.task
        # "net": resume.pt of earlier runs has this name
        self.net = _network_with_head(config, len(CLASS_NAMES[config.task]), weight_file)

    def forward(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """Task -> log_prob_BK."""
        return {self.task: log_softmax(self.net(image_BCHW))}

    def weights(self) -> nn.Module:
        """The module whose state dict is what gets stored."""
        return self.net


class ThreeHeads(nn.Module):
    """One backbone; a linear head for mask, gender and age each, on the same dropped-out features."""

    def __init__(self, config: TrainConfig, weight_file: Path | None) -> None:
        super().__init__()
        headless = _build(config, 0, weight_file)
        self.backbone = headless.network
        self.mask, self.gender, self.age = (nn.Linear(headless.num_outputs, len(CLASS_NAMES[part])) for part in PARTS)
        # some families of timm have the dropout in the head that is left out here
        self.drop_rate = 0.0 if headless.has_dropout else config.drop_rate

    def forward(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """Part -> log_prob_BK over that part's classes."""
        feature_BD = functional.dropout(self.backbone(image_BCHW), self.drop_rate, self.training)
        return {part: log_softmax(getattr(self, part)(feature_BD)) for part in PARTS}

    def weights(self) -> nn.Module:
        """The module whose state dict is what gets stored."""
        return self


class ThreeModels(nn.Module):
    """A whole timm model for mask, gender and age each; they share the batches and nothing else."""

    def __init__(self, config: TrainConfig, weight_file: Path | None) -> None:
        super().__init__()
        self.mask, self.gender, self.age = (
            _network_with_head(config, len(CLASS_NAMES[part]), weight_file) for part in PARTS
        )

    def forward(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """Part -> log_prob_BK over that part's classes."""
        return {part: log_softmax(getattr(self, part)(image_BCHW)) for part in PARTS}

    def weights(self) -> nn.Module:
        """The module whose state dict is what gets stored."""
        return self


Classifier = OneHead | ThreeHeads | ThreeModels


def build_model(config: TrainConfig, weight_file: Path | None) -> Classifier:
    """The model that ``config`` names, on the CPU. ``weight_file``: of the backbone; None: from scratch.

    Raises UserError when timm cannot build it so, or the file does not fit.
    """
    classes: dict[str, type[Classifier]] = {"joint": OneHead, "three_heads": ThreeHeads, "three_models": ThreeModels}
    return classes[config.heads](config, weight_file)


@dataclass(frozen=True)
class _TimmModel:
    """A timm model and what a forward pass has shown of it."""

    network: nn.Module
    num_outputs: int
    """Numbers for a photo; without a head its features (some families widen them after pooling)."""
    has_dropout: bool
    """Whether the config's dropout lies on the way to the output; False at drop_rate 0."""


def check_builds(config: TrainConfig) -> None:
    """Raise UserError when ``build_model`` would. Where timm lets it, nothing is computed and little memory taken."""
    try:
        with torch.device("meta"):
            build_model(config, None)
    except UserError:  # or a model that cannot be built without numbers
        build_model(config, None)


def _network_with_head(config: TrainConfig, num_classes: int, weight_file: Path | None) -> nn.Module:
    """A timm model over so many classes. Raises UserError when timm cannot build it as the config says."""
    model = _build(config, num_classes, weight_file)
    if model.num_outputs != num_classes:
        raise UserError(
            f"timm's {config.backbone} answers {model.num_outputs} numbers a photo whatever its head,"
            f" not {num_classes}."
        )
    if config.drop_rate and not model.has_dropout:
        raise UserError(
            f"drop_rate={config.drop_rate} would do nothing: timm's {config.backbone} has no dropout before its head."
            ' Use drop_rate=0, or heads="three_heads".'
        )
    return model.network


@cache  # a stored study asks for each of its trials
def has_dropout_without_head(backbone: str, image_size: tuple[int, int]) -> bool:
    """Whether timm's model has its dropout without its head too; what is not seen at one rate is not there at any.

    Raises UserError when timm cannot build it.
    """
    config = TrainConfig(backbone=backbone, image_size=image_size, drop_rate=0.5)
    try:
        with torch.device("meta"):
            return _build(config, 0, None).has_dropout
    except UserError:  # or a model that cannot be built without numbers
        return _build(config, 0, None).has_dropout


def _build(config: TrainConfig, num_classes: int, weight_file: Path | None) -> _TimmModel:
    """A timm model; ``num_classes=0``: its pooled features instead of a head. Raises UserError when timm cannot."""
    name = config.backbone
    options: dict[str, Any] = {}
    if pretrained_cfg(name).fixed_input_size:
        options["img_size"] = config.image_size  # position embeddings are resampled to it
    if weight_file is not None:
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weight_file)}}
    try:
        network = timm.create_model(name, num_classes=num_classes, drop_rate=config.drop_rate, **options)
        # some find out only in a forward pass what size of photo they cannot take
        num_outputs, has_dropout = _forward_once(network, config)
    except Exception as error:  # whatever a model of timm's raises where it does not fit
        reason = one_line(error).rstrip(".") or type(error).__name__
        weights = f" from {weight_file}" if weight_file else ""
        rows, columns = config.image_size
        raise UserError(
            f"timm cannot build {name}{weights} for {rows} x {columns} pixels, drop_rate={config.drop_rate}: {reason}."
        ) from error
    return _TimmModel(_out_of_place(network), num_outputs, has_dropout)


def _forward_once(network: nn.Module, config: TrainConfig) -> tuple[int, bool]:
    """(numbers for a photo, whether the config's dropout lies on the way to them), as in evaluation.

    Raises ValueError when it does not answer one row of numbers for one photo.
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
        raise ValueError(f"it answers {shape} for one photo and not one row of numbers")
    return out.shape[1], has_dropout


def _out_of_place(network: nn.Module) -> nn.Module:
    """Activations that do not overwrite their input; the values are the same.

    These need their input in the backward pass, so autograd copies it first where it is to be overwritten: a whole
    pass over the largest tensors, 5 to 10 % of a step of mobilenetv3_small_050. ReLU needs its output only.
    """
    for module in network.modules():
        if isinstance(module, nn.SiLU | nn.Hardswish | nn.Hardsigmoid | nn.Mish):
            module.inplace = False
    return network


def log_softmax(logit_BK: Tensor) -> Tensor:
    """log_prob_BK in float32, whatever autocast made of the logits."""
    return logit_BK.float().log_softmax(1)


def joint_log_prob(log_prob_of_part: dict[str, Tensor]) -> Tensor:
    """log_prob_BK over the task's classes: one head's own, or the sum over mask, gender and age for each of the 18."""
    if len(log_prob_of_part) == 1:
        return next(iter(log_prob_of_part.values()))
    mask_BM, gender_BG, age_BA = (log_prob_of_part[part] for part in PARTS)
    return (mask_BM[:, :, None, None] + gender_BG[:, None, :, None] + age_BA[:, None, None, :]).flatten(1)
