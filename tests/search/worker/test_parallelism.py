"""A plan says when so many workers train at once that hardly a proposal knows a result."""

from pathlib import Path

import pytest
from optuna.trial import create_trial

from maskcls.data.dataset import Table
from search.policy.phases import Phases
from search.policy.stopping import StoppingCriteria
from search.worker.parallelism import describe_many, most_workers, num_informed
from search.worker.plan import show_plan
from tests.helpers.search import make_setup

LONG = Phases(first=1, search=49, rounds=0, cost=0.45)
"""As the studies of benchmarks/parallel.py."""


@pytest.mark.parametrize(("workers", "informed"), [(1, 40), (8, 33), (21, 20), (32, 9), (41, 0), (100, 0)])
def test_a_proposal_knows_results_once_ten_trials_have_ended_beside_those_that_run(workers: int, informed: int) -> None:
    assert num_informed(LONG, workers) == informed


def test_the_plan_says_nothing_of_few_workers_and_what_many_are_good_for() -> None:
    assert most_workers(LONG) == 21
    assert describe_many(LONG, 1) == describe_many(LONG, 21) == []
    many, instead = describe_many(LONG, 32)
    assert many == "32 workers are many: 9 of 49 trials of the search are proposed from results; with 21 it would be 20"
    assert "another study beside it, or to search.confirm" in instead
    none, _ = describe_many(LONG, 100)
    told = "none of 49 trials of the search is proposed from results, as in random search; with 21 it would be 20"
    assert none == f"100 workers are many: {told}"


def test_a_search_that_is_random_with_one_worker_too_is_not_blamed_on_many() -> None:
    assert describe_many(Phases(2, 8, 10, 0.45), 16) == []
    assert describe_many(Phases(2, 0, 10, 0.45), 16) == []


def test_only_a_new_study_is_told(tmp_path: Path, synthetic_table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    setup = make_setup(tmp_path, synthetic_table)
    show_plan(setup, StoppingCriteria(100), 64)
    assert "64 workers are many: none of " in capsys.readouterr().out
    show_plan(setup, StoppingCriteria(100), 64, [create_trial(params={}, distributions={}, value=0.5)])
    assert "workers are many" not in capsys.readouterr().out
