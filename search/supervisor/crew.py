"""Who carries out the order of a command: the workers of an engine."""

from dataclasses import dataclass
from typing import Protocol, Self

from search.supervisor.command import Command
from search.supervisor.conclusion import Summary
from search.supervisor.pool import WorkerPool
from search.supervisor.supervisor import Supervisor
from search.worker.messages import WorkOrder


class Crew(Protocol):
    """The workers of one command; a context manager that leaves none of them behind."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def size(self) -> int:
        """Number of workers, known once it is entered."""

    def start_first(self) -> None:
        """Let the first worker load its libraries, while the command reads the photos."""

    def start_others(self) -> None:
        """Let the others do so, once nothing speaks against the study."""

    def run(self, order: WorkOrder, timeout: float | None, summary: Summary) -> int:
        """Carry out the order and print its end; returns the exit status. ``timeout``: seconds from the plan on."""


@dataclass
class LocalCrew:
    """A Crew of processes on this machine."""

    pool: WorkerPool

    def __enter__(self) -> Self:
        self.pool.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.__exit__(*error)

    @property
    def size(self) -> int:
        return len(self.pool.slots)

    def start_first(self) -> None:
        self.pool.start(self.pool.slots[0])

    def start_others(self) -> None:
        self.pool.start_others()

    def run(self, order: WorkOrder, timeout: float | None, summary: Summary) -> int:
        return Supervisor(self.pool, Command(order, timeout, summary)).run()
