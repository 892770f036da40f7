"""A Ray cluster of several nodes on this machine, in a folder of its own, for a test or a benchmark.

Without its dashboard and usage statistics; nothing is left in /tmp/ray.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STORE = 78643200
"""Bytes of each node's object store, the smallest that Ray takes."""

QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 4}
"""Notices a dead node within seconds."""


@contextmanager
def nodes(cpus: int, **system: int) -> Iterator[Any]:
    """A ray.cluster_utils.Cluster with a first node of so many CPUs. ``system``: more of Ray's own settings."""
    before = dict(os.environ)
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a short path: a socket's is at most 107 characters
    os.environ.update(RAY_TMPDIR=folder, RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE}
    head["_system_config"] = {**QUICK, **system}
    cluster = Cluster(initialize_head=True, shutdown_at_exit=False, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def add_node(cluster: Any, cpus: int) -> Any:
    """One more node, once it is there."""
    return cluster.add_node(num_cpus=cpus, object_store_memory=STORE)
