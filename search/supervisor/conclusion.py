"""What the supervisor says of the whole study: what it waits for, and how its command ended."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import optuna

from maskcls.system.console import fail, say
from maskcls.system.errors import one_line
from search.answer.notes import show_study
from search.database.connect import GRACE_SECONDS
from search.policy.stopping import count_finished
from search.storage.folder import study_folder
from search.storage.orphans import requeue_orphaned
from search.storage.presence import DATABASE_ERRORS, OUT_OF_REACH, StudyPresence
from search.study.record import Stored, read_stored
from search.supervisor.shutdown import STOP_SIGNALS
from search.worker.messages import GAVE_UP, NOTHING_LEFT, REFUSED, VANISHED, Outcome, RunningTrial, WorkOrder

Summary = Callable[[optuna.Study, Stored, Path, str | None], None]
"""Prints what a study came to: for search.run, or for search.confirm."""


@dataclass(frozen=True)
class End:
    """How a command ended."""

    outcome: Outcome
    """How its first worker ended that ended by itself, or the one that gave up."""
    stop_reason: str
    """Why the workers were told to stop; empty when they were not."""
    order: WorkOrder
    storage_url: str | None
    """As given, for what the summary tells to type."""


def conclude(study: optuna.Study | None, presence: StudyPresence | None, end: End, summary: Summary) -> int:
    """Say how the command ended and what its study came to; returns the exit status.

    ``study``: None when it was not planned; ``presence``: the study's. Raises SystemExit (2) for what was refused.
    """
    kind, cause = end.outcome.kind, end.outcome.cause
    if kind == REFUSED:
        fail(cause)
    if study is None:
        say(f"No worker could begin: {cause or end.stop_reason}.")
        return 1
    if kind == VANISHED:
        say(f"Gave up: {cause}.")
        return 1
    try:
        return _conclude_study(study, end, summary)
    except OUT_OF_REACH as error:
        assert presence is not None
        lost = presence.why_failed()
        if isinstance(error, KeyError) and not lost and kind != GAVE_UP:
            raise  # a fault of ours
        say(f"Gave up: {cause if kind == GAVE_UP else lost or no_answer(error)}.")
        return 1


def _conclude_study(study: optuna.Study, end: End, summary: Summary) -> int:
    """Take back the trials of workers that were killed, say what was done and what it came to; the exit status.

    Raises one of presence.OUT_OF_REACH when the database cannot be read.
    """
    with suppress(optuna.exceptions.StorageInternalError):  # else the next command does it
        requeue_orphaned(study)
    write_note(study)
    say()
    trials = study.get_trials(deepcopy=False)
    done, asked = count_finished(trials), end.order.limits.n_trials
    kind, cause = end.outcome.kind, end.outcome.cause
    if kind == NOTHING_LEFT and done < asked:
        say(f"{cause} is reached, at {done} of {asked} trials. A higher one goes on.")
    elif end.stop_reason and kind != GAVE_UP and done < asked:
        say(f"Stopped by {end.stop_reason} at {done} of {asked} trials. The same command goes on.")
    summary(study, read_stored(study), Path(end.order.runs), end.storage_url)
    if kind == GAVE_UP:
        say(f"Gave up at {done} of {asked} trials: {cause}")
        logs = study_folder(study, Path(end.order.runs)) / "logs"
        say(f"Logs are in {logs}; a crashed trial's folder has a crash.txt.")
        return 1
    return 130 if end.stop_reason in STOP_SIGNALS.values() and done < asked else 0


def write_note(study: optuna.Study) -> None:
    """Write the study's note in the dashboard, as far as the study is."""
    with suppress(*DATABASE_ERRORS):  # a full disk ends the workers, and they say so
        show_study(study, read_stored(study))


def no_answer(error: BaseException) -> str:
    """Why the supervisor cannot read its database."""
    return f"no answer from the database ({one_line(error).rstrip('.')})"


def waiting_for(trial: RunningTrial) -> str:
    """The sentence on a trial that a worker without one waits for.

    A container that was killed and started again is another machine too: for a while its trials seem to run.
    """
    if not trial.is_away:
        return f"Waiting for trial {trial.number}, which another command runs (process {trial.pid})."
    return (
        f"Waiting for trial {trial.number}, which runs on another machine or in another container ({trial.host},"
        f" process {trial.pid}); it goes on here once it has not been heard of for {GRACE_SECONDS} s."
    )
