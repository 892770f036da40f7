"""Trials handed out to workers, told, and taken back.

Every decision about a study is made in a turn (turns.py), so that workers of any number of commands on
any number of machines share one count and one queue. A trial that is interrupted waits under its own number, with its
parameters and reports.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import get_storage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from maskcls.system.errors import some
from search.database.connect import backend_of
from search.database.study_lock import in_turn
from search.policy.policy import AnyPolicy
from search.policy.stopping import StoppingCriteria, count_finished, reached
from search.storage.failures import (
    CRASH,
    FAILURES,
    INTERRUPTIONS,
    MOST_DEATHS,
    UNKNOWN_VALUES,
    crashes_of,
    failure,
    failures_of,
    may_try_again,
)
from search.study.space import is_within
from search.system.clock import ENDED, RUN, run_now
from search.system.processes import WorkerIdentity, is_held

WORKER = "worker"
"""Trial attribute: the process that runs it (processes.WorkerIdentity); None while nobody does."""

WORKER_DEATHS = "deaths"
"""Trial attribute: {"evaluation": the last one made, "times": how often its process died since}."""


IN_VAIN = "enqueued in vain"
"""Trial attribute: what was enqueued for it and cannot be had, in words."""

FILES_OF = "files_of"
"""Trial attribute: id of the study that the trial's files were begun in, where it was copied from there."""

T = TypeVar("T")


def worker_of(trial: FrozenTrial) -> WorkerIdentity | None:
    """The process that runs the trial; None while nobody does."""
    return WorkerIdentity.from_json(trial.user_attrs.get(WORKER))


class TakenOverError(Exception):
    """Another worker runs this trial by now: this one was taken for dead."""


def next_trial(
    study: optuna.Study, policy: AnyPolicy, limits: StoppingCriteria, evaluations_per_epoch: int, worker: WorkerIdentity
) -> Trial | None:
    """A trial for this worker to run: one that waits, or a new one. None when there is none to be had now.

    Never more than the limits allow when all that run come to an end; a trial that fails frees its place.
    """
    claim = uuid.uuid4().hex

    def decide() -> Trial | None:
        _requeue_lost(study)
        trials = study.get_trials(deepcopy=False)
        mine = next((found for found in trials if found.system_attrs.get(RUN, {}).get("claim") == claim), None)
        if mine is not None:  # it was kept, and the word of that was lost with the connection
            return Trial(study, mine._trial_id)
        if reached(limits, trials, evaluations_per_epoch):
            return None
        places = limits.n_trials - count_finished(trials) - _count(trials, TrialState.RUNNING)
        waiting = [found for found in trials if found.state == TrialState.WAITING and _can_run(study, policy, found)]
        if places <= 0:
            return None
        number = _pick(waiting, places)
        if number is None:
            return _new_trial(study, policy, trials, worker, claim)
        return _take(study, policy, trials, number, worker, claim)

    return _in_turn(study, decide)


def _in_turn(study: optuna.Study, decide: Callable[[], T]) -> T:
    """What ``decide`` returns, in a turn of this study's (turns.in_turn)."""

    def forget() -> None:
        """What Optuna has in its cache may have been undone."""
        study._storage = get_storage(backend_of(study))

    return in_turn(backend_of(study), study.study_name, decide, forget)


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


def _can_run(study: optuna.Study, policy: AnyPolicy, trial: FrozenTrial) -> bool:
    """Whether a waiting trial's parameters can be had; one that somebody else put there with others ends here."""
    known = policy.distributions
    bad = [name for name, value in trial.params.items() if name in known and not _fits(known[name], value)]
    if not bad:
        return True
    said = some(f"{name}={trial.params[name]!r} not within {_range_of(known[name])}" for name in bad)
    end = failure(UNKNOWN_VALUES, f"it was stored with values that this study cannot have: {said}")
    study._storage.set_trial_user_attr(trial._trial_id, FAILURES, [*failures_of(trial), end])
    _end(study, trial._trial_id, TrialState.FAIL, None)
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
    trial_id = study._storage.create_new_trial(study._study_id, template)
    backend_of(study).record_heartbeat(trial_id)
    return Trial(study, trial_id)


def _take(
    study: optuna.Study,
    policy: AnyPolicy,
    trials: Sequence[FrozenTrial],
    number: int,
    worker: WorkerIdentity,
    claim: str,
) -> Trial:
    """Take a waiting trial; one that somebody enqueued by hand may lack parameters, which the policy then gives."""
    storage = study._storage
    trial_id = trials[number]._trial_id
    if policy.distributions.keys() - trials[number].params.keys():
        _complete(study, policy, trials, trials[number])
    # the heartbeat first: an old one would have the trial taken back at once
    backend_of(study).record_heartbeat(trial_id)
    storage.set_trial_system_attr(trial_id, RUN, run_now(claim))
    storage.set_trial_user_attr(trial_id, WORKER, worker.to_json())
    storage.set_trial_state_values(trial_id, TrialState.RUNNING)
    return Trial(study, trial_id)


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
            study._storage.set_trial_param(trial._trial_id, name, internal, distribution)
    if in_vain:
        study._storage.set_trial_user_attr(trial._trial_id, IN_VAIN, some(in_vain))


