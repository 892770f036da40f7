"""When a study gives up."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from search.storage.failures import CRASH, MAX_RECENT_CRASHES, MIN_ATTEMPTS, RECENT_ATTEMPTS, failure, reason_to_give_up
from search.system.processes import describe_myself

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


MYSELF = describe_myself("cuda:0.0")
STICKY = "AcceleratorError: CUDA error: an illegal memory access was encountered"


def crashes(error: str, pids: Sequence[int | None]) -> list[FrozenTrial]:
    """Trials that crashed one a second, in the processes with these pids; None: stored by an earlier commit."""
    trials = []
    for second, pid in enumerate(pids):
        failed = failure(CRASH, error, None if pid is None else replace(MYSELF, pid=pid))
        failed["when"] = time.time() + second
        failures = json.loads(json.dumps([failed]))  # as the database returns it
        trials.append(optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"failures": failures}))
    return trials


def test_the_crashes_of_a_process_that_has_lost_its_gpu_are_one() -> None:
    since = time.time() - 10
    one_process, many = [7] * 30, list(range(MIN_ATTEMPTS))
    assert reason_to_give_up(crashes(STICKY, one_process), since) == ""
    assert reason_to_give_up(crashes(STICKY, [*one_process, *many[:-2]]), since) == ""  # 7 is none of them
    assert reason_to_give_up(crashes(STICKY, many), since) == STICKY
    assert reason_to_give_up(crashes(STICKY, [None] * MIN_ATTEMPTS), since) == STICKY
    assert reason_to_give_up(crashes("KeyError: 'x'", [7] * MIN_ATTEMPTS), since) == "KeyError: 'x'"


def test_a_failure_names_its_process_where_it_is_known() -> None:
    assert failure(CRASH, "no", MYSELF)["process"] == [MYSELF.machine, os.getpid(), MYSELF.started]
    assert "process" not in failure(CRASH, "no")
