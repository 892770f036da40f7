"""The answer to a study's question and its evidence, as plain values for the report, the summary and the dashboard."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from maskcls.scoring.intervals import Estimate
from maskcls.scoring.rounds import LevelLook, Look, with_tuning
from maskcls.tasks.mask import MASK_TASK
from maskcls.tasks.task import Task, Unit
from search.policy.confirmation import LevelRole
from search.policy.history import Noise
from search.policy.own_best import Elsewhere


@dataclass(frozen=True)
class Comparison:
    """The difference of two sides, ours less theirs, judged by the same groups."""

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
    """Mean score of those runs, with its interval over groups."""
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
class Side:
    """What the rounds compare: the reference, a level, or in a study without levels a finalist."""

    name: str
    """``drop_rate = 0.7``, ``baseline``, ``trial 12``."""
    trials: tuple[int, ...]
    """Its complete trainings in rounds, the latest last."""
    score: float | None
    """The mean of its rounds, on the scale of the reference's; None without a complete training."""
    look: LevelLook | None
    """Its difference from the reference at the last look; None for the reference, and while there is none."""
    diverged: tuple[int, ...] = ()
    """Its trainings in rounds that diverged."""
    scored: tuple[int, ...] = ()
    """Those of its trials that the score is a mean of."""


@dataclass(frozen=True)
class Round:
    """A round as it was asked."""

    number: int
    values: Mapping[str, Any]
    """The hyperparameters that all its trainings have in common."""
    judges: int
    """Number of groups that judged; 0 where no predictions are stored."""
    scores: Mapping[str, tuple[float, ...]]
    """Side -> the scores of its trainings."""
    own_values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Side -> the tuned hyperparameters of its trainings, where each side has its own; else empty."""


@dataclass(frozen=True)
class MoreTrainings:
    """What more rounds would bring."""

    rounds: int
    trainings: int
    """In all these rounds."""
    seconds: float
    """Time of all of them, one after the other; 0 where it is unknown."""
    effect: float
    """The difference that would then be found in four of five studies."""


@dataclass(frozen=True)
class RoundsAnswer:
    """What the rounds say: the sides, and the last look at each of them."""

    sides: tuple[Side, ...]
    """The reference first."""
    rounds: tuple[Round, ...]
    looks: tuple[Look, ...]
    best: int
    """Index of the side with the highest score."""
    more: MoreTrainings | None
    """None when nothing is open, nothing is known yet of what is, or too few judge for a verdict."""
    unit: Unit = MASK_TASK.unit
    """The word for those who judge."""
    own_best: bool = False
    """Whether each level had its own best setting, and not one that all have in common."""

    @property
    def reference(self) -> Side:
        """The side that the others are compared with."""
        return self.sides[0]

    @property
    def is_open(self) -> bool:
        """Whether any difference is not decided."""
        return any(side.look is None or not side.look.is_decided for side in self.sides[1:])


@dataclass(frozen=True)
class Winner:
    """The recipe with the best score to expect: of the rounds' best side, else of the best trial of the search."""

    trial: int
    """A trial of it: of the side's in the rounds the one with the best score."""
    values: Mapping[str, Any]
    score: Estimate
    """The trial's score on the groups that judged it."""
    expected: float
    """The score to expect on other groups."""
    candidates: int
    """Number of trials that the best of a search was chosen from; 0 for a recipe of the rounds."""


@dataclass(frozen=True)
class Finalist:
    """One recipe in the confirmation."""

    name: str
    """``baseline``, ``drop_rate = 0.7``."""
    values: Mapping[str, Any]
    trials: tuple[int, ...]
    """Its trials in the search."""
    scores: tuple[float, ...]
    """The score in each repeat."""
    against: Estimate | None
    """This finalist less the baseline; None for the baseline, and when either has diverged."""
    level: LevelRole = ""
    against_reference: Estimate | None = None
    """For another level than the baseline's: its best less the reference level's best."""
    diverged: tuple[int, ...] = ()
    """Repeats in which its training diverged; it is then no longer judged."""

    @property
    def level_difference(self) -> Estimate | None:
        """``against_reference`` as a difference of levels: the stored one is of these two recipes."""
        return None if self.against_reference is None else with_tuning(self.against_reference)


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
    """Number of groups that judged in any repeat; none of them chose a finalist."""
    winner: int
    """Index of the finalist with the best mean."""


@dataclass(frozen=True)
class Answer:
    """What a study says so far."""

    task: Task
    """What the photos are judged for: its unit and its metric are the words of the answer."""
    question: str
    verdict: str
    """A few words for a badge: ``better``, ``worse``, ``no difference that matters``, ``open``, ``no verdict``, ``no
    answer yet``."""
    sentences: tuple[str, ...]
    """The answer in sentences of plain text: the verdict, what it rests on, and what more trainings would bring."""
    caveats: tuple[str, ...]
    """What a careful reader must know, one sentence each."""
    rounds: RoundsAnswer | None
    """What the rounds at a common setting say; None in a study without rounds, such as one of an earlier version."""
    factors: tuple[FactorAnswer, ...]
    """What the search found for each level. Never the answer: each level's best trial was chosen for its score."""
    winner: Winner | None
    noise: Noise | None
    """Spread between training seeds; None while no configuration has run twice."""
    confirmation: Confirmation | None
    more: MoreTrainings | None = None
    """What rounds would bring to a study that was only searched so far."""
    left_out: tuple[int, ...] = ()
    """Complete trials whose stored predictions are missing, unreadable or foreign."""
    foreign: tuple[int, ...] = ()
    """Those whose predictions score something else than the trial's stored value."""
    own: RoundsAnswer | None = None
    """What the rounds with each level at its own best setting say; None without such rounds."""
    elsewhere: tuple[Elsewhere, ...] = ()
    """The levels whose own best setting is not that of the rounds, by the search."""
    test: str = ""
    """What came of the photos held back for a test, in sentences; empty before they were scored."""

    @property
    def is_open(self) -> bool:
        """Whether more rounds could say more."""
        return self.rounds is None or not self.rounds.looks or self.rounds.is_open

    @property
    def answering(self) -> RoundsAnswer | None:
        """The rounds that the best recipe is of: those with each level at its own best once they were looked at."""
        return answering_of(self.rounds, self.own)

    @property
    def rounds_mean(self) -> float | None:
        """The mean of the rounds that the best recipe is of, as their table shows it; None for one of the search."""
        rounds, winner = self.answering, self.winner
        return None if rounds is None or winner is None or winner.candidates else rounds.sides[rounds.best].score


def answering_of(rounds: RoundsAnswer | None, own: RoundsAnswer | None) -> RoundsAnswer | None:
    """The rounds that the best recipe is of, of those at a common setting and those with each level at its own best."""
    return own if own is not None and own.looks else rounds
