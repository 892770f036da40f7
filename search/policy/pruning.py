"""Whether a trial should continue: a decision on learning curves, without Optuna.

A trial is judged at a few evaluations, the rungs, by its best score so far. It continues if it passes either of two
tests, as each alone stops winners that the other keeps:

- it is in the best share of all trials that reached this rung: asynchronous successive halving. Among many poor
  trials this is lenient, which the first rungs of a short training need, as scores say little there;
- it is no worse than the worst of the best few finished trials was at this rung. If most trials are good, because
  earlier studies' winners came first, being in the best share means little, and a winner that started slowly sets the
  standard for other slow starters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna import pruners
from optuna.pruners import BasePruner

from maskcls.system.errors import UserError, nearest, one_line
from search.study.study import Pruner

Curve = Mapping[int, float]
"""Evaluation, from 1 -> score, higher is better."""


@dataclass(frozen=True)
class Pruning:
    """The rule and its constants, chosen by benchmarks/policy.py."""

    shares: Sequence[float] = (1 / 26, 1 / 13, 2 / 13, 4 / 13, 8 / 13)
    """The rungs, as shares of the planned evaluations. Each is twice the one before: closer ones only add chances to
    stop a winner by bad luck."""
    first: int = 2
    """No rung is earlier than this evaluation: the ranking after the first one is chance."""
    factor: float = 3
    """The best one in this many continues."""
    num_best: int = 2
    """A trial as good as one of this many best finished trials continues."""

    def __post_init__(self) -> None:
        """Raise ValueError for constants out of range."""
        if not all(isinstance(share, int | float) and 0 < share < 1 for share in self.shares):
            raise ValueError(f"shares are numbers between 0 and 1, not {self.shares}")
        if not isinstance(self.factor, int | float) or self.factor <= 1:
            raise ValueError(f"factor is a number above 1, not {self.factor!r}")
        are_whole = isinstance(self.first, int) and isinstance(self.num_best, int)
        if not are_whole or self.first < 1 or self.num_best < 0:
            raise ValueError("first is a whole number from 1, num_best one from 0")

    def rungs(self, planned_evaluations: int) -> tuple[int, ...]:
        """The evaluations after which trials are judged; never the last, after which there is nothing to save."""
        steps = {max(self.first, math.ceil(share * planned_evaluations)) for share in self.shares}
        return tuple(sorted(step for step in steps if step < planned_evaluations))

    def should_continue(self, curve: Curve, peers: Sequence[Curve], planned_evaluations: int) -> bool:
        """Whether a trial should continue after the latest evaluation of its curve.

        ``peers`` are the curves of the trials to compare it with: finished, stopped (shorter) or still running.
        """
        step = max(curve)
        if step not in self.rungs(planned_evaluations):
            return True
        score = _best_until(curve, step)
        peer_scores = [_best_until(peer, step) for peer in peers if max(peer, default=0) >= step]
        num_better = sum(peer_score > score for peer_score in peer_scores)
        if num_better < (len(peer_scores) + 1) / self.factor:
            return True
        finished = [peer for peer in peers if planned_evaluations in peer]
        finished.sort(key=lambda peer: max(peer.values()), reverse=True)
        return any(score >= _best_until(peer, step) for peer in finished[: self.num_best])

    def describe(self, planned_evaluations: int) -> str:
        """The line of the plan on pruning."""
        rungs = ", ".join(map(str, self.rungs(planned_evaluations)))
        if not rungs:
            return f"none: nothing to save in {planned_evaluations} evaluation{'s' if planned_evaluations > 1 else ''}"
        best = f"one of the {self.num_best} best" if self.num_best > 1 else "the best"
        kept = f"the best 1 in {self.factor:g}" + (f", and any trial as good as {best}" if self.num_best else "")
        return f"after evaluation {rungs} of {planned_evaluations} keep {kept}"


def _best_until(curve: Curve, step: int) -> float:
    return max(score for evaluation, score in curve.items() if evaluation <= step)


OWN = "rungs"

OPTUNA_PRUNERS: dict[str, type[BasePruner]] = {
    "none": pruners.NopPruner,
    "median": pruners.MedianPruner,
    "percentile": pruners.PercentilePruner,
    "halving": pruners.SuccessiveHalvingPruner,
    "hyperband": pruners.HyperbandPruner,
}
"""They compare a trial with all others, whatever its level."""


def make_pruner(choice: Pruner) -> Pruning | BasePruner:
    """Our pruner, or one of Optuna's. Raises UserError for an unknown name or argument."""
    name, names = choice.name, [OWN, *OPTUNA_PRUNERS]
    if name not in names:
        raise UserError(f"No pruner named {name!r}.{nearest(name, names)} There are: {', '.join(names)}.")
    try:
        return Pruning(**choice.arguments) if name == OWN else OPTUNA_PRUNERS[name](**choice.arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"Pruner {name} cannot be made with {choice.arguments}: {one_line(error)}.") from error
