"""The workers of a command as tasks of Ray: the only module that imports it, as most installations are without.

A task is tried again for ever when its machine or its process dies, elsewhere if need be. Its share of a GPU and its
cores are Ray's resources, so that nobody else gets them meanwhile. The tasks and the command talk through an actor on
the command's own machine.
"""

import logging
import socket
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from maskcls.system.errors import UserError, one_line
from search.engines.messages import Assignment, Ended, Message, Orders
from search.engines.remote_worker import run_worker
from search.engines.room import Node
from search.worker.messages import WorkOrder

CONNECT_SECONDS = 5.0
"""How long the cluster's address may take to answer; Ray itself would wait for minutes."""

REMEDY = (
    "Start one here with `ray start --head` and join the other machines with `ray start --address HOST:PORT`, then give"
    " --ray auto or the address."
)


class Mailbox:
    """What passes between the tasks and the command; one of it runs, as an actor."""

    def __init__(self) -> None:
        self.messages: deque[tuple[int, Message]] = deque()
        self.orders = Orders()

    def exchange(self, number: int, messages: Sequence[Message]) -> Orders:
        """Take the messages of worker ``number`` and return the present orders."""
        self.messages.extend((number, message) for message in messages)
        return self.orders

    def take(self) -> list[tuple[int, Message]]:
        """All messages that have not been taken."""
        taken = list(self.messages)
        self.messages.clear()
        return taken

    def tell(self, orders: Orders) -> None:
        """Set the orders."""
        self.orders = orders


def work(assignment: Assignment, mailbox: Any) -> Ended:
    """The body of a task."""

    def exchange(messages: Sequence[Message]) -> Orders:
        # by the future: a task that waits in ray.get lends its cores to the next task, which would then start here
        orders: Orders = mailbox.exchange.remote(assignment.number, list(messages)).future().result()
        return orders

    return run_worker(assignment, ray.get_runtime_context().get_node_id(), exchange)


def connect(address: str) -> None:
    """Connect this process to the cluster. Raises UserError where there is none."""
    _check_address(address)
    _silence()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of Ray's own, of the connection, of versions that do not match
        raise UserError(f"The Ray cluster {address} cannot be used: {one_line(error).rstrip('.')}. {REMEDY}") from error


def _check_address(address: str) -> None:
    """Raise UserError for an address that is none, or at which nobody answers."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UserError(
            f"--ray {address} is no address of a Ray cluster. Give auto or HOST:PORT, as `ray start --head` shows it."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"No Ray cluster answers at {address}: {one_line(error)}. {REMEDY}") from error


def _silence() -> None:
    """Keep Ray from printing fifty lines about a machine that died into the live table, which says so itself.

    There is no option for that; should the private name go, the lines come.
    """
    with suppress(ImportError, AttributeError):
        from ray._private import worker

        worker.print_to_stdstream = lambda *_, **__: None


def disconnect() -> None:
    """End the connection; Ray ends the tasks that still run."""
    ray.shutdown()


def nodes_alive() -> list[Node]:
    """The machines of the cluster."""
    return [
        Node(node["NodeManagerAddress"], int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)))
        for node in ray.nodes()
        if node["Alive"]
    ]


def own_address() -> str:
    """The address of this process's machine in the cluster."""
    here = ray.get_runtime_context().get_node_id()
    return next(str(node["NodeManagerAddress"]) for node in ray.nodes() if node["NodeID"] == here)


@dataclass
class RayCluster:
    """A remote_run.Cluster; this process is connected."""

    template: Assignment
    """Of every worker but for the number and the order."""
    only_on: str = ""
    """The address (Node.address) of the machine to stay on; empty: any."""
    tasks: dict[int, Any] = field(default_factory=dict)
    """Number of a worker -> the reference of its task's result."""

    def __post_init__(self) -> None:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.mailbox: Any = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()

    def submit(self, number: int, order: WorkOrder) -> None:
        """See Cluster."""
        assignment = replace(self.template, number=number, order=order)
        task = ray.remote(max_calls=1)(work).options(  # its process ends with it, and frees all that it holds
            name=f"mask-search {order.name} {number}",
            num_cpus=assignment.cores,
            num_gpus=assignment.gpus,
            # an address is a resource of its machine: https://docs.ray.io/en/latest/ray-core/scheduling/resources.html
            resources={f"node:{self.only_on}": 0.001} if self.only_on else None,
            max_retries=-1,
        )
        self.tasks[number] = task.remote(assignment, self.mailbox)

    def ended(self, seconds: float) -> list[tuple[int, Ended | str]]:
        """See Cluster."""
        by_reference = {reference: number for number, reference in self.tasks.items()}
        found, _ = ray.wait(list(by_reference), num_returns=len(by_reference), timeout=seconds)
        ends = [(by_reference[reference], _end_of(reference)) for reference in found]
        for number, _ in ends:
            del self.tasks[number]
        return ends

    def take(self) -> list[tuple[int, Message]]:
        """See Cluster."""
        messages: list[tuple[int, Message]] = ray.get(self.mailbox.take.remote())
        return messages

    def tell(self, orders: Orders) -> None:
        """See Cluster."""
        ray.get(self.mailbox.tell.remote(orders))

    def withdraw(self, number: int) -> None:
        """See Cluster."""
        ray.cancel(self.tasks.pop(number), force=True)

    def lost_nodes(self) -> Collection[str]:
        """See Cluster."""
        return {node["NodeID"] for node in ray.nodes() if not node["Alive"]}


def _end_of(reference: Any) -> Ended | str:
    try:
        end: Ended = ray.get(reference)
    except Exception as error:  # an error in the task is raised as one of Ray's and of its own class
        return one_line(error.cause if isinstance(error, ray.exceptions.RayTaskError) else error)
    return end
