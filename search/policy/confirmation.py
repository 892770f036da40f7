"""The trials of a confirmation: which finalist is trained in which round, with a seed and judges of its own.

A confirmation is a study of its own in the same database, so that workers, queue and resume are those of every study.
Round after round all finalists are trained once: in a round all have the same judges (TrainConfig.judge_round), and
what a round's people do to all of them alike cancels when they are compared. More rounds only add trials at the end.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from search.policy.policy import MOST_SEEDS, AnyPolicy, Policy, Proposal
from search.study.attributes import CONFIRMATION, FINALIST, REPEAT, ROLE, SEED
from search.study.record import Stored
from search.study.space import distributions

SUFFIX = "-confirm"
"""A study and its confirmation: ``dropout`` and ``dropout-confirm``."""


LevelRole = Literal["reference", "other", ""]
"""What a finalist stands for: the best setting of the baseline's level, that of another level, or itself alone."""


@dataclass(frozen=True)
class PlannedFinalist:
    """A setting to be trained again."""

    name: str
    """``baseline``, ``drop_rate = 0.7``, ``trial 12``."""
    params: dict[str, Any]
    trials: tuple[int, ...]
    """Its complete trials in the search, one of each training seed."""
    level: LevelRole = ""
    """Which level it speaks for, as the best setting found there: the baseline's (the reference), or another."""


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
    """Rounds."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))  # lists for tuples, as it comes back
        return values

    @staticmethod
    def of_document(stored: Stored) -> "Plan":
        """The plan of a confirmation's document."""
        assert stored.confirmation is not None
        values = dict(stored.confirmation)
        found = values.pop("finalists")
        finalists = (PlannedFinalist(**{**one, "trials": tuple(one["trials"])}) for one in found)
        return Plan(finalists=tuple(finalists), **values)


def place_of(trial: FrozenTrial) -> tuple[int, int] | None:
    """(repeat, from 1; index of the finalist) of a trial; None for one that somebody added by hand."""
    if REPEAT not in trial.user_attrs or FINALIST not in trial.user_attrs:
        return None
    return trial.user_attrs[REPEAT], trial.user_attrs[FINALIST]


class ConfirmPolicy:
    """What Policy is to a search: every finalist once a round, to its end."""

    def __init__(self, stored: Stored) -> None:
        self.distributions = distributions(stored.study.space)
        self.finalists, self.seed = Plan.of_document(stored).finalists, stored.seed

    def propose(self, trials: Sequence[FrozenTrial]) -> Proposal:
        """The first training that no trial does or has done; one that failed for good is done again."""
        taken = {place_of(trial) for trial in trials if trial.state != TrialState.FAIL}
        places = ((repeat, index) for repeat in itertools.count(1) for index in range(len(self.finalists)))
        repeat, index = next(place for place in places if place not in taken)
        seed = int(np.random.SeedSequence([self.seed, repeat, index + 1]).generate_state(1)[0]) % MOST_SEEDS
        attributes = {ROLE: CONFIRMATION, FINALIST: index, REPEAT: repeat, SEED: seed}
        return Proposal(dict(self.finalists[index].params), attributes)

    def goes_on(self, study: optuna.Study, trial: FrozenTrial, num_evaluations: int) -> bool:
        """Always: who is stopped cannot be judged at the end."""
        return True


def policy_of(stored: Stored) -> AnyPolicy:
    """The policy of a stored study."""
    if stored.confirmation is not None:
        return ConfirmPolicy(stored)
    return Policy(stored.study, stored.seed, stored.warm)
