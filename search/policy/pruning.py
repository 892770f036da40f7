"""Whether a trial should continue: a decision on learning curves, free of Optuna.

A trial is judged at a few evaluations, the rungs, by its best score so far. It continues when it is good enough in
either of two senses, as each alone stops winners that the other keeps:

- it is in the best share of all trials that got to this rung: successive halving without waiting. Among many
  poor trials this is lenient, and the first rungs of a short run, where scores say little, need that;
- it is no worse than the worst of the best few finished trials was at this rung. Where most trials are good,
  because earlier studies' winners came first, half of the field says little, and a late starter among the winners sets
  the measure for other late starters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
)

from maskcls.system.errors import UserError, nearest, one_line
from search.study.study import Pruner

Curve = Mapping[int, float]
"""Evaluation, counted from 1 -> score, higher is better."""


@dataclass(frozen=True)
class Pruning:
    """The rule and its constants, chosen by benchmarks/policy.py."""

    shares: Sequence[float] = (1 / 26, 1 / 13, 2 / 13, 4 / 13, 8 / 13)
    """The rungs, as shares of the study's evaluations. Each is twice the one before: closer ones only add chances to
    stop a winner by bad luck."""
    first: int = 2
    """No rung is earlier than this evaluation: the order after the first one is a coin's."""
    factor: float = 3
    """The best one in this many continues."""
    num_best: int = 2
    """So many of the best finished trials are what a trial may be no worse than."""

    def __post_init__(self) -> None:
        """Raise ValueError for constants that make no sense."""
        if not all(isinstance(share, int | float) and 0 < share < 1 for share in self.shares):
            raise ValueError(f"shares are numbers between 0 and 1, not {self.shares}")
        if not isinstance(self.factor, int | float) or self.factor <= 1:
            raise ValueError(f"factor is a number above 1, not {self.factor!r}")
        whole = all(isinstance(number, int) for number in (self.first, self.num_best))
        if not whole or self.first < 1 or self.num_best < 0:
            raise ValueError("first is a whole number from 1, num_best one from 0")

    def rungs(self, planned_evaluations: int) -> tuple[int, ...]:
        """The evaluations at which trials are judged; never the last one, after which there is nothing to save."""
        steps = {max(self.first, math.ceil(share * planned_evaluations)) for share in self.shares}
        return tuple(sorted(step for step in steps if step < planned_evaluations))

    def should_continue(self, curve: Curve, peers: Sequence[Curve], planned_evaluations: int) -> bool:
        """Whether a trial should continue after the latest evaluation of its curve.

        ``peers`` are the trials it may be compared with: finished, stopped (shorter curves) or still running.
        """
        step = max(curve)
        if step not in self.rungs(planned_evaluations):
            return True
        here = best_until(curve, step)
        there = [best_until(peer, step) for peer in peers if max(peer, default=0) >= step]
        num_better = sum(score > here for score in there)
        if num_better < (len(there) + 1) / self.factor:
            return True
        finished = sorted((peer for peer in peers if planned_evaluations in peer), key=_value, reverse=True)
        return any(here >= best_until(peer, step) for peer in finished[: self.num_best])

    def describe(self, planned_evaluations: int) -> str:
        """One line for the plan."""
        at = self.rungs(planned_evaluations)
        if not at:
            return (
                f"none: {planned_evaluations} evaluation{'s' if planned_evaluations > 1 else ''} leave nothing to save"
            )
        where = ", ".join(map(str, at))
        best = f"one of the {self.num_best} best" if self.num_best > 1 else "the best"
        kept = f"the best 1 in {self.factor:g}" + (f", and what is as good as {best}" if self.num_best else "")
        return f"after evaluation {where} of {planned_evaluations} keep {kept}"


def best_until(curve: Curve, step: int) -> float:
    """The best score up to this evaluation."""
    return max(score for at, score in curve.items() if at <= step)


def _value(curve: Curve) -> float:
    return max(curve.values())


OPTUNAS: dict[str, type[BasePruner]] = {
    "none": NopPruner,
    "median": MedianPruner,
    "percentile": PercentilePruner,
    "halving": SuccessiveHalvingPruner,
    "hyperband": HyperbandPruner,
}
"""They compare a trial with all others, whatever its level."""


OWN = "rungs"


def make_pruner(asked: Pruner) -> Pruning | BasePruner:
    """Ours, or one of Optuna's. Raises UserError for an unknown name or argument."""
    known = [OWN, *OPTUNAS]
    if asked.name not in known:
        raise UserError(f"No pruner named {asked.name!r}.{nearest(asked.name, known)} There are: {', '.join(known)}.")
    try:
        return Pruning(**asked.arguments) if asked.name == OWN else OPTUNAS[asked.name](**asked.arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"Pruner {asked.name} cannot be made with {asked.arguments}: {one_line(error)}.") from error
