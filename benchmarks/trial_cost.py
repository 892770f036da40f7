"""What a trial costs beside its training: proposing it, building it, reporting, judging and telling it.

    python benchmarks/trial_cost.py

Fills a study with so many finished trials, then runs real trials of a tiny model in this process, a worker that is
warm, and subtracts the CPU time that goes into optimizer steps, evaluations and pictures. Prints the median per trial.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import optuna
import torch
from optuna.trial import TrialState, create_trial

import maskcls.training.loop
import search.worker.objective
from maskcls.data.dataset import prepare_data_folder, read_table
from maskcls.model.weights import Weights
from search.database.connect import create_study, default_url, load_study, open_storage
from search.findings.notes import show_study
from search.policy.policy import Policy
from search.policy.stopping import StoppingCriteria
from search.storage.queue import next_trial
from search.study.record import KEY, Stored
from search.study.study import Choice, Float, Study
from search.system.processes import describe_myself
from search.worker.job import Job, Setup
from search.worker.objective import run_trial

STUDY = Study(
    question="Does dropout help the toy?",
    scientific={"drop_rate": Choice(0.0, 0.2, 0.4, 0.7)},
    nuisance={"lr": Float(1e-4, 1e-1, log=True), "weight_decay": Float(1e-4, 1.0, log=True)},
    fixed={"backbone": "test_efficientnet", "image_size": 32, "epochs": 5, "evaluations_per_epoch": 2, "threads": 1},
    baseline={"drop_rate": 0.0, "lr": 1e-2, "weight_decay": 1e-2},
    synthetic=True,
)


class Nobody:
    """A watcher that does not watch."""

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *details: None


def make_job(runs: Path) -> Job:
    """A study in ``runs`` and a worker for it."""
    table = read_table(
        prepare_data_folder("synthetic", runs), Stored(STUDY, "", "", {}, "", "", False, 0).baseline_config
    )
    stored = Stored(STUDY, "synthetic", table.hash, {"source": "scratch"}, "scratch", "auto", False, 0)
    storage = open_storage(default_url(runs), create=True)
    create_study(storage, "cost", {KEY: stored.to_json()})
    study = load_study(storage, "cost")
    show_study(study, stored)
    setup = Setup("cost", stored, runs, table, Weights("scratch", {}), torch.device("cpu"))
    return Job(setup, study, Policy(STUDY, 0), Nobody(), describe_myself("cpu.0"))  # type: ignore[arg-type]


def fill(job: Job, until: int, like: dict[str, Any]) -> None:
    """Finished trials with random settings and curves, and the attributes of a real one."""
    rng = np.random.default_rng(until)
    templates = []
    for number in range(len(job.study.get_trials(deepcopy=False)), until):
        curve = np.cumsum(rng.uniform(0, 0.1, 10))
        state = TrialState.PRUNED if number % 2 else TrialState.COMPLETE
        curve = curve[: 4 if number % 2 else 10]
        params = {
            "drop_rate": STUDY.scientific["drop_rate"].options[number % 4],  # type: ignore[union-attr]
            "lr": float(10 ** rng.uniform(-4, -1)),
            "weight_decay": float(10 ** rng.uniform(-4, 0)),
        }
        templates.append(
            create_trial(
                state=state,
                value=float(curve.max()),
                params=params,
                distributions=job.policy.distributions,
                user_attrs=like,
                intermediate_values={step: float(value) for step, value in enumerate(curve, start=1)},
            )
        )
    job.study.add_trials(templates)


@contextmanager
def apart(cost: list[float]) -> Iterator[None]:
    """Count the CPU seconds of steps, evaluations and pictures."""

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begun = time.process_time()
            try:
                return real(*args, **kwargs)
            finally:
                cost.append(time.process_time() - begun)

        return call

    run = maskcls.training.loop.Run
    with (
        patch.object(run, "train_until", counted(run.train_until)),
        patch.object(run, "evaluate", counted(run.evaluate)),
        patch.object(search.worker.objective, "draw_best", counted(search.worker.objective.draw_best)),
    ):
        yield


def measure(job: Job, repeats: int) -> tuple[float, float, float]:
    """(median, lowest, highest) CPU seconds of a trial beside training, validation and pictures."""
    seconds = []
    for _ in range(repeats):
        training: list[float] = []
        with apart(training):
            begun = time.process_time()
            trial = next_trial(job.study, job.policy, StoppingCriteria(10**6), job.worker)
            assert trial is not None
            run_trial(job, trial)
            seconds.append(time.process_time() - begun - sum(training))
    return statistics.median(seconds), min(seconds), max(seconds)


def main() -> None:
    """Print the curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 50, 100, 300, 1000, 2000, 5000])
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as home:
        job = make_job(Path(home))
        measure(job, 2)  # to be warm
        like = {
            key: value for key, value in job.study.get_trials()[1].user_attrs.items() if key not in ("role", "from")
        }
        for size in asked.sizes:
            fill(job, size, like)
            measure(job, 1)
            median, low, high = measure(job, asked.repeats)
            print(f"{size:5d} trials stored: {median:.3f} s CPU a trial ({low:.3f} to {high:.3f})", flush=True)


if __name__ == "__main__":
    main()
