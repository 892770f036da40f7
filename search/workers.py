"""The process that works through a study's trials."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from optuna.storages import RDBStorage

from maskcls.cli import say
from maskcls.dataset import Table
from maskcls.provenance import commit, versions
from maskcls.weights import Weights
from search.live import LiveWatcher, PlainWatcher, Progress, is_terminal
from search.objective import Job, StopRequest, run_trial
from search.plan import show_estimate, show_plan
from search.policy import RungPruner, StudySampler
from search.space import distributions, params_of
from search.storage import count_finished, create_study, has_study, load_study
from search.stored import KEY, Stored, read_stored
from search.summary import best_of, summarise

MOST_CRASHES = 3
"""Trials that crash one after another before the study gives up: the fault is then not the trial's."""

STOP_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}


def begin(
    storage: RDBStorage, name: str, wanted: Stored, runs: Path, table: Table, weights: Weights, device: torch.device
) -> Job:
    """The study, made with its baseline as trial 0 when it is new, and what its trials share."""
    is_new = not has_study(storage, name)
    if is_new:
        facts = {KEY: wanted.to_json(), "question": wanted.study.question, "commit": commit(), "versions": versions()}
        create_study(storage, name, facts)
    study = load_study(storage, name)
    stored = read_stored(study)
    if is_new:
        study.enqueue_trial(params_of(stored.study.space, stored.study.baseline), user_attrs={"role": "baseline"})
    study.sampler = StudySampler(stored.study, stored.seed)
    planned = stored.config(dict(stored.study.baseline)).num_evaluations_planned
    study.pruner = RungPruner(stored.study, planned)
    best = best_of(study)
    progress = Progress(
        0, count_finished(study), (best.value, best.number) if best and best.value is not None else None
    )
    watcher = LiveWatcher(progress) if is_terminal() else PlainWatcher(progress)
    return Job(study, stored, runs, table, weights, device, watcher)


def work(job: Job, n_trials: int, timeout: float | None, storage_url: str | None) -> int:
    """Plan, then run trials until the study has ``n_trials``; returns the exit status."""
    finished = count_finished(job.study)
    show_plan(job, n_trials, finished)
    show_estimate(job, job.dataset(job.stored.config(dict(job.stored.study.baseline))), n_trials - finished)
    say()
    job.watcher.progress.num_trials = n_trials
    job.stop.deadline = time.monotonic() + timeout if timeout is not None else None
    with _stop_on_signals(job.stop), job.watcher:
        cause = _run_trials(job, n_trials)
    say()
    if job.stop.reason:
        done = count_finished(job.study)
        say(f"Stopped by {job.stop.reason} at {done} of {n_trials} trials. The same command goes on.")
    summarise(job.study, job.stored, job.runs, storage_url)
    if cause:
        say(f"Gave up: {MOST_CRASHES} trials in a row crashed. The last one's cause: {cause}")
        say(f"Its traceback is in the trial's folder under {job.runs / job.study.study_name}, in crash.txt.")
        return 1
    return 130 if job.stop.reason in STOP_SIGNALS.values() else 0


def _run_trials(job: Job, n_trials: int) -> str:
    """Trial after trial; returns why it gave up, or an empty string."""
    space = distributions(job.stored.study.space)
    crashes = 0
    while count_finished(job.study) < n_trials and not job.stop:
        trial = job.study.ask(space)
        try:
            run_trial(job, trial)
            crashes = 0
        except KeyboardInterrupt:
            break
        except Exception as error:
            crashes += 1
            if crashes == MOST_CRASHES:
                return f"{type(error).__name__}: {error}"
    return ""


@contextmanager
def _stop_on_signals(stop: StopRequest) -> Iterator[None]:
    """The first signal asks the running trial to stop after its evaluation, the second one stops it at once."""

    def handle(number: int, _: FrameType | None) -> None:
        if stop.reason:
            raise KeyboardInterrupt
        stop.reason = STOP_SIGNALS[signal.Signals(number)]
        say(f"\n{stop.reason}: the running trial finishes its evaluation first; once more to stop at once.")

    before: dict[int, Any] = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
