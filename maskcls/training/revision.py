"""Configs that this code trains to other numbers than an earlier version of it did."""

import math

from maskcls.config import TrainConfig
from maskcls.model.classifier import has_dropout_without_head
from maskcls.training.numerics import num_parts

REVISION = 2
"""Of the numbers that a config is trained to. [origin] has the one that a run was made by, but for the first."""


def changed_since(revision: int, config: TrainConfig) -> str:
    """What has changed for ``config`` since the code of ``revision`` trained it; empty: nothing, to the last bit."""
    if revision >= 2:
        return ""
    micro_batch = config.micro_batch or config.batch_size
    if num_parts(config.batch_size, micro_batch) < math.ceil(config.batch_size / micro_batch):
        return "left a part of a step a single photo"
    has_dropped_heads = config.heads == "three_heads" and config.drop_rate > 0
    if has_dropped_heads and not has_dropout_without_head(config.backbone, config.image_size):
        return f"had no dropout before the three heads of {config.backbone}"
    return ""
