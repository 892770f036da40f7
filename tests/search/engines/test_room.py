"""How many workers a cluster has room for, and how many cores each gets."""

import pytest

from search.engines.room import Node, cores_for, default_workers, room

CPUS = [Node("a", 4, 0), Node("b", 4, 0), Node("c", 2, 0)]
GPUS = [Node("a", 16, 2), Node("b", 8, 1), Node("head", 0, 0)]


@pytest.mark.parametrize(
    ("nodes", "gpus", "cores", "places"),
    [
        (CPUS, 0.0, 1, 10),
        (CPUS, 0.0, 2, 5),
        (CPUS, 0.0, 4, 2),
        (GPUS, 1.0, 1, 3),
        (GPUS, 0.5, 1, 6),
        (GPUS, 0.4, 1, 6),  # a share lies on one GPU, where .2 stays free
        (GPUS, 0.1, 1, 24),  # ten a GPU, but only 8 cores beside the second
        (GPUS, 0.5, 8, 3),
    ],
)
def test_a_worker_needs_its_cores_and_its_share_on_one_machine(
    nodes: list[Node], gpus: float, cores: int, places: int
) -> None:
    assert room(nodes, gpus, cores) == places


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "cores"),
    [
        (CPUS, 1, 0.0, 4),
        (CPUS, 2, 0.0, 4),
        (CPUS, 3, 0.0, 2),
        (CPUS, 5, 0.0, 2),
        (CPUS, 10, 0.0, 1),
        (CPUS, 99, 0.0, 1),  # those without room wait
        (GPUS, 3, 1.0, 8),
        (GPUS, 6, 0.5, 4),
        (GPUS, 99, 0.5, 4),
    ],
)
def test_workers_get_all_cores_that_leave_no_worker_out(
    nodes: list[Node], workers: int, gpus: float, cores: int
) -> None:
    assert cores_for(nodes, workers, gpus) == cores


def test_by_default_every_gpu_has_a_worker_and_without_gpus_every_machine() -> None:
    assert default_workers(GPUS, 1.0) == 3
    assert default_workers(GPUS, 0.5) == 6
    assert default_workers(CPUS, 0.0) == 3
    assert default_workers(GPUS, 0.0) == 2  # one of the machines lends no core
