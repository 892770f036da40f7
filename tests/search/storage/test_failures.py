"""When a study gives up."""

import time
from collections.abc import Sequence
from datetime import datetime

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from search.storage.failures import CRASH, MAX_RECENT_CRASHES, MIN_ATTEMPTS, RECENT_ATTEMPTS, failure, reason_to_give_up

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
