"""One worker: a process that takes trial after trial of a stored study and runs them on its slot.

Started by the supervisor (workers.py) as ``python -m search.worker_process FD``: its order comes as the first line of
the standard input, further lines tell it to go or to stop, the end of the input means that the supervisor has died.
What happens is told as events on the file descriptor FD. The first worker of a command shows the plan on the terminal
and stores the study while the others make ready; from then on a worker writes to a log file of its own.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from optuna.storages import RDBStorage
from optuna.trial import TrialState

from maskcls.cli import say
from maskcls.config import TrainConfig
from maskcls.dataset import data_folder, read_table
from maskcls.errors import UserError, one_line
from maskcls.lock import share
from maskcls.metrics import Scores
from maskcls.numerics import pick_device
from maskcls.weights import resolve_weights
from search import keep
from search.birth import find_or_make
from search.failures import cause_outside, reason_to_give_up
from search.limits import reached
from search.objective import Job, Setup, StopRequest, StopStudyError, run_trial
from search.orders import GAVE_UP, GO, NOTHING_LEFT, REFUSED, STOPPED, Order
from search.plan import backbones_of
from search.processes import describe_myself
from search.rounds import policy_of
from search.storage import HEARTBEAT_SECONDS, backend_of, load_study, open_storage
from search.stored import check_same, read_stored
from search.times import moment_of
from search.trials import next_trial

POLL_SECONDS = 0.5
"""How often a worker without a trial looks for one: another's may fail or be interrupted."""


class Teller:
    """The watcher that passes everything on to the supervisor."""

    def __init__(self, events: TextIO) -> None:
        self.events = events

    def tell(self, event: str, *details: Any) -> None:
        """One line; when nobody listens any more, the end of the input says so as well."""
        with contextlib.suppress(OSError):
            self.events.write(json.dumps([event, *details]) + "\n")
            self.events.flush()

    def trial_began(self, number: int, values: Mapping[str, Any]) -> None:
        """See live.Watcher."""
        self.tell("trial_began", number, dict(values))
        say(f"trial {number}: begins")

    def evaluated(self, number: int, step: int, num_planned: int, scores: Scores, is_news: bool = True) -> None:
        """See live.Watcher."""
        self.tell("evaluated", number, step, num_planned, scores.to_dict(), is_news)

    def trial_ended(self, number: int, state: TrialState, value: float | None, why: str = "") -> None:
        """See live.Watcher."""
        self.tell("trial_ended", number, state.name, value, why)
        say(f"trial {number}: {state.name.lower()} {why}")


class Heart(threading.Thread):
    """Says in the database, from time to time, that this worker still runs its trial."""

    def __init__(self, storage: RDBStorage) -> None:
        super().__init__(daemon=True)
        self.storage = storage
        self.trial_id: int | None = None

    def run(self) -> None:
        """Beat until the process ends."""
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            if self.trial_id is not None:
                try:
                    self.storage.record_heartbeat(self.trial_id)
                except Exception as error:  # a database that is out of reach for a while is no reason to end
                    say(f"no heartbeat: {one_line(error)}")


def main() -> None:
    """Work until there is nothing left to do or the supervisor says stop; the exit status is for its eyes only."""
    teller = Teller(os.fdopen(int(sys.argv[1]), "w"))
    lines = _lines(sys.stdin.fileno())
    line = next(lines, None)
    if line is None:  # the supervisor found out that there is nothing to do, or died
        return
    order = Order.from_line(line)
    stop = StopRequest()
    go = _listen(stop, lines)
    try:
        if order.waits and not _wait(order, stop, go):
            teller.tell("ended", STOPPED, stop.reason)
            return
        _heed_signals(stop)
        if not order.plan:
            _write_to_log(order)
        why, cause = _work(order, teller, stop)
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


def _listen(stop: StopRequest, lines: Iterator[str]) -> threading.Event:
    """Stop after the running evaluation when told so. Returns the event that the study is stored."""
    go = threading.Event()

    def read() -> None:
        for line in lines:
            if line == GO:
                go.set()
            else:
                stop.reason = line
        stop.reason = stop.reason or "the supervisor is gone"

    threading.Thread(target=read, daemon=True).start()
    return go


def _heed_signals(stop: StopRequest) -> None:
    """These stop after the running evaluation too; SIGINT is for stopping at once, and stays what it is."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: setattr(stop, "reason", "a signal"))


def _wait(order: Order, stop: StopRequest, go: threading.Event) -> bool:
    """Do what is slow the first time, then wait; True once the study is stored, False when told to stop before.

    What goes wrong here is nobody's business: the planner meets it too, or this worker does again. In particular the
    weights are left to the planner, since all at once would ask the hub for the same files.
    """
    with contextlib.suppress(Exception):
        open_storage(order.url, create=False).engine.dispose()
        read_table(data_folder(order.stored().data, Path(order.runs)), _baseline(order), order.stored().label_fixes)
    while not go.wait(POLL_SECONDS):
        if stop:
            return False
    return True


def _write_to_log(order: Order) -> None:
    """Everything that this process writes, and the libraries in it, goes to its slot's log."""
    folder = order.folder() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / f"{order.slot.replace(':', '')}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    share(folder)  # so that nobody deletes the study between two trials
    say(f"--- worker {os.getpid()}, {time.strftime('%Y-%m-%d %H:%M:%S')}")


def _work(order: Order, teller: Teller, stop: StopRequest) -> tuple[str, str]:
    """(why it ended, the cause)."""
    setup = _set_up(order)
    storage = open_storage(order.url, create=False, waits=True)
    if order.plan:
        find_or_make(setup, storage, order)
        teller.tell("planned")
        _write_to_log(order)
    study = load_study(storage, order.name)
    stored = read_stored(study)
    check_same(stored, setup.stored, order.name)
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
    keep.sweep(study.get_trials(deepcopy=False), setup.folder, order.keep)
    return take_trials(job, order)


def _set_up(order: Order) -> Setup:
    """What the trials need, found on this machine. Raises UserError for what cannot be had."""
    wanted, runs = order.stored(), Path(order.runs)
    device = pick_device(order.device)
    table = read_table(data_folder(wanted.data, runs), _baseline(order), wanted.label_fixes)
    weights = resolve_weights(wanted.weights_option, backbones_of(wanted.study))
    wanted = replace(wanted, split=table.hash, weights=weights.describe())
    return Setup(order.name, wanted, runs, table, weights, device, order.cores)


def _baseline(order: Order) -> TrainConfig:
    wanted = order.stored()
    return wanted.config(dict(wanted.study.baseline))


def take_trials(job: Job, order: Order) -> tuple[str, str]:
    """Trial after trial; returns why it ended, and the cause."""
    heart = Heart(backend_of(job.study))
    heart.start()
    per_epoch, limits = job.setup.baseline.evaluations_per_epoch, order.asked()
    while not job.stop:
        trials = job.study.get_trials(deepcopy=False)
        cause = reason_to_give_up(trials, moment_of(order.since))
        if cause:
            return GAVE_UP, cause
        trial = next_trial(job.study, job.policy, limits, per_epoch, job.worker)
        if trial is not None:
            heart.trial_id = trial._trial_id
            run_trial(job, trial)
            heart.trial_id = None
        elif limit := reached(limits, job.study.get_trials(deepcopy=False), per_epoch):
            return NOTHING_LEFT, limit
        else:
            time.sleep(POLL_SECONDS)
    return STOPPED, job.stop.reason
