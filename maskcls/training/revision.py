"""Changes of this code that give a config other numbers than earlier versions did."""

import math

from maskcls.config import TrainConfig

REVISION = 2
"""Increases whenever some config trains to other numbers. A run's is in its [origin]; without one it is 1."""


def changed_since(revision: int, config: TrainConfig) -> str:
    """What the code of ``revision`` did differently for ``config`` ("had ..."); empty: nothing, to the last bit."""
    if revision >= 2:
        return ""
    # here, since supervisors and readers ask too, and torch and timm take seconds to load
    from maskcls.model.classifier import has_dropout_without_head
    from maskcls.training.numerics import num_micro_batches

    micro_batch = config.micro_batch or config.batch_size
    if num_micro_batches(config.batch_size, micro_batch) < math.ceil(config.batch_size / micro_batch):
        return "had micro-batches of a single photo"
    drops_before_heads = config.heads == "three_heads" and config.drop_rate > 0
    if drops_before_heads and not has_dropout_without_head(config.backbone, config.image_size):
        return f"had no dropout before the three heads of {config.backbone}"
    return ""
