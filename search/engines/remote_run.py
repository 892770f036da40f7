"""The main loop of a command whose workers an engine runs: shows what they do, and says when they are to stop.

Where a worker runs, and that it is started again elsewhere when its machine dies, is the engine's work. Here a worker
is started again only when its own process has died, so that one that always dies ends the command.
"""

import logging
import math
import signal
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from optuna.trial import TrialState

from maskcls.system.console import say
from maskcls.system.errors import UserError, count_of
from search.database.connect import open_storage
from search.engines.messages import Ended, Message, Orders, Said, Started
from search.storage.folder import claim_in_turn
from search.storage.presence import DATABASE_ERRORS
from search.supervisor.command import MAX_BROKEN, PRESENCE_SECONDS, TICK_SECONDS, Command
from search.supervisor.conclusion import no_answer
from search.supervisor.pool import KILL_SECONDS
from search.supervisor.shutdown import GRACE_SECONDS, PATIENCE_SECONDS, STOP_SIGNALS
from search.worker.messages import (
    BROKEN,
    GAVE_UP,
    NOTHING_LEFT,
    REFUSED,
    STOPPED,
    VANISHED,
    Evaluated,
    Outcome,
    Planned,
    TrialBegan,
    TrialEnded,
    WaitsFor,
    WorkOrder,
)

logger = logging.getLogger(__name__)

SILENT_SECONDS = 30.0
"""How long after its last chance the command waits for a worker that was to stop at once."""


class Cluster(Protocol):
    """An engine: runs workers on machines, and starts those again whose machine dies."""

    def submit(self, number: int, order: WorkOrder) -> None:
        """Run worker ``number``, now or when there is room."""

    def ended(self, seconds: float) -> list[tuple[int, Ended | str]]:
        """The workers that have ended, waiting so long for one; a text says why the engine runs one no more."""

    def take(self) -> list[tuple[int, Message]]:
        """What workers have told since the last call, in order."""

    def tell(self, orders: Orders) -> None:
        """The orders of all workers from now on."""

    def withdraw(self, number: int) -> None:
        """Run a worker no more that has not started, or whose machine has died."""

    def lost_nodes(self) -> Collection[str]:
        """The machines (Started.node) that have died."""


@dataclass
class _Worker:
    """What the command knows of a worker that it has submitted."""

    started: Started | None = None
    """Its present process; None while it waits for room."""
    trial: int | None = None
    """Number of the trial that it runs."""
    has_begun_trial: bool = False


