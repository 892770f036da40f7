"""Runs one worker on a machine that an engine has chosen, and passes its events on to the command.

The worker is the process that a supervisor would start, so it sees the same order, the same signals and a GPU of its
own, and it may redirect its output or be killed without any harm to the engine's process, which has other work later.
"""

import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from optuna.trial import TrialState

from maskcls.system.console import quiet_threads
from search.database.connect import load_study, open_storage
from search.engines.messages import Assignment, Ended, Message, Orders, Said, Started
from search.gpus.gpus import find_gpus
from search.gpus.slots import Slot
from search.storage.presence import DATABASE_ERRORS
from search.supervisor.command import TICK_SECONDS
from search.supervisor.deaths import Death, death_of, free_trial
from search.supervisor.display import QUERY_SECONDS
from search.supervisor.hung import end_hung_workers
from search.supervisor.pool import WorkerHandle, WorkerPool
from search.supervisor.shutdown import PATIENCE_SECONDS
from search.system.clock import uptime
from search.system.signals import STOP_NOW
from search.worker.messages import Died, Evaluated, Outcome, Planned, TrialBegan, TrialEnded, WaitsFor, WorkOrder

EXCHANGE_SECONDS = 1.0
"""How often a worker without news asks for orders."""

Exchange = Callable[[Sequence[Message]], Orders]
"""Passes messages on to the command and returns its present orders."""


def run_worker(assignment: Assignment, node: str, exchange: Exchange) -> Ended:
    """Run the worker until its process has ended. ``node``: the engine's name for this machine.

    No process is left behind, whatever is raised.
    """
    quiet_threads()
    slot = slot_here(assignment)
    output, written = os.pipe()
    try:
        with WorkerPool([slot], assignment.arguments, output=written) as pool:
            try:
                worker = pool.start(slot)
            finally:
                os.close(written)  # so that the worker's end is the last one
            os.set_blocking(output, False)
            return _Relay(pool, worker, assignment, node, output, exchange).run()
    finally:
        os.close(output)


def slot_here(assignment: Assignment) -> Slot:
    """The worker's slot: the GPU that CUDA_VISIBLE_DEVICES shows, or so many cores of the CPU.

    Its name says the host, and has the worker's number, which is unique in the command.
    """
    host = socket.gethostname().partition(".")[0]
    if not assignment.gpus:
        return Slot(f"{host}.cpu.{assignment.number}", "cpu", "", assignment.cores)
    found = find_gpus()
    # without nvidia-smi there is only the engine's word, and the worker refuses if torch finds no GPU
    visible, uuid = (found[0].visible, found[0].uuid) if found else (os.environ.get("CUDA_VISIBLE_DEVICES", ""), "")
    name = f"{host}.cuda:{visible}.{assignment.number}"
    return Slot(name, "cuda:0", visible, assignment.cores, uuid, max(1, int(1 / assignment.gpus + 1e-9)))


def order_here(assignment: Assignment, slot: Slot, is_planned: bool) -> WorkOrder:
    """The worker's order on this machine, whose uptime is another; a restarted planner finds the plan made."""
    order = assignment.order
    if is_planned:
        order = replace(order, plan=False, copy_of=None)
    since = uptime() - (time.time() - assignment.began)
    order = replace(order, since=since, is_placed=True, slot=slot.name, device=slot.device, cores=slot.cores)
    return replace(order, sharers=slot.sharers, gpu=slot.gpu)


