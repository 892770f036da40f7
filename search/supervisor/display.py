"""A study as its supervisor shows it: on the terminal, and in its note in the dashboard."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import optuna

from search.database.errors import reason
from search.database.reconnecting import PATIENCE_SECONDS
from search.policy.history import best_trial
from search.policy.stopping import count_finished
from search.storage.presence import DATABASE_ERRORS, StudyPresence
from search.supervisor.conclusion import no_answer, waiting_for, write_note
from search.terminal.progress import Screen
from search.worker.messages import Evaluated, RunningTrial, TrialBegan, TrialEnded

logger = logging.getLogger(__name__)

AWAY_SECONDS = PATIENCE_SECONDS
"""For so long the supervisor goes on without its database, which it only reads to show how far the study is."""

NOTE_SECONDS = 10
"""The study's note in the dashboard is written again at most so often."""


@dataclass
class Display:
    """What is seen of a study while it runs.

    Its methods return why the study is to be given up; an empty string while it is not.
    """

    presence: StudyPresence
    screen: Screen
    note_written: float = 0.0
    """When (time.monotonic) the study's note was written last."""
    refreshed: float = 0.0
    """When the database was asked last."""
    away_since: float | None = None
    """When the database was last asked in vain, the first time of several."""
    announced: set[tuple[int, str, int]] = field(default_factory=set)
    """(number, host, pid) of the trials that it has said a worker waits for."""

    @property
    def study(self) -> optuna.Study:
        """The one that runs."""
        return self.presence.study

    def show(self, event: TrialBegan | Evaluated | TrialEnded) -> str:
        """Pass on what happened to a trial."""
        match event:
            case TrialBegan(number, values):
                self.screen.trial_began(number, values)
                return ""
            case Evaluated(number, step, planned_evaluations, scores, is_news):
                self.screen.evaluated(number, step, planned_evaluations, scores, is_news)
                return ""
            case TrialEnded(number, state, value, why):
                trouble = self.refresh()
                self.screen.trial_ended(number, state, value, why)
        if time.monotonic() - self.note_written > NOTE_SECONDS:
            write_note(self.study)
            self.note_written = time.monotonic()
        return trouble

    def refresh(self) -> str:
        """The count and the best from the database: others may work on the study too."""
        begun = self.refreshed = time.monotonic()
        try:
            trials = self.study.get_trials(deepcopy=False)
        except DATABASE_ERRORS as error:
            return self.database_failed(error, begun)
        if self.away_since is not None:
            logger.info("The database is back.")
        self.away_since = None
        best = best_trial(trials)
        self.screen.progress.finished = count_finished(trials)
        self.screen.progress.best = (best.value, best.number) if best is not None and best.value is not None else None
        return ""

    def database_failed(self, error: BaseException, begun: float) -> str:
        """The database did not answer a question that was ``begun`` then; nothing while that may pass."""
        if isinstance(error, KeyError):
            return self.presence.why_failed() or no_answer(error)
        if self.away_since is None:
            self.away_since = begun
            logger.info(f"Waiting for the database, {AWAY_SECONDS / 60:.0f} minutes at most: {reason(error)}.")
        return no_answer(error) if time.monotonic() - self.away_since >= AWAY_SECONDS else ""

    def say_waiting_for(self, trials: Iterable[RunningTrial], own_pids: set[int]) -> None:
        """What a worker waits for, once, when that is no trial of this command, whose processes are ``own_pids``."""
        for trial in trials:
            key = (trial.number, trial.host, trial.pid)
            if (trial.pid in own_pids and not trial.is_away) or key in self.announced:
                continue
            self.announced.add(key)
            logger.info(waiting_for(trial))
