"""A study as its supervisor shows it: on the terminal, and in its note in the dashboard."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState

from maskcls.scoring.metrics import Scores
from search.database.errors import reason
from search.database.reconnecting import PATIENCE_SECONDS
from search.policy.history import best_trial
from search.policy.stopping import count_finished
from search.storage.presence import DATABASE_ERRORS, StudyPresence
from search.supervisor.conclusion import no_answer, waits_for, write_note
from search.terminal.progress import Screen

logger = logging.getLogger(__name__)

AWAY_SECONDS = PATIENCE_SECONDS
"""For so long the supervisor goes on without its database, which it only reads to show how far the study is."""

NOTE_SECONDS = 10
"""The study's note in the dashboard is written again at most so often."""


@dataclass
class Shown:
    """What a person sees of a study while it runs. Its methods return why the study is to be given up, if it is."""

    ground: StudyPresence
    watcher: Screen
    noted: float = 0.0
    refreshed: float = 0.0
    away_since: float | None = None
    """When the database was last asked in vain, the first time of several."""
    said: set[tuple[int, str, int]] = field(default_factory=set)

    @property
    def study(self) -> optuna.Study:
        """The one that runs."""
        return self.ground.study

    def tell(self, event: str, details: Sequence[Any]) -> str:
        """Pass on an event of a worker; see teller.EventWriter."""
        number = details[0]
        if event == "trial_began":
            self.watcher.trial_began(number, details[1])
            return ""
        if event == "evaluated":
            self.watcher.evaluated(number, details[1], details[2], Scores.from_dict(details[3]), details[4])
            return ""
        why = self.refresh()
        self.watcher.trial_ended(number, TrialState[details[1]], *details[2:])
        if time.monotonic() - self.noted > NOTE_SECONDS:
            write_note(self.study)
            self.noted = time.monotonic()
        return why

    def refresh(self) -> str:
        """The count and the best from the database: others may work on the study too."""
        begun = self.refreshed = time.monotonic()
        try:
            trials = self.study.get_trials(deepcopy=False)
        except DATABASE_ERRORS as error:
            return self.away(error, begun)
        if self.away_since is not None:
            logger.info("The database is back.")
        self.away_since = None
        best = best_trial(trials)
        self.watcher.progress.finished = count_finished(trials)
        self.watcher.progress.best = (best.value, best.number) if best is not None and best.value is not None else None
        return ""

    def away(self, error: BaseException, begun: float) -> str:
        """The database did not answer a question that was ``begun`` then; nothing while that may pass."""
        if isinstance(error, KeyError):
            return self.ground.why_failed() or no_answer(error)
        if self.away_since is None:
            self.away_since = begun
            logger.info(f"Waiting for the database, {AWAY_SECONDS / 60:.0f} minutes at most: {reason(error)}.")
        return no_answer(error) if time.monotonic() - self.away_since >= AWAY_SECONDS else ""

    def say_what_for(self, running: Sequence[Sequence[Any]], ours: set[int]) -> None:
        """What a worker waits for, once, when that is no trial of this command, whose processes are ``ours``."""
        for number, host, pid, is_away in running:
            if (pid in ours and not is_away) or (number, host, pid) in self.said:
                continue
            self.said.add((number, host, pid))
            logger.info(waits_for(number, host, pid, is_away))
