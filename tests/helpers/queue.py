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

WORKING = """
import sys, time
from optuna.trial import TrialState
from search.policy.stopping import StoppingCriteria, count_finished
from search.policy.policy import Policy
from search.system.processes import describe_myself
from search.database.connect import load_study, open_storage
from search.study.record import read_stored
from search.storage.outcomes import finish
from search.storage.queue import next_trial
study = load_study(open_storage(sys.argv[1], create=False), "toy")
policy, limits, me = Policy(read_stored(study).study, 0), StoppingCriteria(20), describe_myself("cpu.0")
while count_finished(study.get_trials(deepcopy=False)) < 20:
    trial = next_trial(study, policy, limits, me)
    if trial is None:
        time.sleep(0.02)
        continue
    trial.report(0.5, 1)
    finish(study, trial, TrialState.PRUNED if trial.number % 3 else TrialState.COMPLETE, 0.5)
    print(trial.number, flush=True)
"""
"""A process that takes and ends trials of ``toy`` until there are 20."""


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
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True, env=environment)
