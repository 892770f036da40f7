"""Rounds: trainings that the answer is computed from, as functions of a study's trials so far.

The trainings of a round differ in what is compared and in nothing else: all have the same nuisance hyperparameters,
the same seed, and the same judges, who judged no round before until everyone has judged. None is pruned. Round 0 is the
first of a study: the baseline's nuisance hyperparameters at every level, which nobody has chosen, judged by the study's
validation people. In the rounds of ``search.confirm --own-best`` each level has its own best nuisance hyperparameters:
they answer another question, and count among themselves alone.

What a training stands for is an ``Arm``: the reference, which is the baseline's levels, or a level that is compared
with it, all other factors as in the baseline. A study that compares nothing has its finalists as arms.

A round's plan is stored with its first training, so whoever takes the others, on whatever machine, reads it there.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.policy.levels import Levels
from search.policy.stopping import FINISHED
from search.study.attributes import LEVEL, PLACE, ROUND, ROUND_PLAN, is_own_best, round_of
from search.study.space import Factor, factors, params_of
from search.study.study import Study

REFERENCE = "baseline"
"""The name of the reference where no single level is one: of several factors, and of a study that compares nothing."""

MAX_FAILURES = 2
"""A training of a round that has failed so often (each failure after several tries) is given up."""

MANY_LEVELS = 3
"""With so many levels still open the reference is trained twice a round, as every comparison uses it (Dunnett 1955)."""

FINALISTS = 3
"""Configurations that the rounds of a study without scientific hyperparameters compare with the baseline."""


@dataclass(frozen=True)
class Arm:
    """What the trainings of a level have in common."""

    name: str
    """``drop_rate = 0.2``, ``augment.flip = True``, ``trial 12``, ``baseline``."""
    levels: Levels
    """Its level of each factor; empty in a study that compares none."""


@dataclass(frozen=True)
class Planned:
    """A training of a round."""

    arm: str
    """Name of its arm."""
    params: Mapping[str, Any]
    seed: int | None
    """None for the study's."""


@dataclass(frozen=True)
class RoundPlan:
    """All trainings of a round."""

    number: int
    judges: int
    """TrainConfig.judge_round of all of them."""
    trainings: tuple[Planned, ...]
    own_best: bool = False
    """Whether each level has its own best setting, and not the common one."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``own_best`` only where it is true, as earlier versions know no other rounds."""
        values = {**asdict(self), "trainings": [asdict(planned) for planned in self.trainings]}
        if not self.own_best:
            del values["own_best"]
        return values

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "RoundPlan":
        """The inverse of to_json."""
        trainings = tuple(Planned(**planned) for planned in values["trainings"])
        return RoundPlan(values["number"], values["judges"], trainings, values.get("own_best", False))


def arms_of(study: Study) -> list[Arm]:
    """The reference, then the other levels of each factor; of a study that compares nothing the reference alone."""
    compared = factors(study.scientific)
    baseline = params_of(study.space, study.baseline)
    reference = tuple(factor.level(baseline) for factor in compared)
    name = compared[0].describe(reference[0]) if len(compared) == 1 else REFERENCE
    return [Arm(name, reference), *_other_levels(compared, reference)]


def _other_levels(compared: Sequence[Factor], reference: Levels) -> Iterator[Arm]:
    for place, factor in enumerate(compared):
        for level in range(len(factor.levels)):
            if level != reference[place]:
                yield Arm(factor.describe(level), (*reference[:place], level, *reference[place + 1 :]))


