"""The messages between a command and the workers that an engine starts for it elsewhere."""

from dataclasses import dataclass

from search.supervisor.deaths import Death
from search.worker.messages import Event, Outcome, WorkOrder


@dataclass(frozen=True)
class Started:
    """A worker's process has started; one that the engine started again tells it again."""

    host: str
    pid: int
    node: str
    """The engine's name for the machine."""
    gpu: str
    """Slot.gpu."""


@dataclass(frozen=True)
class Said:
    """What a worker prints before it has a log: the plan, or why it cannot load."""

    line: str


Message = Started | Said | Event


@dataclass(frozen=True)
class Orders:
    """What the command wants now of all its workers."""

    stop: str = ""
    """Why to stop after the evaluation; empty while there is no reason."""
    now: bool = False
    """Whether to stop without finishing the evaluation."""
    is_planned: bool = False
    """Whether the study is stored."""


@dataclass(frozen=True)
class Assignment:
    """All that a machine needs to know to run a worker."""

    number: int
    """0 up to the number of workers."""
    order: WorkOrder
    """Without the slot, which the machine fills in; its ``since`` is not this machine's."""
    began: float
    """When the command began, in seconds since 1970."""
    cores: int
    gpus: float
    """Its share of a GPU; 0: it trains on the CPU."""
    arguments: tuple[str, ...] = ("-m", "search.engines.bound_worker")
    """Of Python, to start the worker's process."""


@dataclass(frozen=True)
class Ended:
    """How a worker's process has ended."""

    outcome: Outcome | None
    """Its own report; None if it died."""
    death: Death | None
    """None if it ended in order."""
    error: str
    """The error that it died of, if it could report it."""
    trial: int | None
    """Number of the trial that it began last; None if it began none."""
    host: str
    pid: int
    gpu: str
    """Slot.gpu."""
