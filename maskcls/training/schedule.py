"""The learning rate, the decay of averaged weights and the times of evaluation, as pure functions of the step."""

import math


def lr_factor(step: int, num_steps: int, warmup_share: float) -> float:
    """Share of the peak learning rate at ``step`` (from 0) of ``num_steps``: linear warm-up, then cosine to 0.

    The rate is above 0 at every step, also the first and the last.
    """
    warmup_steps = round(warmup_share * num_steps)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


def frozen_steps(num_steps: int, frozen_share: float) -> int:
    """Number of steps in which the head alone trains; the last step trains the backbone too."""
    return min(round(frozen_share * num_steps), num_steps - 1)


def backbone_lr_factor(step: int, num_steps: int, warmup_share: float, frozen: int) -> float:
    """As ``lr_factor``, of a backbone that joins after ``frozen`` steps: times a warm-up of its own from there.

    It is as long as the run's first one. An optimizer knows nothing of the gradients of parameters that join, so their
    first steps would be as large as those at the beginning of a run without warm-up.
    """
    warmup_steps = round(warmup_share * num_steps)
    since = step - frozen
    rise = (since + 1) / warmup_steps if 0 <= since < warmup_steps else 1.0
    return lr_factor(step, num_steps, warmup_share) * rise


def ema_decay_after(step: int, ema_decay: float) -> float:
    """Share that the average of the weights keeps of itself after ``step`` (from 0): at most ``ema_decay``.

    It begins at 0, so that the weights before the first step do not count, and rises as 1 - (1 + step)^(-2/3): as by
    timm's ModelEmaV3 with use_warmup. So the average of a short run is of its last steps too (about 24 after 120).
    """
    return min(ema_decay, 1 - (1 + step) ** (-2 / 3))


def evaluation_steps(num_steps: int, epochs: int, evaluations_per_epoch: int) -> list[int]:
    """Number of steps before each evaluation: evenly spaced, the last one at the end of the run."""
    count = min(epochs * evaluations_per_epoch, num_steps)
    return [round((index + 1) * num_steps / count) for index in range(count)]
