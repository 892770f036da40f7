"""Trials handed out to workers, told, and taken back.

Every decision about a study is made under its lock (storage.exclusive), so that workers of any number of commands on
any number of machines share one count and one queue. A trial that is interrupted waits under its own number, with its
parameters and reports.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search.failures import CRASH, FAILURES, INTERRUPTIONS, MOST_DEATHS, crashes_of, failure, failures_of, may_try_again
from search.limits import Limits, count_finished, reached
from search.policy import AnyPolicy
from search.processes import is_gone, is_held, is_same
from search.space import is_within
from search.storage import backend_of, exclusive

WORKER = "worker"
"""Trial attribute: the process that runs it (processes.describe_myself); None while nobody does."""

DEATHS = "deaths"
"""Trial attribute: {"evaluation": the last one made, "times": how often its process died since}."""


class TakenOverError(Exception):
    """Another worker runs this trial by now: this one was taken for dead."""


def next_trial(
    study: optuna.Study, policy: AnyPolicy, limits: Limits, evaluations_per_epoch: int, worker: dict[str, Any]
) -> Trial | None:
    """A trial for this worker to run: one that waits, or a new one. None when there is none to be had now.

    Never more than the limits allow when all that run come to an end; a trial that fails frees its place.
    """
    with exclusive(backend_of(study), study.study_name):
        _requeue_lost(study)
        trials = study.get_trials(deepcopy=False)
        if reached(limits, trials, evaluations_per_epoch):
            return None
        places = limits.n_trials - count_finished(trials) - _count(trials, TrialState.RUNNING)
        waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
        if places <= 0:
            return None
        number = _pick(waiting, places)
        if number is None:
            return _new_trial(study, policy, trials, worker)
        return _take(study, policy, trials, number, worker)


def _count(trials: Sequence[FrozenTrial], state: TrialState) -> int:
    return sum(trial.state == state for trial in trials)


def _pick(waiting: Sequence[FrozenTrial], places: int) -> int | None:
    """Which of the waiting trials is next; None for a new one.

    Interrupted ones first. One that crashed waits until there is no place left for anything else: if what made it
    crash is on its way out, all the better, and if it is everybody's, that shows in other trials first.
    """
    whole = [trial.number for trial in waiting if not crashes_of(trial)]
    if whole:
        return min(whole)
    if waiting and len(waiting) >= places:
        return min(waiting, key=lambda trial: (crashes_of(trial), trial.number)).number
    return None


def _new_trial(study: optuna.Study, policy: AnyPolicy, trials: Sequence[FrozenTrial], worker: dict[str, Any]) -> Trial:
    proposal = policy.propose(trials)
    # written in one go: a process that is killed here leaves all of the trial or nothing
    template = create_trial(
        state=TrialState.RUNNING,
        params=proposal.params,
        distributions=policy.distributions,
        user_attrs={**proposal.attributes, WORKER: worker},
    )
    trial_id = study._storage.create_new_trial(study._study_id, template)
    backend_of(study).record_heartbeat(trial_id)
    return Trial(study, trial_id)


def _take(
    study: optuna.Study, policy: AnyPolicy, trials: Sequence[FrozenTrial], number: int, worker: dict[str, Any]
) -> Trial:
    """Take a waiting trial; one that somebody enqueued by hand may lack parameters, which the policy then gives."""
    storage = study._storage
    trial_id = trials[number]._trial_id
    if policy.distributions.keys() - trials[number].params.keys():
        _complete(study, policy, trials, trials[number])
    # the heartbeat first: an old one would have the trial taken back at once
    backend_of(study).record_heartbeat(trial_id)
    storage.set_trial_user_attr(trial_id, WORKER, worker)
    storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    return Trial(study, trial_id)


def _complete(study: optuna.Study, policy: AnyPolicy, trials: Sequence[FrozenTrial], trial: FrozenTrial) -> None:
    fixed = trial.system_attrs.get("fixed_params", {})
    proposed = policy.propose(trials).params
    for name, distribution in policy.distributions.items():
        if name not in trial.params:
            wished = fixed.get(name, proposed[name])
            value = wished if is_within(distribution, wished) else proposed[name]
            internal = distribution.to_internal_repr(value)
            study._storage.set_trial_param(trial._trial_id, name, internal, distribution)


def check_mine(study: optuna.Study, trial: Trial, worker: dict[str, Any]) -> None:
    """Raise TakenOverError when another worker has the trial by now, or it has ended without us."""
    found = study._storage.get_trial(trial._trial_id)
    if found.state != TrialState.RUNNING or not is_same(found.user_attrs.get(WORKER), worker):
        raise TakenOverError(f"trial {trial.number} was taken over while this worker was not heard of")


def finish(study: optuna.Study, trial: Trial, state: TrialState, value: float | None) -> None:
    """End a trial. A pruned one keeps its best value too, which study.tell would overwrite with its last."""
    study._storage.set_trial_state_values(trial._trial_id, state, None if value is None else [value])


def requeue(study: optuna.Study, trial: FrozenTrial | Trial, worker: dict[str, Any]) -> None:
    """Back into the queue under its own number; no matter if it just ended, or is another worker's by now."""
    with exclusive(backend_of(study), study.study_name):
        found = study._storage.get_trial(trial._trial_id)
        if is_same(found.user_attrs.get(WORKER), worker):
            _requeue(study, found)


