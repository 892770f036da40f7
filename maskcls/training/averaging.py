"""The exponential moving average of a run's weights, which is evaluated and kept in their place (``ema_decay``)."""

import copy

import torch
from torch import Tensor, nn

from maskcls.model.classifier import Classifier
from maskcls.training.schedule import ema_decay_after


class WeightAverage:
    """A copy of a model whose weights are a moving average of the model's.

    As timm's ModelEmaV3 with its warm-up: batch norm's running statistics are averaged like weights, whole numbers are
    the model's last. That class itself goes through both state dicts at every step and copies each whole number alone,
    which takes three times as long (benchmarks/README.md).
    """

    def __init__(self, model: Classifier, decay: float) -> None:
        """``model``: on its device, and not captured yet, since a copy of a captured model would still run the other.

        ``decay``: TrainConfig.ema_decay.
        """
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay
        self._averages, self._counts = _floats_and_counts(self.model)
        self._values, self._newest_counts = _floats_and_counts(model)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the model's weights. Called after every optimizer step; ``step``: its number, counted from 0."""
        weight = 1 - ema_decay_after(step, self._decay)
        torch._foreach_lerp_(self._averages, self._values, weight)
        if self._counts:
            torch._foreach_copy_(self._counts, self._newest_counts)


def _floats_and_counts(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """What a model's state dict holds, as it changes: (weights and running statistics, whole numbers)."""
    tensors = model.state_dict().values()
    return (
        [tensor for tensor in tensors if tensor.is_floating_point()],
        [tensor for tensor in tensors if not tensor.is_floating_point()],
    )
