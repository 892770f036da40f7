"""timm backbones with one head, three heads or three models; all give log probabilities over the task's classes.

Names of the weights in ``best.safetensors``: one head keeps timm's own, so that ``timm.create_model(name,
num_classes=K, checkpoint_path=...)`` loads them; three heads use ``backbone.``, ``mask.``, ``gender.``, ``age.``;
three models ``mask.``, ``gender.``, ``age.`` followed by timm's own.
"""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.models import PretrainedCfg
from torch import Tensor, nn

from maskcls.config import TrainConfig
from maskcls.errors import UserError, one_line
from maskcls.labels import CLASS_NAMES, PARTS


class OneHead(nn.Module):
    """One timm model over the K classes of one task."""

    def __init__(self, config: TrainConfig, weight_file: Path | None) -> None:
        super().__init__()
        self.task = config.task
        self.net = make_backbone(config, len(CLASS_NAMES[config.task]), weight_file)

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
        self.backbone = make_backbone(config, 0, weight_file)
        width = output_width(self.backbone, config.image_size)
        self.mask, self.gender, self.age = (nn.Linear(width, len(CLASS_NAMES[part])) for part in PARTS)

    def forward(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """Part -> log_prob_BK over that part's classes."""
        feature_BD = self.backbone(image_BCHW)
        return {part: log_softmax(getattr(self, part)(feature_BD)) for part in PARTS}

    def weights(self) -> nn.Module:
        """The module whose state dict is what gets stored."""
        return self


class ThreeModels(nn.Module):
    """A whole timm model for mask, gender and age each; they share the batches and nothing else."""

    def __init__(self, config: TrainConfig, weight_file: Path | None) -> None:
        super().__init__()
        self.mask, self.gender, self.age = (
            make_backbone(config, len(CLASS_NAMES[part]), weight_file) for part in PARTS
        )

    def forward(self, image_BCHW: Tensor) -> dict[str, Tensor]:
        """Part -> log_prob_BK over that part's classes."""
        return {part: log_softmax(getattr(self, part)(image_BCHW)) for part in PARTS}

    def weights(self) -> nn.Module:
        """The module whose state dict is what gets stored."""
        return self


Classifier = OneHead | ThreeHeads | ThreeModels


def build_model(config: TrainConfig, weight_file: Path | None) -> Classifier:
    """The model that ``config`` names. Raises UserError when timm cannot build it so, or the file does not fit."""
    kinds: dict[str, type[Classifier]] = {"joint": OneHead, "three_heads": ThreeHeads, "three_models": ThreeModels}
    return kinds[config.heads](config, weight_file)


def make_backbone(config: TrainConfig, num_classes: int, weight_file: Path | None) -> nn.Module:
    """A timm model; ``num_classes=0``: its pooled features instead of a head."""
    name = config.backbone
    options: dict[str, Any] = {}
    if pretrained_cfg(name).fixed_input_size:
        options["img_size"] = config.image_size  # position embeddings are resampled to it
    if weight_file is not None:
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weight_file)}}
    try:
        backbone = timm.create_model(name, num_classes=num_classes, drop_rate=config.drop_rate, **options)
        output_width(backbone, config.image_size)  # some find out only now what size of photo they cannot take
        return _out_of_place(backbone)
    except (TypeError, ValueError, AssertionError, RuntimeError, OSError, SafetensorError) as error:
        reason = one_line(error).rstrip(".")
        weights = f" from {weight_file}" if weight_file else ""
        rows, columns = config.image_size
        raise UserError(
            f"timm cannot build {name}{weights} for {rows} x {columns} pixels, drop_rate={config.drop_rate}: {reason}."
        ) from error


def _out_of_place(backbone: nn.Module) -> nn.Module:
    """Activations that do not overwrite their input; the values are the same.

    These need their input in the backward pass, so autograd copies it first where it is to be overwritten: a whole
    pass over the largest tensors, 5 to 10 % of a step of mobilenetv3_small_050. ReLU needs its output only.
    """
    for module in backbone.modules():
        if isinstance(module, nn.SiLU | nn.Hardswish | nn.Hardsigmoid | nn.Mish):
            module.inplace = False
    return backbone


def pretrained_cfg(backbone: str) -> PretrainedCfg:
    """What timm knows of the backbone's pretraining: its pixels, its input, where its weights are."""
    cfg = timm.get_pretrained_cfg(backbone)
    assert cfg is not None, backbone  # every registered model has one; names are checked before
    return cfg


def output_width(backbone: nn.Module, image_size: tuple[int, int]) -> int:
    """Length of what comes out for a photo; of a backbone without head its features (some widen them after pooling)."""
    was_training = backbone.training
    with torch.inference_mode():
        width = backbone.eval()(torch.zeros(1, 3, *image_size)).shape[1]
    backbone.train(was_training)
    return int(width)


def pixel_statistics(backbone: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Channel mean and std that the backbone was pretrained with, on pixels in [0, 1]."""
    cfg = pretrained_cfg(backbone)
    return tuple(cfg.mean), tuple(cfg.std)


def log_softmax(logit_BK: Tensor) -> Tensor:
    """In float32, whatever autocast made of the logits."""
    return logit_BK.float().log_softmax(1)


def joint_log_prob(log_prob_of_part: dict[str, Tensor]) -> Tensor:
    """log_prob_BK over the task's classes: one head's own, or the sum over mask, gender and age for each of the 18."""
    if len(log_prob_of_part) == 1:
        return next(iter(log_prob_of_part.values()))
    mask_BM, gender_BG, age_BA = (log_prob_of_part[part] for part in PARTS)
    return (mask_BM[:, :, None, None] + gender_BG[:, None, :, None] + age_BA[:, None, None, :]).flatten(1)