def _requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        storage, trial_id = study._storage, trial._trial_id
        # its last process is forgotten first, or the trial would look lost again until the next one has it
        storage.set_trial_user_attr(trial_id, INTERRUPTIONS, trial.user_attrs.get(INTERRUPTIONS, 0) + 1)
        storage.set_trial_user_attr(trial_id, WORKER, None)
        storage.set_trial_state_values(trial_id, TrialState.WAITING)


def requeue_lost(study: optuna.Study) -> list[int]:
    """Take back the trials whose process is gone; returns their numbers."""
    with exclusive(backend_of(study), study.study_name):
        return _requeue_lost(study)


def _requeue_lost(study: optuna.Study) -> list[int]:
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if not running:
        return []
    silent = set(backend_of(study)._get_stale_trial_ids(study._study_id))
    lost = [trial for trial in running if is_lost(trial, trial._trial_id in silent)]
    for trial in lost:
        _bury(study, trial)
    return [trial.number for trial in lost]


def is_lost(trial: FrozenTrial, is_silent: bool) -> bool:
    """Whether nobody runs the trial any more: seen by its process on this machine, by its heartbeat from another.

    One that says nobody's name was begun by a process that died on the way, or by other means than ours. A process
    that somebody stopped and that has been silent since is left to them; should it go on, it finds the trial taken.
    """
    worker = trial.user_attrs.get(WORKER)
    if worker is None:
        return True
    gone = is_gone(worker)
    return is_silent if gone is None else gone or (is_silent and is_held(worker["pid"]))


def _bury(study: optuna.Study, trial: FrozenTrial) -> None:
    """Requeue a trial whose process died; one whose processes keep dying has crashed."""
    last = max(trial.intermediate_values, default=0)
    deaths = trial.user_attrs.get(DEATHS, {"evaluation": -1, "times": 0})
    times = deaths["times"] + 1 if deaths["evaluation"] == last else 1
    study._storage.set_trial_user_attr(trial._trial_id, DEATHS, {"evaluation": last, "times": times})
    if times >= MOST_DEATHS:
        _fail(study, trial, failure(CRASH, f"its process died {times} times without getting to another evaluation"))
        return
    _requeue(study, trial)


def fail(study: optuna.Study, trial: FrozenTrial | Trial, kind: str, error: str, worker: dict[str, Any]) -> TrialState:
    """Note a failure, and requeue the trial or end it; returns which. Another worker's trial is left alone."""
    with exclusive(backend_of(study), study.study_name):
        found = study._storage.get_trial(trial._trial_id)
        if not is_same(found.user_attrs.get(WORKER), worker):
            return found.state
        return _fail(study, found, failure(kind, error))


def _fail(study: optuna.Study, trial: FrozenTrial, found: dict[str, Any]) -> TrialState:
    storage, trial_id = study._storage, trial._trial_id
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_user_attr(trial_id, FAILURES, [*failures_of(trial), found])
        storage.set_trial_user_attr(trial_id, "failure_kind", found["kind"])
        storage.set_trial_user_attr(trial_id, "error", found["error"])
        storage.set_trial_user_attr(trial_id, WORKER, None)
        trials = study.get_trials(deepcopy=False)
        state = TrialState.WAITING if may_try_again(trials[trial.number], trials) else TrialState.FAIL
        storage.set_trial_state_values(trial_id, state)
        return state
    return TrialState.FAIL
