"""The supervisor of a study's workers: starts them, shows what they do, replaces those that die, and ends them.

It imports neither torch nor timm. All truth is in the database; the supervisor may be killed at any moment, and its
workers then end after the evaluation that they are at.
"""

import selectors
import signal
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from maskcls.system.console import fail as refuse
from maskcls.system.console import say
from search.database.connect import backend_of, load_study, open_storage
from search.storage.failures import CRASH
from search.storage.folder import study_folder
from search.storage.orphans import requeue_orphaned
from search.storage.outcomes import fail_trial
from search.storage.presence import DATABASE_ERRORS, OUT_OF_REACH, StudyPresence
from search.study.attributes import worker_of
from search.supervisor.conclusion import End, Summary, conclude, no_answer
from search.supervisor.display import Shown
from search.supervisor.hung import watch
from search.supervisor.pool import WorkerHandle, WorkerPool
from search.supervisor.shutdown import STOP_SIGNALS, Stopping
from search.system.processes import is_gone
from search.system.signals import handled
from search.terminal.progress import LiveWatcher, PlainWatcher, Progress, is_terminal
from search.terminal.summary import show_search_summary
from search.worker.messages import GAVE_UP, GO, REFUSED, STOPPED, WorkOrder

OWN_FAULT = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
"""Signals that a process earns by what it does; any other was sent by somebody."""

MAX_STILLBORN = 12
"""Workers that die one after another before they begin a trial: then something is wrong with all of them. One that
dies by itself counts as OWN_WEIGHT of those that somebody killed (the kernel, when memory is short)."""
OWN_WEIGHT = 4

TICK_SECONDS = 0.25
"""How often signals and the time limit are looked at."""

GROUND_SECONDS = 2
"""How often it is looked whether the study is still where it was."""

REFRESH_SECONDS = 15
"""The count is read at least so often: others work on the study too, and a database that is away gets said."""

ASK_SECONDS = 5
"""How long the database may take to answer the supervisor, who has workers to listen to."""


