"""The trials of a confirmation: which finalist is trained in which repeat, with a seed and judges of its own.

A confirmation is a study of its own in the same database, so that workers, queue and resume are those of every study.
Every finalist is trained once a repeat, one repeat after the other. All of a repeat have the same judges
(TrainConfig.judge_round is its number), and what these people do to all finalists alike cancels when they are
compared. More repeats only add trials at the end.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.policy.policy import AnyPolicy, Policy, Proposal, training_seed
from search.study.attributes import CONFIRMATION, FINALIST, REPEAT, ROLE, SEED
from search.study.record import Stored
from search.study.space import distributions

SUFFIX = "-confirm"
"""A study and its confirmation: ``dropout`` and ``dropout-confirm``."""


LevelRole = Literal["reference", "other", ""]
"""What a finalist stands for: the best configuration of the baseline's level or of another level, or itself alone."""


@dataclass(frozen=True)
class PlannedFinalist:
    """A configuration to be trained again."""

    name: str
    """``baseline``, ``drop_rate = 0.7``, ``trial 12``."""
    params: dict[str, Any]
    trials: tuple[int, ...]
    """Its complete trials in the search, one of each training seed."""
    level: LevelRole = ""
    """Which level it speaks for, as the best configuration found there: the baseline's (the reference), or another."""


@dataclass(frozen=True)
class Plan:
    """What a confirmation does; stored in its document (Stored.confirmation)."""

    of: str
    """The study that is confirmed."""
    finalists: tuple[PlannedFinalist, ...]
    """The baseline first."""
    top: int
    """--top as given when they were chosen."""
    repeats: int
    """How often each finalist is trained."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))  # lists for tuples, as it comes back
        return values

    @staticmethod
    def of_document(stored: Stored) -> "Plan":
        """The plan of a confirmation's document."""
        assert stored.confirmation is not None
        values = stored.confirmation
        finalists = (PlannedFinalist(**{**found, "trials": tuple(found["trials"])}) for found in values["finalists"])
        return Plan(**{**values, "finalists": tuple(finalists)})


class Training(NamedTuple):
    """What a trial of a confirmation is: one finalist's training in one repeat."""

    repeat: int
    """From 1."""
    finalist: int
    """Index in Plan.finalists, from 0: the baseline."""


def training_of(trial: FrozenTrial) -> Training | None:
    """Which training a trial is; None for a trial that somebody added by hand."""
    if REPEAT not in trial.user_attrs or FINALIST not in trial.user_attrs:
        return None
    return Training(trial.user_attrs[REPEAT], trial.user_attrs[FINALIST])


class ConfirmPolicy:
    """What Policy is to a search: every finalist once a repeat, to its end."""

    def __init__(self, stored: Stored) -> None:
        self.distributions = distributions(stored.study.space)
        self.finalists, self.seed = Plan.of_document(stored).finalists, stored.seed

    def propose(self, trials: Sequence[FrozenTrial]) -> Proposal:
        """The first training that no trial does or has done; one that failed for good is done again."""
        begun = {training_of(trial) for trial in trials if trial.state != TrialState.FAIL}
        order = (Training(repeat, index) for repeat in itertools.count(1) for index in range(len(self.finalists)))
        repeat, finalist = next(training for training in order if training not in begun)
        seed = training_seed(self.seed, repeat, finalist + 1)
        attributes = {ROLE: CONFIRMATION, FINALIST: finalist, REPEAT: repeat, SEED: seed}
        return Proposal(dict(self.finalists[finalist].params), attributes)

    def should_continue(self, study: optuna.Study, trial: FrozenTrial, planned_evaluations: int) -> bool:
        """Always: a training that is stopped cannot be judged at the end."""
        return True


def policy_of(stored: Stored) -> AnyPolicy:
    """The policy of a stored study."""
    if stored.confirmation is not None:
        return ConfirmPolicy(stored)
    return Policy(stored.study, stored.seed, stored.warm)
