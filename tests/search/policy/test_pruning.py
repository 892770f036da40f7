"""Which trial is not worth finishing; on recorded curves."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.policy.policy import Policy
from search.policy.pruning import Pruning
from search.study.space import distributions
from search.study.study import Choice, Float, Pruner, Study, Subset

LEVELS = (0.0, 0.2, 0.7)
COMPARING = Study(
    question="Does dropout help?",
    scientific={"drop_rate": Choice(*LEVELS)},
    nuisance={"lr": Float(1e-4, 1e-1, log=True)},
    fixed={},
    baseline={"drop_rate": 0.0, "lr": 1e-3},
)
TUNING = Study(question="What is best?", nuisance={"lr": Float(1e-4, 1e-1, log=True)}, fixed={}, baseline={"lr": 1e-3})


def recorded(curve: Sequence[float], state: TrialState, **params: Any) -> FrozenTrial:
    """A trial of COMPARING or TUNING with these evaluations."""
    known = distributions(COMPARING.space)
    params = {"lr": 1e-3, **params}
    return create_trial(
        state=state,
        value=max(curve) if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        params=params,
        distributions={name: known[name] for name in params},
        intermediate_values=dict(enumerate(curve, start=1)),
    )


def prunes(
    study: Study, peers: Sequence[FrozenTrial], curve: Sequence[float], evaluations: int = 6, **params: Any
) -> bool:
    """Whether a running trial with this curve stops after its last evaluation."""
    history = optuna.create_study(direction="maximize")
    history.add_trials([*peers, recorded(curve, TrialState.RUNNING, **params)])
    return not Policy(study, 0).should_continue(history, history.get_trials()[-1], evaluations)


def complete(*curve: float, **params: Any) -> FrozenTrial:
    return recorded(curve, TrialState.COMPLETE, **params)


@pytest.mark.parametrize(
    ("evaluations", "at"),
    [(1, ()), (2, ()), (3, (2,)), (6, (2, 4)), (10, (2, 4, 7)), (12, (2, 4, 8)), (52, (2, 4, 8, 16, 32))],
)
def test_rungs_are_shares_of_the_length_and_never_its_first_or_last(evaluations: int, at: tuple[int, ...]) -> None:
    assert Pruning().rungs(evaluations) == at


def test_a_trial_is_judged_at_the_rungs_only() -> None:
    peers = [complete(*[0.9] * 12, drop_rate=0.0)] * 5
    stops = [step for step in range(1, 13) if prunes(COMPARING, peers, [0.1] * step, 12, drop_rate=0.0)]
    assert stops == [2, 4, 8]
    assert [step for step in range(1, 13) if Policy(COMPARING, 0).may_stop_at(step, 12)] == stops
    medians = replace(COMPARING, pruner=Pruner("median"))
    assert all(Policy(medians, 0).may_stop_at(step, 12) for step in range(1, 13))


@pytest.mark.parametrize("role", ["baseline", "replicate"])
def test_the_baseline_and_replicates_run_to_their_end(role: str) -> None:
    history = optuna.create_study(direction="maximize")
    history.add_trials([complete(*[0.9] * 6, drop_rate=0.0)] * 5)
    poor = recorded([0.1, 0.1], TrialState.RUNNING, drop_rate=0.0)
    assert not Policy(COMPARING, 0).should_continue(history, poor, 6)
    poor.set_user_attr("role", role)
    assert Policy(COMPARING, 0).should_continue(history, poor, 6)


def test_what_is_level_with_the_second_best_goes_on_in_a_crowd_of_good_ones() -> None:
    late = [
        complete(0.1, 0.2, 0.3, 0.9, 0.9, 0.95, drop_rate=0.0),
        complete(0.1, 0.3, 0.3, 0.9, 0.9, 0.94, drop_rate=0.0),
    ]
    early = [complete(*[0.5] * 6, drop_rate=0.0)] * 8
    assert not prunes(COMPARING, late + early, [0.1, 0.21], drop_rate=0.0)  # the best one was no better there
    assert prunes(COMPARING, late + early, [0.1, 0.19], drop_rate=0.0)


def test_optunas_pruners_decide_when_a_study_asks_for_one() -> None:
    peers = [complete(*[0.5] * 6, drop_rate=0.7)] * 6
    patient = replace(COMPARING, pruner=Pruner("none"))
    median = replace(COMPARING, pruner=Pruner("median", n_startup_trials=5))
    assert not prunes(patient, peers, [0.1, 0.2, 0.3, 0.4, 0.4], drop_rate=0.0)
    assert prunes(median, peers, [0.1], drop_rate=0.0)  # of another level
    assert not prunes(median, peers, [0.6], drop_rate=0.0)


def test_a_trial_that_has_reported_nothing_goes_on() -> None:
    assert not prunes(TUNING, [complete(0.9, 0.9)] * 5, [])


def test_the_first_of_a_level_is_never_stopped() -> None:
    peers = [complete(*[0.9] * 6, drop_rate=0.0)] * 8 + [complete(*[0.8] * 6, drop_rate=0.2)] * 8
    assert not prunes(COMPARING, peers, [0.01, 0.02], drop_rate=0.7)
    assert not prunes(COMPARING, peers, [0.01, 0.02, 0.03], drop_rate=0.7)
    assert prunes(COMPARING, peers, [0.01, 0.02], drop_rate=0.2)


def test_a_losing_levels_best_goes_on() -> None:
    good = [complete(*[0.8 + i / 100] * 6, drop_rate=0.0) for i in range(6)]
    poor = [complete(*[0.3 + i / 100] * 6, drop_rate=0.7) for i in range(6)]
    assert not prunes(COMPARING, good + poor, [0.1, 0.36], drop_rate=0.7)
    assert prunes(COMPARING, good + poor, [0.1, 0.305], drop_rate=0.7)
    assert prunes(COMPARING, good + poor, [0.1, 0.70], drop_rate=0.0)  # better than any 0.7, poor for a 0.0


@pytest.mark.parametrize("number", [1, 2, 3, 5, 9, 10])
def test_the_best_third_of_those_that_got_there_goes_on(number: int) -> None:
    peers = [recorded([0.0, 0.5 + i / 100], TrialState.PRUNED, drop_rate=0.0) for i in range(number)]
    continuing = sum(
        not prunes(COMPARING, peers, [0.0, 0.5 + place / 100 - 0.005], drop_rate=0.0) for place in range(number + 1)
    )
    # of the number + 1 places that a new one can take
    assert continuing == math.ceil((number + 1) / 3)


def test_the_best_so_far_counts_and_not_the_last() -> None:
    peers = [complete(0.5, 0.5, 0.5, drop_rate=0.0)] * 3
    assert not prunes(COMPARING, peers, [0.9, 0.1], drop_rate=0.0)
    fallen = [complete(0.5, 0.1, 0.1, drop_rate=0.0)] * 3
    assert prunes(COMPARING, fallen, [0.4, 0.4], drop_rate=0.0)


def test_what_others_did_after_the_rung_does_not_count() -> None:
    late = [recorded([0.1, 0.2, 0.3, 0.9], TrialState.PRUNED, drop_rate=0.0)] * 3
    assert not prunes(COMPARING, late, [0.1, 0.25], drop_rate=0.0)


def test_pruned_trials_count_as_far_as_they_got() -> None:
    pruned = [recorded([0.5, 0.6], TrialState.PRUNED, drop_rate=0.0)] * 4
    assert prunes(COMPARING, pruned, [0.1, 0.2], drop_rate=0.0)
    assert not prunes(COMPARING, pruned, [0.1, 0.2, 0.3], drop_rate=0.0)


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.WAITING])
def test_running_and_interrupted_trials_count_too(state: TrialState) -> None:
    # create_trial knows no waiting trial with reports, but an interrupted one is
    others = [recorded([0.5, 0.6], TrialState.RUNNING, drop_rate=0.0) for _ in range(4)]
    history = optuna.create_study(direction="maximize")
    history.add_trials([*others, recorded([0.1, 0.2], TrialState.RUNNING, drop_rate=0.0)])
    if state == TrialState.WAITING:
        for trial in history.get_trials()[:-1]:
            history._storage.set_trial_state_values(trial._trial_id, state)
    assert not Policy(COMPARING, 0).should_continue(history, history.get_trials()[-1], 6)


def test_crashed_trials_do_not_count() -> None:
    crashed = [recorded([0.9, 0.9], TrialState.FAIL, drop_rate=0.0)] * 4
    assert not prunes(COMPARING, crashed, [0.1, 0.2], drop_rate=0.0)


def test_without_factors_a_trial_is_measured_against_all() -> None:
    peers = [complete(0.4, 0.5, lr=lr) for lr in (1e-4, 1e-3, 1e-2)]
    assert prunes(TUNING, peers, [0.1, 0.2])
    assert not prunes(TUNING, peers, [0.1, 0.6])


def test_with_several_factors_a_trial_goes_on_that_is_good_at_one_of_its_levels() -> None:
    names = ("flip", "blur")
    study = Study(
        question="Which pays?",
        scientific={"augment": Subset(*names)},
        nuisance={},
        fixed={},
        baseline={"augment": ()},
    )

    def of(value: float, flip: bool, blur: bool, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
        params = {"augment.flip": flip, "augment.blur": blur}
        return create_trial(
            state=state,
            value=value if state == TrialState.COMPLETE else None,
            params=params,
            distributions=distributions(study.space),
            intermediate_values={1: value, 2: value},
        )

    def stops(value: float, flip: bool, blur: bool) -> bool:
        history = optuna.create_study(direction="maximize")
        history.add_trials([*[of(0.8, False, False)] * 4, *[of(0.4, True, True)] * 4])
        history.add_trial(of(value, flip, blur, TrialState.RUNNING))
        return not Policy(study, 0).should_continue(history, history.get_trials()[-1], 6)

    assert not stops(0.5, flip=True, blur=False)  # poor without blur, good with flip
    assert stops(0.5, flip=False, blur=False)
    assert stops(0.3, flip=True, blur=False)
