"""The trials of a confirmation: every finalist is trained once in each repeat, with a seed of its own.

The finalists are compared one by one, or are the members of a team (Plan.weights) and the best single model.

A confirmation is a study of its own in the same database, with the workers, queue and resume of every study. All
trainings of a repeat have the same judges (TrainConfig.judge_round is the number of the repeat), so the effect of these
people cancels when finalists are compared. The repeats come one after the other; more repeats add trials at the end.
"""

import itertools
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.policy.draft import Draft
from search.policy.policy import ENDLESS, Policy, Proposal, training_seed
from search.policy.stopping import StoppingCriteria, reached
from search.study.attributes import CONFIRMATION, FINALIST, REPEAT, ROLE, SEED
from search.study.record import Stored
from search.study.space import distributions

SUFFIX = "-confirm"
"""What a confirmation's name adds to its study's: ``dropout-confirm``."""

TEAM_SUFFIX = "-confirm-team"
"""The same of a confirmation of a team, which a study may have beside the other: ``dropout-confirm-team``."""

TEAM, SINGLE = "team", "single"
"""What is compared in a confirmation of a team, as its stored looks call them."""

LevelRole = Literal["reference", "other", ""]
"""Whether a finalist is the best configuration of the baseline's level, of another level, or of none."""


@dataclass(frozen=True)
class PlannedFinalist:
    """A configuration to train again."""

    name: str
    """``baseline``, ``drop_rate = 0.7``, ``trial 12``."""
    params: dict[str, Any]
    trials: tuple[int, ...]
    """Numbers of its complete trials in the search, one of each training seed."""
    level: LevelRole = ""


@dataclass(frozen=True)
class Plan:
    """The plan of a confirmation; stored in its document (Stored.confirmation)."""

    of: str
    """Name of the study that is confirmed."""
    finalists: tuple[PlannedFinalist, ...]
    """The baseline first; of a team the best single model first."""
    top: int
    """--top when the finalists were chosen; 0 of a team."""
    repeats: int
    """How often each finalist is trained."""
    weights: tuple[float, ...] = ()
    """The weight of each finalist in the team that is confirmed, 0 of a single model that is no member; empty where
    finalists are compared one by one."""

    @property
    def is_team(self) -> bool:
        """Whether the finalists are judged as a team, beside the best single one."""
        return bool(self.weights)

    @property
    def suffix(self) -> str:
        """What the confirmation's name adds to its study's."""
        return TEAM_SUFFIX if self.is_team else SUFFIX

    def to_json(self) -> dict[str, Any]:
        """Plain values, as they come back from the database; without weights as earlier versions wrote it."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))  # tuples become lists
        return values if self.is_team else {name: value for name, value in values.items() if name != "weights"}

    @staticmethod
    def of_document(stored: Stored) -> "Plan":
        """The plan in a confirmation's document."""
        values = stored.confirmation
        assert values is not None
        finalists = (PlannedFinalist(**{**each, "trials": tuple(each["trials"])}) for each in values["finalists"])
        return Plan(**{**values, "finalists": tuple(finalists), "weights": tuple(values.get("weights", ()))})


class Training(NamedTuple):
    """A finalist's training in a repeat: what a trial of a confirmation does."""

    repeat: int
    """From 1."""
    finalist: int
    """Index in Plan.finalists; 0 is the baseline."""


def training_of(trial: FrozenTrial) -> Training | None:
    """The training that a trial does; None for a trial that was added by hand."""
    if REPEAT not in trial.user_attrs or FINALIST not in trial.user_attrs:
        return None
    return Training(trial.user_attrs[REPEAT], trial.user_attrs[FINALIST])


class ConfirmationPolicy:
    """The policy of a confirmation: every finalist once in each repeat, none pruned."""

    def __init__(self, stored: Stored) -> None:
        self.distributions = distributions(stored.study.space)
        self.per_epoch = stored.baseline_config.evaluations_per_epoch
        self.finalists, self.seed = Plan.of_document(stored).finalists, stored.seed

    def propose(
        self,
        trials: Sequence[FrozenTrial],
        limits: StoppingCriteria = ENDLESS,
        closed: Collection[str] = (),
        draft: Draft | None = None,
    ) -> Proposal:
        """The first training that no trial does or has done; failed trials do not count. There is nothing to draft."""
        taken = {training_of(trial) for trial in trials if trial.state != TrialState.FAIL}
        order = (Training(repeat, index) for repeat in itertools.count(1) for index in range(len(self.finalists)))
        repeat, finalist = next(training for training in order if training not in taken)
        seed = training_seed(self.seed, repeat, finalist + 1)
        attributes = {ROLE: CONFIRMATION, FINALIST: finalist, REPEAT: repeat, SEED: seed}
        return Proposal(dict(self.finalists[finalist].params), attributes)

    def search(self, trials: Sequence[FrozenTrial], draft: Draft | None = None) -> Proposal:
        """What completes a trial that was added by hand."""
        return self.propose(trials)

    def shortened(self, limits: StoppingCriteria, trials: Sequence[FrozenTrial]) -> StoppingCriteria:
        """The limits as they are."""
        return limits

    def reached(self, limits: StoppingCriteria, trials: Sequence[FrozenTrial], closed: Collection[str] = ()) -> str:
        """The option whose limit has been reached; empty while the confirmation should continue."""
        return reached(limits, trials, self.per_epoch)

    def may_stop_at(self, evaluation: int, planned_evaluations: int) -> bool:
        """False, as ``should_continue`` is true of all."""
        return False

    def should_continue(self, study: optuna.Study, trial: FrozenTrial, planned_evaluations: int) -> bool:
        """True: finalists are compared at the end of their trainings."""
        return True


AnyPolicy = Policy | ConfirmationPolicy


def policy_of(stored: Stored, can_judge: Callable[[int], bool] = lambda number: True) -> AnyPolicy:
    """The policy of a stored study; ``can_judge``: whether the people of a judge_round can judge its trainings."""
    if stored.confirmation is not None:
        return ConfirmationPolicy(stored)
    return Policy(stored.study, stored.seed, stored.warm, can_judge)
