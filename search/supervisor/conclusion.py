"""The supervisor's messages about the whole study: what it waits for, and how its command ended."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import optuna

from maskcls.system.console import fail, say
from maskcls.system.errors import one_line
from search.answer.format import capital
from search.database.connect import GRACE_SECONDS, place_of
from search.findings.notes import show_study
from search.policy.stopping import DECIDED, LACKS_TIME, count_finished
from search.storage.folder import study_folder
from search.storage.looks import make_missed_look
from search.storage.orphans import requeue_orphaned
from search.storage.presence import DATABASE_ERRORS, OUT_OF_REACH, StudyPresence
from search.study.record import Stored, read_stored
from search.supervisor.shutdown import STOP_SIGNALS
from search.worker.messages import GAVE_UP, NOTHING_LEFT, REFUSED, VANISHED, Outcome, RunningTrial, WorkOrder

Summary = Callable[[optuna.Study, Stored], None]
"""Prints the summary of a study: that of search.run, or that of search.confirm."""


def conclude(
    study: optuna.Study | None,
    presence: StudyPresence | None,
    outcome: Outcome,
    stop_reason: str,
    order: WorkOrder,
    summary: Summary,
) -> int:
    """Print how the command ended and the summary of its study; returns the exit status.

    ``study`` and ``presence`` are None when the plan was not made; ``stop_reason`` is why the workers were told to
    stop, empty if they were not. Raises SystemExit (2) for a refused request.
    """
    kind, cause = outcome.kind, outcome.cause
    if kind == REFUSED:
        fail(cause)
    if study is None:
        say(f"No worker could start: {cause or stop_reason}.")
        return 1
    if kind == VANISHED:
        say(f"Gave up: {cause}.")
        return 1
    try:
        return _conclude_study(study, outcome, stop_reason, order, summary)
    except OUT_OF_REACH as error:
        assert presence is not None
        lost = presence.why_failed()
        if isinstance(error, KeyError) and not lost and kind != GAVE_UP:
            raise  # a bug
        say(f"Gave up: {cause if kind == GAVE_UP else lost or no_answer(error)}.")
        return 1


def _conclude_study(study: optuna.Study, outcome: Outcome, stop_reason: str, order: WorkOrder, summary: Summary) -> int:
    """Requeue the trials of killed workers, make the look that is due, and print the end and the summary; returns the
    exit status.

    Raises one of presence.OUT_OF_REACH when the database cannot be read.
    """
    with suppress(optuna.exceptions.StorageInternalError):  # else the next command does it
        requeue_orphaned(study)
        make_missed_look(study, read_stored(study), Path(order.runs), order.limits)
    write_note(study, place_of(order.url, Path(order.runs)))
    say()
    trials = study.get_trials(deepcopy=False)
    done, n_trials = count_finished(trials), order.limits.n_trials
    kind, cause = outcome.kind, outcome.cause
    if kind == NOTHING_LEFT and cause == DECIDED:
        say(not_needed(done, n_trials))
    elif kind == NOTHING_LEFT and cause == LACKS_TIME:
        say(f"{capital(LACKS_TIME)}, at {done} of {n_trials} trials. A larger --timeout continues the study.")
    elif kind == NOTHING_LEFT and done < n_trials:
        say(f"{cause} is reached at {done} of {n_trials} trials. A higher limit continues the study.")
    elif stop_reason and kind != GAVE_UP and done < n_trials:
        say(f"Stopped by {stop_reason} at {done} of {n_trials} trials. The same command continues the study.")
    summary(study, read_stored(study))
    if kind == GAVE_UP:
        say(f"Gave up at {done} of {n_trials} trials: {cause}")
        logs = study_folder(study, Path(order.runs)) / "logs"
        say(f"Logs are in {logs}; the folder of a crashed trial has a crash.txt.")
        return 1
    return 130 if stop_reason in STOP_SIGNALS.values() and done < n_trials else 0


def not_needed(done: int, n_trials: int) -> str:
    """The message about a study that has its answer before its last trial."""
    return f"{capital(DECIDED)}: {max(0, n_trials - done)} of {n_trials} trials were not needed."


def write_note(study: optuna.Study, place: str) -> None:
    """Update the study's note in the dashboard. ``place``: as in notes.show_study."""
    with suppress(*DATABASE_ERRORS):  # the workers report a full disk
        show_study(study, read_stored(study), place=place)


def no_answer(error: BaseException) -> str:
    """Why the supervisor gives up: its database does not answer."""
    return f"no answer from the database ({one_line(error).rstrip('.')})"


def waiting_for(trial: RunningTrial) -> str:
    """The message about a trial of another command that a worker waits for.

    A restarted container counts as another machine, so for a while its earlier trials seem to run.
    """
    if not trial.is_away:
        return f"Waiting for trial {trial.number}, which another command runs (process {trial.pid})."
    return (
        f"Waiting for trial {trial.number}, which runs on another machine or in another container ({trial.host},"
        f" process {trial.pid}); this command takes it over after {GRACE_SECONDS} s without a heartbeat."
    )
