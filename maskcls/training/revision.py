"""Configs that this code trains to other numbers than an earlier version of it did."""

import math

from maskcls.config import TrainConfig
from maskcls.model.classifier import backbone_drops
from maskcls.training.numerics import num_parts

REVISION = 2
"""Of the numbers that a config is trained to. A run keeps the one it was made by; none is kept of the first."""


def changed_since(revision: int, config: TrainConfig) -> str:
    """What has changed for ``config`` since the code of ``revision`` trained it; empty: nothing, to the last bit."""
    if revision >= 2:
        return ""
    photos, most = config.batch_size, config.micro_batch or config.batch_size
    if num_parts(photos, most) < math.ceil(photos / most):
        return "left a part of a step a single photo"
    if config.heads == "three_heads" and config.drop_rate and not backbone_drops(config.backbone, config.image_size):
        return f"had no dropout before the three heads of {config.backbone}"
    return ""
