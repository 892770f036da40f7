"""What a worker does for the rounds of a study besides training: who can judge, how long is left, and the looks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from optuna.trial import FrozenTrial, TrialState

from maskcls.config import TrainConfig, change
from maskcls.data.dataset import Table, with_judges
from maskcls.scoring.rounds import Look
from maskcls.system.errors import UserError
from search.policy.policy import Policy
from search.policy.stopping import StoppingCriteria, epochs_spent
from search.storage.looks import look_if_due
from search.storage.predictions import predictions_of
from search.study.attributes import SECONDS, evaluations_of
from search.system.clock import uptime
from search.worker.job import Job
from search.worker.messages import WorkOrder


def judges_of(table: Table, config: TrainConfig) -> Callable[[int], bool]:
    """Whether the people of a judge_round can judge: everyone else must be enough to train."""

    @cache
    def can_judge(number: int) -> bool:
        try:
            with_judges(table, change(config, judge_round=number))
        except UserError:
            return False
        return True

    return can_judge


def within_time(order: WorkOrder, trials: Sequence[FrozenTrial], per_epoch: int) -> StoppingCriteria:
    """The order's limits, with the epochs that its time is expected to be enough for at the trials' speed so far.

    By all workers: this command's, or this one and those that train now, if other commands have some of them.
    """
    if order.timeout is None:
        return order.limits
    timed = [trial for trial in trials if evaluations_of(trial) and SECONDS in trial.user_attrs]
    seconds = sum(trial.user_attrs[SECONDS] for trial in timed)
    if not seconds:
        return order.limits
    workers = max(order.workers, 1 + sum(trial.state == TrialState.RUNNING for trial in trials))
    speed = sum(evaluations_of(trial) or 0 for trial in timed) / per_epoch / seconds * workers
    left = max(0.0, order.timeout - (uptime() - order.since))
    return replace(order.limits, expected_epochs=epochs_spent(trials, per_epoch) + speed * left)


def look_at_rounds(job: Job, limits: StoppingCriteria) -> Look | None:
    """Make the look that is due, if any, and store it; None for a confirmation, which has repeats and no rounds."""
    if not isinstance(job.policy, Policy):
        return None
    stored = job.setup.stored
    shelf = predictions_of(job.study, stored, job.setup.folder)
    return look_if_due(job.study, job.policy, limits, shelf, stored.study.matters)
