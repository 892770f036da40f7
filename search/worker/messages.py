"""The messages between a supervisor and its workers: orders down, events up, one JSON value a line.

Lines are never stored, so both ends are always of the same version.
"""

import json
from dataclasses import asdict, astuple, dataclass, fields
from typing import Any, Final, Literal

from optuna.trial import TrialState

from maskcls.scoring.metrics import Scores
from search.policy.stopping import StoppingCriteria
from search.study.record import Stored
from search.system.processes import STALL_SECONDS

EndKind = Literal["nothing left", "refused", "gave up", "stopped", "broken", "vanished"]

NOTHING_LEFT: Final = "nothing left"
"""The study has reached a limit, and the cause is the option that set it; or it needs no more trials (DECIDED), or
more time than the command has (LACKS_TIME)."""
REFUSED: Final = "refused"
"""The request is impossible; the cause is the text of a UserError."""
GAVE_UP: Final = "gave up"
"""Every other trial would fail in the same way."""
STOPPED: Final = "stopped"
"""The worker was told to stop."""
BROKEN: Final = "broken"
"""A CUDA error has left the process without its GPU (numerics.lost_gpu); another process may work there. The cause is
its text."""
VANISHED: Final = "vanished"
"""The study's files are gone. Only the supervisor sets this; no worker sends it."""

GO = "go"
"""The line that starts a waiting worker once the study is stored. Any other line after the order is why to stop."""


@dataclass(frozen=True)
class WorkOrder:
    """Everything that a worker needs to know: the storage, the study, its slot and the options of the command."""

    url: str
    name: str
    """Name of the stored study."""
    runs: str
    requested: Stored
    """The study that the command describes; its weights and split are filled in by the worker."""
    workers: int
    """Number of workers of this command."""
    limits: StoppingCriteria
    since: float
    """When the command began (clock.uptime): crashes before it do not count."""
    timeout: float | None = None
    """Seconds that the command may take; the supervisor ends it, the worker divides them."""
    keep: int = 5
    """Number of trials whose best weights stay on the disk."""
    cold: bool = False
    """Whether a new study begins without warm starts."""
    copy_of: str | None = None
    """Name of the study that this one begins as a copy of."""
    plan: bool = False
    """Whether to show the plan and to store the study first."""
    confirms: bool = False
    """Whether search.confirm gives the order, which has said itself what becomes of photos held back for a test."""
    waits: bool = False
    """Whether to wait for GO, since another worker makes the plan."""
    is_placed: bool = False
    """Whether an engine has chosen the machine, whose ``runs`` may be a folder without the study so far."""
    stall: float = STALL_SECONDS
    """Seconds without progress after which a worker counts as hung."""
    slot: str = ""
    """Name of the worker's slot, in which it has ``device`` and ``cores``."""
    device: str = "auto"
    cores: int = 0
    sharers: int = 1
    """Number of workers on its GPU."""
    gpu: str = ""
    """Slot.gpu."""
    cache: str = ""
    """Folder of the decoded photos; empty: cache/ in ``runs``."""

    def to_line(self) -> str:
        """The order as the line that goes to the worker's standard input."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps({**values, "requested": self.requested.to_json(), "limits": asdict(self.limits)}) + "\n"

    @staticmethod
    def from_line(line: str) -> "WorkOrder":
        """The inverse of to_line. Raises UserError for values that no study can have."""
        values = json.loads(line)
        values["requested"] = Stored.from_json(values["requested"])
        values["limits"] = StoppingCriteria(**values["limits"])
        return WorkOrder(**values)


@dataclass(frozen=True)
class Planned:
    """The plan is shown and the study is stored: the other workers may start."""


@dataclass(frozen=True)
class Moved:
    """The worker has made progress, in training or in anything else."""


@dataclass(frozen=True)
class TrialBegan:
    """The worker has taken a trial."""

    number: int
    values: dict[str, Any]
    """What its row shows: the hyperparameters, and why it runs where that is not obvious."""


@dataclass(frozen=True)
class Evaluated:
    """The running trial has been evaluated."""

    number: int
    step: int
    """1 to ``planned_evaluations``."""
    planned_evaluations: int
    scores: Scores
    is_news: bool
    """Whether no earlier session of the trial has reported this evaluation."""


@dataclass(frozen=True)
class TrialEnded:
    """The running trial has its verdict."""

    number: int
    state: TrialState
    """WAITING for a trial that continues later."""
    value: float | None
    why: str = ""
    """Why it failed or waits."""


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
    """The worker has no trial to run; it waits for these, which others run."""

    trials: tuple[RunningTrial, ...]


@dataclass(frozen=True)
class Outcome:
    """How a worker is about to end; also how a whole command ended."""

    kind: EndKind
    cause: str = ""
    """The cause in words; empty where the kind says it all."""


@dataclass(frozen=True)
class Died:
    """The worker is about to end with an error that no outcome covers."""

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
EVENT_TYPES = {name: event_type for event_type, name in EVENT_NAMES.items()}


def event_to_line(event: Event) -> bytes:
    """The event as a line: a JSON list of its name and its fields."""
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
            return EVENT_TYPES[name](*details)
