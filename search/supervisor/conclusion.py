"""What the supervisor says of the whole study: what it waits for, and how it ended."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import optuna

from maskcls.system.console import say
from maskcls.system.errors import one_line
from search.answer.notes import show_study
from search.database.connect import GRACE_SECONDS
from search.policy.stopping import count_finished
from search.storage.folder import study_folder
from search.storage.orphans import requeue_orphaned
from search.storage.presence import DATABASE_ERRORS
from search.study.record import Stored, read_stored
from search.supervisor.shutdown import STOP_SIGNALS
from search.worker.messages import GAVE_UP, NOTHING_LEFT, WorkOrder

Summary = Callable[[optuna.Study, Stored, Path, str | None], None]
"""Prints what a study came to; of search.run or of search.confirm."""


@dataclass(frozen=True)
class End:
    """How a command ended."""

    outcome: str
    """Of its first worker that ended by itself, or of the one that gave up; see orders."""
    cause: str
    reason: str
    """Why the workers were told to stop."""
    order: WorkOrder
    storage_url: str | None
    """As given, for what the summary tells to type."""


def conclude(study: optuna.Study, end: End, summary: Summary) -> int:
    """Take back the trials of workers that were killed, say what was done and what it came to; the exit status."""
    with suppress(optuna.exceptions.StorageInternalError):  # else the next command does it
        requeue_orphaned(study)
    write_note(study)
    say()
    trials = study.get_trials(deepcopy=False)
    done, asked = count_finished(trials), end.order.limits["n_trials"]
    if end.outcome == NOTHING_LEFT and done < asked:
        say(f"{end.cause} is reached, at {done} of {asked} trials. A higher one goes on.")
    elif end.reason and end.outcome != GAVE_UP and done < asked:
        say(f"Stopped by {end.reason} at {done} of {asked} trials. The same command goes on.")
    summary(study, read_stored(study), Path(end.order.runs), end.storage_url)
    if end.outcome == GAVE_UP:
        say(f"Gave up at {done} of {asked} trials: {end.cause}")
        logs = study_folder(study, Path(end.order.runs)) / "logs"
        say(f"Logs are in {logs}; a crashed trial's folder has a crash.txt.")
        return 1
    return 130 if end.reason in STOP_SIGNALS.values() and done < asked else 0


def write_note(study: optuna.Study) -> None:
    """The study's note in the dashboard, as far as it is."""
    with suppress(*DATABASE_ERRORS):  # a full disk ends the workers, and they say so
        show_study(study, read_stored(study))


def no_answer(error: BaseException) -> str:
    """Why the supervisor cannot read its database."""
    return f"no answer from the database ({one_line(error).rstrip('.')})"


def waits_for(number: int, host: str, pid: int, is_away: bool) -> str:
    """What a worker without a trial waits for.

    A container that was killed and started again is another machine too: for a while its trials seem to run.
    """
    if not is_away:
        return f"Waiting for trial {number}, which another command runs (process {pid})."
    return (
        f"Waiting for trial {number}, which runs on another machine or in another container ({host}, process {pid});"
        f" it goes on here once it has not been heard of for {GRACE_SECONDS} s."
    )