@dataclass
class _Relay:
    """What stands between the worker's process and the command."""

    pool: WorkerPool
    worker: WorkerHandle
    assignment: Assignment
    node: str
    output: int
    """File descriptor from which what it prints is read."""
    exchange: Exchange
    orders: Orders = field(default_factory=Orders)
    """Those that the worker knows."""
    unread: bytes = b""
    """The beginning of a line that it prints."""
    exchanged: float = 0.0
    """When (time.monotonic) the orders were last asked for."""
    kill_from: float | None = None
    """When the worker, told to stop at once, is killed."""

    def run(self) -> Ended:
        """Pass on events and orders until the process has ended."""
        worker, slot = self.worker, self.worker.slot
        host, last_tick = socket.gethostname(), time.monotonic()
        orders = self.exchange([Started(host, worker.process.pid, self.node, slot.gpu)])
        worker.assign(order_here(self.assignment, slot, orders.is_planned))
        self._obey(orders)
        while worker in self.pool.workers and worker.process.poll() is None:
            self._wait()
            self._pass_on()
            now = time.monotonic()
            end_hung_workers(self.pool, min(now - last_tick, 4 * TICK_SECONDS), self.orders.is_planned)
            last_tick = now
            if self.kill_from is not None and now >= self.kill_from:
                worker.kill()
        return self._end()

    def _wait(self) -> None:
        with selectors.DefaultSelector() as selector:
            if not self.worker.has_closed_events:
                selector.register(self.worker.events, selectors.EVENT_READ)
            selector.select(TICK_SECONDS)

    def _pass_on(self) -> None:
        """Send what is new, or after a while ask for orders without it."""
        messages = [*self._read_output(), *self._read_events()]
        if messages or time.monotonic() - self.exchanged >= EXCHANGE_SECONDS:
            self._obey(self.exchange(messages))
            self.exchanged = time.monotonic()

    def _read_output(self) -> list[Message]:
        with suppress(BlockingIOError):
            while part := os.read(self.output, 1 << 16):
                self.unread += part
        *lines, self.unread = self.unread.split(b"\n")
        return [Said(line.decode(errors="replace")) for line in lines]

    def _read_events(self) -> list[Message]:
        """The events that concern the command; those that tell how the process ends come with its end."""
        messages: list[Message] = []
        for event in self.worker.read_events():
            match event:
                case TrialBegan(number):
                    self.worker.trial = self.worker.last_trial = number
                case TrialEnded():
                    self.worker.trial = None
                case Outcome():
                    self.worker.outcome = event
                case Died(error):
                    self.worker.error = error
            if isinstance(event, Planned | TrialBegan | Evaluated | TrialEnded | WaitsFor):
                messages.append(event)
        return messages

    def _obey(self, orders: Orders) -> None:
        """Tell the worker what is new in the orders."""
        if orders.stop and not self.worker.has_begun_trial:
            self.worker.kill()  # it has nothing to finish, and may still be loading
        elif orders.stop and not self.orders.stop:
            self.worker.send(f"{orders.stop}\n")
        if orders.now and self.kill_from is None:
            self.worker.process.send_signal(STOP_NOW)
            self.kill_from = time.monotonic() + PATIENCE_SECONDS
        self.orders = orders

    def _end(self) -> Ended:
        """Tell the last events, and free the trial of a worker that died."""
        worker = self.worker
        death: Death | None = None
        if worker not in self.pool.workers:
            death = Death("its process does not end", is_trials_fault=False, is_own_fault=True)
        else:
            messages = [*self._read_output(), *self._read_events()]
            if worker.process.returncode != 0:
                death = death_of(worker)
            if death is not None and worker.trial is not None:
                messages += self._free_trial(worker.trial, death)
            self.exchange(messages)
        error, pid = worker.error or worker.hung, worker.process.pid
        return Ended(worker.outcome, death, error, worker.last_trial, socket.gethostname(), pid, worker.slot.gpu)

    def _free_trial(self, number: int, death: Death) -> list[Message]:
        """Requeue the trial, or fail it when it is to blame; where the database is away, the next worker does so."""
        order = self.assignment.order
        with suppress(*DATABASE_ERRORS):
            storage = open_storage(order.url, create=False, patience=QUERY_SECONDS)
            free_trial(load_study(storage, order.name), self.worker, number, death)
            storage.engine.dispose()
        why = self.worker.hung or f"its worker died ({death.how})"
        return [TrialEnded(number, TrialState.WAITING, None, why)]
