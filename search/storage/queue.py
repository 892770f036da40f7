"""Trials handed out to workers.

Every decision about a study is made in a turn (study_lock.in_turn), so that workers of any number of commands on any
number of machines share one count and one queue. A trial that is interrupted waits under its own number, with its
parameters and reports. What workers tell of their trials is outcomes.py, what is left of dead ones orphans.py.
"""

import uuid
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from maskcls.system.errors import some
from search.database.connect import backend_of
from search.database.optuna_internals import set_attributes, set_state, storage_of, store_trial, trial_id
from search.policy.confirmation import AnyPolicy
from search.policy.stopping import StoppingCriteria, count_finished, reached
from search.storage.failures import UNKNOWN_VALUES, crashes_of, failure, failures_of
from search.storage.orphans import take_back_orphaned
from search.storage.outcomes import decide_in_turn, end_trial
from search.study.attributes import FAILURES, IN_VAIN, WORKER
from search.study.space import is_within
from search.system.clock import RUN, run_now
from search.system.processes import WorkerIdentity


def next_trial(
    study: optuna.Study, policy: AnyPolicy, limits: StoppingCriteria, evaluations_per_epoch: int, worker: WorkerIdentity
) -> Trial | None:
    """A trial for this worker to run: one that waits, or a new one. None when there is none to be had now.

    Never more than the limits allow when all that run come to an end; a trial that fails frees its place.
    """
    claim = uuid.uuid4().hex

    def decide() -> Trial | None:
        take_back_orphaned(study)
        trials = study.get_trials(deepcopy=False)
        mine = next((found for found in trials if found.system_attrs.get(RUN, {}).get("claim") == claim), None)
        if mine is not None:  # it was kept, and the word of that was lost with the connection
            return Trial(study, trial_id(mine))
        if reached(limits, trials, evaluations_per_epoch):
            return None
        places = limits.n_trials - count_finished(trials) - _count(trials, TrialState.RUNNING)
        waiting = [found for found in trials if found.state == TrialState.WAITING and _can_run(study, policy, found)]
        if places <= 0:
            return None
        trial = _pick(waiting, places)
        if trial is None:
            return _new_trial(study, policy, trials, worker, claim)
        return _take(study, policy, trials, trial, worker, claim)

    return decide_in_turn(study, decide)


def _count(trials: Sequence[FrozenTrial], state: TrialState) -> int:
    return sum(trial.state == state for trial in trials)


def _pick(waiting: Sequence[FrozenTrial], places: int) -> FrozenTrial | None:
    """Which of the waiting trials is next; None for a new one.

    Interrupted ones first. One that crashed waits until there is no place left for anything else: if what made it
    crash is on its way out, all the better, and if it is everybody's, that shows in other trials first.
    """
    whole = [trial for trial in waiting if not crashes_of(trial)]
    if whole or (waiting and len(waiting) >= places):
        return min(whole or waiting, key=lambda trial: (crashes_of(trial), trial.number))
    return None


def _can_run(study: optuna.Study, policy: AnyPolicy, trial: FrozenTrial) -> bool:
    """Whether a waiting trial's parameters can be had; one that somebody else put there with others ends here."""
    known = policy.distributions
    bad = [name for name, value in trial.params.items() if name in known and not _fits(known[name], value)]
    if not bad:
        return True
    said = some(f"{name}={trial.params[name]!r} not within {_range_of(known[name])}" for name in bad)
    end = failure(UNKNOWN_VALUES, f"it was stored with values that this study cannot have: {said}")
    set_attributes(study, trial, {FAILURES: [*failures_of(trial), end]})
    end_trial(study, trial, TrialState.FAIL)
    return False


def _fits(distribution: BaseDistribution, value: Any) -> bool:
    """Whether the value can be had; it may be of any type."""
    try:
        return is_within(distribution, value)
    except TypeError:
        return False


def _new_trial(
    study: optuna.Study, policy: AnyPolicy, trials: Sequence[FrozenTrial], worker: WorkerIdentity, claim: str
) -> Trial:
    proposal = policy.propose(trials)
    # written in one go: a process that is killed here leaves all of the trial or nothing
    template = create_trial(
        state=TrialState.RUNNING,
        params=proposal.params,
        distributions=policy.distributions,
        user_attrs={**proposal.attributes, WORKER: worker.to_json()},
        system_attrs={RUN: run_now(claim)},
    )
    new_id = store_trial(study, template)
    backend_of(study).record_heartbeat(new_id)
    return Trial(study, new_id)


def _take(
    study: optuna.Study,
    policy: AnyPolicy,
    trials: Sequence[FrozenTrial],
    trial: FrozenTrial,
    worker: WorkerIdentity,
    claim: str,
) -> Trial:
    """Take a waiting trial; one that somebody enqueued by hand may lack parameters, which the policy then gives."""
    if policy.distributions.keys() - trial.params.keys():
        _complete(study, policy, trials, trial)
    # the heartbeat first: an old one would have the trial taken back at once
    backend_of(study).record_heartbeat(trial_id(trial))
    storage_of(study).set_trial_system_attr(trial_id(trial), RUN, run_now(claim))
    set_attributes(study, trial, {WORKER: worker.to_json()})
    set_state(study, trial, TrialState.RUNNING)
    return Trial(study, trial_id(trial))


def _complete(study: optuna.Study, policy: AnyPolicy, trials: Sequence[FrozenTrial], trial: FrozenTrial) -> None:
    """Give an enqueued trial the parameters that it lacks: as enqueued where they can be had, else as proposed."""
    fixed, known = trial.system_attrs.get("fixed_params", {}), policy.distributions
    proposed = policy.propose(trials).params
    in_vain = [f"{name}={value!r}: no such parameter" for name, value in fixed.items() if name not in known]
    for name, distribution in known.items():
        if name not in trial.params:
            value = fixed.get(name, proposed[name])
            if not _fits(distribution, value):
                in_vain.append(f"{name}={value!r} not within {_range_of(distribution)}")
                value = proposed[name]
            internal = distribution.to_internal_repr(value)
            storage_of(study).set_trial_param(trial_id(trial), name, internal, distribution)
    if in_vain:
        set_attributes(study, trial, {IN_VAIN: some(in_vain)})


def _range_of(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return " | ".join(map(str, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return f"{distribution.low:g} to {distribution.high:g}"
