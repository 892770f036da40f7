"""The supervisor of a study's workers: starts them, shows what they do, replaces those that die, and ends them.

It imports neither torch nor timm. All truth is in the database; the supervisor may be killed at any moment, and its
workers then end after the evaluation that they are at.
"""

import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import optuna
from optuna.trial import TrialState

from maskcls.cli import fail as refuse
from maskcls.cli import say
from maskcls.metrics import Scores
from search.crew import Crew, Member
from search.failures import CRASH
from search.ground import Ground
from search.home import home_of
from search.keep import best_trials
from search.limits import count_finished
from search.live import LiveWatcher, PlainWatcher, Progress, Screen, is_terminal
from search.notes import show_study
from search.orders import GAVE_UP, GO, NOTHING_LEFT, REFUSED, Order
from search.storage import load_study, open_storage
from search.stored import Stored, read_stored
from search.summary import summarise
from search.trials import WORKER, fail, requeue_lost

STOP_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}

OWN_FAULT = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
"""Signals that a process earns by what it does; any other was sent by somebody."""

MOST_STILLBORN = 12
"""Workers that die one after another before they begin a trial: then something is wrong with all of them. One that
dies by itself counts as OWN_WEIGHT of those that somebody killed (the kernel, when memory is short)."""
OWN_WEIGHT = 4

TICK_SECONDS = 0.25
"""How often signals and the time limit are looked at."""

PATIENCE_SECONDS = 10
"""How long a worker that was told to stop at once may take before it is killed."""

NOTE_SECONDS = 10
"""The study's note in the dashboard is written again at most so often."""


Summary = Callable[[optuna.Study, Stored, Path, str | None], None]


