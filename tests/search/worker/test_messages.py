"""What supervisor and worker write to each other is read back as it was."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from maskcls.scoring.metrics import Scores
from search.policy.stopping import StoppingCriteria
from search.study.record import Stored
from search.worker.messages import (
    BROKEN,
    EVENT_NAMES,
    GAVE_UP,
    Died,
    Evaluated,
    Event,
    Moved,
    Outcome,
    Planned,
    RunningTrial,
    TrialBegan,
    TrialEnded,
    WaitsFor,
    WorkOrder,
    event_from_line,
    event_to_line,
)
from tests.helpers.search import TOY_STUDY, order_for

SCORES = Scores(1 / 3, 0.5, math.inf, (0.1, 0.2), {"mask": 0.3})
EVENTS: list[tuple[Event, str]] = [
    (Planned(), '["planned"]'),
    (Moved(), '["moves"]'),
    (TrialBegan(3, {"lr": 0.1, "repeat": 2}), '["trial_began", 3, {"lr": 0.1, "repeat": 2}]'),
    (
        Evaluated(3, 1, 4, SCORES, True),
        '["evaluated", 3, 1, 4, {"macro_f1": 0.3333333333333333, "accuracy": 0.5, "loss": Infinity,'
        ' "f1_per_class": [0.1, 0.2], "f1_per_part": {"mask": 0.3}}, true]',
    ),
    (TrialEnded(3, TrialState.WAITING, None, "it hung"), '["trial_ended", 3, "WAITING", null, "it hung"]'),
    (
        WaitsFor((RunningTrial(0, "box", 7, True), RunningTrial(1, "here", 8, False))),
        '["waits", [[0, "box", 7, true], [1, "here", 8, false]]]',
    ),
    (Outcome(BROKEN, "CUDA error: unknown error"), '["ended", "broken", "CUDA error: unknown error"]'),
    (Outcome(GAVE_UP, "the disk: full"), '["ended", "gave up", "the disk: full"]'),
    (Died("ValueError: no"), '["died", "ValueError: no"]'),
]


@pytest.mark.parametrize(("event", "line"), EVENTS)
def test_an_event_is_a_line_and_is_read_back(event: Event, line: str) -> None:
    assert event_to_line(event).decode() == line + "\n"
    assert event_from_line(line.encode()) == event


def test_every_kind_of_event_is_tried_here() -> None:
    assert {type(event) for event, _ in EVENTS} == set(EVENT_NAMES)


def test_an_order_is_one_line_and_is_read_back(tmp_path: Path) -> None:
    requested = Stored(TOY_STUDY, "synthetic", "hash", {"source": "scratch"}, "scratch", "auto", False, 1)
    order = order_for(tmp_path, 9)
    order = replace(order, requested=requested, limits=StoppingCriteria(9, 2.5, 3), waits=True, stall=60.0)
    line = order.to_line()
    assert line.count("\n") == 1
    read = WorkOrder.from_line(line)
    assert read.requested.to_json() == requested.to_json()
    assert replace(read, requested=requested) == order
