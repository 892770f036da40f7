"""What several models together gain over the best single one, once both are corrected for having been chosen."""

from dataclasses import dataclass, replace

from maskcls.scoring.counts import Counts
from maskcls.scoring.intervals import Estimate, Selected, compare
from maskcls.scoring.resampling import Resamples


@dataclass(frozen=True)
class Best:
    """The best of several models, or of several teams of models."""

    counts: Counts
    selected: Selected
    score: Estimate
    """Score on the groups that chose it."""
    candidates: int
    """Number of models or teams that it was chosen from."""


@dataclass(frozen=True)
class Gain:
    """The best team less the best single model, on the same groups."""

    measured: Estimate
    corrected: Estimate
    """Less the team's extra optimism from being chosen among more; the verdict rests on this."""


def gain_of(team: Best, single: Best, resamples: Resamples) -> Gain:
    """The gain, from which the team's surplus of optimism is taken: it was chosen among more than the single model."""
    measured = compare((team.counts,), (single.counts,), resamples)
    optimism = [best.selected.raw - best.selected.corrected for best in (team, single)]
    surplus = max(0.0, optimism[0] - optimism[1])
    low, value, high = (score - surplus for score in (measured.low, measured.value, measured.high))
    return Gain(measured, replace(measured, low=low, value=value, high=high))
