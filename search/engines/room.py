"""How many workers the machines of a cluster have room for, and how many cores each of them gets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A machine of a cluster, and what it lends."""

    address: str
    cpus: int
    gpus: int


def room(nodes: Sequence[Node], gpus: float, cores: int = 1) -> int:
    """How many workers with so many cores and such a share of a GPU (0: none) find room at the same time."""
    return sum(_room_on(node, gpus, cores) for node in nodes)


def _room_on(node: Node, gpus: float, cores: int) -> int:
    shares = node.gpus * int(1 / gpus + 1e-9) if gpus else math.inf  # a share lies on one GPU
    return int(min(shares, node.cpus // cores))


def default_workers(nodes: Sequence[Node], gpus: float) -> int:
    """One for every share of a GPU; without GPUs one for every machine, as each has its cores to itself."""
    return room(nodes, gpus) if gpus else sum(node.cpus > 0 for node in nodes)


def cores_for(nodes: Sequence[Node], workers: int, gpus: float) -> int:
    """The most cores that each of so many workers can have without one fewer finding room; 1 at least."""
    fit = min(workers, room(nodes, gpus))
    return max((cores for cores in range(1, _most_cores(nodes) + 1) if room(nodes, gpus, cores) >= fit), default=1)


def _most_cores(nodes: Sequence[Node]) -> int:
    return max((node.cpus for node in nodes), default=1)
