"""One worker: a process that takes trial after trial of a stored study and runs them on its slot.

Started by the supervisor as ``python -m search.worker.process FD``: its order comes as the first line of
the standard input, further lines tell it to go or to stop, the end of the input means that the supervisor has died.
What happens is told as events on the file descriptor FD. The first worker of a command shows the plan on the terminal
and stores the study while the others make ready; from then on a worker writes to a log file of its own.
"""

import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from maskcls.data.dataset import prepare_data_folder, read_table
from maskcls.model.weights import resolve_weights
from maskcls.system.errors import UserError, one_line
from maskcls.system.liveness import beat
from maskcls.system.lock import share_folder
from maskcls.training.numerics import pick_device
from search.database.connect import backend_of, load_study, open_storage, open_to_read
from search.database.optuna_internals import trial_id
from search.policy.confirmation import policy_of
from search.policy.stopping import reached
from search.storage import retention
from search.storage.failures import cause_outside, reason_to_give_up
from search.storage.folder import study_folder
from search.storage.queue import next_trial
from search.study.attributes import worker_of
from search.study.compatibility import check_revision
from search.study.record import check_same, read_stored
from search.system.clock import moment_of
from search.system.processes import describe_myself, is_gone
from search.system.signals import AT_ONCE, SHOW_STACK, handle
from search.worker.create import find_or_make, is_made
from search.worker.events import EventWriter
from search.worker.heartbeat import HeartbeatThread
from search.worker.job import Job, Setup, StopRequest, StopStudyError
from search.worker.messages import GAVE_UP, GO, NOTHING_LEFT, REFUSED, STOPPED, WorkOrder
from search.worker.objective import run_trial
from search.worker.plan import backbones_of

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""How often a worker without a trial looks for one: another's may fail or be interrupted."""


def main() -> None:
    """Work until there is nothing left to do or the supervisor says stop; the exit status is for its eyes only."""
    teller = EventWriter(int(sys.argv[1]))
    try:
        _follow(teller)
    finally:
        teller.close()


def _follow(teller: EventWriter) -> None:
    """Hear the order, carry it out, and tell how it ended."""
    lines = _lines(sys.stdin.fileno())
    line = next(lines, None)
    if line is None:  # the supervisor found out that there is nothing to do, or died
        return
    order = WorkOrder.from_line(line)
    stop, go, alone = StopRequest(), threading.Event(), threading.Event()
    _listen(stop, go, alone, lines)
    heart = HeartbeatThread(teller, order.stall, alone.is_set)
    heart.start()
    teller.tell("moves")
    try:
        if order.waits and not _wait(order, stop, go):
            teller.tell("ended", STOPPED, stop.reason)
            return
        _heed_signals(stop)
        if not order.plan:
            _write_to_log(order, _home(order))
        why, cause = _work(order, teller, stop, heart)
    except UserError as error:
        why, cause = REFUSED, str(error)
    except StopStudyError as error:
        why, cause = GAVE_UP, str(error)
    except KeyboardInterrupt:
        why, cause = STOPPED, ""
    except Exception as error:
        why, cause = GAVE_UP, cause_outside(error)
        if not cause:
            teller.tell("died", f"{type(error).__name__}: {one_line(error)}")
            raise
    teller.tell("ended", why, cause)


def _lines(descriptor: int) -> Iterator[str]:
    """Line after line, unbuffered: a thread that waits in sys.stdin keeps the interpreter from ending."""
    text = b""
    while part := os.read(descriptor, 1 << 16):
        *whole, text = (text + part).split(b"\n")
        yield from (line.decode() for line in whole)


def _listen(stop: StopRequest, go: threading.Event, alone: threading.Event, lines: Iterator[str]) -> None:
    """Stop after the running evaluation when told so; ``go``: the study is stored; ``alone``: nobody tells any more."""

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
    """SIGTERM and SIGHUP stop after the running evaluation too; SIGINT stops at once, and stays what it is."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        handle(number, lambda *_: setattr(stop, "reason", "a signal"))
    signal.signal(AT_ONCE, signal.default_int_handler)


def _wait(order: WorkOrder, stop: StopRequest, go: threading.Event) -> bool:
    """Do what is slow the first time, then wait; True once the study is stored, False when told to stop before.

    What goes wrong here is nobody's business: the planner meets it too, or this worker does again. In particular the
    weights are left to the planner, since all at once would ask the hub for the same files.
    """
    with contextlib.suppress(Exception):
        open_storage(order.url, create=False).engine.dispose()
        wanted = order.stored()
        read_table(prepare_data_folder(wanted.data, Path(order.runs)), wanted.baseline_config, wanted.label_fixes)
    while not go.wait(POLL_SECONDS):
        beat()
        if stop:
            return False
    return True


def _home(order: WorkOrder) -> Path:
    """The folder of the study, which is stored."""
    return study_folder(load_study(open_to_read(order.url, waits=True), order.name), Path(order.runs))


def _write_to_log(order: WorkOrder, home: Path) -> None:
    """Everything that this process writes, and the libraries in it, goes to its slot's log."""
    folder = home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / f"{order.slot.replace(':', '')}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    faulthandler.register(SHOW_STACK, file=2)
    share_folder(folder)  # so that nobody deletes the study between two trials
    logger.info(f"--- worker {os.getpid()}, {time.strftime('%Y-%m-%d %H:%M:%S')}")


