"""What search.status found, for a person to read."""

import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from maskcls.system.console import say
from maskcls.system.errors import one_line, some
from maskcls.system.printable import one_printable_line
from search.answer.format import describe_values, duration
from search.answer.status import STATES
from search.terminal.progress import is_terminal
from search.terminal.tables import show_table

NUMBERS = ("trial", "trials", "times", "best F1", *STATES)
OVERVIEW = ("study", *STATES, "best F1", "trial", "last event", "question")
DAY = 86400
CAUSE_LENGTH = 160
"""Characters of an error that are shown; --json has it all."""
WIDE = 110
"""Columns of a terminal that has room for the questions too; --study shows them otherwise."""

Found = Mapping[str, Any]


def show_overview(found: Found) -> None:
    """A row a study."""
    if not found["studies"]:
        say(f"No study is stored in {found['storage']} yet.")
        return
    titles = OVERVIEW
    rows = [_row(study) for study in found["studies"]]
    if is_terminal() and shutil.get_terminal_size().columns < WIDE:
        titles, rows = titles[:-1], [row[:-1] for row in rows]
    show_table(titles, rows, NUMBERS)
    if len(titles) < len(OVERVIEW):
        say(f"What each asks takes {WIDE} columns, or --study.")
    gone = sum(study["gone"] for study in found["studies"])
    if gone:
        say(f"{gone} running trial{_s(gone)} without a process: the next search.run of the study goes on with them.")


def _row(study: Found) -> tuple[str, ...]:
    best = study["best"]
    alive = study["trials"]["running"] - study["gone"]
    return (
        one_printable_line(study["name"]),
        *(str(count) for count in study["trials"].values()),
        _number(best and best["value"]),
        str(best["trial"]) if best else "-",
        "now" if alive else _ago(study["last_event"]),
        _question(study),
    )


def _question(study: Found) -> str:
    asked = one_line(study["question"] or "- (not made by search.run)")
    return f"Confirmation of {study['confirms']}: {asked}" if study["confirms"] else asked


def show_standing(found: Found) -> None:
    """One study from its question to its failures."""
    say(f"Study {one_printable_line(found['name'])}: {_question(found)}")
    if found["synthetic"]:
        say("  SYNTHETIC PHOTOS: says nothing about faces.")
    facts = {
        "trials": _trials(found),
        "best": _trial(found["best"]),
        "baseline": _trial(found["baseline"]) + _mean(found["baseline"]),
        "incumbent": _incumbent(found["incumbent"]),
        "noise": _noise(found["noise"]),
        "patience": _patience(found),
        "confirmed": found["confirmed"] or "not yet (search.confirm)",
        "spent": f"{found['epochs']:g} epochs",
        "last event": _ago(found["last_event"]),
    }
    if found["confirms"]:
        facts = {name: facts[name] for name in ("trials", "spent", "last event")}
    for name, text in facts.items():
        say(f"  {name:<10}  {one_printable_line(text)}")
    _show_running(found["running"], "search.confirm" if found["confirms"] else "search.run")
    _show_failures(found["failures"], found["interruptions"])


def _trials(found: Found) -> str:
    counts = {state: f"{count} {state}" for state, count in found["trials"].items()}
    if found["gone"]:
        counts["running"] += f" ({found['gone']} gone)"
    return ", ".join(counts.values())


def _trial(found: Found | None) -> str:
    if found is None:
        return "none yet"
    state = "" if found["state"] == "complete" else f" ({found['state']})"
    return f"trial {found['trial']}{state}: macro F1 {_number(found['value'])}  {describe_values(found['values'])}"


def _mean(found: Found | None) -> str:
    if found is None or len(found["runs"]) < 2:
        return ""
    return f"  (mean of {len(found['runs'])} runs {_number(found['mean'])})"


def _incumbent(found: Found | None) -> str:
    """The setting that leads by its mean, which need not be that of the single best trial."""
    if found is None:
        return "none yet"
    runs = found["runs"]
    of = f"trial {runs[0]}, one run" if len(runs) == 1 else f"trials {some(runs)}, mean of {len(runs)} runs"
    return f"{of}: macro F1 {_number(found['mean'])}  {describe_values(found['values'])}"


def _noise(found: Found | None) -> str:
    if found is None:
        return "not known: no setting has run twice yet"
    runs = f"{found['repeated_runs']} repeated run{_s(found['repeated_runs'])}"
    return f"{found['deviation']:.4f} from training seed to training seed (standard deviation, {runs})"


def _patience(found: Found) -> str:
    beyond = " by more than the noise" if found["noise"] else ""
    count = found["trials_since_best"]
    if found["best"] is None:
        return "no trial is complete yet"
    return f"{count} trial{_s(count)} ended since the last one that was better than all before{beyond}"


def _show_running(running: Sequence[Found], command: str) -> None:
    say()
    if not running:
        say("Nothing is running.")
        return
    titles = ("trial", "evaluation", "best F1", "slot", "host", "pid", "since", "process")
    show_table(titles, [_running_row(run) for run in running], (*NUMBERS, "pid"))
    if any(run["gone"] for run in running):
        say(f"A trial whose process is gone waits for the next {command} of this study, which goes on with it.")


def _running_row(run: Found) -> tuple[str, ...]:
    return (
        str(run["trial"]),
        f"{run['evaluation']} of {run['evaluations']}",
        _number(run["value"]),
        run["slot"] or "-",
        run["host"] or "-",
        str(run["pid"] or "-"),
        _ago(run["since"]),
        "gone" if run["gone"] else "alive",
    )


def _show_failures(failures: Sequence[Found], interruptions: int) -> None:
    say()
    if not failures:
        say("Nothing has failed." + _interrupted(interruptions))
        return
    rows = [
        (kind["kind"], str(kind["count"]), some(kind["trials"]), _ago(kind["last_when"]), _cause(kind["last_error"]))
        for kind in failures
    ]
    show_table(("failure", "times", "in trials", "last", "last error"), rows, NUMBERS)
    if interruptions:
        say(_interrupted(interruptions).strip())


def _cause(error: str) -> str:
    return one_line(error, CAUSE_LENGTH)


def _interrupted(count: int) -> str:
    return (
        f" Processes were stopped or died {count} time{_s(count)}; such trials go on from their last evaluation."
        if count
        else ""
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _ago(when: str | None) -> str:
    """``3 min ago``; a day and more as a date."""
    if when is None:
        return "never"
    moment = datetime.fromisoformat(when)
    seconds = max(0.0, time.time() - moment.timestamp())
    return f"{duration(seconds)} ago" if seconds < DAY else moment.strftime("%Y-%m-%d %H:%M")


def _s(count: int) -> str:
    return "" if count == 1 else "s"