class Rounds:
    """The rounds of a study: what was planned, what has begun, and what is complete."""

    def __init__(self, trials: Iterable[FrozenTrial], first: RoundPlan) -> None:
        """``first``: the plan of round 0, which is a function of the study and not stored."""
        self.trainings = [trial for trial in trials if round_of(trial) is not None and PLACE in trial.user_attrs]
        # in a copy of the study with more levels, those of round 0 have other places
        self._first_place = {planned.arm: place for place, planned in enumerate(first.trainings)}
        self.plans: dict[int, RoundPlan] = {first.number: first}
        for trial in self.trainings:
            if ROUND_PLAN in trial.user_attrs:
                plan = RoundPlan.from_json(trial.user_attrs[ROUND_PLAN])
                self.plans.setdefault(plan.number, plan)

    @property
    def last(self) -> int:
        """The number of the last round that was planned, of either kind."""
        return max(self.plans)

    @cached_property
    def _given_up(self) -> set[tuple[int, int]]:
        """(Round, place) of the trainings that have failed too often."""
        failures = Counter(self._key(trial) for trial in self.trainings if trial.state == TrialState.FAIL)
        return {key for key, count in failures.items() if count >= MAX_FAILURES}

    @cached_property
    def _begun(self) -> set[tuple[int, int]]:
        """(Round, place) of the trainings that a trial does, has done, or was given up."""
        return {self._key(trial) for trial in self.trainings if trial.state != TrialState.FAIL} | self._given_up

    def _key(self, trial: FrozenTrial) -> tuple[int, int]:
        """(Round, place) of a training; the place is -1 for a level that round 0 does not have any more."""
        number = trial.user_attrs[ROUND]
        return number, trial.user_attrs[PLACE] if number else self._first_place.get(trial.user_attrs[LEVEL], -1)

    def owed(self) -> Iterator[tuple[RoundPlan, int]]:
        """(Plan, place) of the planned trainings that no trial does yet, the earliest round first."""
        for number in sorted(self.plans):
            plan = self.plans[number]
            yield from ((plan, place) for place in range(len(plan.trainings)) if (number, place) not in self._begun)

    def of_kind(self, own_best: bool) -> list[FrozenTrial]:
        """The trainings, of any state, of the rounds with each level at its own best setting, or of the others."""
        return [trial for trial in self.trainings if is_own_best(trial) == own_best]

    def complete(self, own_best: bool = False) -> list[int]:
        """The numbers of the rounds of this kind that are complete, and all of the kind before them."""
        done = {self._key(trial) for trial in self.trainings if trial.state in FINISHED} | self._given_up
        numbers = []
        for number in sorted(number for number, plan in self.plans.items() if plan.own_best == own_best):
            keys = {(number, place) for place in range(len(self.plans[number].trainings))}
            if not keys <= done:
                break
            numbers.append(number)
        return numbers


def size_of_round(others: int) -> int:
    """How many trainings a round of the reference and so many open levels has."""
    return 1 + others + (others >= MANY_LEVELS)


def arms_of_round(reference: str, others: Sequence[str], left: int) -> list[str]:
    """The arms of the next round's trainings, when ``left`` trainings may still begin; empty if that is too few.

    Every open level (``others``) once, and the reference, twice while many are open. When less than two rounds are
    left, all of it is one round: its arms again in turn, the levels first.
    """
    if not others or left < 1 + len(others):
        return []
    arms = [reference, *others, reference][: size_of_round(len(others))]
    if left >= 2 * len(arms):
        return arms
    return [*arms, *arms[1:], arms[0]][:left]


def copies(arms: Sequence[str]) -> list[int]:
    """How many of the same arm come before each: those of one number have the same seed."""
    return [arms[:place].count(arm) for place, arm in enumerate(arms)]


def exemplar_of(trainings: Iterable[FrozenTrial]) -> FrozenTrial | None:
    """The training that stands for a side of the rounds, as its model to use; None if none is complete.

    It has the best score of those after round 0, whose judges have chosen nothing, and if there are none, of round 0.
    Trainings of one recipe differ by their seeds, and now and then one comes to nothing: the latest may be that one.
    """
    complete = [trial for trial in trainings if trial.state == TrialState.COMPLETE and trial.value is not None]
    later = [trial for trial in complete if round_of(trial)]
    return max(later or complete, key=lambda trial: (trial.value or 0.0, trial.number), default=None)


def complete_trainings(trials: Iterable[FrozenTrial], rounds: Iterable[int]) -> list[FrozenTrial]:
    """The complete trials of these rounds; one that diverged has no value to compare."""
    wanted = set(rounds)
    return [trial for trial in trials if round_of(trial) in wanted and trial.state == TrialState.COMPLETE]
