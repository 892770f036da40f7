"""Trials taken, told and ended by hand, without any training."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from search.policy.policy import Policy
from search.policy.stopping import StoppingCriteria
from search.storage.outcomes import finish
from search.storage.queue import next_trial
from search.system.processes import describe_myself
from tests.helpers.search import DROPOUT

POLICY = Policy(replace(DROPOUT, fixed={"evaluations_per_epoch": 2}), 0)
MYSELF = describe_myself("cpu.0")


def take(study: optuna.Study, limits: StoppingCriteria | None = None, worker: dict[str, Any] = MYSELF) -> Trial | None:
    return next_trial(study, POLICY, limits or StoppingCriteria(100), worker)


def taken(study: optuna.Study, limits: StoppingCriteria | None = None, worker: dict[str, Any] = MYSELF) -> Trial:
    trial = take(study, limits, worker)
    assert trial is not None
    return trial


def complete(study: optuna.Study, value: float = 0.5, evaluations: int = 0) -> int:
    trial = taken(study)
    for step in range(1, evaluations + 1):
        trial.report(value, step)
    finish(study, trial, TrialState.COMPLETE, value)
    return trial.number


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


def start(script: str, url: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True, env=environment)
