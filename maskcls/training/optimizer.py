"""The optimizer of a run: its parameter groups, and the learning rate of each at every step."""

from typing import Any

import numpy as np
import torch
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from torch import Tensor

from maskcls.config import ResolvedConfig, TrainConfig
from maskcls.model.classifier import Classifier
from maskcls.model.layers import depths, head_names
from maskcls.training.schedule import backbone_lr_factor, frozen_steps, lr_factor

LR_SCALE, OF_BACKBONE = "lr_scale", "of_backbone"
"""Keys of a parameter group: the factor of its learning rate, as timm calls it; whether it is of the backbone. A run
whose layers all learn alike from the first step on has neither."""


def make_optimizer(model: Classifier, config: ResolvedConfig, device: torch.device) -> torch.optim.Optimizer:
    """The config's optimizer of the model's parameters. Its step can be recorded for cuda_graphs = "step"."""
    groups, is_recorded = parameter_groups(model, config), config.cuda_graphs == "step"
    lr: Any = torch.tensor(config.lr, device=device) if is_recorded else config.lr
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr, fused=True, capturable=is_recorded)
    options: dict[str, Any] = (
        {"capturable": True} if is_recorded else {"fused": True} if config.optimizer == "sgd" else {}
    )
    return create_optimizer_v2(groups, config.optimizer, lr, **options)


def parameter_groups(model: Classifier, config: TrainConfig) -> list[dict[str, Any]]:
    """The parameters that share weight decay and learning rate. Norms and biases have no weight decay.

    With ``layer_decay`` the learning rates are those of timm's param_groups_layer_decay.
    """
    if config.layer_decay == 1 and not config.frozen_share:
        return param_groups_weight_decay(model, config.weight_decay)
    of_head, scale_of = head_parameters(model), lr_scales(model, config)
    groups: dict[tuple[float, bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_exempt = parameter.ndim <= 1 or name.endswith(".bias")
            key = scale_of.get(name, 1.0), name not in of_head, is_exempt
            decay = 0.0 if is_exempt else config.weight_decay
            empty = {"params": [], "weight_decay": decay, LR_SCALE: key[0], OF_BACKBONE: key[1]}
            groups.setdefault(key, empty)["params"].append(parameter)
    return list(groups.values())


def head_parameters(model: Classifier) -> set[str]:
    """Names of the parameters of a model's heads."""
    names = {name for name, _ in model.named_parameters()}
    for prefix, network in model.networks().items():
        own = head_names(network)
        names -= {f"{prefix}{name}" for name, _ in network.named_parameters() if name not in own}
    return names


def lr_scales(model: Classifier, config: TrainConfig) -> dict[str, float]:
    """Name of a parameter of a backbone -> the factor of its learning rate by ``layer_decay``."""
    if config.layer_decay == 1:
        return {}
    return {
        f"{prefix}{name}": config.layer_decay**depth
        for prefix, network in model.networks().items()
        for name, depth in depths(network, config.backbone).items()
    }


class LearningRates:
    """Sets the learning rate of every parameter group before a step."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, config: ResolvedConfig, device: torch.device, num_steps: int
    ) -> None:
        """``num_steps``: of the whole run."""
        self._optimizer, self._config, self._device, self._num_steps = optimizer, config, device, num_steps
        self._frozen_steps = frozen_steps(num_steps, config.frozen_share)
        # a recorded step reads them where they are
        self._recorded = [
            torch.tensor(config.lr, device=device) for _ in optimizer.param_groups if config.cuda_graphs == "step"
        ]

    def set(self, step: int) -> None:
        """Set those of step number ``step``, counted from 0."""
        config, num_steps = self._config, self._num_steps
        factor = joining = lr_factor(step, num_steps, config.warmup_share)
        if self._frozen_steps:
            joining = backbone_lr_factor(step, num_steps, config.warmup_share, self._frozen_steps)
        for index, group in enumerate(self._optimizer.param_groups):
            of_backbone = group.get(OF_BACKBONE, False)
            lr = config.lr * (joining if of_backbone else factor) * group.get(LR_SCALE, 1.0)
            group["lr"] = self._as_used(lr, index)
            if "capturable" in group:
                # a resumed run has loaded the groups of the run before, which may have recorded its steps or not
                group["capturable"] = bool(self._recorded)
            if of_backbone and step <= self._frozen_steps:
                group.pop("step", None)  # Lamb and Adan count the steps of a group, also those without gradients

    def _as_used(self, lr: float, index: int) -> float | Tensor:
        if self._recorded:
            return self._recorded[index].fill_(lr)
        # rounded on a GPU as that tensor is, so that a recorded step computes what another does
        return lr if self._device.type == "cpu" else float(np.float32(lr))
