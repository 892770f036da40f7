"""The options of a command that trains: where its studies are, and which workers run them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from search.database.connect import default_url
from search.gpus.gpus import find_gpus
from search.gpus.mps import can_share
from search.gpus.slots import make_slots
from search.policy.stopping import StoppingCriteria
from search.study.record import Stored
from search.supervisor.crew import Crew, LocalCrew
from search.supervisor.pool import WorkerPool
from search.system.clock import uptime
from search.system.processes import STALL_SECONDS
from search.worker.messages import WorkOrder


def on_this_machine(launch: "Launch", n_trials: int) -> Crew:
    """The engine without an option: processes of this machine. Raises UserError as make_slots does."""
    return LocalCrew(launch.make_pool(n_trials))


@dataclass(frozen=True)
class Launch:
    """The options that search.run and search.confirm share."""

    runs: Path
    storage: str | None = None
    """--storage as given, for the commands that the summary shows; None: the default."""
    device: str = "auto"
    workers: int | None = None
    """None: as many as the device has room for."""
    force: bool = False
    """Whether to start more workers than the machine has room for."""
    timeout: float | None = None
    """Seconds from the plan on."""
    stall: float = STALL_SECONDS
    """Seconds without progress after which a worker counts as hung."""
    cache: Path | None = None
    """Folder of the decoded photos; None: cache/ in ``runs``."""
    since: float = field(default_factory=uptime)
    """When the command began; crashes before it do not count."""

    engine: Callable[["Launch", int], Crew] = on_this_machine
    """Makes the workers for so many trials at most."""

    @property
    def url(self) -> str:
        """The URL of the storage."""
        return self.storage or default_url(self.runs)

    def make_pool(self, n_trials: int) -> WorkerPool:
        """A pool with a slot for each worker, none of them started. Raises UserError as make_slots does."""
        slots = make_slots(self.device, self.workers, find_gpus(), n_trials, self.force, can_share())
        return WorkerPool(slots)

    def make_crew(self, n_trials: int) -> Crew:
        """The workers, none of them started. Raises UserError for options that the engine cannot have."""
        return self.engine(self, n_trials)

    def make_order(self, workers: int, name: str, requested: Stored, limits: StoppingCriteria) -> WorkOrder:
        """The order for ``workers`` on the study stored as ``name``; the supervisor fills in their slots."""
        return WorkOrder(
            url=self.url,
            name=name,
            runs=str(self.runs),
            requested=requested,
            workers=workers,
            limits=limits,
            since=self.since,
            timeout=self.timeout,
            stall=self.stall,
            cache=str(self.cache or ""),
        )
