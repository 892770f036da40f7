"""A study on a real Ray cluster whose only node with cores is killed while another joins; its workers sleep."""

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from search.database.connect import default_url, has_study, load_study, open_storage
from search.engines.ray_crew import RayCrew
from search.policy.stopping import StoppingCriteria
from search.study.record import Stored
from search.supervisor.launch import Launch
from tests.helpers.engines.sleeper import EVALUATIONS, STORED, arguments
from tests.helpers.processes import worker_of

N_TRIALS, SECONDS = 4, 2.0


def test_a_study_outlives_its_nodes_and_has_exactly_its_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two workers on a node that is killed in the middle of a trial, and another node that joins then."""
    pytest.importorskip("ray")
    from tests.helpers.engines.ray_nodes import add_node, nodes

    runs = tmp_path / "runs"
    (runs / "sleep").mkdir(parents=True)
    summed_up: list[optuna.Study] = []

    def summary(study: optuna.Study, stored: Stored) -> None:
        summed_up.append(study)

    with nodes(cpus=0) as cluster:
        first = add_node(cluster, cpus=2)
        over = threading.Event()
        killer = threading.Thread(target=exchange_node_in_a_trial, args=(cluster, first, runs, over))
        killer.start()
        launch = Launch(runs, workers=2)
        with RayCrew(cluster.address, None, launch, N_TRIALS, arguments(SECONDS)) as crew:
            assert crew.size == 2
            order = launch.make_order(crew.size, "sleep", STORED, StoppingCriteria(N_TRIALS))
            try:
                assert crew.run(replace(order, plan=True), None, summary) == 0
            finally:
                over.set()
                killer.join()
    (study,), host = summed_up, socket.gethostname().partition(".")[0]
    trials = study.get_trials()
    assert [trial.state for trial in trials] == N_TRIALS * [TrialState.COMPLETE]
    assert all(len(trial.intermediate_values) == EVALUATIONS for trial in trials)
    assert {worker_of(trial).slot for trial in trials} <= {f"{host}.cpu.{number}" for number in (0, 1)}
    assert all(worker_of(trial).has_ended() for trial in trials)
    told = capsys.readouterr().out
    assert told.count("The sleeper's plan: to sleep.") == 1
    assert ": interrupted" in told
    assert "continues from its last evaluation" in told
    assert f"; {N_TRIALS} of {N_TRIALS} trials, best" in told
    assert "(raylet)" not in told  # fifty lines of Ray's own about the node


def exchange_node_in_a_trial(cluster: Any, node: Any, runs: Path, over: threading.Event) -> None:
    """Kill the node once a trial has an evaluation, unless the command is over before, and let another join."""
    from tests.helpers.engines.ray_nodes import add_node

    while not over.is_set() and not is_in_a_trial(runs):
        time.sleep(0.1)
    cluster.remove_node(node, allow_graceful=False)
    add_node(cluster, cpus=2)


def is_in_a_trial(runs: Path) -> bool:
    """Whether a running trial has been evaluated; False while the study is not stored."""
    if not (runs / "studies.db").exists():
        return False
    storage = open_storage(default_url(runs), create=True)
    try:
        if not has_study(storage, "sleep"):
            return False
        running = load_study(storage, "sleep").get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return any(trial.intermediate_values for trial in running)
    finally:
        storage.engine.dispose()
