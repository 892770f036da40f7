"""Values as people read them: settings, times, scores, differences, intervals, verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from maskcls.scoring.intervals import Estimate
from search.study.study import encode


def describe_values(values: Mapping[str, Any]) -> str:
    """``drop_rate=0.4 lr=0.00021 augment=gaussian+cutmix``."""
    return " ".join(f"{name}={_short(value)}" for name, value in values.items())


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(encode(value))


def duration(seconds: float) -> str:
    """``12 s``, ``3 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def number(value: float | None) -> str:
    """A score: four decimals."""
    return "–" if value is None else f"{value:.4f}"


def signed(value: float) -> str:
    """A difference of scores."""
    return f"{value:+.4f}"


def clipped(found: Estimate, lowest: float) -> Estimate:
    """The interval kept within [``lowest``, 1]: 0 for a score, -1 for a difference of two."""
    return replace(found, low=max(lowest, found.low), high=min(1.0, found.high))


def spread(found: Estimate) -> str:
    """``0.5921 to 0.6611``: the interval of a score; a dash where all people agree and nothing tells of its width."""
    if found.error == 0:
        return "–"
    shown = clipped(found, 0.0)
    return f"{number(shown.low)} to {number(shown.high)}"


def signed_spread(found: Estimate) -> str:
    """``-0.0102 to +0.0348``: the interval of a difference; a dash as in ``spread``."""
    if found.error == 0:
        return "–"
    shown = clipped(found, -1.0)
    return f"{signed(shown.low)} to {signed(shown.high)}"


def percent(share: float) -> str:
    """``13.7 %``."""
    return f"{100 * share:.1f} %"


def listed(items: Sequence[object]) -> str:
    """``3``, ``3 and 5``, ``3, 5 and 8``."""
    words = [str(item) for item in items]
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part) if words else "none"


VERDICTS = {"better": "▲", "worse": "▼", "not distinguishable": "≈"}
"""Verdict -> the sign that goes with the word, so that nothing hangs on a colour."""


def with_sign(verdict: str) -> str:
    """``▲ better``; what a verdict adds in brackets stays."""
    return f"{VERDICTS.get(verdict.partition(' (')[0], '…')} {verdict}"
