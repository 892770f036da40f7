"""When a study gives up."""

import time
from collections.abc import Sequence
from datetime import datetime

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from search.storage.failures import CRASH, FIRST, LAST, TOO_MANY, failure, reason_to_give_up


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
        ("X" * FIRST, f"cause {FIRST - 1}"),
        ("X" * (FIRST - 1), ""),
        ("C" + "X" * FIRST, ""),
        ("C" * (LAST - TOO_MANY - 1) + "X" * (TOO_MANY + 1), f"cause {LAST - 1}"),
        ("C" * (LAST - TOO_MANY) + "X" * TOO_MANY, ""),
        ("X" * 4 + "C" * 20, ""),
    ],
)
def test_a_study_gives_up_when_all_of_the_first_or_most_of_the_last_crash(fates: str, cause: str) -> None:
    assert reason_to_give_up(history(fates), time.time() - 10) == cause


def test_crashes_before_the_command_began_do_not_count() -> None:
    assert reason_to_give_up(history("X" * 10), time.time() + 100) == ""
