"""What the supervisor and its workers tell each other: orders down, events up, one JSON object a line."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from search.policy.stopping import StoppingCriteria
from search.study.record import Stored
from search.system.processes import STALL_SECONDS

NOTHING_LEFT, REFUSED, GAVE_UP, STOPPED = "nothing left", "refused", "gave up", "stopped"
"""Why a worker ends."""

GO = "go"
"""What a worker that waits is told once the study is stored."""


@dataclass(frozen=True)
class WorkOrder:
    """All that a worker is told: the storage, the study and its slot, and what this command wants of it."""

    url: str
    name: str
    """Of the stored study."""
    runs: str
    wanted: dict[str, Any]
    """Stored.to_json of what the command asks for; weights and split are for the worker to find out."""
    device: str
    slot: str
    cores: int
    workers: int
    """Of this command, all together."""
    limits: dict[str, Any]
    keep: int
    cold: bool
    since: float
    """When the command began, as times.uptime has it: crashes before it do not count."""
    grown_from: str | None
    plan: bool
    """Whether to show the plan and to store the study first."""
    waits: bool = False
    """Whether somebody else does that, and the word to go is still to come."""
    stall: float = STALL_SECONDS
    """Seconds without any progress after which a worker is taken for hung."""

    def to_line(self) -> str:
        """For the worker's standard input."""
        return json.dumps(asdict(self)) + "\n"

    @staticmethod
    def from_line(line: str) -> "WorkOrder":
        """The inverse."""
        return WorkOrder(**json.loads(line))

    def stored(self) -> Stored:
        """What the command asks for."""
        return Stored.from_json(self.wanted)

    def asked(self) -> StoppingCriteria:
        """The limits."""
        return StoppingCriteria(**self.limits)
