"""Shows a running study on the terminal and in its note in the dashboard."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from search.database.connect import backend_of, load_study, open_storage, place_of
from search.database.errors import reason
from search.database.reconnecting import PATIENCE_SECONDS
from search.policy.history import best_trial
from search.policy.stopping import count_finished
from search.storage.folder import study_folder
from search.storage.presence import DATABASE_ERRORS, StudyPresence
from search.study.attributes import judged_by_study
from search.supervisor.conclusion import no_answer, waiting_for, write_note
from search.terminal.progress import LiveWatcher, PlainWatcher, Progress, Screen, is_terminal
from search.worker.messages import Evaluated, RunningTrial, TrialBegan, TrialEnded, WorkOrder

logger = logging.getLogger(__name__)

AWAY_SECONDS = PATIENCE_SECONDS
"""How long the supervisor continues without its database, which it only reads to show the progress."""

QUERY_SECONDS = 5
"""How long a query may wait for the database, since the workers' events must not wait."""

NOTE_SECONDS = 10
"""Shortest time between two updates of the study's note in the dashboard."""


@dataclass
class Display:
    """The view of a running study.

    ``show``, ``refresh`` and ``database_failed`` return why to give up; an empty string if there is no reason.
    """

    presence: StudyPresence
    screen: Screen
    place: str = ""
    """The options of the note's command that say where the study is (connect.place_of)."""
    note_written: float = 0.0
    """When (time.monotonic) the study's note was last written."""
    refreshed: float = 0.0
    """When the database was last read."""
    away_since: float | None = None
    """When the database stopped answering; None while it answers."""
    announced: set[tuple[int, str, int]] = field(default_factory=set)
    """(number, host, pid) of the trials that a worker has been reported to wait for."""

    def show(self, event: TrialBegan | Evaluated | TrialEnded) -> str:
        """Show an event of a trial."""
        match event:
            case TrialBegan(number, values):
                self.screen.trial_began(number, values)
                return ""
            case Evaluated(number, step, planned_evaluations, scores, is_news):
                self.screen.evaluated(number, step, planned_evaluations, scores, is_news)
                return ""
            case TrialEnded(number, state, value, why):
                why_give_up = self.refresh()
                self.screen.trial_ended(number, state, value, why)
        if time.monotonic() - self.note_written > NOTE_SECONDS:
            write_note(self.presence.study, self.place)
            self.note_written = time.monotonic()
        return why_give_up

    def refresh(self) -> str:
        """Read the count and the best trial from the database, since other commands may work on the study too."""
        began = self.refreshed = time.monotonic()
        try:
            trials = self.presence.study.get_trials(deepcopy=False)
        except DATABASE_ERRORS as error:
            return self.database_failed(error, began)
        if self.away_since is not None:
            logger.info("The database is back.")
        self.away_since = None
        best = best_trial(judged_by_study(trials))
        self.screen.progress.finished = count_finished(trials)
        self.screen.progress.best = (best.value, best.number) if best is not None and best.value is not None else None
        return ""

    def database_failed(self, error: BaseException, began: float) -> str:
        """Note that the database did not answer a query that ``began`` (time.monotonic) then."""
        if isinstance(error, KeyError):
            return self.presence.why_failed() or no_answer(error)
        if self.away_since is None:
            self.away_since = began
            logger.info(f"Waiting up to {AWAY_SECONDS / 60:.0f} minutes for the database: {reason(error)}.")
        return no_answer(error) if time.monotonic() - self.away_since >= AWAY_SECONDS else ""

    def say_waiting_for(self, trials: Iterable[RunningTrial], own_pids: set[int]) -> None:
        """Report each trial of another command that a worker waits for, once. ``own_pids``: this command's workers."""
        for trial in trials:
            key = (trial.number, trial.host, trial.pid)
            if (trial.pid in own_pids and not trial.is_away) or key in self.announced:
                continue
            self.announced.add(key)
            logger.info(waiting_for(trial))


def open_display(order: WorkOrder, workers: int) -> Display:
    """The view of the order's stored study with so many workers, on the terminal from now on.

    Raises one of presence.DATABASE_ERRORS.
    """
    study = load_study(open_storage(order.url, create=False, waits=True), order.name)
    presence = StudyPresence(study, study_folder(study, Path(order.runs)))
    storage = backend_of(study)
    storage.patience, storage.logs_waiting = QUERY_SECONDS, False  # Display reports a lost database
    is_search, metric = order.requested.confirmation is None, order.requested.task.metric
    progress = Progress(order.limits.n_trials, 0, None, workers, is_search, metric=metric)
    screen = LiveWatcher(progress) if is_terminal() else PlainWatcher(progress)
    display = Display(presence, screen, place_of(order.url, Path(order.runs)))
    display.refresh()
    display.screen.__enter__()
    return display
