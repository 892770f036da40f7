"""The main loop of a command's supervisor: starts workers, handles their events, replaces those that die.

It imports neither torch nor timm. All state that counts is in the database: the supervisor may be killed at any moment,
and its workers then stop after their current evaluation. A command goes through the phases of ``Phase``.
"""

import logging
import math
import selectors
import time
from dataclasses import dataclass, field, replace
from enum import Enum

from optuna.trial import TrialState

from search.storage.presence import DATABASE_ERRORS
from search.supervisor.command import MAX_BROKEN, PRESENCE_SECONDS, TICK_SECONDS, Command
from search.supervisor.conclusion import no_answer
from search.supervisor.deaths import Death, death_of, free_trial
from search.supervisor.hung import end_hung_workers
from search.supervisor.pool import WorkerHandle, WorkerPool
from search.supervisor.shutdown import Shutdown
from search.worker.messages import (
    BROKEN,
    GAVE_UP,
    GO,
    REFUSED,
    STOPPED,
    VANISHED,
    Died,
    Evaluated,
    Moved,
    Outcome,
    Planned,
    TrialBegan,
    TrialEnded,
    WaitsFor,
)

logger = logging.getLogger(__name__)

FAULT_SECONDS = 30.0
"""How long the successor of a worker that has lost its GPU under MPS waits for the others there to end: until then the
daemon takes nobody new. One without work does not notice the fault."""


class Phase(Enum):
    """The phases of a command."""

    PLANNING = "the first worker shows the plan and stores the study, while the others get ready"
    RUNNING = "workers take trials; one that dies is replaced"
    STOPPING = "the workers were told to stop, or killed; none is replaced"


@dataclass(frozen=True)
class Vacancy:
    """A worker whose successor waits until the fault that ended it has ended the others on its GPU."""

    worker: WorkerHandle
    plans: bool
    since: float
    """When (time.monotonic) the worker had ended."""