@dataclass
class Supervisor:
    """One command's work on a study."""

    crew: Crew
    order: Order
    """Of the first worker; the others' differ in the slot, and they do not plan."""
    timeout: float | None
    """Seconds from the plan on."""
    storage_url: str | None
    """As given, for what the summary tells to type."""
    summary: Summary = summarise
    """Prints what the study came to, at the end."""
    study: optuna.Study | None = None
    """Once it is planned."""
    ground: Ground | None = None
    """What it stands on, from then on."""
    watcher: Screen | None = None
    stop: str = ""
    """Why the workers were told to stop."""
    stops: int = 0
    """Signals so far."""
    outcome: str = ""
    """How the first worker that ended by itself ended."""
    cause: str = ""
    stillborn: int = 0
    deadline: float | None = None
    noted: float = 0.0

    def run(self) -> int:
        """Until every worker has ended; returns the exit status. The crew's first member makes the plan."""
        with self._signals():
            try:
                if not self.order.plan:  # the command has shown its own plan and stored the study
                    self._planned()
                for member in self.crew.members:
                    self._employ(member, plans=self.order.plan and member is self.crew.members[0])
                self._work()
            except KeyboardInterrupt:
                say("Interrupted before the first trial; nothing was begun.")
                return 130
            finally:
                if self.watcher is not None:
                    self.watcher.__exit__(None, None, None)
        lost = self.ground.why_failed() if self.ground is not None else ""
        if lost:
            say(f"Gave up: {lost}.")
            return 1
        return self._finish()

    def _work(self) -> None:
        """Until every worker has ended, or what they work on is gone."""
        while self.crew.members and (self.ground is None or not self.ground.lost()):
            try:
                self._listen()
                self._look_at_the_clock()
                for member in list(self.crew.members):
                    if member.process.poll() is not None:
                        self._has_ended(member)
            except Exception:
                if self.ground is None or not self.ground.why_failed():
                    raise
                return  # the crew ends its processes

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            for member in self.crew.members:
                selector.register(member.events, selectors.EVENT_READ, member)
            ready = selector.select(TICK_SECONDS)
        for key, _ in ready:
            self._hear(key.data)

    def _hear(self, member: Member) -> None:
        for event, *details in member.heard():
            if event == "planned":
                self._planned()
            elif event == "ended":
                self._ends(details[0], details[1], member)
            elif event == "died":
                member.last_words = details[0]
            else:
                self._show(member, event, details)

    def _planned(self) -> None:
        """The study is stored: now there is something to watch, and work for the others."""
        if self.study is not None:  # the first worker died and another one has planned again
            return
        self.study = load_study(open_storage(self.order.url, create=False), self.order.name)
        self.ground = Ground(self.study, home_of(self.study, Path(self.order.runs)))
        self.order = replace(self.order, plan=False, grown_from=None)
        searches = self.order.stored().confirmation is None
        progress = Progress(self.order.limits["n_trials"], 0, None, len(self.crew.slots), searches)
        self.watcher = LiveWatcher(progress) if is_terminal() else PlainWatcher(progress)
        self._refresh()
        self.watcher.__enter__()
        if self.timeout is not None:
            self.deadline = time.monotonic() + self.timeout
        for member in self.crew.members:
            if member.order is not None and member.order.waits:
                member.tell(f"{GO}\n")

    def _employ(self, member: Member, plans: bool) -> None:
        slot, waits = member.slot, self.study is None and not plans
        order = replace(self.order, slot=slot.name, device=slot.device, cores=slot.cores)
        member.employ(replace(order, plan=plans, waits=waits))

    def _refresh(self) -> None:
        """The count and the best from the database: others may work on the study too."""
        assert self.study is not None
        assert self.watcher is not None
        trials = self.study.get_trials(deepcopy=False)
        best = next(iter(best_trials(trials, 1)), None)
        self.watcher.progress.finished = count_finished(trials)
        self.watcher.progress.best = (best.value, best.number) if best is not None and best.value is not None else None

    def _show(self, member: Member, event: str, details: list[Any]) -> None:
        assert self.watcher is not None
        number = details[0]
        if event == "trial_began":
            member.trial, member.began_one, self.stillborn = number, True, 0
            self.watcher.trial_began(number, details[1])
        elif event == "evaluated":
            self.watcher.evaluated(number, details[1], details[2], Scores.from_dict(details[3]), details[4])
        else:
            member.trial = None
            self._refresh()
            self.watcher.trial_ended(number, TrialState[details[1]], *details[2:])
            self._write_note()

    def _write_note(self, now: bool = False) -> None:
        assert self.study is not None
        if now or time.monotonic() - self.noted > NOTE_SECONDS:
            with suppress(optuna.exceptions.StorageInternalError):  # a full disk ends the workers, and they say so
                show_study(self.study, read_stored(self.study))
            self.noted = time.monotonic()

    def _ends(self, why: str, cause: str, member: Member | None = None) -> None:
        """A worker says that it is about to end; or, without one, no worker can work."""
        if why in (REFUSED, GAVE_UP) or not self.outcome:
            self.outcome, self.cause = why, cause
        if why in (REFUSED, GAVE_UP):
            self._tell_all("another worker gave up", but=member)

    def _tell_all(self, reason: str, but: Member | None = None) -> None:
        self.stop = self.stop or reason
        for member in self.crew.members:
            if member is but:
                continue
            if self.study is None:
                member.process.kill()  # it has nothing to finish, and may be loading still
            else:
                member.tell(f"{reason}\n")

    def _look_at_the_clock(self) -> None:
        if self.deadline is not None and time.monotonic() >= self.deadline and not self.stop:
            self._tell_all("--timeout")

    def _has_ended(self, member: Member) -> None:
        """Take note of a process that is gone, and put another in its place when it did not mean to end."""
        self._hear(member)
        self.crew.leave(member)
        status = member.process.returncode
        was_to_plan = self.study is None and member.order is not None and member.order.plan
        if status == 0 and was_to_plan and not self.stop:
            self._tell_all("the plan was not made")  # somebody stopped the worker that was to make it
        if status == 0 or self.stop:
            return
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        if member.trial is not None:
            self._take_back(member.trial, member.process.pid, how, is_own=-status in OWN_FAULT)
        is_own = status > 0 or -status in OWN_FAULT
        self.stillborn += 0 if member.began_one else OWN_WEIGHT if is_own else 1
        if self.stillborn >= MOST_STILLBORN:
            why = f": {member.last_words}" if member.last_words else f" ({how})"
            self._ends(GAVE_UP, f"one worker after another ended before it began a trial{why}")
        else:
            self._employ(self.crew.start(member.slot), plans=was_to_plan)

    def _take_back(self, number: int, pid: int, how: str, is_own: bool) -> None:
        assert self.study is not None
        trial = self.study.get_trials(deepcopy=False)[number]
        with suppress(optuna.exceptions.StorageInternalError):
            worker = trial.user_attrs.get(WORKER)
            if is_own and worker is not None and worker["pid"] == pid:
                fail(self.study, trial, CRASH, f"its process died of {how}", worker)
            requeue_lost(self.study)
        assert self.watcher is not None
        if not trial.state.is_finished():
            self.watcher.trial_ended(number, TrialState.WAITING, None, f"its worker died ({how})")

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first signal asks the workers to stop after their evaluation, the second one stops them at once."""
        before: dict[int, Any] = {number: signal.signal(number, self._handle) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.stops += 1
        reason = STOP_SIGNALS[signal.Signals(number)]
        if self.study is None:
            raise KeyboardInterrupt  # nothing has begun
        for member in self.crew.members:
            if not member.began_one:
                member.process.kill()  # it has nothing to finish
        if self.stops == 1:
            self._tell_all(reason)
            say(f"\n{reason}: the running trials finish their evaluation first; once more to stop at once.")
            return
        for member in self.crew.members:
            member.process.send_signal(signal.SIGINT)
        signal.signal(signal.SIGALRM, lambda *_: self._kill())
        signal.alarm(PATIENCE_SECONDS)

    def _kill(self) -> None:
        for member in self.crew.members:
            member.process.kill()

    def _finish(self) -> int:
        signal.alarm(0)
        if self.outcome == REFUSED:
            refuse(self.cause)
        if self.study is None:
            say(f"No worker could begin: {self.cause or self.stop}.")
            return 1
        with suppress(optuna.exceptions.StorageInternalError):  # else the next command does it
            requeue_lost(self.study)  # those of workers that were killed
        self._write_note(now=True)
        say()
        trials = self.study.get_trials(deepcopy=False)
        done, asked = count_finished(trials), self.order.limits["n_trials"]
        if self.outcome == NOTHING_LEFT and done < asked:
            say(f"{self.cause} is reached, at {done} of {asked} trials. A higher one goes on.")
        elif self.stop and self.outcome != GAVE_UP and done < asked:
            say(f"Stopped by {self.stop} at {done} of {asked} trials. The same command goes on.")
        self.summary(self.study, read_stored(self.study), Path(self.order.runs), self.storage_url)
        if self.outcome == GAVE_UP:
            say(f"Gave up at {done} of {asked} trials: {self.cause}")
            logs = home_of(self.study, Path(self.order.runs)) / "logs"
            say(f"Logs are in {logs}; a crashed trial's folder has a crash.txt.")
            return 1
        return 130 if self.stop in STOP_SIGNALS.values() and done < asked else 0
