"""When trials began and ended, whatever the clock and the time zone do."""

import os
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

import search.system.clock
from search.policy.stopping import trials_since_best
from search.storage.failures import CRASH, MIN_ATTEMPTS, reason_to_give_up
from search.system.clock import ENDED, RUN, began_at, ended_at, run_now, time_at, uptime

FIRST_TIME, SECOND_TIME = 1_793_511_000.0, 1_793_514_600.0


@pytest.fixture
def new_york() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "EST5EDT,M3.2.0,M11.1.0"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def ended(local: datetime, **attributes: float) -> FrozenTrial:
    trial = create_trial(state=TrialState.COMPLETE, value=0.5, system_attrs=dict(attributes))
    trial.datetime_complete = trial.datetime_start = local
    return trial


@pytest.mark.usefixtures("new_york")
def test_an_hour_that_comes_twice_is_the_one_that_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    local = datetime.fromtimestamp(SECOND_TIME).replace(fold=0)
    assert local == datetime.fromtimestamp(FIRST_TIME)  # the same on the wall
    for now, moment in ((FIRST_TIME + 60, FIRST_TIME), (SECOND_TIME + 60, SECOND_TIME)):
        monkeypatch.setattr(search.system.clock.time, "time", lambda now=now: now)
        assert ended_at(ended(local)) == began_at(ended(local)) == moment
    # and one that says so itself
    assert ended_at(ended(local, **{ENDED: FIRST_TIME})) == FIRST_TIME


@pytest.mark.usefixtures("new_york")
def test_trials_that_succeed_in_it_keep_the_study_from_giving_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.system.clock.time, "time", lambda: SECOND_TIME + 600)
    since = SECOND_TIME
    local = datetime.fromtimestamp(SECOND_TIME + 60).replace(fold=0)
    crashed = [
        create_trial(
            state=TrialState.FAIL, user_attrs={"failures": [{"kind": CRASH, "error": "x", "when": since + 30}]}
        )
        for _ in range(MIN_ATTEMPTS)
    ]
    assert reason_to_give_up(crashed, since) == "x"
    assert reason_to_give_up([*crashed, ended(local)], since) == ""


def test_the_order_of_ends_is_that_of_their_own_times() -> None:
    """The best ended last, on a machine whose local time is hours behind."""
    first, last = ended(datetime(2026, 1, 1, 12), **{ENDED: 1000.0}), ended(datetime(2026, 1, 1, 3), **{ENDED: 2000.0})
    first.values, last.values = [0.4], [0.9]
    first.number, last.number = 0, 1
    assert trials_since_best([first, last]) == 0
    first.values, last.values = [0.9], [0.4]
    assert trials_since_best([first, last]) == 1


def test_a_trial_that_has_not_ended_has_no_end() -> None:
    waiting = create_trial(state=TrialState.WAITING, system_attrs={ENDED: 5.0, RUN: {"claim": "x", "began": 3.0}})
    assert ended_at(waiting) is None
    assert began_at(waiting) == 3.0
    assert began_at(create_trial(state=TrialState.WAITING)) is None
    assert abs(run_now("x")["began"] - time.time()) < 5


def test_a_clock_that_is_set_back_hides_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    began = uptime()
    real = time.time
    monkeypatch.setattr(search.system.clock.time, "time", lambda: real() - 3600)
    now = real() - 3600
    crashed = [
        create_trial(state=TrialState.FAIL, user_attrs={"failures": [{"kind": CRASH, "error": "x", "when": now + 1}]})
        for _ in range(MIN_ATTEMPTS)
    ]
    assert reason_to_give_up(crashed, time_at(began)) == "x"
    assert reason_to_give_up(crashed, real()) == ""  # what the clock said when the command began
