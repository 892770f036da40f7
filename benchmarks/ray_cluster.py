"""A study on a Ray cluster of three nodes: is anything lost or doubled when a node dies, and what do more workers save?

    python benchmarks/ray_cluster.py exact --workers 6 --trials 60 --seconds 4
    python benchmarks/ray_cluster.py speed --workers 1 2 4 8 --trials 32 --seconds 3

The nodes are processes of this machine (ray.cluster_utils.Cluster), each with its own Ray workers. What runs is the
command's own code from --ray on, with a fresh PostgreSQL server; the workers sleep instead of training
(tests/helpers/engines/sleeper.py), so that two cores are no limit.

"exact": a node is killed when a third of the trials is done, and another joins when half of them is. At the end there
must be exactly so many finished trials, each with its whole curve, none running or waiting, no process left, and the
table must have shown each trial's end once and every trial of the dead node as interrupted.

"speed": for each number of workers, the seconds from the first trial's begin to the last one's end, beside the time
that the trainings themselves take.
"""

import argparse
import contextlib
import io
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from cluster import serving
from optuna.trial import FrozenTrial, TrialState

sys.path.append(str(Path(__file__).parents[1]))

from search.database.connect import load_study, open_storage
from search.engines.ray_crew import RayCrew
from search.policy.stopping import StoppingCriteria, count_finished
from search.study.attributes import worker_of
from search.supervisor.launch import Launch
from search.system.clock import began_at, ended_at
from tests.helpers.engines.ray_nodes import add_node, nodes
from tests.helpers.engines.sleeper import EVALUATIONS, STORED, arguments

NAME = "sleep"


def run(cluster: Any, url: str, runs: Path, workers: int, trials: int, seconds: float) -> tuple[list[FrozenTrial], str]:
    """Run a study as search.run --ray does; returns its trials and what the command said."""
    (runs / NAME).mkdir(parents=True)
    launch = Launch(runs, url, workers=workers)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), RayCrew(cluster.address, None, launch, trials, arguments(seconds)) as crew:
        order = replace(launch.make_order(crew.size, NAME, STORED, StoppingCriteria(trials)), plan=True)
        status = crew.run(order, None, lambda study, stored: None)
    assert status == 0, said.getvalue()
    return read(url).get_trials(), said.getvalue()


def read(url: str) -> optuna.Study:
    return load_study(open_storage(url, create=False, waits=True), NAME)


def when(url: str, share: float, trials: int, do: Callable[[], object]) -> None:
    """Wait until this share of the trials is done, then do it."""
    while True:
        time.sleep(0.5)
        with contextlib.suppress(Exception):  # the study is not stored yet
            if count_finished(read(url).get_trials(deepcopy=False)) >= share * trials:
                break
    do()


def exact(asked: argparse.Namespace) -> None:
    """A node that dies and one that joins, and what is left."""
    (workers,) = asked.workers
    cpus = -(-workers // 3)
    with serving() as served, tempfile.TemporaryDirectory() as home, nodes(cpus) as cluster:
        others = [add_node(cluster, cpus) for _ in range(2)]

        def change() -> None:
            when(served.url, 1 / 3, asked.trials, lambda: cluster.remove_node(others[0], allow_graceful=False))
            when(served.url, 1 / 2, asked.trials, lambda: add_node(cluster, cpus))

        changing = threading.Thread(target=change)
        changing.start()
        trials, said = run(cluster, served.url, Path(home), workers, asked.trials, asked.seconds)
        changing.join()
    check(trials, said, asked.trials)
    interrupted = len(re.findall(r"^trial \d+: interrupted", said, re.MULTILINE))
    lost = len(set(re.findall(r"^Worker (\d+) (?:on .* is lost|was started again)", said, re.MULTILINE)))
    print(f"{workers} workers on 3 nodes, of which 1 was killed and 1 joined: {len(trials)} trials, all complete, in")
    print(f"{took(trials):.0f} s; {lost} workers lost their node, {interrupted} trials were interrupted and continued")


def check(trials: list[FrozenTrial], said: str, expected: int) -> None:
    """Assert what must hold at the end."""
    assert [trial.state for trial in trials] == expected * [TrialState.COMPLETE]
    assert all(len(trial.intermediate_values) == EVALUATIONS for trial in trials)
    workers = [worker_of(trial) for trial in trials]
    assert all(worker is not None and worker.has_ended() for worker in workers), "a process is left"
    ended = sorted(int(number) for number in re.findall(r"^trial (\d+): complete", said, re.MULTILINE))
    assert ended == list(range(expected)), "the table has shown an end twice or never"
    assert f"; {expected} of {expected} trials" in said


def took(trials: list[FrozenTrial]) -> float:
    """Seconds from the first begin to the last end."""
    begins, ends = [began_at(trial) for trial in trials], [ended_at(trial) for trial in trials]
    return max(end for end in ends if end) - min(begin for begin in begins if begin)


def speed(asked: argparse.Namespace) -> None:
    """The time with more and more workers."""
    print(f"{asked.trials} trials of {asked.seconds:g} s on 3 nodes")
    print("| workers | seconds | trainings alone |", "|---|---|---|", sep="\n", flush=True)
    for workers in asked.workers:
        cpus = -(-workers // 3)
        with serving() as served, tempfile.TemporaryDirectory() as home, nodes(cpus) as cluster:
            for _ in range(2):
                add_node(cluster, cpus)
            trials, said = run(cluster, served.url, Path(home), workers, asked.trials, asked.seconds)
        check(trials, said, asked.trials)
        print(f"| {workers} | {took(trials):.0f} | {asked.trials * asked.seconds / workers:.0f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["exact", "speed"])
    parser.add_argument("--workers", type=int, nargs="+", default=[6])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a training")
    asked = parser.parse_args()
    {"exact": exact, "speed": speed}[asked.what](asked)
