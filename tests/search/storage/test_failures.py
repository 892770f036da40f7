"""When a study gives up."""

import json
import time
from collections.abc import Sequence
from datetime import datetime

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from search.storage.failures import (
    BYSTANDER,
    CRASH,
    FAULT_SECONDS,
    MAX_RECENT_CRASHES,
    MIN_ATTEMPTS,
    RECENT_ATTEMPTS,
    failure,
    is_bystander,
    reason_to_give_up,
)

SUCCESSES = RECENT_ATTEMPTS - MAX_RECENT_CRASHES


def history(fates: Sequence[str]) -> list[FrozenTrial]:
    """Trials that ended one a second in this way: C complete, X crashed."""
    trials = []
    for second, fate in enumerate(fates):
        when = time.time() + second
        state = TrialState.COMPLETE if fate == "C" else TrialState.FAIL
        trial = optuna.trial.create_trial(value=0.5 if fate == "C" else None, state=state)
        if fate == "C":
            trial.datetime_complete = datetime.fromtimestamp(when)
        else:
            trial.set_user_attr("failures", [{**failure(CRASH, f"cause {second}"), "when": when}])
        trials.append(trial)
    return trials


@pytest.mark.parametrize(
    ("fates", "cause"),
    [
        ("X" * MIN_ATTEMPTS, f"cause {MIN_ATTEMPTS - 1}"),
        ("X" * (MIN_ATTEMPTS - 1), ""),
        ("C" + "X" * MIN_ATTEMPTS, ""),
        ("C" * (SUCCESSES - 1) + "X" * (MAX_RECENT_CRASHES + 1), f"cause {RECENT_ATTEMPTS - 1}"),
        ("C" * SUCCESSES + "X" * MAX_RECENT_CRASHES, ""),
        ("X" * 4 + "C" * 20, ""),
    ],
)
def test_a_study_gives_up_when_all_of_the_first_or_most_of_the_last_crash(fates: str, cause: str) -> None:
    assert reason_to_give_up(history(fates), time.time() - 10) == cause


def test_crashes_before_the_command_began_do_not_count() -> None:
    assert reason_to_give_up(history("X" * 10), time.time() + 100) == ""


STICKY = "AcceleratorError: CUDA error: an illegal memory access was encountered"
GPU, OTHER = "GPU-aaaa1111", "GPU-bbbb2222"


def crashed(number: int, when: float, gpu: str = GPU, kind: str = CRASH) -> FrozenTrial:
    """A trial that crashed then, losing this GPU."""
    failures = [{**failure(kind, STICKY, gpu), "when": when}]
    trial = optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"failures": json.loads(json.dumps(failures))})
    trial.number = number
    return trial


@pytest.mark.parametrize(
    ("other", "since", "expected"),
    [
        (crashed(1, 1000), 900, True),
        (crashed(1, 1000 - FAULT_SECONDS), 900, False),  # that was another fault
        (crashed(1, 1000), 1005, False),  # this process did not see it
        (crashed(0, 1000), 900, False),  # the trial's own
        (crashed(1, 1000, OTHER), 900, False),
        (crashed(1, 1000, kind=BYSTANDER), 900, False),  # it counts nowhere
        (crashed(1, 1000, ""), 900, False),  # no fault of a GPU, or stored by an earlier commit
    ],
)
def test_a_fault_that_ends_several_trials_is_the_crash_of_one(other: FrozenTrial, since: float, expected: bool) -> None:
    failed = {**failure(CRASH, STICKY, GPU), "when": 1010.0}
    me = crashed(0, 500)
    assert is_bystander(me, failed, [other], since) is expected
    assert not is_bystander(me, failure(CRASH, "KeyError: 'x'"), [other], since)


def test_only_counted_crashes_are_a_reason_to_give_up() -> None:
    now = time.time()
    faults = [crashed(number, now + number) for number in range(MIN_ATTEMPTS)]
    bystanders = [crashed(number, now + number, kind=BYSTANDER) for number in range(30)]
    assert reason_to_give_up([*bystanders, *faults[1:]], now - 10) == ""
    assert reason_to_give_up([*bystanders, *faults], now - 10) == STICKY