@dataclass
class Supervisor:
    """One command's work on a study."""

    pool: WorkerPool
    command: Command
    """Its GPUs (Command.broken) are named by Slot.visible."""
    counted: dict[str, float] = field(default_factory=dict)
    """Slot.visible -> when (time.monotonic) the last loss of that GPU was counted in Command.broken."""
    vacancies: list[Vacancy] = field(default_factory=list)
    """Successors that are yet to start."""
    last_tick: float = field(default_factory=time.monotonic)
    last_presence_check: float = 0.0

    def __post_init__(self) -> None:
        self.shutdown = Shutdown(self.pool)

    @property
    def phase(self) -> Phase:
        """The present phase; STOPPING may follow PLANNING directly."""
        if self.shutdown.reason:
            return Phase.STOPPING
        return Phase.PLANNING if self.command.study is None else Phase.RUNNING

    def run(self) -> int:
        """Run until every worker has ended; returns the exit status. The pool's first worker makes the plan."""
        return self.command.run(self._loop, self._on_signal, lambda: self.shutdown.reason)

    def _on_signal(self, number: int) -> None:
        self.shutdown.on_signal(number, is_planned=self.command.study is not None)

    def _loop(self) -> None:
        plans = self.command.order.plan
        if not plans:  # the command has shown its own plan and stored the study
            self._begin_running()
        for worker in self.pool.workers:
            self._assign(worker, plans=plans and worker is self.pool.workers[0])
        while self.pool.workers or self.vacancies:
            self._listen()
            self._tick()
            while self.pool.unkillable:
                self._handle_unkillable_worker(self.pool.unkillable.pop())
            for worker in list(self.pool.workers):
                if worker.process.poll() is not None:
                    self._handle_ended_worker(worker)

    def _listen(self) -> None:
        """Wait up to TICK_SECONDS for events and handle them."""
        with selectors.DefaultSelector() as selector:
            for worker in self.pool.workers:
                if not worker.has_closed_events:
                    selector.register(worker.events, selectors.EVENT_READ, worker)
            ready = selector.select(TICK_SECONDS)
        for key, _ in ready:
            self._handle_events(key.data)

    def _handle_events(self, worker: WorkerHandle) -> None:
        for event in worker.read_events():
            match event:
                case Planned():
                    self._begin_running()
                case Outcome():
                    is_gone = worker.slot.visible in self.command.broken or _is_kept_out(worker, event)
                    if event.kind == REFUSED and is_gone:
                        event = replace(event, kind=BROKEN)  # it does not even find the GPU
                    worker.outcome = event
                    self._end(event, worker)
                case Died(error):
                    worker.error = error
                case WaitsFor(trials):
                    if self.command.display is not None:
                        self.command.display.say_waiting_for(trials, {other.process.pid for other in self.pool.workers})
                case TrialBegan() | Evaluated() | TrialEnded():
                    self._handle_trial_event(worker, event)
                case Moved():
                    pass  # read_events has noted that the worker lives

    def _handle_trial_event(self, worker: WorkerHandle, event: TrialBegan | Evaluated | TrialEnded) -> None:
        if self.command.display is None:
            return
        if isinstance(event, TrialBegan):
            worker.trial, worker.last_trial = event.number, event.number
        elif isinstance(event, TrialEnded):
            worker.trial = None
        self._give_up(self.command.show(event, worker.slot.visible))

    def _begin_running(self) -> None:
        """Show the stored study from now on, and let the waiting workers start."""
        if self.command.study is not None:  # the planner died, and its successor has planned again
            return
        try:
            self.command.begin(len(self.pool.slots))
        except DATABASE_ERRORS as error:
            self._give_up(no_answer(error))
            return
        for worker in self.pool.workers:
            if worker.order is not None and worker.order.waits:
                worker.send(f"{GO}\n")

    def _assign(self, worker: WorkerHandle, plans: bool) -> None:
        slot, waits = worker.slot, self.command.study is None and not plans
        order = replace(self.command.order, slot=slot.name, device=slot.device, cores=slot.cores, sharers=slot.sharers)
        order = replace(order, gpu=slot.gpu)
        worker.assign(replace(order, plan=plans, waits=waits))

    def _end(self, outcome: Outcome, worker: WorkerHandle | None = None) -> None:
        """Note how ``worker`` is about to end, or, without one, why no worker can work."""
        if self.command.outcome.kind in (GAVE_UP, VANISHED):
            return  # only the first cause counts
        if outcome.kind == BROKEN:
            return  # another process may take its place
        if self.command.note(outcome):
            self._stop_all("another worker gave up", but=worker)

    def _give_up(self, cause: str) -> None:
        """End the command for this cause; an empty one is no reason."""
        if cause:
            self._end(Outcome(GAVE_UP, cause))

    def _stop_all(self, reason: str, but: WorkerHandle | None = None) -> None:
        if self.command.study is not None:
            self.shutdown.request(reason, but)
            return
        self.shutdown.reason = self.shutdown.reason or reason
        for worker in self.pool.workers:
            if worker is not but:
                worker.kill()  # it has nothing to finish, and may still be loading

    def _tick(self) -> None:
        """Do what depends on the time: hung workers, the timeout, checks, the steps of a shutdown."""
        now = time.monotonic()
        # at most four ticks, since the machine or the supervisor may have slept
        end_hung_workers(self.pool, min(now - self.last_tick, 4 * TICK_SECONDS), self.command.study is not None)
        self.last_tick = now
        if now >= self.command.deadline and self.phase is not Phase.STOPPING:
            self._stop_all("--timeout")
        if now - self.last_presence_check >= PRESENCE_SECONDS:
            self.last_presence_check = now
            self._check_presence()
        if self.phase is Phase.RUNNING:
            self._give_up(self.command.refresh(now))
        self._fill_vacancies()
        self.shutdown.escalate()

    def _check_presence(self) -> None:
        """Stop at once when the study's files are gone."""
        if lost := self.command.note_vanished():
            self.shutdown.request(lost, now=True)

    def _handle_ended_worker(self, worker: WorkerHandle) -> None:
        """Remove a worker whose process has ended, and replace it if it died."""
        self._handle_events(worker)
        self.pool.remove(worker)
        was_to_plan = self.command.study is None and worker.order is not None and worker.order.plan
        is_clean = worker.process.returncode == 0
        if was_to_plan and worker.hung:
            self._give_up(f"the plan was not made: {worker.hung}")
        kind = None if worker.outcome is None else worker.outcome.kind
        if was_to_plan and is_clean and kind != BROKEN and self.phase is not Phase.STOPPING:
            self._stop_all("the plan was not made")  # a signal from outside stopped the planner alone
        self._check_presence()
        if self.phase is Phase.STOPPING:
            return
        if kind == BROKEN:
            self._handle_broken_worker(worker, plans=was_to_plan)
        elif not is_clean or kind == STOPPED:
            self._handle_dead_worker(worker, plans=was_to_plan)

    def _handle_broken_worker(self, worker: WorkerHandle, plans: bool) -> None:
        """Start another worker in the place of one that has lost its GPU, unless the GPU has failed too often.

        Then its trials go to the workers of other GPUs; without any, give up.
        """
        assert worker.outcome is not None
        worker.error = worker.outcome.cause
        if self.command.study is None or _could_not_use_mps(worker):
            self._handle_dead_worker(worker, plans)
            return
        if worker.trial is not None:  # it could not report the trial's end
            self._free_trial(worker, worker.trial, death_of(worker))
        failed = self._count_loss(worker)
        if self.shutdown.reason:
            return
        if failed < MAX_BROKEN:
            logger.info(f"{worker.name} lost its GPU and is replaced: {worker.error}")
            if worker.slot.mps:
                self.vacancies.append(Vacancy(worker, plans, time.monotonic()))
            else:
                self._replace(worker, plans)
            return
        self.vacancies = [vacancy for vacancy in self.vacancies if vacancy.worker.slot.visible != worker.slot.visible]
        gpu = worker.slot.name.partition(".")[0]
        logger.info(f"{gpu} is not used any more, since it failed {failed} times in a row: {worker.error}")
        # else another worker goes on, or found nothing left to do
        if not self.pool.workers and not self.vacancies and self.command.outcome.kind == STOPPED:
            self._give_up(f"every GPU failed again and again, at last {gpu}: {worker.error}")

    def _count_loss(self, worker: WorkerHandle) -> int:
        """Count that the worker has lost its GPU, unless the last loss may have the same cause; returns the count."""
        gpu = worker.slot.visible
        failed = self.command.broken.setdefault(gpu, set())
        if worker.started > self.counted.get(gpu, -math.inf):
            failed.add(f"process {worker.process.pid}" if worker.last_trial is None else f"trial {worker.last_trial}")
            self.counted[gpu] = time.monotonic()
        return len(failed)

    def _fill_vacancies(self) -> None:
        """Start the successors on GPUs whose fault has ended all workers that were there, or may reach no more."""
        for vacancy in list(self.vacancies):
            slot, since = vacancy.worker.slot, vacancy.since
            others = [worker for worker in self.pool.workers if worker.slot.mps == slot.mps and worker.started < since]
            if self.phase is Phase.STOPPING:
                self.vacancies.remove(vacancy)
            elif not others or time.monotonic() - since >= FAULT_SECONDS:
                self.vacancies.remove(vacancy)
                self._replace(vacancy.worker, vacancy.plans)

    def _handle_dead_worker(self, worker: WorkerHandle, plans: bool) -> None:
        """Free the trial of a worker that died and start another worker; give up when too many fail to start."""
        death = death_of(worker)
        if worker.trial is not None:
            self._free_trial(worker, worker.trial, death)
        if _could_not_use_mps(worker):
            self._do_without_mps(worker, worker.error or worker.hung or death.how)
        elif not worker.has_begun_trial:
            self.command.failed_to_start += death.weight
        if self.command.starts_in_vain:
            cause = f": {worker.error}" if worker.error else f" ({death.how})"
            self._give_up(f"one worker after another died before its first trial{cause}")
        elif self.phase is not Phase.STOPPING:
            self._replace(worker, plans)

    def _do_without_mps(self, worker: WorkerHandle, cause: str) -> None:
        """Let workers that start from now on do without the daemon that this one could not use."""
        gpu = worker.slot.gpu
        if gpu not in self.pool.without_mps:
            self.pool.without_mps.add(gpu)
            logger.info(f"NVIDIA MPS cannot be used ({cause}), so new workers on {gpu} take turns.")

    def _free_trial(self, worker: WorkerHandle, number: int, death: Death) -> None:
        display = self.command.display
        assert display is not None
        began = time.monotonic()
        try:
            trial = free_trial(display.presence.study, worker, number, death)
        except DATABASE_ERRORS as error:
            self._give_up(display.database_failed(error, began))
            return
        if not trial.state.is_finished():
            why = worker.hung or f"its worker died ({death.how})"
            display.screen.trial_ended(number, TrialState.WAITING, None, why)

    def _replace(self, worker: WorkerHandle, plans: bool) -> None:
        successor = self.pool.start(worker.slot)
        self._assign(successor, plans)
        if self.shutdown.reason:  # a signal that came meanwhile has not reached this one
            successor.process.kill()

    def _handle_unkillable_worker(self, worker: WorkerHandle) -> None:
        """Replace a worker that does not end; its trial is requeued once its heartbeat is stale."""
        if self.command.study is None:
            self._give_up(f"the plan was not made: {worker.hung or 'its process does not end'}")
        elif self.phase is not Phase.STOPPING:
            self._replace(worker, plans=False)


def _is_kept_out(worker: WorkerHandle, outcome: Outcome) -> bool:
    """Whether the worker shows none of the GPU that it was to share through MPS."""
    return bool(worker.slot.mps) and outcome.cause.startswith(f"There is no device {worker.slot.device}:")


def _could_not_use_mps(worker: WorkerHandle) -> bool:
    """Whether a worker that has ended may not have come to its first trial because of MPS."""
    if not worker.slot.mps or worker.has_begun_trial:
        return False
    is_broken = worker.outcome is not None and worker.outcome.kind == BROKEN
    return is_broken or death_of(worker).is_own_fault
