"""--ray: the workers of a command on a Ray cluster."""

import importlib.util
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import sqlalchemy

from maskcls.system.console import say
from maskcls.system.errors import OutsideError, UserError
from search.database.connect import is_sqlite
from search.engines.messages import Assignment
from search.engines.remote_run import RemoteRun
from search.engines.room import Node, cores_for, default_workers, room
from search.supervisor.command import Command
from search.supervisor.conclusion import Summary
from search.supervisor.crew import Crew
from search.supervisor.launch import Launch
from search.system.clock import time_at
from search.worker.messages import WorkOrder

if TYPE_CHECKING:
    from search.engines.ray_cluster import RayCluster

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RayEngine:
    """The engine of a command with --ray."""

    address: str
    gpus: float | None = None
    """--gpus-per-worker; None: one where the cluster has any."""

    def __call__(self, launch: Launch, n_trials: int) -> Crew:
        """The workers. Raises UserError without Ray, and for options of a machine that Ray chooses."""
        if importlib.util.find_spec("ray") is None:
            raise UserError("--ray needs Ray, which is not installed: pip install 'mask-search[ray]'.")
        if launch.device != "auto":
            raise UserError(
                f"With --ray, Ray gives every worker its device; leave out --device {launch.device}"
                " (--gpus-per-worker 0 trains on the CPUs)."
            )
        if launch.force:
            raise UserError("With --ray, workers wait until there is room for them; leave out --force.")
        return RayCrew(self.address, self.gpus, launch, n_trials)


@dataclass
class RayCrew:
    """A Crew of tasks on a Ray cluster, to which this process is connected while it is entered."""

    address: str
    gpus: float | None
    launch: Launch
    n_trials: int
    arguments: tuple[str, ...] = Assignment.arguments
    """Of Python, to start a worker's process."""
    size: int = 0
    nodes: list[Node] = field(default_factory=list)
    """The machines at the start; others may join."""
    only_on: str = ""
    """RayCluster.only_on: with SQLite this machine, since others cannot open its file."""

    def __enter__(self) -> Self:
        from search.engines import ray_cluster

        ray_cluster.connect(self.address)
        try:
            self.nodes = ray_cluster.nodes_alive()
            if is_sqlite(self.launch.url):
                check_one_machine(self.nodes, self.address)
                self.only_on = ray_cluster.own_address()
            self.gpus = gpus_for(self.nodes, self.gpus)
            self._set_size(self.gpus)
        except BaseException:
            ray_cluster.disconnect()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        from search.engines import ray_cluster

        ray_cluster.disconnect()

    def _set_size(self, gpus: float) -> None:
        wanted = self.launch.workers or default_workers(self.nodes, gpus)
        self.size = min(wanted, self.n_trials)
        if wanted > self.n_trials:
            logger.info(f"{wanted} workers are more than there are trials; {self.n_trials} are started.")
        if (places := room(self.nodes, gpus)) < self.size:
            say(f"Ray has room for {places} of {self.size} workers now; the others start when machines join.")

    def start_first(self) -> None:
        """Nothing: Ray starts a process for every task."""

    def start_others(self) -> None:
        """Nothing: as start_first."""

    def run(self, order: WorkOrder, timeout: float | None, summary: Summary) -> int:
        """See Crew. Raises OutsideError when the cluster is lost."""
        from ray.exceptions import RayError

        order = with_absolute_paths(order)
        try:
            return RemoteRun(self._cluster(order), Command(order, timeout, summary)).run()
        except RayError as error:
            cause = str(error).partition("\n")[0].rstrip(".") or type(error).__name__  # what follows are Ray's ids
            raise OutsideError(
                f"The Ray cluster {self.address} was lost: {cause}. The same command continues the study."
            ) from error

    def _cluster(self, order: WorkOrder) -> "RayCluster":
        from search.engines.ray_cluster import RayCluster

        gpus = self.gpus or 0.0
        cores = cores_for(self.nodes, self.size, gpus)
        return RayCluster(Assignment(0, order, time_at(order.since), cores, gpus, self.arguments), self.only_on)


def check_one_machine(nodes: list[Node], address: str) -> None:
    """Raise UserError for a cluster of several machines, which do not see each other's file locks."""
    machines = len({node.address for node in nodes})
    if machines > 1:
        raise UserError(
            f"The Ray cluster {address} has {machines} machines, and an SQLite file serves the workers of one. Give a"
            " server's database: --storage postgresql+psycopg://USER@HOST/DATABASE."
        )


def gpus_for(nodes: list[Node], asked: float | None) -> float:
    """The share of a GPU for each worker: as asked, else 1, and 0 in a cluster without GPUs.

    Raises UserError for a cluster in which no worker would ever find room.
    """
    gpus = asked if asked is not None else float(any(node.gpus for node in nodes))
    if gpus and not any(node.gpus for node in nodes):
        raise UserError(
            f"The Ray cluster has no GPU, so a worker with --gpus-per-worker {gpus:g} would wait for ever. Leave the"
            " option out to train on its CPUs."
        )
    if not room(nodes, gpus):
        raise UserError(
            "The Ray cluster lends no CPU for a worker, which takes one at least. Start a node with `ray start"
            " --num-cpus N`."
        )
    return gpus


def with_absolute_paths(order: WorkOrder) -> WorkOrder:
    """The order for processes that run in other folders."""
    cache = str(Path(order.cache).absolute()) if order.cache else ""
    return replace(order, url=_absolute_url(order.url), runs=str(Path(order.runs).absolute()), cache=cache)


def _absolute_url(url: str) -> str:
    """The URL with the whole path of an SQLite file."""
    parsed = sqlalchemy.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database.startswith("file:"):
        return url
    path = str(Path(parsed.database).absolute())
    return parsed.set(database=path).render_as_string(hide_password=False)
