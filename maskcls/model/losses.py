"""Training losses on log probabilities and soft targets (CutMix mixes labels, smoothing spreads them)."""

import math

import numpy as np
import torch
from torch import Tensor

from maskcls.config import TrainConfig
from maskcls.labels import CLASS_NAMES, PARTS, part_table


def smooth(target_BK: Tensor, share: float) -> Tensor:
    """Every target gives ``share`` of itself evenly to all classes (as torch's cross_entropy does)."""
    return target_BK * (1 - share) + share / target_BK.shape[1]


def loss_of(log_prob_BK: Tensor, target_BK: Tensor, weight_K: Tensor, focal_gamma: float) -> Tensor:
    """Mean over the batch of weighted cross entropy, each class scaled by (1 - p)^focal_gamma.

    ``focal_gamma=0`` is torch's cross_entropy with class-probability targets; a positive one is the focal loss
    (Lin et al. 2017, https://arxiv.org/abs/1708.02002), which is that formula summed over a soft target.
    """
    loss_BK = -target_BK * log_prob_BK * weight_K
    if focal_gamma > 0:
        # 1 - p from log p; clamped, since the slope of x^gamma at 0 is infinite for gamma < 1
        miss_BK = (-torch.expm1(log_prob_BK)).clamp_min(1e-6)
        loss_BK = loss_BK * miss_BK**focal_gamma
    return loss_BK.sum(1).mean()


def class_weights(label_N: np.ndarray, num_classes: int, kind: str) -> np.ndarray:
    """float32 [K], with mean 1 over the training photos: none 1, sqrt share^-1/2, balanced share^-1.

    A class without photos (never met in training) gets weight 1.
    """
    power = {"none": 0.0, "sqrt": -0.5, "balanced": -1.0}[kind]
    count_K = np.bincount(label_N, minlength=num_classes)
    share_K = count_K / count_K.sum()
    weight_K = np.where(count_K > 0, np.maximum(share_K, 1e-12) ** power, 0.0)
    weight_K /= (weight_K * share_K).sum()
    return np.where(count_K > 0, weight_K, 1.0).astype(np.float32)


class Targets:
    """Labels -> soft targets, and the loss of a model's parts against them."""

    def __init__(self, config: TrainConfig, label_N: Tensor) -> None:
        self.config, self.device = config, label_N.device
        self.num_classes = len(CLASS_NAMES[config.task])
        self.parts = (config.task,) if config.heads == "joint" else PARTS
        labels = label_N.cpu().numpy()
        self.member_KP: dict[str, Tensor] = {}
        self.weight_K: dict[str, Tensor] = {}
        for part in self.parts:
            table_K = np.arange(self.num_classes) if part == config.task else part_table(part)
            classes = len(CLASS_NAMES[part])
            weight = class_weights(table_K[labels], classes, config.class_weights)
            self.member_KP[part] = torch.eye(classes)[torch.from_numpy(table_K)].to(self.device)
            self.weight_K[part] = torch.from_numpy(weight).to(self.device)

    @property
    def chance_loss(self) -> float:
        """Loss of guessing every class alike, in nats."""
        return sum(math.log(len(CLASS_NAMES[part])) for part in self.parts)

    def of(self, label_B: Tensor) -> Tensor:
        """One-hot float target_BK."""
        return torch.nn.functional.one_hot(label_B, self.num_classes).float()

    def loss(self, log_prob_of_part: dict[str, Tensor], target_BK: Tensor) -> Tensor:
        """Sum over the parts; with three models each part's gradient reaches its own model only."""
        gamma = self.config.focal_gamma if self.config.loss == "focal" else 0.0
        return torch.stack(
            [
                loss_of(
                    log_prob_of_part[part],
                    smooth(target_BK @ self.member_KP[part], self.config.label_smoothing),
                    self.weight_K[part],
                    gamma,
                )
                for part in self.parts
            ]
        ).sum()
