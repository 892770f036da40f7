"""Values as text: configurations, times, scores, differences, intervals, verdicts.

Tables show four decimals. Sentences show three and name the interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from maskcls.scoring.intervals import Estimate
from maskcls.scoring.metrics import Scores
from maskcls.scoring.rounds import NO_DIFFERENCE
from maskcls.system.errors import some
from search.study.domains import encode

NONE, PLAIN_NONE = "–", "-"
"""Text for a missing value: on a page; on a terminal, whose encoding may lack the dash."""

NOT_DISTINCT = "not distinguishable"
"""The verdict on a difference that is not beyond noise."""

SYNTHETIC = "SYNTHETIC PHOTOS: says nothing about faces."
"""Label of everything that was made from synthetic photos."""

NO_ERROR = 1e-12
"""Below it a standard error is zero but for rounding: no two groups differ, so there is no interval."""


def describe_values(values: Mapping[str, Any]) -> str:
    """A configuration in a line: ``drop_rate=0.4 lr=0.00021 augment=gaussian+cutmix``."""
    return " ".join(f"{name}={short_value(value)}" for name, value in values.items())


def short_value(value: Any) -> str:
    """A hyperparameter's value: ``0.00021``, ``gaussian+cutmix``."""
    return f"{value:.3g}" if isinstance(value, float) else str(encode(value))


def duration(seconds: float) -> str:
    """A duration: ``12 s``, ``3 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def as_score(value: float | None, none: str = NONE) -> str:
    """A score in a table: ``0.5921``; ``none`` when it is missing."""
    return none if value is None else f"{value:.4f}"


def signed(value: float) -> str:
    """A difference of scores in a table: ``+0.0123``."""
    return f"{value:+.4f}"


def parts(scores: Scores) -> str:
    """The macro F1 of the parts, to follow a score: ``  mask 0.9134  gender 0.8120``; empty for a single factor.

    Said by name where it is not the score that it follows.
    """
    name = "" if scores.metric == "macro_f1" else " F1"
    return "".join(f"  {part}{name} {as_score(value)}" for part, value in scores.f1_per_part.items())


def has_interval(estimate: Estimate) -> bool:
    """Whether the estimate has a standard error, and so an interval."""
    return estimate.error >= NO_ERROR


def clipped(estimate: Estimate, lowest: float) -> Estimate:
    """The estimate with its interval cut to [``lowest``, 1]; ``lowest`` is 0 for a score, -1 for a difference."""
    return replace(estimate, low=max(lowest, estimate.low), high=min(1.0, estimate.high))


def spread(estimate: Estimate, digits: int = 4, none: str = NONE) -> str:
    """The interval of a score: ``0.5921 to 0.6611``; ``none`` when it has none."""
    return _limits(clipped(estimate, 0.0), f".{digits}f", none)


def signed_spread(estimate: Estimate, digits: int = 4, none: str = NONE) -> str:
    """The interval of a difference: ``-0.0102 to +0.0348``; ``none`` when it has none."""
    return _limits(clipped(estimate, -1.0), f"+.{digits}f", none)


def _limits(estimate: Estimate, spec: str, none: str) -> str:
    return f"{estimate.low:{spec}} to {estimate.high:{spec}}" if has_interval(estimate) else none


def score_cell(estimate: Estimate, digits: int = 4, none: str = NONE) -> str:
    """A score and its interval in a table: ``0.6211 (0.5921 to 0.6611)``; ``digits`` are those of the limits."""
    return f"{as_score(estimate.value)} ({spread(estimate, digits, none)})"


def difference_cell(estimate: Estimate) -> str:
    """A difference and its interval in a table: ``+0.0123 (-0.0102 to +0.0348)``."""
    return f"{signed(estimate.value)} ({signed_spread(estimate)})"


def score_words(estimate: Estimate) -> str:
    """A score and its interval in a sentence: ``0.6211 (95 % interval 0.592 to 0.661)``."""
    return f"{as_score(estimate.value)} ({_interval_words(spread(estimate, 3, ''))})"


def difference_words(estimate: Estimate) -> str:
    """A difference and its interval in a sentence: ``-0.022 (95 % interval -0.060 to +0.016)``."""
    return f"{estimate.value:+.3f} ({_interval_words(signed_spread(estimate, 3, ''))})"


def _interval_words(limits: str) -> str:
    return f"95 % interval {limits}" if limits else PLAIN_NONE


def power_words(effect: float) -> str:
    """A clause that states an Estimate's minimum detectable effect."""
    if effect >= 1:
        return "no difference that scores can have would be found four times in five"
    return f"a difference of {effect:.3f} would be found four times in five"


def percent(share: float) -> str:
    """A share: ``13.7 %``."""
    return f"{100 * share:.1f} %"


def trials_named(numbers: Sequence[int]) -> str:
    """Trials by number: ``trial 12``, ``trials 1, 9``; the first few of many."""
    return f"trial{'' if len(numbers) == 1 else 's'} {some(numbers)}"


def capital(text: str) -> str:
    """The text with a capital letter, to begin a sentence."""
    return text[:1].upper() + text[1:]


def verdict_on(estimate: Estimate) -> str:
    """Better, worse or not distinguishable; without an interval nothing is beyond noise."""
    return estimate.verdict if has_interval(estimate) else NOT_DISTINCT


SIGNS = {"better": "▲", "worse": "▼", NO_DIFFERENCE: "≈", NOT_DISTINCT: "≈", "reference": ""}
"""Verdict -> its sign, so that no verdict is told by colour alone."""


def with_sign(verdict: str) -> str:
    """The verdict with its sign: ``▲ better``."""
    return f"{SIGNS.get(verdict, '…')} {verdict}".strip()
