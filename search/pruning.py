"""Which trial is not worth finishing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Pruning:
    """Successive halving without waiting: at each rung the best one in ``factor`` of those that got there goes on."""

    shares: tuple[float, ...] = (1 / 4, 1 / 2)
    """Where trials are compared, as shares of the study's length: not before the warm-up, a tenth, is well over."""
    factor: int = 2
    """The best one in this many goes on."""

    def rungs(self, num_evaluations: int) -> tuple[int, ...]:
        """The evaluations at which trials are compared; never the last one, after which there is nothing to save."""
        steps = {max(1, math.ceil(share * num_evaluations)) for share in self.shares}
        return tuple(sorted(step for step in steps if step < num_evaluations))

    def goes_on(
        self, curve: Mapping[int, float], peers: Sequence[Mapping[int, float]], num_evaluations: int, noise: float
    ) -> bool:
        """Whether a trial with these scores so far (evaluation, from 1 -> score) should go on.

        ``peers``: the curves of the trials to compare with, of any length. ``noise``: the standard deviation of a
        score from training seed to training seed; 0 while it is not known.
        """
        step = max(curve)
        if step not in self.rungs(num_evaluations):
            return True
        here = _best_until(curve, step)
        there = [_best_until(peer, step) for peer in peers if max(peer, default=0) >= step]
        places = max(1, (len(there) + 1) // self.factor)
        return sum(score > here for score in there) < places

    def describe(self, num_evaluations: int) -> str:
        """One line for the plan."""
        at = self.rungs(num_evaluations)
        if not at:
            return "none: a trial has one evaluation"
        where = ", ".join(map(str, at))
        return f"after evaluation {where} of {num_evaluations} the better 1 in {self.factor} goes on"


def _best_until(curve: Mapping[int, float], step: int) -> float:
    return max(score for at, score in curve.items() if at <= step)
