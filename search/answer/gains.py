"""What several models together gain over the best single one, once both are corrected for having been chosen."""

from dataclasses import dataclass, replace

from maskcls.scoring.counts import Counts
from maskcls.scoring.intervals import Estimate, Selected, compare
from maskcls.scoring.resampling import Resamples


@dataclass(frozen=True)
class Best:
    """The best of several models, or of several ways to join models."""

    counts: Counts
    selected: Selected
    score: Estimate
    """Score on the groups that chose it."""
    candidates: int
    """Number of models or ways that it was chosen from."""


@dataclass(frozen=True)
class Gain:
    """The best of what joins models less the best single model, on the same groups."""

    measured: Estimate
    corrected: Estimate
    """Less the extra optimism of what is joined from being chosen among more; the verdict rests on this."""


def gain_of(joined: Best, single: Best, resamples: Resamples) -> Gain:
    """The gain, less the surplus of optimism of what is joined: it was chosen among more than the single model."""
    measured = compare((joined.counts,), (single.counts,), resamples)
    optimism = [best.selected.raw - best.selected.corrected for best in (joined, single)]
    surplus = max(0.0, optimism[0] - optimism[1])
    low, value, high = (score - surplus for score in (measured.low, measured.value, measured.high))
    return Gain(measured, replace(measured, low=low, value=value, high=high))
