"""The text of search.status."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from maskcls.system.console import say
from maskcls.system.errors import count_of, one_line, some
from maskcls.system.printable import one_printable_line
from maskcls.tasks.task import METRICS, short_metric
from search.answer.format import PLAIN_NONE, SYNTHETIC, as_score, describe_values, duration, trials_named
from search.findings.documents import (
    STATES,
    ConfigurationStatus,
    DatabaseOverview,
    FailureStatus,
    NoiseStatus,
    RunningTrial,
    StudyOverview,
    StudyStatus,
    TrialStatus,
)
from search.policy.history import Noise
from search.terminal.progress import is_terminal
from search.terminal.tables import show_table

NUMBERS = ("trial", "trials", "times", *STATES)
DAY = 86400
CAUSE_LENGTH = 160
"""Characters of an error that are shown; --json has all of them."""
WIDE = 110
"""Width from which a terminal has room for the questions, in characters."""


def show_overview(overview: DatabaseOverview) -> None:
    """Print a table of all studies."""
    if not overview.studies:
        say(f"No study is stored in {overview.storage} yet.")
        return
    best = f"best {_shared_metric(overview)}"
    overview_titles = titles = ("study", *STATES, best, "trial", "last event", "question")
    rows = [_overview_cells(study) for study in overview.studies]
    if is_terminal() and shutil.get_terminal_size().columns < WIDE:
        titles, rows = titles[:-1], [row[:-1] for row in rows]
    show_table(titles, rows, (*NUMBERS, best))
    if len(titles) < len(overview_titles):
        say(f"The questions are shown on {WIDE} columns, or with --study.")
    gone = sum(study.gone for study in overview.studies)
    if gone:
        say(f"{count_of(gone, 'running trial')} without a process, which the next search.run of the study continues.")


def _shared_metric(overview: DatabaseOverview) -> str:
    """The metric of all studies, in short; ``score`` where they are judged by several."""
    metrics = {study.metric for study in overview.studies if study.metric is not None} or {"macro_f1"}
    return short_metric(metrics.pop()) if len(metrics) == 1 else "score"


def _overview_cells(study: StudyOverview) -> tuple[str, ...]:
    best = study.best
    alive = study.trials.running - study.gone
    return (
        one_printable_line(study.name),
        *(str(count) for count in asdict(study.trials).values()),
        as_score(best.value if best else None, PLAIN_NONE),
        str(best.trial) if best else PLAIN_NONE,
        "now" if alive else _ago(study.last_event),
        _question(study),
    )


def _question(study: StudyOverview) -> str:
    question = one_line(study.question or "- (not made by search.run)")
    team = "a team of " if study.confirms_team else ""
    return f"Confirmation of {team}{study.confirms}: {question}" if study.confirms else question


def show_status(study: StudyStatus) -> None:
    """Print one study, from its question to its failures."""
    overview = study.overview
    say(f"Study {one_printable_line(overview.name)}: {_question(overview)}")
    if study.synthetic:
        say(f"  {SYNTHETIC}")
    metric = overview.metric or "macro_f1"
    facts = {
        "trials": _trial_counts(overview),
        "best": ("of the search, " if study.answer and study.best else "") + _trial(study.best, metric),
        "baseline": _trial(study.baseline, metric) + _mean(study.baseline),
        "incumbent": _incumbent(study.incumbent, metric),
        "noise": _noise(study.noise),
        "patience": _patience(study),
        "answer": study.answer or study.confirmed or "no answer yet",
        **({"test": f"{study.test.text}, scored once"} if study.test else {}),
        "spent": f"{study.epochs:g} epochs",
        "last event": _ago(overview.last_event),
    }
    if overview.confirms:
        answer = ("answer",) if overview.confirms_team else ()  # else the confirmed study has it
        facts = {name: facts[name] for name in ("trials", *answer, "spent", "last event")}
    elif study.answer:  # its rounds are what counts, not how far the search has come
        facts = {name: text for name, text in facts.items() if name not in ("incumbent", "noise", "patience")}
    for name, text in facts.items():
        say(f"  {name:<10}  {one_printable_line(text)}")
    _show_running(study.running, "search.confirm" if overview.confirms else "search.run", metric)
    _show_failures(study.failures, study.interruptions)


def _trial_counts(overview: StudyOverview) -> str:
    counts = {state: f"{count} {state}" for state, count in asdict(overview.trials).items()}
    if overview.gone:
        counts["running"] += f" ({overview.gone} gone)"
    return ", ".join(counts.values())


def _trial(trial: TrialStatus | ConfigurationStatus | None, metric: str) -> str:
    if trial is None:
        return "none yet"
    state = "" if trial.state == "complete" else f" ({trial.state})"
    score = f"{METRICS[metric]} {as_score(trial.value, PLAIN_NONE)}"
    return f"trial {trial.trial}{state}: {score}  {describe_values(trial.values)}"


def _mean(baseline: ConfigurationStatus | None) -> str:
    if baseline is None or len(baseline.runs) < 2:
        return ""
    return f"  (mean of {len(baseline.runs)} runs {as_score(baseline.mean, PLAIN_NONE)})"


def _incumbent(incumbent: ConfigurationStatus | None, metric: str) -> str:
    """The configuration with the best mean, which need not be that of the best trial."""
    if incumbent is None:
        return "none yet"
    runs = incumbent.runs
    mean = "one run" if len(runs) == 1 else f"mean of {len(runs)} runs"
    score = f"{METRICS[metric]} {as_score(incumbent.mean, PLAIN_NONE)}"
    return f"{trials_named(runs)}, {mean}: {score}  {describe_values(incumbent.values)}"


def _noise(noise: NoiseStatus | None) -> str:
    if noise is None:
        return "unknown: no configuration has run twice yet"
    return Noise(noise.deviation, noise.repeated_runs).describe()


def _patience(study: StudyStatus) -> str:
    if study.best is None:
        return "no trial is complete yet"
    beyond = " by more than the noise" if study.noise else ""
    trials = count_of(study.trials_since_best, "trial")
    return f"{trials} ended since the last one that beat all before it{beyond}"


def _show_running(running: Sequence[RunningTrial], command: str, metric: str) -> None:
    say()
    if not running:
        say("Nothing is running.")
        return
    best = f"best {short_metric(metric)}"
    titles = ("trial", "evaluation", best, "slot", "host", "pid", "since", "process")
    show_table(titles, [_running_cells(run) for run in running], (*NUMBERS, best, "pid"))
    if any(run.gone for run in running):
        say(f"A trial whose process is gone waits for the next {command} of this study, which continues it.")


def _running_cells(run: RunningTrial) -> tuple[str, ...]:
    return (
        str(run.trial),
        f"{run.evaluation} of {run.evaluations}",
        as_score(run.value, PLAIN_NONE),
        run.slot or PLAIN_NONE,
        run.host or PLAIN_NONE,
        str(run.pid or PLAIN_NONE),
        _ago(run.since),
        "gone" if run.gone else "alive",
    )


def _show_failures(failures: Sequence[FailureStatus], interruptions: int) -> None:
    say()
    if not failures:
        say("Nothing has failed.")
    else:
        titles = ("failure", "times", "in trials", "last", "last error")
        show_table(titles, [_failure_cells(failure) for failure in failures], NUMBERS)
    if interruptions:
        times = count_of(interruptions, "time")
        say(f"Processes were stopped or died {times}; such trials continue from their last evaluation.")


def _failure_cells(failure: FailureStatus) -> tuple[str, ...]:
    error = one_line(failure.last_error, CAUSE_LENGTH)
    return failure.kind, str(failure.count), some(failure.trials), _ago(failure.last_when), error


def _ago(when: str | None) -> str:
    """``3 min ago``; a date from a day on."""
    if when is None:
        return "never"
    moment = datetime.fromisoformat(when)
    seconds = max(0.0, time.time() - moment.timestamp())
    return f"{duration(seconds)} ago" if seconds < DAY else moment.strftime("%Y-%m-%d %H:%M")
