"""What the terminal shows while a study runs: a live table, or plain lines when the output is no terminal."""

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from optuna.trial import TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from maskcls.scoring.metrics import Scores
from maskcls.system import streams
from maskcls.system.console import say
from maskcls.system.printable import encoding_of, one_printable_line
from maskcls.tasks.task import METRICS, short_metric
from search.answer.format import as_score, describe_values, duration, parts

BARS, DOT = "▁▂▃▄▅▆▇█", "·"
PLAIN_BARS, PLAIN_DOT = "_-~=+*%#", "."
"""The same in plain characters, for an encoding that lacks them."""
ROWS_SHOWN = 12
FIXED_WIDTH, MIN_LAST_WIDTH = 28, 20
"""Width of the live table's first three columns with their gaps, and the least of its last one, in characters."""
STATE_NAMES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
STATE_STYLES = {"running": "bold", "pruned": "dim", "failed": "red", "interrupted": "yellow"}


class Watcher(Protocol):
    """Receives everything that happens to trials."""

    def trial_began(self, number: int, values: Mapping[str, Any]) -> None:
        """A trial begins, or continues after an interruption. ``values``: its hyperparameters."""

    def evaluated(self, number: int, step: int, planned_evaluations: int, scores: Scores, is_news: bool = True) -> None:
        """Evaluation ``step`` of ``planned_evaluations`` is done; without ``is_news`` it was before an interruption."""

    def trial_ended(self, number: int, state: TrialState, value: float | None, why: str = "") -> None:
        """A trial ends, or is interrupted (WAITING). ``why``: the error of a failed one."""


class Screen(Watcher, Protocol):
    """A Watcher that shows the progress; a context manager, to give the terminal back."""

    progress: "Progress"

    def __enter__(self) -> "Screen": ...

    def __exit__(self, *_: object) -> None: ...


@dataclass
class TrialRow:
    """The progress of one trial."""

    values: str
    """Its hyperparameters in a line, followed by the error of a failed trial."""
    began: float
    """Time at which it began, in seconds of time.monotonic."""
    planned_evaluations: int = 0
    curve: list[float] = field(default_factory=list)
    """The score of every evaluation so far."""
    state: str = "running"
    seconds: float = 0.0
    """Duration of an ended trial; 0 while it runs."""
    value: float | None = None
    """Value of an ended trial; None if it has none."""

    @property
    def best(self) -> float | None:
        """Its value, or the best evaluation so far."""
        return max(self.curve, default=None) if self.value is None else self.value

    @property
    def best_text(self) -> str:
        """``best`` as the text of a cell; empty before the first evaluation."""
        return as_score(self.best, "")


@dataclass
class Progress:
    """The trials of this command, and the progress of the study."""

    num_trials: int
    """Number of trials that the study should reach."""
    finished: int
    """Number of finished trials of the study, those of earlier and other commands included."""
    best: tuple[float, int] | None
    """(value, trial number) of the best complete trial of the study."""
    num_workers: int = 1
    compares: bool = True
    """Whether trials are comparable; not in a confirmation, where each repeat has its own judges."""
    rows: dict[int, TrialRow] = field(default_factory=dict)
    metric: str = "macro_f1"
    """Name in tasks.task.METRICS of what the trials are judged by."""

    def began(self, number: int, values: str) -> TrialRow:
        """Add the trial's row."""
        self.rows[number] = TrialRow(one_printable_line(values, encoding_of(sys.stdout)), time.monotonic())
        return self.rows[number]

    def evaluated(self, number: int, planned_evaluations: int, scores: Scores) -> None:
        """Add a point to the trial's curve."""
        self.rows[number].planned_evaluations = planned_evaluations
        self.rows[number].curve.append(scores.value)

    def ended(self, number: int, state: TrialState, value: float | None = None) -> TrialRow:
        """Close the trial's row."""
        row = self.rows[number]
        row.value = value
        row.state, row.seconds = STATE_NAMES.get(state, "interrupted"), time.monotonic() - row.began
        return row

    def headline(self) -> str:
        """The progress of the study in one line: finished trials, best, time left."""
        best = f"best {as_score(self.best[0])} (trial {self.best[1]})" if self.best else "no trial complete yet"
        pruned = sum(row.state == "pruned" for row in self.rows.values())
        durations = [row.seconds for row in self.rows.values() if row.state in ("complete", "pruned")]
        left = ""
        if durations and self.finished < self.num_trials:
            seconds = sum(durations) / len(durations) * (self.num_trials - self.finished) / self.num_workers
            left = f", about {duration(seconds)} left"
        counts = f", {best}, {pruned} pruned" if self.compares else ""
        return f"{self.finished} of {self.num_trials} trials{counts}{left}"