@dataclass
class Supervisor:
    """One command's work on a study."""

    crew: WorkerPool
    order: WorkOrder
    """Of the first worker; the others' differ in the slot, and they do not plan."""
    timeout: float | None
    """Seconds from the plan on."""
    storage_url: str | None
    """As given, for what the summary tells to type."""
    summary: Summary = show_search_summary
    """Prints what the study came to, at the end."""
    study: optuna.Study | None = None
    """Once it is planned."""
    ground: StudyPresence | None = None
    """What it stands on, from then on."""
    shown: Shown | None = None
    outcome: str = ""
    """How the first worker that ended by itself ended."""
    cause: str = ""
    stillborn: int = 0
    deadline: float | None = None
    looked: float = field(default_factory=time.monotonic)
    looked_at_ground: float = 0.0
    has_lost_ground: bool = False

    def __post_init__(self) -> None:
        self.stopping = Stopping(self.crew)

    def run(self) -> int:
        """Until every worker has ended; returns the exit status. The crew's first member makes the plan."""
        with handled(STOP_SIGNALS, lambda number, _: self.stopping.heed(number, self.study is not None)):
            try:
                if not self.order.plan:  # the command has shown its own plan and stored the study
                    self._planned()
                for member in self.crew.members:
                    self._employ(member, plans=self.order.plan and member is self.crew.members[0])
                while self.crew.members:
                    self._listen()
                    self._look_at_the_clock()
                    while self.crew.lost:
                        self._is_lost(self.crew.lost.pop())
                    for member in list(self.crew.members):
                        if member.process.poll() is not None:
                            self._has_ended(member)
            except KeyboardInterrupt:
                if self.study is not None:
                    raise
                say("Interrupted before a trial began; nothing has changed.")
                return 130
            finally:
                if self.shown is not None:
                    self.shown.watcher.__exit__(None, None, None)
        return self._finish()

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for member in self.crew.members:
                if not member.is_deaf:
                    selector.register(member.events, selectors.EVENT_READ, member)
            ready = selector.select(TICK_SECONDS)
        for key, _ in ready:
            self._hear(key.data)

    def _hear(self, member: WorkerHandle) -> None:
        for event, *details in member.heard():
            if event == "planned":
                self._planned()
            elif event == "ended":
                member.ended = details[0]
                self._ends(details[0], details[1], member)
            elif event == "died":
                member.last_words = details[0]
            elif event != "moves" and self.shown is not None:
                self._show(self.shown, member, event, details)

    def _show(self, shown: Shown, member: WorkerHandle, event: str, details: list[Any]) -> None:
        if event == "waits":
            shown.say_what_for(details[0], {other.process.pid for other in self.crew.members})
            return
        if event == "trial_began":
            member.trial, member.began_one, self.stillborn = details[0], True, 0
        elif event == "trial_ended":
            member.trial = None
        if why := shown.tell(event, details):
            self._ends(GAVE_UP, why)

    def _planned(self) -> None:
        """The study is stored: now there is something to watch, and work for the others."""
        if self.study is not None:  # the first worker died and another one has planned again
            return
        try:
            self.study = load_study(open_storage(self.order.url, create=False, waits=True), self.order.name)
            self.ground = StudyPresence(self.study, study_folder(self.study, Path(self.order.runs)))
        except DATABASE_ERRORS as error:
            self._ends(GAVE_UP, no_answer(error))
            return
        storage = backend_of(self.study)
        storage.patience, storage.tells = ASK_SECONDS, False  # Shown tells of it, once
        self.order = replace(self.order, plan=False, grown_from=None)
        searches = self.order.stored().confirmation is None
        progress = Progress(self.order.limits["n_trials"], 0, None, len(self.crew.slots), searches)
        self.shown = Shown(self.ground, LiveWatcher(progress) if is_terminal() else PlainWatcher(progress))
        self.shown.refresh()
        self.shown.watcher.__enter__()
        if self.timeout is not None:
            self.deadline = time.monotonic() + self.timeout
        for member in self.crew.members:
            if member.order is not None and member.order.waits:
                member.tell(f"{GO}\n")

    def _employ(self, member: WorkerHandle, plans: bool) -> None:
        slot, waits = member.slot, self.study is None and not plans
        order = replace(self.order, slot=slot.name, device=slot.device, cores=slot.cores)
        member.employ(replace(order, plan=plans, waits=waits))

    def _ends(self, why: str, cause: str, member: WorkerHandle | None = None) -> None:
        """A worker says that it is about to end; or, without one, no worker can work."""
        if self.outcome == GAVE_UP:
            return  # the first cause is the cause
        if why in (REFUSED, GAVE_UP) or self.outcome in ("", STOPPED):
            self.outcome, self.cause = why, cause
        if why in (REFUSED, GAVE_UP):
            self._tell_all("another worker gave up", but=member)

    def _tell_all(self, reason: str, but: WorkerHandle | None = None) -> None:
        if self.study is not None:
            self.stopping.ask(reason, but)
            return
        self.stopping.reason = self.stopping.reason or reason
        for member in self.crew.members:
            if member is not but:
                member.process.kill()  # it has nothing to finish, and may be loading still

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        # one look's share at most: what the machine or the supervisor slept is nobody's silence
        watch(self.crew, min(now - self.looked, 4 * TICK_SECONDS), self.study is not None)
        self.looked = now
        if self.deadline is not None and now >= self.deadline and not self.stopping.reason:
            self._tell_all("--timeout")
        if now - self.looked_at_ground >= GROUND_SECONDS:
            self.looked_at_ground = now
            self._look_at_the_ground()
        is_due = self.shown is not None and now - self.shown.refreshed >= REFRESH_SECONDS
        if is_due and self.shown is not None and not self.stopping.reason and (why := self.shown.refresh()):
            self._ends(GAVE_UP, why)
        self.stopping.look()

    def _look_at_the_ground(self) -> None:
        gone = self.ground.lost() if self.ground is not None else ""
        if gone and not self.has_lost_ground:
            self.has_lost_ground = True
            self.outcome = GAVE_UP
            self.cause = f"{gone}. Once it is back in its place, the same command goes on"
            self.stopping.ask(gone, now=True)  # they would go on writing into files that nobody sees

    def _has_ended(self, member: WorkerHandle) -> None:
        """Take note of a process that is gone, and put another in its place when it did not mean to end."""
        self._hear(member)
        self.crew.leave(member)
        status = member.process.returncode
        was_to_plan = self.study is None and member.order is not None and member.order.plan
        if was_to_plan and member.hangs:
            self._ends(GAVE_UP, f"the plan was not made: {member.hangs}")
        if status == 0 and was_to_plan and not self.stopping.reason:
            self._tell_all("the plan was not made")  # somebody stopped the worker that was to make it
        self._look_at_the_ground()
        is_meant = status == 0 and member.ended != STOPPED  # else somebody stopped this one alone
        if is_meant or self.stopping.reason:
            return
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        is_own = -status in OWN_FAULT or (bool(member.hangs) and not member.is_held)
        if member.trial is not None:
            self._take_back(member, member.trial, how, is_own)
        is_own = is_own or status > 0
        self.stillborn += 0 if member.began_one else OWN_WEIGHT if is_own else 1
        if self.stillborn >= MAX_STILLBORN:
            why = f": {member.last_words}" if member.last_words else f" ({how})"
            self._ends(GAVE_UP, f"one worker after another ended before it began a trial{why}")
        elif not self.stopping.reason:
            self._replace(member, plans=was_to_plan)

    def _replace(self, member: WorkerHandle, plans: bool) -> None:
        successor = self.crew.start(member.slot)
        self._employ(successor, plans)
        if self.stopping.reason:  # said in between, to those that there were
            successor.process.kill()

    def _is_lost(self, member: WorkerHandle) -> None:
        """One that cannot be ended: another takes its slot, and its trial once that has not been heard of for long."""
        if self.study is None:
            self._ends(GAVE_UP, f"the plan was not made: {member.hangs or 'its process does not end'}")
        elif not self.stopping.reason:
            self._replace(member, plans=False)

    def _take_back(self, member: WorkerHandle, number: int, how: str, is_own: bool) -> None:
        assert self.study is not None
        assert self.shown is not None
        begun = time.monotonic()
        try:
            trial = self.study.get_trials(deepcopy=False)[number]
            worker = worker_of(trial)
            if is_own and worker and worker["pid"] == member.process.pid and is_gone(worker) is not None:
                fail_trial(self.study, trial, CRASH, member.hangs or f"its process died of {how}", worker)
            requeue_orphaned(self.study)
        except DATABASE_ERRORS as error:  # else the next worker takes it back
            if why := self.shown.away(error, begun):
                self._ends(GAVE_UP, why)
            return
        if not trial.state.is_finished():
            told = member.hangs or f"its worker died ({how})"
            self.shown.watcher.trial_ended(number, TrialState.WAITING, None, told)

    def _finish(self) -> int:
        if self.outcome == REFUSED:
            refuse(self.cause)
        if self.study is None:
            say(f"No worker could begin: {self.cause or self.stopping.reason}.")
            return 1
        if self.has_lost_ground:
            say(f"Gave up: {self.cause}.")
            return 1
        end = End(self.outcome, self.cause, self.stopping.reason, self.order, self.storage_url)
        try:
            return conclude(self.study, end, self.summary)
        except OUT_OF_REACH as error:
            assert self.ground is not None
            gone = self.ground.why_failed()
            if isinstance(error, KeyError) and not gone and self.outcome != GAVE_UP:
                raise  # a fault of ours
            say(f"Gave up: {self.cause if self.outcome == GAVE_UP else gone or no_answer(error)}.")
            return 1
