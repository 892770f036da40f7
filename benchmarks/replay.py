"""Replay one study on known learning curves: which trials a policy proposes, and when it stops them.

The service's policy is search.policy.policy.Policy itself, on the trials of an Optuna study as search.run has them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.policy.policy import Policy
from search.study.space import distributions, values_of
from search.study.study import Domain, Pruner, Sampler, Study

Params = Mapping[str, Any]
Curve = Mapping[int, float]
"""Evaluation, from 1 -> score, higher is better."""

NUM_TRIALS = 50


class Task(Protocol):
    """A search problem with known learning curves."""

    name: str
    space: Mapping[str, Domain]
    baseline: Params
    planned_evaluations: int
    best: float
    """The best value known."""
    scale: float
    """A regret of 1, in the value's unit."""

    def curve(self, params: Params) -> Curve:
        """The whole learning curve of a configuration; shorter if the training diverged."""

    def nearest(self, params: Params, tried: Sequence[Params]) -> Params:
        """The configuration that is run when these parameters are proposed."""


class Player(Protocol):
    """A policy that searches one task in one study."""

    study: optuna.Study

    def ask(self) -> int:
        """Begin a trial; returns its number."""

    def should_continue(self, trial: FrozenTrial) -> bool:
        """Whether a trial that has just reported should continue."""

    def tell(self, trial: FrozenTrial, state: TrialState, value: float | None) -> None:
        """End a trial; ``value`` is its best score."""


MakePlayer = Callable[[Task, int, Sequence[Params]], Player]
"""(task, seed, configurations to try first) -> a new player."""


@dataclass(frozen=True)
class Searched:
    """What Policy needs of a Study, which admits only hyperparameters of our own trainer, not LCBench's."""

    space: Mapping[str, Domain]
    baseline: Mapping[str, Any]
    sampler: Sampler = Study.sampler
    pruner: Pruner = Study.pruner
    scientific: Mapping[str, Domain] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)


class Service:
    """The policy of search.run: the baseline, then its search. Rounds are the matter of decisive.py."""

    def __init__(
        self,
        task: Task,
        seed: int,
        warm: Sequence[Params],
        *,
        sampler: Sampler = Study.sampler,
        pruner: Pruner = Study.pruner,
    ) -> None:
        length = {"epochs": task.planned_evaluations}
        searched = Searched(task.space, values_of(task.space, task.baseline), sampler, pruner, fixed=length)
        starts = [{"params": params, "from": "other tasks"} for params in warm]
        self.policy = Policy(cast(Study, searched), seed, starts)
        self.task = task
        self.study = optuna.create_study(direction="maximize")

    def ask(self) -> int:
        """Begin a trial as search.storage.queue does, with the nearest configuration of which the task has a curve."""
        trials = self.study.get_trials(deepcopy=False)
        proposal = self.policy.propose(trials)
        params = dict(self.task.nearest(proposal.params, [trial.params for trial in trials]))
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=self.policy.distributions,
                user_attrs=proposal.attributes,
            )
        )
        return len(trials)

    def should_continue(self, trial: FrozenTrial) -> bool:
        """The policy's decision, as search.worker.objective asks for it."""
        return self.policy.should_continue(self.study, trial, self.task.planned_evaluations)

    def tell(self, trial: FrozenTrial, state: TrialState, value: float | None) -> None:
        """End a trial as search.storage.outcomes does: a pruned one keeps its best value."""
        self.study._storage.set_trial_state_values(trial._trial_id, state, None if value is None else [value])


class Stock:
    """Optuna's TPE with one of its pruners, as a user gets them; configurations to try first are enqueued."""

    def __init__(self, task: Task, seed: int, warm: Sequence[Params], pruner: BasePruner) -> None:
        self.task, self.distributions = task, distributions(task.space)
        self.study = optuna.create_study(direction="maximize", sampler=TPESampler(seed=seed), pruner=pruner)
        for params in warm:
            self.study.enqueue_trial(dict(params))

    def ask(self) -> int:
        """Begin a trial with the configuration nearest to Optuna's proposal of which the task has a curve."""
        trial = self.study.ask(self.distributions)
        before = self.study.get_trials(deepcopy=False)[: trial.number]
        params = self.task.nearest(trial.params, [other.params for other in before])
        for name, domain in self.distributions.items():
            value = domain.to_internal_repr(params[name])
            self.study._storage.set_trial_param(trial._trial_id, name, value, domain)
        return trial.number

    def should_continue(self, trial: FrozenTrial) -> bool:
        """The pruner's decision, as optuna.Trial.should_prune asks for it."""
        return not self.study.pruner.prune(self.study, trial)

    def tell(self, trial: FrozenTrial, state: TrialState, value: float | None) -> None:
        """End a trial; Optuna gives a pruned one its last value."""
        self.study.tell(trial.number, value if state == TrialState.COMPLETE else None, state)


def replay(task: Task, player: Player, num_trials: int = NUM_TRIALS) -> list[FrozenTrial]:
    """The trials of one study, one after the other."""
    study = player.study
    for _ in range(num_trials):
        number = player.ask()
        is_complete = _train(task, player, number)
        trial = study.get_trials(deepcopy=False)[number]
        best = max(trial.intermediate_values.values(), default=None)
        player.tell(trial, TrialState.COMPLETE if is_complete else TrialState.PRUNED, best)
    return study.get_trials(deepcopy=False)


def _train(task: Task, player: Player, number: int) -> bool:
    """Report score after score; returns whether the trial is complete."""
    study = player.study
    curve = task.curve(study.get_trials(deepcopy=False)[number].params)
    for step, score in curve.items():
        trial = study.get_trials(deepcopy=False)[number]
        study._storage.set_trial_intermediate_value(trial._trial_id, step, score)
        if step == task.planned_evaluations:
            return True
        if not player.should_continue(study.get_trials(deepcopy=False)[number]):
            break
    return False


@dataclass(frozen=True)
class Outcome:
    """The result of one replay."""

    regret: float
    """(best known - best found) / scale; negative if the search beats the sample that the best known is from."""
    share: float
    """Evaluations made, as a share of those that all trials would have made unpruned."""
    lost: float
    """How much better the best trial would have been without pruning, in units of regret."""


def judge(task: Task, trials: Sequence[FrozenTrial]) -> Outcome:
    """The regret, over complete trials only, the cost, and what pruning lost."""
    best = max(trial.value for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None)
    curves = [task.curve(trial.params) for trial in trials]
    would_be = max(max(curve.values()) for curve in curves if len(curve) == task.planned_evaluations)
    return Outcome(
        regret=(task.best - best) / task.scale,
        share=_share(task, trials),
        lost=(would_be - best) / task.scale,
    )


def _share(task: Task, trials: Sequence[FrozenTrial]) -> float:
    return sum(len(trial.intermediate_values) for trial in trials) / (len(trials) * task.planned_evaluations)
