"""The answer to a study's question and its evidence, as plain values for the report, the summary and the dashboard."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from maskcls.scoring.intervals import Estimate
from search.policy.confirmation import LevelRole
from search.policy.history import Noise


@dataclass(frozen=True)
class Comparison:
    """The difference of two sides, ours less theirs, judged by the same people."""

    ours: str
    """Name of our side, as users see it: ``drop_rate = 0.7``, ``trial 12``."""
    theirs: str
    estimate: Estimate
    about: Literal["models", "recipes"]
    """What the estimate is about: these trained models, or, where both sides ran at least twice, the recipes.

    The interval of recipes includes the spread between training seeds.
    """
    runs: tuple[int, int]
    """Number of trainings on each side."""
    with_seeds: Estimate | None = None
    """For models: the estimate with the spread between seeds taken from the study's repeated runs; None without any."""


@dataclass(frozen=True)
class Level:
    """One level of a scientific hyperparameter, at its best configuration."""

    text: str
    """``drop_rate = 0.7``."""
    complete: int
    pruned: int
    """Number of trials at this level, replicates left out."""
    best: float | None
    """The highest value of the complete trials, also of those without predictions."""
    trials: tuple[int, ...]
    """The runs of the best configuration, the earliest first; empty while none is complete."""
    values: Mapping[str, Any]
    """Hyperparameters of the best configuration."""
    score: Estimate | None
    """Mean macro F1 of those runs, with its interval over people."""
    against: Comparison | None
    """This level less the reference level; None for the reference itself, and while either has no usable trial."""
    left_out: tuple[int, ...] = ()
    """The runs of the best configuration, if none has usable predictions: no other configuration stands in for it."""


@dataclass(frozen=True)
class FactorAnswer:
    """The levels of one factor (a scientific hyperparameter, or one member of a Subset)."""

    param: str
    levels: tuple[Level, ...]
    reference: int
    """Index of the level that the others are compared with: the baseline's."""


@dataclass(frozen=True)
class Winner:
    """The best trial of the study."""

    trial: int
    values: Mapping[str, Any]
    score: Estimate
    """Score on the people who chose it."""
    corrected: float
    """Expected macro F1 on people who did not choose it."""
    candidates: int
    """Number of trials that it was chosen from."""
    against_baseline: Comparison | None
    """Never the answer to the question: the winner was tuned and chosen, the baseline was not."""


@dataclass(frozen=True)
class Finalist:
    """One recipe in the confirmation."""

    name: str
    """``baseline``, ``drop_rate = 0.7``."""
    values: Mapping[str, Any]
    trials: tuple[int, ...]
    """Its trials in the search."""
    scores: tuple[float, ...]
    """Macro F1 in each repeat."""
    against: Estimate | None
    """This finalist less the baseline; None for the baseline, and when either has diverged."""
    level: LevelRole = ""
    against_reference: Estimate | None = None
    """For another level than the baseline's: its best less the reference level's best. This answers the question."""
    diverged: tuple[int, ...] = ()
    """Repeats in which its training diverged; it is then no longer judged."""


@dataclass(frozen=True)
class Confirmation:
    """The outcome of search.confirm: finalists and baseline trained again on fresh splits and seeds."""

    study: str
    """Stored name of the confirmation's own study."""
    finalists: tuple[Finalist, ...]
    """The baseline first."""
    repeats: int
    """Number of finished repeats."""
    planned: int
    """Number of planned repeats."""
    judges: int
    """Number of people who judged in any repeat; none of them chose a finalist."""
    winner: int
    """Index of the finalist with the best mean."""


@dataclass(frozen=True)
class Answer:
    """What a study says so far."""

    question: str
    verdict: str
    """A few words for a badge: ``better``, ``worse``, ``not distinguishable``, ``no answer yet`` ..."""
    sentences: tuple[str, ...]
    """The answer in two sentences of plain text."""
    caveats: tuple[str, ...]
    """What a careful reader must know, one sentence each."""
    factors: tuple[FactorAnswer, ...]
    winner: Winner | None
    noise: Noise | None
    """Spread between training seeds; None while no configuration has run twice."""
    people: int
    """Number of validation people."""
    confirmation: Confirmation | None
    left_out: tuple[int, ...] = ()
    """Complete trials whose stored predictions are missing, unreadable or foreign."""
    foreign: tuple[int, ...] = ()
    """Those whose predictions score something else than the trial's stored value."""
