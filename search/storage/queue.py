"""The queue from which workers take trials.

Every decision about a study is made in a turn (study_lock.in_turn), so that the workers of any number of commands and
machines share one queue and one count of trials. What takes long of it is drafted before (policy/draft.py): a turn
lasts as long as it takes to read and to store a trial. An interrupted trial waits under its own number, with its
parameters and reports. Workers store their results through outcomes.py; orphans.py requeues the trials of dead workers.
"""

import contextlib
import uuid
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from maskcls.system.errors import some
from search.database.connect import backend_of, set_attributes
from search.database.optuna_internals import set_state, storage_of, store_trial, study_id, trial_id
from search.policy.confirmation import AnyPolicy
from search.policy.draft import Draft, OutdatedDraftError
from search.policy.policy import Proposal
from search.policy.stopping import StoppingCriteria, count_finished
from search.storage.failures import UNKNOWN_VALUES, crashes_of, failure, failures_of
from search.storage.looks import closed_in
from search.storage.orphans import check_one_machine, orphaned_trials, take_back_orphaned
from search.storage.outcomes import decide_in_turn, end_trial
from search.study.attributes import FAILURES, IN_VAIN, WORKER
from search.study.compatibility import check_is_here
from search.study.space import is_within
from search.system.clock import RUN, run_now
from search.system.processes import WorkerIdentity

MAX_DRAFTS = 3
"""After so many drafts that others have outdated a worker proposes in its turn, however long it takes."""

CROWD = 8
"""With so many running trials already a worker's first draft has entropy of its own: without, it is outdated by any
trial that another begins meanwhile, and costs a turn and a second draft. With fewer trials that is rare, and who
repeats a study with a few workers, in the same order of events, gets the same proposals."""


def next_trial(
    study: optuna.Study, policy: AnyPolicy, limits: StoppingCriteria, worker: WorkerIdentity
) -> Trial | None:
    """A trial for this worker to run, waiting or new; None when there is none now. Raises UserError as
    check_one_machine does, and as check_is_here: a worker on another machine, between two trials or still loading, is
    not seen by search.copy.

    Running and finished trials together never exceed the limits; a trial that fails frees its place.
    """
    claim = uuid.uuid4()
    for number in range(MAX_DRAFTS + 1):
        draft = None
        if number < MAX_DRAFTS:
            draft = _draft(study, policy, limits, (claim.int,), is_first=number == 0)
            if draft is None:
                return None
        with contextlib.suppress(OutdatedDraftError):
            return _take_turn(study, policy, limits, worker, claim.hex, draft)
    raise AssertionError("a proposal without a draft cannot be outdated")


def _draft(
    study: optuna.Study, policy: AnyPolicy, limits: StoppingCriteria, entropy: Sequence[int], is_first: bool
) -> Draft | None:
    """The slow parts of what this worker's turn is going to propose, by what is stored now; None when there is no trial
    to take or to begin. Stores nothing. ``entropy``: numbers of the worker's own, which the first draft of an ask has
    in a CROWD only. Where the turn finds a trial whose worker is gone, the draft was for nothing; that is rare, and to
    look for one here would cost every ask a statement."""
    trials, attributes = study.get_trials(deepcopy=False), study.user_attrs
    check_is_here(study, attributes)
    check_one_machine(backend_of(study), study_id(study), study.study_name, trials)
    closed = closed_in(attributes, limits.own_best)
    draft = Draft(trials, () if is_first and _num_running(trials) < CROWD else entropy)
    places = 0 if policy.reached(limits, trials, closed) else _places(policy, limits, trials)
    if places > 0:
        waiting = [trial for trial in trials if trial.state == TrialState.WAITING and not _misfits(policy, trial)]
        picked = _pick(waiting, places)
        if picked is None:
            policy.propose(trials, limits, closed, draft)
        elif _lacks_parameters(policy, picked):
            policy.search(trials, draft)
    elif not orphaned_trials(study, trials):  # else the turn takes them back
        return None
    draft.is_finished = True
    return draft


def _take_turn(
    study: optuna.Study,
    policy: AnyPolicy,
    limits: StoppingCriteria,
    worker: WorkerIdentity,
    claim: str,
    draft: Draft | None,
) -> Trial | None:
    """next_trial with this draft, or without one. Raises OutdatedDraftError, and has taken no trial then."""

    def decide() -> int | OutdatedDraftError | None:
        """The trial's id."""
        attributes = study.user_attrs
        check_is_here(study, attributes)
        trials = study.get_trials(deepcopy=False)
        if take_back_orphaned(study, trials):
            trials = study.get_trials(deepcopy=False)
        claimed = next((trial for trial in trials if trial.system_attrs.get(RUN, {}).get("claim") == claim), None)
        if claimed is not None:  # an earlier try was committed, and only the answer was lost with the connection
            return trial_id(claimed)
        closed = closed_in(attributes, limits.own_best)
        if policy.reached(limits, trials, closed):
            return None
        places = _places(policy, limits, trials)
        waiting = [trial for trial in trials if trial.state == TrialState.WAITING and _can_run(study, policy, trial)]
        if places <= 0:
            return None
        trial = _pick(waiting, places)
        try:
            if trial is not None:
                return _take(study, policy, trials, trial, worker, claim, draft)
            return _new_trial(study, policy, policy.propose(trials, limits, closed, draft), worker, claim)
        except OutdatedDraftError as error:
            return error  # and keep what this turn has stored of other trials

    taken = decide_in_turn(study, decide)
    if isinstance(taken, OutdatedDraftError):
        raise taken
    return None if taken is None else Trial(study, taken)  # reads the trial, for which no other worker need wait


