"""How a command that trains is started: where its studies are, what works on them, and what its workers are told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from search.database.connect import default_url
from search.policy.stopping import StoppingCriteria
from search.study.record import Stored
from search.supervisor.pool import WorkerPool
from search.supervisor.slots import Slot, find_gpus, make_slots
from search.system.clock import uptime
from search.system.processes import STALL_SECONDS
from search.worker.messages import WorkOrder

KEPT = 5
"""Trials whose best weights stay on the disk, unless a command says otherwise."""


@dataclass(frozen=True)
class Launch:
    """The options that search.run and search.confirm share."""

    runs: Path
    storage: str | None = None
    """--storage as given, for commands that are printed to be typed; None: the default one."""
    device: str = "auto"
    workers: int | None = None
    """None: as many as the device has room for."""
    force: bool = False
    """Whether to start so many workers whatever the machine carries."""
    timeout: float | None = None
    """Seconds from the plan on."""
    stall: float = STALL_SECONDS
    """Seconds without progress after which a worker is taken for hung."""
    since: float = field(default_factory=uptime)
    """When the command began; crashes before it do not count."""

    @property
    def url(self) -> str:
        """The storage's."""
        return self.storage or default_url(self.runs)

    def make_pool(self, n_trials: int) -> WorkerPool:
        """A pool with a slot for each worker, none of them started.

        Raises UserError for a device that is not there, and for more workers than the machine carries.
        """
        return WorkerPool(make_slots(self.device, self.workers, find_gpus(), n_trials, self.force))

    def make_order(
        self,
        slots: Sequence[Slot],
        name: str,
        wanted: Stored,
        limits: StoppingCriteria,
        *,
        plan: bool,
        keep: int = KEPT,
        cold: bool = False,
        copy_of: str | None = None,
    ) -> WorkOrder:
        """The order of the first worker, from which the supervisor makes the others'; see WorkOrder's fields."""
        first = slots[0]
        return WorkOrder(
            url=self.url,
            name=name,
            runs=str(self.runs),
            wanted=wanted,
            device=first.device,
            slot=first.name,
            cores=first.cores,
            workers=len(slots),
            limits=limits,
            keep=keep,
            cold=cold,
            since=self.since,
            grown_from=copy_of,
            plan=plan,
            stall=self.stall,
        )
