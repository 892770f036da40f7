"""One worker: a process that takes trial after trial of a stored study and runs them on its slot.

The supervisor starts it as ``python -m search.worker.process FD``. The first line of its standard input is its order;
later lines start or stop it, and the end of the input means that the supervisor has died. It sends events to the file
descriptor FD (messages.py). The first worker of a command shows the plan on the terminal and stores the study while the
others get ready; from then on every worker writes to a log file of its own.

``take_trials`` is the main loop of the whole service; ``objective.run_trial`` is what it runs.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from optuna.trial import FrozenTrial, TrialState

from maskcls.system.errors import UserError, one_line
from maskcls.system.liveness import beat
from maskcls.training.numerics import lost_gpu
from search.database.connect import backend_of, open_storage
from search.database.optuna_internals import trial_id
from search.storage.failures import cause_outside, reason_to_give_up
from search.storage.looks import closed_levels
from search.storage.queue import next_trial
from search.study.attributes import worker_of
from search.system.clock import time_at
from search.system.signals import STOP_NOW, handle
from search.worker.events import EventWriter
from search.worker.heartbeat import HeartbeatThread
from search.worker.job import BrokenProcessError, Job, StopRequest, StopStudyError
from search.worker.make_job import make_job, read_photos
from search.worker.messages import (
    BROKEN,
    GAVE_UP,
    GO,
    NOTHING_LEFT,
    REFUSED,
    STOPPED,
    Died,
    Moved,
    Outcome,
    RunningTrial,
    WaitsFor,
    WorkOrder,
)
from search.worker.objective import run_trial
from search.worker.rounds import look_at_rounds, within_time

logger = logging.getLogger(__name__)

POLL_SECONDS, LONGEST_POLL_SECONDS = 0.5, 3.0
"""How often a worker without a trial looks for one: another worker's may fail or be interrupted. Less often the longer
it has none, as the others of a hundred have none either at the end of a study."""


def main() -> None:
    """Carry out the order on the standard input and send the outcome."""
    events = EventWriter(int(sys.argv[1]))
    try:
        lines = _lines(sys.stdin.fileno())
        order = next(lines, None)
        if order is not None:  # else the supervisor has nothing to do, or has died
            events.send(_carry_out(order, lines, events))
    finally:
        events.close()


def _carry_out(order: str, lines: Iterator[str], events: EventWriter) -> Outcome:
    """Work, and return the outcome. An error that has no outcome is a bug: it is sent as Died and raised again.

    A process that has lost its GPU exits here, while the error keeps what the training made: freeing memory and graphs
    calls the GPU, which would abort the process before its outcome is sent.
    """
    try:
        return _work(WorkOrder.from_line(order), lines, events)
    except (Exception, KeyboardInterrupt) as error:
        outcome = _outcome_of(error)
        if outcome is None:
            events.send(Died(f"{type(error).__name__}: {one_line(error)}"))
            raise
        if outcome.kind == BROKEN:
            logger.info(f"this process has lost its GPU and exits: {outcome.cause}")
            events.send(outcome)
            events.close()
            sys.stdout.flush()
            os._exit(1)
        return outcome


def _outcome_of(error: BaseException) -> Outcome | None:
    """The outcome of a worker that an error ends; None for a bug."""
    match error:
        case UserError():
            return Outcome(REFUSED, str(error))
        case StopStudyError():
            return Outcome(GAVE_UP, str(error))
        case KeyboardInterrupt():
            return Outcome(STOPPED)
        case BrokenProcessError():
            return Outcome(BROKEN, str(error))
    if broken := lost_gpu(error):
        return Outcome(BROKEN, broken)
    cause = cause_outside(error)
    return Outcome(GAVE_UP, cause) if cause else None


def _work(order: WorkOrder, lines: Iterator[str], events: EventWriter) -> Outcome:
    """Wait for the plan or make it, then take trials until there is a reason to stop."""
    stop, go, alone = StopRequest(), threading.Event(), threading.Event()
    _listen(stop, go, alone, lines)
    heartbeat = HeartbeatThread(events, order.stall, alone.is_set)
    heartbeat.start()
    events.send(Moved())
    if order.waits and not _wait(order, stop, go):
        return Outcome(STOPPED, stop.reason)
    _heed_signals(stop)
    job = make_job(order, stop, events)
    heartbeat.storage = backend_of(job.study)
    return take_trials(job, order, heartbeat.set_trial, lambda trials: events.send(WaitsFor(trials)))


def take_trials(
    job: Job,
    order: WorkOrder,
    on_trial: Callable[[int | None], None] = lambda trial_id: None,
    on_waiting: Callable[[tuple[RunningTrial, ...]], None] = lambda trials: None,
) -> Outcome:
    """The main loop of the service: take a trial, run it to its verdict, until nothing is left; returns why it ended.

    ``on_trial`` gets the id of the running trial, None once it has ended. ``on_waiting`` gets the trials of other
    workers that this one waits for, whenever they change: one of them may fail or be interrupted.
    Raises StopStudyError when every other trial would fail too, BrokenProcessError when the process has lost its GPU,
    KeyboardInterrupt when told to stop at once.
    """
    study, per_epoch = job.study, job.setup.baseline.evaluations_per_epoch
    presence = job.presence  # as it is now, before the first trial
    waiting_for: tuple[RunningTrial, ...] = ()
    pause = POLL_SECONDS
    try:
        while not job.stop:
            beat()
            if cause := presence.lost():
                return Outcome(GAVE_UP, cause)
            trials = study.get_trials(deepcopy=False)
            if cause := reason_to_give_up(trials, time_at(order.since)):
                return Outcome(GAVE_UP, cause)
            limits = within_time(order, trials, per_epoch)
            look_at_rounds(job, limits)
            trial = next_trial(study, job.policy, limits, job.worker)
            if trial is not None:
                on_trial(trial_id(trial))
                run_trial(job, trial)
                on_trial(None)
                waiting_for, pause = (), POLL_SECONDS
                continue
            trials = study.get_trials(deepcopy=False)
            if limit := job.policy.reached(limits, trials, closed_levels(study, limits.own_best)):
                look_at_rounds(job, limits)  # another worker may have ended the last trial meanwhile
                return Outcome(NOTHING_LEFT, limit)
            if (running := _running(trials)) != waiting_for:
                on_waiting(running)
                waiting_for = running
            _sleep(pause, job.stop)
            pause = min(1.2 * pause, LONGEST_POLL_SECONDS)
        look_at_rounds(job, within_time(order, study.get_trials(deepcopy=False), per_epoch))
        return Outcome(STOPPED, job.stop.reason)
    except (StopStudyError, BrokenProcessError):
        raise
    except Exception as error:
        job.raise_if_vanished(error)
        raise


def _sleep(seconds: float, stop: StopRequest) -> None:
    """Sleep so long, or until there is a reason to stop."""
    until = time.monotonic() + seconds
    while not stop and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, POLL_SECONDS))


def _running(trials: Sequence[FrozenTrial]) -> tuple[RunningTrial, ...]:
    """The running trials, which a worker without one waits for."""
    return tuple(
        RunningTrial(trial.number, worker.host, worker.pid, is_away=worker.has_ended() is None)
        for trial in trials
        if trial.state == TrialState.RUNNING and (worker := worker_of(trial)) is not None
    )


def _lines(descriptor: int) -> Iterator[str]:
    """The lines of a file, unbuffered: a thread that blocks in sys.stdin would keep the interpreter from exiting."""
    text = b""
    while part := os.read(descriptor, 1 << 16):
        *lines, text = (text + part).split(b"\n")
        yield from (line.decode() for line in lines)


def _listen(stop: StopRequest, go: threading.Event, alone: threading.Event, lines: Iterator[str]) -> None:
    """Read lines in a thread: a reason to ``stop``, GO (``go``), or the end once the supervisor is dead (``alone``)."""

    def read() -> None:
        for line in lines:
            if line == GO:
                go.set()
            else:
                stop.reason = line
        stop.reason = stop.reason or "the supervisor is gone"
        alone.set()

    threading.Thread(target=read, daemon=True).start()


def _heed_signals(stop: StopRequest) -> None:
    """SIGTERM and SIGHUP stop the worker after its evaluation, STOP_NOW stops it at once; SIGINT stays as inherited."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        handle(number, lambda *_: setattr(stop, "reason", "a signal"))
    signal.signal(STOP_NOW, signal.default_int_handler)


def _wait(order: WorkOrder, stop: StopRequest, go: threading.Event) -> bool:
    """Do what is slow the first time, then wait; True once the study is stored, False when told to stop before.

    Errors are ignored: the planner meets them too, or this worker meets them again. Only the planner loads the weights,
    or all workers would ask the hub for the same files at once.
    """
    with contextlib.suppress(Exception):
        open_storage(order.url, create=False).engine.dispose()
        read_photos(order)
    while not go.wait(POLL_SECONDS):
        beat()
        if stop:
            return False
    return True
