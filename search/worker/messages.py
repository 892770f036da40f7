"""What the supervisor and its workers tell each other: orders down, events up, one JSON value a line.

Both ends are always of one version: a line is never stored.
"""

import json
from dataclasses import asdict, astuple, dataclass, fields
from typing import Any, Final, Literal

from optuna.trial import TrialState

from maskcls.scoring.metrics import Scores
from search.policy.stopping import StoppingCriteria
from search.study.record import Stored
from search.system.processes import STALL_SECONDS

EndKind = Literal["nothing left", "refused", "gave up", "stopped", "vanished"]

NOTHING_LEFT: Final = "nothing left"
"""The study has had enough; the cause is the option whose limit is reached."""
REFUSED: Final = "refused"
"""What is asked for cannot be had; the cause is a UserError's text."""
GAVE_UP: Final = "gave up"
"""No other trial would do better."""
STOPPED: Final = "stopped"
"""The worker was told to stop."""
VANISHED: Final = "vanished"
"""The study's files are gone, as the supervisor sees it; no worker says so."""

GO = "go"
"""What a worker that waits is told once the study is stored. Any other line after the order is a reason to stop."""


@dataclass(frozen=True)
class WorkOrder:
    """All that a worker is told: the storage, the study and its slot, and what this command wants of it."""

    url: str
    name: str
    """Of the stored study."""
    runs: str
    wanted: Stored
    """What the command asks for; weights and split are for the worker to find out."""
    device: str
    slot: str
    cores: int
    workers: int
    """Of this command, all together."""
    limits: StoppingCriteria
    keep: int
    cold: bool
    since: float
    """When the command began, as clock.uptime has it: crashes before it do not count."""
    grown_from: str | None
    plan: bool
    """Whether to show the plan and to store the study first."""
    waits: bool = False
    """Whether another worker does that, and the word to go is still to come."""
    stall: float = STALL_SECONDS
    """Seconds without any progress after which a worker is taken for hung."""

    def to_line(self) -> str:
        """For the worker's standard input."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps({**values, "wanted": self.wanted.to_json(), "limits": asdict(self.limits)}) + "\n"

    @staticmethod
    def from_line(line: str) -> "WorkOrder":
        """The inverse. Raises UserError for a study that cannot be."""
        values = json.loads(line)
        values["wanted"] = Stored.from_json(values["wanted"])
        values["limits"] = StoppingCriteria(**values["limits"])
        return WorkOrder(**values)


@dataclass(frozen=True)
class Planned:
    """The plan is shown and the study is stored: the other workers may go."""


@dataclass(frozen=True)
class Moved:
    """The training has made progress, or whatever else the worker is at."""


@dataclass(frozen=True)
class TrialBegan:
    """The worker has taken a trial."""

    number: int
    values: dict[str, Any]
    """What its row shows: the parameters, and why it is run where that is not plain."""


@dataclass(frozen=True)
class Evaluated:
    """The running trial has been evaluated."""

    number: int
    step: int
    """Counted from 1 to ``planned_evaluations``."""
    planned_evaluations: int
    scores: Scores
    is_news: bool
    """Whether no earlier session of the trial has told it."""


@dataclass(frozen=True)
class TrialEnded:
    """The running trial has its verdict."""

    number: int
    state: TrialState
    """WAITING for one that goes on later."""
    value: float | None
    why: str = ""
    """What made it fail or wait."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial that another worker runs."""

    number: int
    host: str
    pid: int
    is_away: bool
    """Whether it runs on another machine or in another container."""


@dataclass(frozen=True)
class WaitsFor:
    """There is no trial for the worker, while others run these."""

    trials: tuple[RunningTrial, ...]


@dataclass(frozen=True)
class Outcome:
    """The worker is about to end; also how a whole command ended."""

    kind: EndKind
    cause: str = ""
    """In words; empty where there is nothing to say."""


@dataclass(frozen=True)
class Died:
    """The worker is about to end by an error of its own, which no outcome covers."""

    error: str


Event = Planned | Moved | TrialBegan | Evaluated | TrialEnded | WaitsFor | Outcome | Died

EVENT_NAMES: dict[type[Event], str] = {
    Planned: "planned",
    Moved: "moves",
    TrialBegan: "trial_began",
    Evaluated: "evaluated",
    TrialEnded: "trial_ended",
    WaitsFor: "waits",
    Outcome: "ended",
    Died: "died",
}
EVENT_TYPES = {name: kind for kind, name in EVENT_NAMES.items()}


def event_to_line(event: Event) -> bytes:
    """A JSON list: the event's name, then its fields."""
    details: tuple[Any, ...] = astuple(event)
    match event:
        case Evaluated(number, step, planned_evaluations, scores, is_news):
            details = (number, step, planned_evaluations, scores.to_dict(), is_news)
        case TrialEnded(number, state, value, why):
            details = (number, state.name, value, why)
    return json.dumps([EVENT_NAMES[type(event)], *details]).encode() + b"\n"


def event_from_line(line: bytes) -> Event:
    """The inverse of event_to_line."""
    name, *details = json.loads(line)
    match name, details:
        case "evaluated", [number, step, planned_evaluations, scores, is_news]:
            return Evaluated(number, step, planned_evaluations, Scores.from_dict(scores), is_news)
        case "trial_ended", [number, state, *rest]:
            return TrialEnded(number, TrialState[state], *rest)
        case "waits", [trials]:
            return WaitsFor(tuple(RunningTrial(*trial) for trial in trials))
        case _:
            kind: type[Event] = EVENT_TYPES[name]
            return kind(*details)
