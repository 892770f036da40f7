"""The process that works through a study's trials."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import optuna
from optuna.storages import RDBStorage

from maskcls.cli import say
from maskcls.lock import hold
from maskcls.provenance import commit, versions
from search.live import LiveWatcher, PlainWatcher, Progress, is_terminal
from search.notes import show_study
from search.objective import Job, Setup, StopRequest, run_trial
from search.plan import show_estimate, show_plan
from search.policy import RungPruner, StudySampler
from search.space import distributions, params_of
from search.storage import count_finished, create_study, has_study, load_study, requeue_lost
from search.stored import KEY, check_same, read_stored
from search.summary import best_of, summarise

MOST_CRASHES = 3
"""Trials that crash one after another before the study gives up: the fault is then not the trial's."""

STOP_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}


def work(setup: Setup, storage: RDBStorage, n_trials: int, timeout: float | None, storage_url: str | None) -> int:
    """Plan, then run trials until the study has ``n_trials``; returns the exit status.

    A new study is stored after the plan: what the plan finds impossible leaves nothing behind.
    """
    finished = count_finished(_stored_study(setup, storage)) if has_study(storage, setup.name) else 0
    show_plan(setup, n_trials, finished)
    show_estimate(setup, setup.dataset(setup.baseline), n_trials - finished)
    say()
    with hold(setup.runs):  # another first command may have got as far
        if not has_study(storage, setup.name):
            _store(setup, storage)
    job = _join(setup, storage, n_trials)
    job.stop.deadline = time.monotonic() + timeout if timeout is not None else None
    with _stop_on_signals(job.stop), job.watcher:
        cause = _run_trials(job, n_trials)
    say()
    if job.stop.reason:
        done = count_finished(job.study)
        say(f"Stopped by {job.stop.reason} at {done} of {n_trials} trials. The same command goes on.")
    summarise(job.study, setup.stored, setup.runs, storage_url)
    if cause:
        say(f"Gave up: {MOST_CRASHES} trials in a row crashed. The last one's cause: {cause}")
        say(f"Its traceback is in the trial's folder under {setup.runs / setup.name}, in crash.txt.")
        return 1
    return 130 if job.stop.reason in STOP_SIGNALS.values() else 0


def _stored_study(setup: Setup, storage: RDBStorage) -> optuna.Study:
    """The study in the database; UserError when it is another one than this command asks for."""
    study = load_study(storage, setup.name)
    check_same(read_stored(study), setup.stored, setup.name)
    return study


def _store(setup: Setup, storage: RDBStorage) -> None:
    """The study, its document, and its baseline as trial 0."""
    asked = setup.stored.study
    facts = {KEY: setup.stored.to_json(), "question": asked.question, "commit": commit(), "versions": versions()}
    study = create_study(storage, setup.name, facts)
    show_study(study, setup.stored)
    study.enqueue_trial(params_of(asked.space, asked.baseline), user_attrs={"role": "baseline"})


def _join(setup: Setup, storage: RDBStorage, n_trials: int) -> Job:
    """The stored study with its sampler and pruner, which Optuna does not store; lost trials back in the queue."""
    study = _stored_study(setup, storage)
    study.sampler = StudySampler(setup.stored.study, setup.stored.seed)
    study.pruner = RungPruner(setup.stored.study, setup.num_evaluations)
    lost = requeue_lost(study)
    if lost:
        say(f"Cut off earlier, and going on from the last evaluation: trial {', '.join(map(str, lost))}.")
    best = best_of(study)
    best_so_far = (best.value, best.number) if best is not None and best.value is not None else None
    progress = Progress(n_trials, count_finished(study), best_so_far)
    return Job(setup, study, LiveWatcher(progress) if is_terminal() else PlainWatcher(progress))


def _run_trials(job: Job, n_trials: int) -> str:
    """Trial after trial; returns why it gave up, or an empty string."""
    space = distributions(job.setup.stored.study.space)
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