def _work(order: WorkOrder, teller: EventWriter, stop: StopRequest, heart: HeartbeatThread) -> tuple[str, str]:
    """(why it ended, the cause)."""
    setup = _set_up(order)
    storage = open_storage(order.url, create=False, waits=True)
    # whoever hangs in a turn is ended by its supervisor first
    storage.lock_seconds = max(storage.lock_seconds, 2 * order.stall)
    if order.plan:
        find_or_make(setup, storage, order)
        teller.tell("planned")
        _write_to_log(order, _home(order))
    study = load_study(storage, order.name)
    stored = read_stored(study)
    setup.home = study_folder(study, setup.runs)
    check_same(stored, setup.stored, order.name)
    check_revision(study, stored)
    # the space as it is stored, the photos and weights as this command reaches them
    setup.stored = replace(stored, data=setup.stored.data, weights_option=setup.stored.weights_option)
    job = Job(
        setup,
        study,
        policy_of(stored),
        teller,
        describe_myself(order.slot),
        stop,
        order.keep,
    )
    retention.remove_large_files(study.get_trials(deepcopy=False), setup.folder, order.keep)
    heart.storage = backend_of(study)
    return take_trials(job, order, heart.hold, partial(teller.tell, "waits"))


def _set_up(order: WorkOrder) -> Setup:
    """What the trials need, found on this machine. Raises UserError for what cannot be had."""
    wanted, runs = order.stored(), Path(order.runs)
    device = pick_device(order.device)
    table = read_table(prepare_data_folder(wanted.data, runs), wanted.baseline_config, wanted.label_fixes)
    weights = resolve_weights(wanted.weights_option, backbones_of(wanted.study), _commits(order))
    wanted = replace(wanted, split=table.hash, weights=weights.describe(), weights_commits=weights.commits)
    return Setup(order.name, wanted, runs, table, weights, device, order.cores)


def _commits(order: WorkOrder) -> dict[str, str]:
    """Of the hub's weights that the study, or the one that it is to be a copy of, has had so far."""
    storage = open_to_read(order.url, waits=True)
    for name in (order.name, order.grown_from):
        if name is not None and is_made(storage, name):
            return read_stored(load_study(storage, name)).weights_commits
    return {}


def take_trials(
    job: Job,
    order: WorkOrder,
    hold: Callable[[int | None], None] = lambda trial_id: None,
    tell: Callable[[list[list[Any]]], None] = lambda running: None,
) -> tuple[str, str]:
    """Trial after trial; returns why it ended, and the cause.

    ``hold`` hears the id of the trial that runs, None once it does not; ``tell`` which trials run
    while there is none for this worker.
    """
    ground = job.ground  # as it is now, before the first trial
    try:
        return _take_trials(job, order, hold, tell)
    except (StopStudyError, KeyboardInterrupt):
        raise
    except Exception as error:
        lost = ground.why_failed()
        if lost:
            raise StopStudyError(lost) from error
        raise


def _take_trials(
    job: Job, order: WorkOrder, hold: Callable[[int | None], None], tell: Callable[[list[list[Any]]], None]
) -> tuple[str, str]:
    per_epoch, limits = job.setup.baseline.evaluations_per_epoch, order.asked()
    told: list[list[Any]] = []
    while not job.stop:
        beat()
        lost = job.ground.lost()
        if lost:
            return GAVE_UP, lost
        trials = job.study.get_trials(deepcopy=False)
        cause = reason_to_give_up(trials, moment_of(order.since))
        if cause:
            return GAVE_UP, cause
        trial = next_trial(job.study, job.policy, limits, per_epoch, job.worker)
        if trial is not None:
            told = []
            hold(trial_id(trial))
            run_trial(job, trial)
            hold(None)
            continue
        trials = job.study.get_trials(deepcopy=False)
        if limit := reached(limits, trials, per_epoch):
            return NOTHING_LEFT, limit
        if (others := _running(trials)) != told:
            told = others
            tell(others)
        time.sleep(POLL_SECONDS)
    return STOPPED, job.stop.reason


def _running(trials: Sequence[FrozenTrial]) -> list[list[Any]]:
    """[number, host, pid, whether on another machine] of the trials that run: what a worker without one waits for."""
    found = []
    for trial in trials:
        worker = worker_of(trial)
        if trial.state == TrialState.RUNNING and worker is not None:
            found.append([trial.number, worker["host"], worker["pid"], is_gone(worker) is None])
    return found