def _places(policy: AnyPolicy, limits: StoppingCriteria, trials: Sequence[FrozenTrial]) -> int:
    """How many trials may begin or go on, besides those that run."""
    return policy.shortened(limits, trials).n_trials - count_finished(trials) - _num_running(trials)


def _num_running(trials: Sequence[FrozenTrial]) -> int:
    return sum(trial.state == TrialState.RUNNING for trial in trials)


def _pick(waiting: Sequence[FrozenTrial], places: int) -> FrozenTrial | None:
    """The waiting trial to run next; None for a new one.

    Interrupted trials come first. A crashed one waits until only crashed ones have a place left: a passing cause may be
    gone by then, and a cause that all trials share shows in the others first.
    """
    interrupted = [trial for trial in waiting if not crashes_of(trial)]
    if interrupted or (waiting and len(waiting) >= places):
        return min(interrupted or waiting, key=lambda trial: (crashes_of(trial), trial.number))
    return None


def _can_run(study: optuna.Study, policy: AnyPolicy, trial: FrozenTrial) -> bool:
    """Whether a waiting trial lies in the space; one that does not, added by another program, ends as failed."""
    misfits = _misfits(policy, trial)
    if not misfits:
        return True
    space = policy.distributions
    values = some(f"{name}={trial.params[name]!r} not within {_range_of(space[name])}" for name in misfits)
    failed = failure(UNKNOWN_VALUES, f"it was stored with values outside the study's space: {values}")
    set_attributes(study, trial, {FAILURES: [*failures_of(trial), failed]})
    end_trial(study, trial, TrialState.FAIL)
    return False


def _misfits(policy: AnyPolicy, trial: FrozenTrial) -> list[str]:
    """The parameters of a trial whose values lie outside the space."""
    space = policy.distributions
    return [name for name, value in trial.params.items() if name in space and not _fits(space[name], value)]


def _lacks_parameters(policy: AnyPolicy, trial: FrozenTrial) -> bool:
    """Whether a waiting trial was enqueued by hand with some of the parameters only."""
    return bool(policy.distributions.keys() - trial.params.keys())


def _fits(distribution: BaseDistribution, value: Any) -> bool:
    """Whether the distribution contains the value, which may be of any type."""
    try:
        return is_within(distribution, value)
    except TypeError:
        return False


def _new_trial(study: optuna.Study, policy: AnyPolicy, proposal: Proposal, worker: WorkerIdentity, claim: str) -> int:
    """Store a new trial; returns its id."""
    # stored in one transaction: a process that is killed here leaves the whole trial or nothing
    template = create_trial(
        state=TrialState.RUNNING,
        params=proposal.params,
        distributions=policy.distributions,
        user_attrs={**proposal.attributes, WORKER: worker.to_json()},
        system_attrs={RUN: run_now(claim)},
    )
    return store_trial(study, template)


def _take(
    study: optuna.Study,
    policy: AnyPolicy,
    trials: Sequence[FrozenTrial],
    trial: FrozenTrial,
    worker: WorkerIdentity,
    claim: str,
    draft: Draft | None,
) -> int:
    """Take a waiting trial; the policy completes the parameters of one that was enqueued by hand. Returns its id."""
    if _lacks_parameters(policy, trial):
        _complete(study, policy, trials, trial, draft)
    # the heartbeat first: with an old one the trial would be requeued at once
    backend_of(study).record_heartbeat(trial_id(trial))
    storage_of(study).set_trial_system_attr(trial_id(trial), RUN, run_now(claim))
    set_attributes(study, trial, {WORKER: worker.to_json()})
    set_state(study, trial, TrialState.RUNNING)
    return trial_id(trial)


def _complete(
    study: optuna.Study,
    policy: AnyPolicy,
    trials: Sequence[FrozenTrial],
    trial: FrozenTrial,
    draft: Draft | None,
) -> None:
    """Give an enqueued trial the parameters that it lacks: as enqueued where the space contains them, else proposed."""
    enqueued, space = trial.system_attrs.get("fixed_params", {}), policy.distributions
    proposed = policy.search(trials, draft).params
    in_vain = [f"{name}={value!r}: no such parameter" for name, value in enqueued.items() if name not in space]
    for name, distribution in space.items():
        if name not in trial.params:
            value = enqueued.get(name, proposed[name])
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