def _range_of(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return " | ".join(map(str, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return f"{distribution.low:g} to {distribution.high:g}"


def check_mine(study: optuna.Study, trial: Trial, worker: WorkerIdentity) -> None:
    """Raise TakenOverError when another worker has the trial by now, or it has ended without us."""
    found = study._storage.get_trial(trial._trial_id)
    if found.state != TrialState.RUNNING or not worker.is_same_process(worker_of(found)):
        raise TakenOverError(f"trial {trial.number} was taken over while this worker was not heard of")


def report(
    study: optuna.Study, trial: Trial, step: int, value: float, worker: WorkerIdentity, check: Callable[[], None]
) -> None:
    """Store a value of a trial's curve, over an older one of the step; Optuna's own report keeps the older one.

    Raises TakenOverError when another worker has the trial by now, and what ``check`` raises.
    """

    def decide() -> None:
        check()
        check_mine(study, trial, worker)
        study._storage.set_trial_intermediate_value(trial._trial_id, step, value)

    _in_turn(study, decide)


def finish(
    study: optuna.Study,
    trial: Trial,
    state: TrialState,
    value: float | None,
    worker: WorkerIdentity | None = None,
    tell: Callable[[], None] = lambda: None,
) -> None:
    """End a trial. A pruned one keeps its best value too, which study.tell would overwrite with its last.

    With ``worker`` only its own: raises TakenOverError when another one has the trial by now. ``tell`` writes down what
    belongs to the verdict, in the same turn; it may be called again.
    """
    tries = 0

    def decide() -> None:
        nonlocal tries
        tries += 1
        if tries > 1 and _has_ended(study._storage.get_trial(trial._trial_id), state, value):
            return  # the first try was kept, and the word of that was lost with the connection
        if worker is not None:
            check_mine(study, trial, worker)
        tell()
        _end(study, trial._trial_id, state, value)

    _in_turn(study, decide)


def _has_ended(found: FrozenTrial, state: TrialState, value: float | None) -> bool:
    return found.state == state and found.values == (None if value is None else [value])


def _end(study: optuna.Study, trial_id: int, state: TrialState, value: float | None) -> None:
    study._storage.set_trial_system_attr(trial_id, ENDED, round(time.time(), 3))
    study._storage.set_trial_state_values(trial_id, state, None if value is None else [value])


def requeue(study: optuna.Study, trial: FrozenTrial | Trial, worker: WorkerIdentity) -> None:
    """Back into the queue under its own number; no matter if it just ended, or is another worker's by now."""

    def decide() -> None:
        found = study._storage.get_trial(trial._trial_id)
        if worker.is_same_process(worker_of(found)):
            _requeue(study, found)

    _in_turn(study, decide)


def _requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        storage, trial_id = study._storage, trial._trial_id
        # its last process is forgotten first, or the trial would look lost again until the next one has it
        storage.set_trial_user_attr(trial_id, INTERRUPTIONS, trial.user_attrs.get(INTERRUPTIONS, 0) + 1)
        storage.set_trial_user_attr(trial_id, WORKER, None)
        storage.set_trial_state_values(trial_id, TrialState.WAITING)


def requeue_lost(study: optuna.Study) -> list[int]:
    """Take back the trials whose process is gone; returns their numbers."""
    return _in_turn(study, lambda: _requeue_lost(study))


def _requeue_lost(study: optuna.Study) -> list[int]:
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if not running:
        return []
    silent = set(backend_of(study)._get_stale_trial_ids(study._study_id))
    lost = [trial for trial in running if is_lost(trial, trial._trial_id in silent)]
    for trial in lost:
        _handle_dead_worker(study, trial)
    return [trial.number for trial in lost]


def is_lost(trial: FrozenTrial, is_silent: bool) -> bool:
    """Whether nobody runs the trial any more: seen by its process on this machine, by its heartbeat from another.

    One that says nobody's name was begun by a process that died on the way, or by other means than ours. A process
    that somebody stopped and that has been silent since is left to them; should it go on, it finds the trial taken.
    """
    worker = worker_of(trial)
    if worker is None:
        return True
    has_ended = worker.has_ended()
    return is_silent if has_ended is None else has_ended or (is_silent and is_held(worker.pid))


def _handle_dead_worker(study: optuna.Study, trial: FrozenTrial) -> None:
    """Requeue a trial whose process died; one whose processes keep dying has crashed."""
    last = max(trial.intermediate_values, default=0)
    deaths = trial.user_attrs.get(WORKER_DEATHS, {"evaluation": -1, "times": 0})
    times = deaths["times"] + 1 if deaths["evaluation"] == last else 1
    study._storage.set_trial_user_attr(trial._trial_id, WORKER_DEATHS, {"evaluation": last, "times": times})
    if times >= MOST_DEATHS:
        _fail(study, trial, failure(CRASH, f"its process died {times} times without getting to another evaluation"))
        return
    _requeue(study, trial)


def fail_trial(
    study: optuna.Study, trial: FrozenTrial | Trial, kind: str, error: str, worker: WorkerIdentity
) -> TrialState:
    """Note a failure, and requeue the trial or end it; returns which. Another worker's trial is left alone."""

    def decide() -> TrialState:
        found = study._storage.get_trial(trial._trial_id)
        if not worker.is_same_process(worker_of(found)):
            return found.state
        return _fail(study, found, failure(kind, error))

    return _in_turn(study, decide)


def _fail(study: optuna.Study, trial: FrozenTrial, found: dict[str, Any]) -> TrialState:
    storage, trial_id = study._storage, trial._trial_id
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_user_attr(trial_id, FAILURES, [*failures_of(trial), found])
        storage.set_trial_user_attr(trial_id, "failure_kind", found["kind"])
        storage.set_trial_user_attr(trial_id, "error", found["error"])
        storage.set_trial_user_attr(trial_id, WORKER, None)
        trials = study.get_trials(deepcopy=False)
        state = TrialState.WAITING if may_try_again(trials[trial.number], trials) else TrialState.FAIL
        if state == TrialState.FAIL:
            _end(study, trial_id, state, None)
        else:
            storage.set_trial_state_values(trial_id, state)
        return state
    return TrialState.FAIL
