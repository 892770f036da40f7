"""Values as people read them: settings, times, scores, differences, intervals, verdicts.

Tables have four decimals. Sentences have three, and say what an interval is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from maskcls.scoring.intervals import Estimate
from maskcls.system.errors import some
from search.study.hyperparameters import encode

NONE, PLAIN_NONE = "–", "-"
"""What there is none of: on a page; on a terminal, whose encoding may lack the dash."""

SAME = "not distinguishable"
"""The verdict that there is no difference beyond noise."""

SYNTHETIC = "SYNTHETIC PHOTOS: says nothing about faces."
"""What stands above everything that was made from drawn photos."""

NO_ERROR = 1e-12
"""A standard error below it is none: nobody differs from anybody, and nothing tells how wide an interval would be."""


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


def as_score(value: float | None, none: str = NONE) -> str:
    """``0.5921``: a score in a table; ``none`` where there is none."""
    return none if value is None else f"{value:.4f}"


def signed(value: float) -> str:
    """``+0.0123``: a difference of scores in a table."""
    return f"{value:+.4f}"


def parts(f1_per_part: Mapping[str, float]) -> str:
    """``  mask 0.9134  gender 0.8120  age 0.7011``, to follow a macro F1; empty for a single task."""
    return "".join(f"  {part} {as_score(value)}" for part, value in f1_per_part.items())


def has_interval(found: Estimate) -> bool:
    """Whether anything tells how wide the interval is."""
    return found.error >= NO_ERROR


def clipped(found: Estimate, lowest: float) -> Estimate:
    """The interval kept within [``lowest``, 1]: 0 for a score, -1 for a difference of two."""
    return replace(found, low=max(lowest, found.low), high=min(1.0, found.high))


def spread(found: Estimate, digits: int = 4, none: str = NONE) -> str:
    """``0.5921 to 0.6611``: the interval of a score; ``none`` where it has none."""
    return _limits(clipped(found, 0.0), f".{digits}f", none)


def signed_spread(found: Estimate, digits: int = 4, none: str = NONE) -> str:
    """``-0.0102 to +0.0348``: the interval of a difference; ``none`` where it has none."""
    return _limits(clipped(found, -1.0), f"+.{digits}f", none)


def _limits(found: Estimate, spec: str, none: str) -> str:
    return f"{found.low:{spec}} to {found.high:{spec}}" if has_interval(found) else none


def score_cell(found: Estimate, digits: int = 4, none: str = NONE) -> str:
    """``0.6211 (0.5921 to 0.6611)``: a score and its interval in a table; ``digits`` of the interval's limits."""
    return f"{as_score(found.value)} ({spread(found, digits, none)})"


def difference_cell(found: Estimate) -> str:
    """``+0.0123 (-0.0102 to +0.0348)``: a difference and its interval in a table."""
    return f"{signed(found.value)} ({signed_spread(found)})"


def score_words(found: Estimate) -> str:
    """``0.6211 (95 % interval 0.592 to 0.661)``: a score and its interval in a sentence."""
    return f"{as_score(found.value)} ({_interval_words(spread(found, 3, ''))})"


def difference_words(found: Estimate) -> str:
    """``-0.022 (95 % interval -0.060 to +0.016)``: a difference and its interval in a sentence."""
    return f"{found.value:+.3f} ({_interval_words(signed_spread(found, 3, ''))})"


def _interval_words(limits: str) -> str:
    return f"95 % interval {limits}" if limits else PLAIN_NONE


def power_words(effect: float) -> str:
    """What could have been seen, in a clause; ``effect`` is an Estimate's minimum detectable effect."""
    return f"a difference of {effect:.3f} would be found four times in five"


def percent(share: float) -> str:
    """``13.7 %``."""
    return f"{100 * share:.1f} %"


def listed(items: Sequence[object]) -> str:
    """``3``, ``3 and 5``, ``3, 5 and 8``."""
    words = [str(item) for item in items]
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part) if words else "none"


def trials_named(numbers: Sequence[int]) -> str:
    """``trial 12``, ``trials 1, 9``; of more than a few the first few."""
    return f"trial{'' if len(numbers) == 1 else 's'} {some(numbers)}"


def capital(text: str) -> str:
    """With a capital letter, to begin a sentence."""
    return text[:1].upper() + text[1:]


def verdict_on(found: Estimate) -> str:
    """Better, worse or not distinguishable; where nothing tells of the noise, nothing is beyond it."""
    return found.verdict if has_interval(found) else SAME


def bare(verdict: str) -> str:
    """The verdict without what it adds in brackets."""
    return verdict.partition(" (")[0]


SIGNS = {"better": "▲", "worse": "▼", SAME: "≈"}
"""Verdict -> the sign that goes with the word, so that nothing hangs on a colour."""


def with_sign(verdict: str) -> str:
    """``▲ better``; what a verdict adds in brackets stays."""
    return f"{SIGNS.get(bare(verdict), '…')} {verdict}"
