"""The answer to a study's question, with what it rests on, as plain values: what report, summary and dashboard show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from maskcls.scoring.intervals import Estimate
from search.policy.confirmation import LevelRole
from search.policy.history import Noise


@dataclass(frozen=True)
class Comparison:
    """One side less the other, judged by the same people."""

    ours: str
    """For people: ``drop_rate = 0.7``, ``trial 12``."""
    theirs: str
    estimate: Estimate
    about: Literal["models", "recipes"]
    """These trained models; or the recipes, with the spread from training seed to training seed in the interval.

    Only where both sides have run at least twice is it about recipes.
    """
    runs: tuple[int, int]
    """Trainings on each side."""
    with_seeds: Estimate | None = None
    """Of a comparison of models: the same with the spread from seed to seed that other settings of the study showed.
    None where none has run twice."""


@dataclass(frozen=True)
class Level:
    """One level of a scientific knob, at its best nuisance setting."""

    text: str
    """``drop_rate = 0.7``."""
    complete: int
    pruned: int
    """Trials at this level, replicates left out."""
    best: float | None
    """The highest value of those complete; known without their predictions too."""
    trials: tuple[int, ...]
    """The runs of the best setting, the first one first; empty while none is complete."""
    values: Mapping[str, Any]
    """All knobs of that setting."""
    score: Estimate | None
    """Mean macro F1 of those runs, its interval over people."""
    against: Comparison | None
    """This level less the reference level; None for the reference itself, and while either has no complete trial."""
    left_out: tuple[int, ...] = ()
    """The runs of the best setting, where none of them has predictions: no lesser setting speaks for the level then."""


@dataclass(frozen=True)
class FactorAnswer:
    """The levels of one factor (a scientific knob, or one member of a Subset)."""

    param: str
    levels: tuple[Level, ...]
    reference: int
    """The level that the others are compared with: the baseline's."""


@dataclass(frozen=True)
class Winner:
    """The best trial of the study."""

    trial: int
    values: Mapping[str, Any]
    score: Estimate
    """As measured, by the people who chose it."""
    corrected: float
    """Macro F1 to be expected on people who did not choose it."""
    candidates: int
    """Trials that it was chosen from."""
    against_baseline: Comparison | None
    """Shown, but never the answer to the question: the winner was tuned and chosen, the baseline was not."""


@dataclass(frozen=True)
class Finalist:
    """One recipe in the confirmation."""

    name: str
    """``baseline``, ``drop_rate = 0.7``."""
    values: Mapping[str, Any]
    trials: tuple[int, ...]
    """Its trials in the search."""
    scores: tuple[float, ...]
    """Macro F1 of every repeat."""
    against: Estimate | None
    """Less the baseline; None for the baseline, and while either has diverged."""
    level: LevelRole = ""
    against_reference: Estimate | None = None
    """Of another level: less the reference, both the best settings of their levels. This answers the question."""
    diverged: tuple[int, ...] = ()
    """Repeats in which its training diverged: then it is judged no further."""


@dataclass(frozen=True)
class Confirmation:
    """Finalists and baseline trained again on fresh splits and seeds (search.confirm)."""

    study: str
    """Stored name of the confirmation's own study."""
    finalists: tuple[Finalist, ...]
    """The baseline first."""
    repeats: int
    """Finished ones."""
    planned: int
    judges: int
    """People who judged, over all repeats; none of them chose a finalist."""
    winner: int
    """Index of the finalist with the best mean."""


@dataclass(frozen=True)
class Answer:
    """What the study says."""

    question: str
    verdict: str
    """``better``, ``worse``, ``not distinguishable``, ``no answer yet`` ...: a few words for a badge."""
    sentences: tuple[str, ...]
    """The answer in two sentences of plain text."""
    caveats: tuple[str, ...]
    """What a careful reader must know: one sentence each."""
    factors: tuple[FactorAnswer, ...]
    winner: Winner | None
    noise: Noise | None
    """Spread from training seed to training seed; None while no setting has run twice."""
    people: int
    """Validation people."""
    confirmation: Confirmation | None
    left_out: tuple[int, ...] = ()
    """Complete trials whose stored predictions are missing, cannot be read, or are foreign."""
    foreign: tuple[int, ...] = ()
    """Those of them whose predictions score something else than the trial's stored value."""