@dataclass
class RemoteRun:
    """One command's work on a study, by the workers of an engine."""

    cluster: Cluster
    command: Command
    """Its GPUs (Command.broken) are named by Started.gpu."""
    orders: Orders = field(default_factory=Orders)
    """As the workers know them."""
    workers: dict[int, _Worker] = field(default_factory=dict)
    signals: list[int] = field(default_factory=list)
    """The stop signals that have come."""
    obeyed: int = 0
    """How many of them have had their effect."""
    now_from: float = math.inf
    """When (time.monotonic) the workers are told to stop at once."""
    over_from: float = math.inf
    """When those that are left are waited for no more."""
    checked: float = 0.0
    """When the study's files and the machines were last looked at."""

    def run(self) -> int:
        """Run until every worker has ended; returns the exit status."""
        return self.command.run(self._loop, self._on_signal, lambda: self.orders.stop)

    def _loop(self) -> None:
        if self.command.order.plan:
            self._submit(0)
        else:  # the study is stored already
            self._begin_running()
        while self.workers:
            ends = self.cluster.ended(TICK_SECONDS)
            for number, message in self.cluster.take():
                self._handle_message(number, message)
            for number, end in ends:
                self._handle_end(number, end)
            self._tick()

    def _submit(self, number: int) -> None:
        self.workers[number] = _Worker()
        self.cluster.submit(number, self.command.order)

    def _begin_running(self) -> None:
        """Show the stored study from now on, and start the workers that have waited for the plan."""
        if self.command.study is not None:  # the planner died, and its successor has planned again
            return
        try:
            _claim_folder(self.command.order)
            self.command.begin(self.command.order.workers)
        except UserError as error:
            self._end(Outcome(REFUSED, str(error)))
            return
        except DATABASE_ERRORS as error:
            self._give_up(no_answer(error))
            return
        self._tell(replace(self.orders, is_planned=True))
        for number in range(self.command.order.workers):
            if number not in self.workers:
                self._submit(number)

    def _handle_message(self, number: int, message: Message) -> None:
        worker = self.workers.get(number)
        if worker is None:
            return  # it was withdrawn
        match message:
            case Started():
                self._handle_start(number, worker, message)
            case Said(line):
                say(line)
            case Planned():
                self._begin_running()
            case WaitsFor(trials):
                if self.command.display is not None:
                    own = {(other.started.host, other.started.pid) for other in self.workers.values() if other.started}
                    others = [trial for trial in trials if (trial.host, trial.pid) not in own]
                    self.command.display.say_waiting_for(others, set())
            case TrialBegan() | Evaluated() | TrialEnded():
                self._handle_trial_event(worker, message)

    def _handle_start(self, number: int, worker: _Worker, start: Started) -> None:
        """A worker has started; had it a process before, the engine has lost that one."""
        if worker.started is not None:
            if not worker.has_begun_trial and worker.started.node not in self.cluster.lost_nodes():
                self._count_failed_start(1, "the engine's process was killed")
            self._lose(worker, f"its worker on {worker.started.host} was killed")
            logger.info(f"Worker {number} was started again on {start.host}.")
        worker.started = start

    def _lose(self, worker: _Worker, why: str) -> None:
        """Note that the worker has no process any more."""
        if worker.trial is not None and self.command.display is not None:
            self.command.display.screen.trial_ended(worker.trial, TrialState.WAITING, None, why)
        worker.started, worker.trial, worker.has_begun_trial = None, None, False

    def _handle_trial_event(self, worker: _Worker, event: TrialBegan | Evaluated | TrialEnded) -> None:
        if self.command.display is None:
            return
        if isinstance(event, TrialBegan):
            worker.trial, worker.has_begun_trial = event.number, True
        elif isinstance(event, TrialEnded):
            worker.trial = None
        self._give_up(self.command.show(event, None if worker.started is None else worker.started.gpu))

    def _handle_end(self, number: int, end: Ended | str) -> None:
        """Remove a worker that has ended, and start another in its place if it died."""
        if self.workers.pop(number, None) is None:
            return
        if isinstance(end, str):
            if not self.orders.stop:
                self._give_up(f"a worker could not be run: {end}")
            return
        kind = STOPPED if end.outcome is None else end.outcome.kind
        if kind == REFUSED and end.gpu in self.command.broken:
            kind = BROKEN  # it does not even find the GPU
        if kind in (STOPPED, BROKEN):
            if not self.orders.stop:
                self._handle_lost_process(number, end, is_broken=kind == BROKEN)
            return
        assert end.outcome is not None
        self._end(_with_host(end.outcome, end.host))

    def _handle_lost_process(self, number: int, end: Ended, is_broken: bool) -> None:
        """A worker ended without being told to: start another, unless that has been in vain too often."""
        if self.command.study is None and end.death is None:
            self._stop("the plan was not made", GRACE_SECONDS)  # a signal from outside stopped the planner alone
        elif is_broken and self.command.study is not None and end.outcome is not None:
            self._handle_broken(number, end, end.outcome.cause)
        else:
            if end.trial is None and end.death is not None:
                self._count_failed_start(end.death.weight, end.error or end.death.how)
            if not self.orders.stop:
                self._submit(number)

    def _handle_broken(self, number: int, end: Ended, cause: str) -> None:
        """Start a worker that has lost its GPU again, unless that GPU has failed too often."""
        lost = self.command.broken.setdefault(end.gpu, set())
        lost.add(f"process {end.pid} on {end.host}" if end.trial is None else f"trial {end.trial}")
        if len(lost) < MAX_BROKEN:
            logger.info(f"Worker {number} lost its GPU on {end.host} and is replaced: {cause}")
            self._submit(number)
            return
        logger.info(f"Worker {number} is not replaced, since a GPU of {end.host} failed {len(lost)} times: {cause}")
        if not self.workers and self.command.outcome.kind == STOPPED:
            self._give_up(f"a GPU failed again and again, at last on {end.host}: {cause}")

    def _count_failed_start(self, weight: int, how: str) -> None:
        self.command.failed_to_start += weight
        if self.command.starts_in_vain:
            self._give_up(f"one worker after another died before its first trial ({how})")

    def _end(self, outcome: Outcome) -> None:
        """Note how a worker has ended by itself, or why none can work."""
        if self.command.outcome.kind in (GAVE_UP, VANISHED, REFUSED):
            return  # only the first cause counts
        if self.command.note(outcome):
            self._stop("another worker gave up", GRACE_SECONDS)
        else:
            self._withdraw_waiting()  # they would find nothing left either

    def _give_up(self, cause: str) -> None:
        """End the command for this cause; an empty one is no reason."""
        if cause:
            self._end(Outcome(GAVE_UP, cause))

    def _stop(self, reason: str, within: float) -> None:
        """Let all workers stop after their evaluation, and after so many seconds without it."""
        self.now_from = min(self.now_from, time.monotonic() + within)
        self._tell(replace(self.orders, stop=self.orders.stop or reason))
        self._withdraw_waiting()
        if self.command.study is None:  # they have nothing to finish
            self.workers.clear()

    def _tell(self, orders: Orders) -> None:
        self.orders = orders
        self.cluster.tell(orders)

    def _withdraw_waiting(self) -> None:
        """Give up the workers that have no process."""
        for number in [number for number, worker in self.workers.items() if worker.started is None]:
            self.cluster.withdraw(number)
            del self.workers[number]

    def _on_signal(self, number: int) -> None:
        """Note a stop signal for _tick. Raises KeyboardInterrupt on the third, and before the study is stored."""
        self.signals.append(number)
        if self.command.study is None or len(self.signals) > 2:
            raise KeyboardInterrupt

    def _tick(self) -> None:
        """Do what depends on the time: signals, the timeout, checks, the steps of a stop."""
        now = time.monotonic()
        self._obey_signals()
        if now >= self.command.deadline and not self.orders.stop:
            self._stop("--timeout", GRACE_SECONDS)
        if now - self.checked >= PRESENCE_SECONDS:
            self.checked = now
            self._check_presence()
            self._check_nodes()
        if not self.orders.stop:
            self._give_up(self.command.refresh(now))
        now = time.monotonic()  # _stop may just have set the next two
        if now >= self.now_from and not self.orders.now:
            if self.workers and len(self.signals) < 2:
                say(f"{self.orders.stop}: trials that still run are stopped, and continue from their last evaluation.")
            self._tell(replace(self.orders, now=True))
            self.over_from = now + PATIENCE_SECONDS + KILL_SECONDS + SILENT_SECONDS
        if self.workers and now >= self.over_from:
            say(f"Gave up waiting for {count_of(len(self.workers), 'worker')} without an answer.")
            self.workers.clear()

    def _obey_signals(self) -> None:
        """Stop after the evaluations for the first signal, at once for the second."""
        if self.signals and self.obeyed == 0:
            reason = STOP_SIGNALS[signal.Signals(self.signals[0])]
            say(f"\n{reason}: running trials finish their evaluation first; once more to stop at once.")
            self._stop(reason, within=math.inf)  # since a second signal stops them at once
        if len(self.signals) > 1 and self.obeyed < 2:
            self._stop("", within=0)
        self.obeyed = len(self.signals)

    def _check_presence(self) -> None:
        """Stop at once when the study's files are gone."""
        if lost := self.command.note_vanished():
            self._stop(lost, within=0)

    def _check_nodes(self) -> None:
        """Note the workers whose machine has died: they wait for room on another."""
        lost = self.cluster.lost_nodes()
        for number, worker in self.workers.items():
            if worker.started is not None and worker.started.node in lost:
                host = worker.started.host
                logger.info(
                    f"Worker {number} on {host} is lost with its machine, and starts again where there is room."
                )
                self._lose(worker, f"its machine {host} died")
        if self.orders.stop:
            self._withdraw_waiting()


def _claim_folder(order: WorkOrder) -> None:
    """Make the folder on the command's machine the study's too: the one that planned may share none with it.

    Raises one of DATABASE_ERRORS, UserError when the folder is another study's.
    """
    storage = open_storage(order.url, create=False, waits=True)
    claim_in_turn(storage, order.name, Path(order.runs))
    storage.engine.dispose()


def _with_host(outcome: Outcome, host: str) -> Outcome:
    """The outcome, with where it was where that is another machine than this."""
    if not outcome.cause or outcome.kind == NOTHING_LEFT or host == socket.gethostname():
        return outcome
    return replace(outcome, cause=f"On {host}: {outcome.cause}")
