"""Training losses on log probabilities and soft targets (from CutMix and label smoothing).

Shape suffixes: B photos of a batch, N photos of training, K classes of the task, P classes of a part.
"""

import math

import numpy as np
import torch
from torch import Tensor

from maskcls.config import TrainConfig
from maskcls.labels import ALL, LabelSpace


def smooth(target_BK: Tensor, share: float) -> Tensor:
    """target_BK with ``share`` of every target spread evenly over all classes, as torch's cross_entropy does."""
    return target_BK * (1 - share) + share / target_BK.shape[1]


def focal_loss(log_prob_BK: Tensor, target_BK: Tensor, weight_K: Tensor, focal_gamma: float) -> Tensor:
    """Weighted cross entropy with every class scaled by (1 - p)^focal_gamma, mean over the batch.

    ``focal_gamma=0`` is torch's cross_entropy with class-probability targets; a positive one is the focal loss
    (Lin et al. 2017, https://arxiv.org/abs/1708.02002), summed over the classes of a soft target.
    """
    loss_BK = -target_BK * log_prob_BK * weight_K
    if focal_gamma > 0:
        # 1 - p, clamped: for gamma < 1 the slope of x^gamma at 0 is infinite
        miss_BK = (-torch.expm1(log_prob_BK)).clamp_min(1e-6)
        loss_BK = loss_BK * miss_BK**focal_gamma
    return loss_BK.sum(1).mean()


def class_weights(label_N: np.ndarray, num_classes: int, kind: str) -> np.ndarray:
    """float32 [K], mean 1 over the training photos, proportional to 1 (none), share^-1/2 (sqrt) or share^-1 (balanced).

    A class without training photos gets weight 1.
    """
    power = {"none": 0.0, "sqrt": -0.5, "balanced": -1.0}[kind]
    count_K = np.bincount(label_N, minlength=num_classes)
    share_K = count_K / count_K.sum()
    weight_K = np.where(count_K > 0, np.maximum(share_K, 1e-12) ** power, 0.0)
    weight_K /= (weight_K * share_K).sum()
    return np.where(count_K > 0, weight_K, 1.0).astype(np.float32)


class Targets:
    """The training targets of a config: one-hot labels, and the loss of a model against soft ones."""

    def __init__(self, config: TrainConfig, space: LabelSpace, label_N: Tensor) -> None:
        """``space``: what the model predicts; ``label_N``: its classes, int64."""
        self.config, self.device = config, label_N.device
        self.num_classes = space.num_classes
        parts = {config.task: ALL} if config.heads == "joint" else {part: part for part in space.parts}
        label_cpu_N = label_N.cpu().numpy()
        self.member_KP: dict[str, Tensor] = {}
        self.weight_P: dict[str, Tensor] = {}
        for part, task in parts.items():
            part_K, num_classes = space.part_table(task), space.predicted(task).num_classes
            weight_P = class_weights(part_K[label_cpu_N], num_classes, config.class_weights)
            self.member_KP[part] = torch.eye(num_classes)[torch.from_numpy(part_K)].to(self.device)
            self.weight_P[part] = torch.from_numpy(weight_P).to(self.device)

    @property
    def chance_loss(self) -> float:
        """Loss of a uniform guess, in nats."""
        return sum(math.log(len(weight_P)) for weight_P in self.weight_P.values())

    def one_hot(self, label_B: Tensor) -> Tensor:
        """float target_BK of int64 label_B."""
        return torch.nn.functional.one_hot(label_B, self.num_classes).float()

    def loss(self, log_prob_of_part: dict[str, Tensor], target_BK: Tensor) -> Tensor:
        """Sum of the parts' losses; with three models each part's gradient reaches only its own model."""
        gamma = self.config.focal_gamma if self.config.loss == "focal" else 0.0
        losses = []
        for part in self.weight_P:
            target_BP = smooth(target_BK @ self.member_KP[part], self.config.label_smoothing)
            losses.append(focal_loss(log_prob_of_part[part], target_BP, self.weight_P[part], gamma))
        return torch.stack(losses).sum()