class PlainWatcher:
    """A Screen that prints a line when a trial begins, at each evaluation, and when it ends."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __enter__(self) -> "PlainWatcher":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def trial_began(self, number: int, values: Mapping[str, Any]) -> None:
        self.progress.began(number, describe_values(values))
        say(f"trial {number}: {describe_values(values)}")

    def evaluated(self, number: int, step: int, planned_evaluations: int, scores: Scores, is_news: bool = True) -> None:
        self.progress.evaluated(number, planned_evaluations, scores)
        if is_news:
            score = f"{METRICS[scores.metric]} {as_score(scores.value)}{parts(scores)}"
            say(f"trial {number}: evaluation {step} of {planned_evaluations}  {score}")
        elif step == 1:
            say(f"trial {number}: continues from its last evaluation")

    def trial_ended(self, number: int, state: TrialState, value: float | None, why: str = "") -> None:
        row = self.progress.ended(number, state, value)
        best = "" if row.best is None else f", {METRICS[self.progress.metric]} {row.best_text}"
        say(f"trial {number}: {row.state}{best}, {duration(row.seconds)}; {self.progress.headline()}")
        if why:
            say(f"trial {number}: {why}")


class LiveWatcher:
    """A Screen that keeps redrawing a table of the trials in place."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.console = Console()
        self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4)

    def __enter__(self) -> "LiveWatcher":
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the terminal may have been closed
            self.live.stop()

    def trial_began(self, number: int, values: Mapping[str, Any]) -> None:
        self.progress.began(number, describe_values(values))

    def evaluated(self, number: int, step: int, planned_evaluations: int, scores: Scores, is_news: bool = True) -> None:
        self.progress.evaluated(number, planned_evaluations, scores)

    def trial_ended(self, number: int, state: TrialState, value: float | None, why: str = "") -> None:
        row = self.progress.ended(number, state, value)
        row.values += f"  {one_printable_line(why, encoding_of(sys.stdout))}"

    def _render(self) -> Group:
        rows = list(self.progress.rows.items())[-ROWS_SHOWN:]
        curves = max((max(len(row.curve), row.planned_evaluations) for _, row in rows), default=0)
        longer = len(short_metric(self.progress.metric)) - len("F1")
        is_narrow = self.console.width < FIXED_WIDTH + longer + max(curves, len("evaluations")) + MIN_LAST_WIDTH
        shown = self._blocks(rows) if is_narrow else [self._table(rows)]
        return Group(*shown, Text(self.progress.headline()))

    def _table(self, rows: Sequence[tuple[int, TrialRow]]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        best = f"best {short_metric(self.progress.metric)}"
        for title, justify in (("trial", "right"), ("state", "left"), (best, "right"), ("evaluations", "left")):
            table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        table.add_column("configuration", overflow="fold")
        top = max((row.best or 0.0 for row in self.progress.rows.values()), default=0.0) or 1.0
        for number, row in rows:
            curve = sparkline(row.curve, row.planned_evaluations, top)
            cells = (str(number), row.state, row.best_text, curve, row.values)
            # Text, since errors and names of levels may have brackets, which are no markup
            table.add_row(*(Text(without_controls(cell)) for cell in cells), style=self._style(number, row))
        return table

    def _blocks(self, rows: Sequence[tuple[int, TrialRow]]) -> list[Text]:
        """Two lines per trial, for a terminal too narrow for the table; as many trials as there is room for."""
        shown = []
        for number, row in rows[-max(1, (self.console.height - 2) // 3) :]:
            evaluations = f"{len(row.curve)}/{row.planned_evaluations}" if row.curve else ""
            facts = " ".join(filter(None, (str(number), row.state, row.best_text, evaluations)))
            shown.append(
                Text(f"{facts}\n  {without_controls(row.values)}", style=self._style(number, row), overflow="fold")
            )
        return shown

    def _style(self, number: int, row: TrialRow) -> str:
        is_best = self.progress.best is not None and self.progress.best[1] == number
        return "green" if is_best else STATE_STYLES.get(row.state, "")


def without_controls(text: str) -> str:
    """The text without control characters, which would move the cursor or colour the rest."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def sparkline(curve: Sequence[float], width: int, top: float) -> str:
    """A bar per evaluation, from 0 to ``top``, then dots up to ``width`` evaluations."""
    bars, dot = (BARS, DOT) if _has_bars() else (PLAIN_BARS, PLAIN_DOT)
    highest = len(bars) - 1
    drawn = "".join(bars[min(highest, int(value / top * highest + 0.5))] for value in curve)
    return drawn + dot * (width - len(curve))


def _has_bars() -> bool:
    try:
        (BARS + DOT).encode(encoding_of(sys.stdout))
    except UnicodeEncodeError:
        return False
    return True


def is_terminal() -> bool:
    """Whether standard output is a terminal on which lines can be drawn again.

    Rich must agree, or it would show nothing until the end (TERM=dumb); Rich alone would colour a pipe if the
    environment asks it to.
    """
    return streams.is_terminal(sys.stdout) and Console().is_terminal and not Console().is_dumb_terminal
