"""What the terminal shows while a study runs: a live table, or plain lines where the output is no terminal."""

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
from search.answer.format import as_score, describe_values, duration, parts

BARS, DOT = "▁▂▃▄▅▆▇█", "·"
PLAIN_BARS, PLAIN_DOT = "_-~=+*%#", "."
"""Where the terminal's encoding has no others."""
ROWS_SHOWN = 12
FIXED_WIDTH, MIN_KNOBS_WIDTH = 28, 20
"""Letters that the live table's first three columns take with their gaps, and that its last one should have."""
STATE_NAMES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
STATE_STYLES = {"running": "bold", "pruned": "dim", "failed": "red", "interrupted": "yellow"}


class Watcher(Protocol):
    """Told of everything that happens to trials."""

    def trial_began(self, number: int, values: Mapping[str, Any]) -> None:
        """A trial starts, or goes on after an interruption."""

    def evaluated(self, number: int, step: int, planned_evaluations: int, scores: Scores, is_news: bool = True) -> None:
        """Evaluation ``step`` of ``planned_evaluations`` of the running trial; no news: made before an interruption."""

    def trial_ended(self, number: int, state: TrialState, value: float | None, why: str = "") -> None:
        """The verdict, and what made a trial fail; WAITING for an interrupted trial."""


class Screen(Watcher, Protocol):
    """What a person looks at; a context manager, to give the terminal back."""

    progress: "Progress"

    def __enter__(self) -> "Screen": ...

    def __exit__(self, *_: object) -> None: ...


@dataclass
class TrialRow:
    """One trial of this command, as far as it is."""

    values: str
    """Of its knobs; what made it fail is added."""
    began: float
    """Seconds of time.monotonic."""
    planned_evaluations: int = 0
    curve: list[float] = field(default_factory=list)
    """Macro F1 of every evaluation."""
    state: str = "running"
    seconds: float = 0.0
    """How long it ran; 0 while it runs."""
    value: float | None = None
    """The trial's value, once it has ended with one."""

    @property
    def best(self) -> float | None:
        """Its value, or while it has none the best evaluation."""
        return max(self.curve, default=None) if self.value is None else self.value

    @property
    def best_text(self) -> str:
        """For a cell; empty before the first evaluation."""
        return as_score(self.best, "")


@dataclass
class Progress:
    """The trials of this command, and how far the study is."""

    num_trials: int
    finished: int
    """Of the whole study, those of earlier and other commands included."""
    best: tuple[float, int] | None
    """(value, trial number) of the best complete trial of the study."""
    num_workers: int = 1
    compares: bool = True
    """Whether one trial can be better than another: not in a confirmation, whose rounds have other judges."""
    rows: dict[int, TrialRow] = field(default_factory=dict)

    def began(self, number: int, values: str) -> TrialRow:
        """Add the trial's row."""
        self.rows[number] = TrialRow(one_printable_line(values, encoding_of(sys.stdout)), time.monotonic())
        return self.rows[number]

    def evaluated(self, number: int, planned_evaluations: int, scores: Scores) -> None:
        """Add a point to the trial's curve."""
        self.rows[number].planned_evaluations = planned_evaluations
        self.rows[number].curve.append(scores.macro_f1)

    def ended(self, number: int, state: TrialState, value: float | None = None) -> TrialRow:
        """Close the trial's row."""
        row = self.rows[number]
        row.value = value
        row.state, row.seconds = STATE_NAMES.get(state, "interrupted"), time.monotonic() - row.began
        return row

    def headline(self) -> str:
        """Where the study stands, in one line."""
        best = f"best {as_score(self.best[0])} (trial {self.best[1]})" if self.best else "no trial complete yet"
        pruned = sum(row.state == "pruned" for row in self.rows.values())
        done = [row.seconds for row in self.rows.values() if row.state in ("complete", "pruned")]
        left = ""
        if done and self.finished < self.num_trials:
            seconds = sum(done) / len(done) * (self.num_trials - self.finished) / self.num_workers
            left = f", about {duration(seconds)} left"
        counts = f", {best}, {pruned} pruned" if self.compares else ""
        return f"{self.finished} of {self.num_trials} trials{counts}{left}"


class PlainWatcher:
    """A line when a trial begins, one an evaluation, one when it ends."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def __enter__(self) -> "PlainWatcher":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def trial_began(self, number: int, values: Mapping[str, Any]) -> None:
        """See Watcher."""
        self.progress.began(number, describe_values(values))
        say(f"trial {number}: {describe_values(values)}")

    def evaluated(self, number: int, step: int, planned_evaluations: int, scores: Scores, is_news: bool = True) -> None:
        """See Watcher."""
        self.progress.evaluated(number, planned_evaluations, scores)
        if not is_news:
            if step == 1:
                say(f"trial {number}: goes on from its last evaluation")
            return
        say(f"trial {number}: evaluation {step} of {planned_evaluations}  {_f1_text(scores)}")

    def trial_ended(self, number: int, state: TrialState, value: float | None, why: str = "") -> None:
        """See Watcher."""
        row = self.progress.ended(number, state, value)
        best = "" if row.best is None else f", macro F1 {row.best_text}"
        say(f"trial {number}: {row.state}{best}, {duration(row.seconds)}; {self.progress.headline()}")
        if why:
            say(f"trial {number}: {why}")


class LiveWatcher:
    """A table that is drawn again in place."""

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
        """See Watcher."""
        self.progress.began(number, describe_values(values))

    def evaluated(self, number: int, step: int, planned_evaluations: int, scores: Scores, is_news: bool = True) -> None:
        """See Watcher."""
        self.progress.evaluated(number, planned_evaluations, scores)

    def trial_ended(self, number: int, state: TrialState, value: float | None, why: str = "") -> None:
        """See Watcher."""
        row = self.progress.ended(number, state, value)
        row.values += f"  {one_printable_line(why, encoding_of(sys.stdout))}"

    def _render(self) -> Group:
        rows = list(self.progress.rows.items())[-ROWS_SHOWN:]
        curves = max((max(len(row.curve), row.planned_evaluations) for _, row in rows), default=0)
        is_narrow = self.console.width < FIXED_WIDTH + max(curves, len("evaluations")) + MIN_KNOBS_WIDTH
        shown = self._blocks(rows) if is_narrow else [self._table(rows)]
        return Group(*shown, Text(self.progress.headline()))

    def _table(self, rows: Sequence[tuple[int, TrialRow]]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title, justify in (("trial", "right"), ("state", "left"), ("best F1", "right"), ("evaluations", "left")):
            table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        table.add_column("knobs", overflow="fold")
        top = max((row.best or 0.0 for row in self.progress.rows.values()), default=0.0) or 1.0
        for number, row in rows:
            curve = sparkline(row.curve, row.planned_evaluations, top)
            cells = (str(number), row.state, row.best_text, curve, row.values)
            # Text is not markup: errors and names of levels may have brackets
            table.add_row(*(Text(without_controls(cell)) for cell in cells), style=self._style(number, row))
        return table

    def _blocks(self, rows: Sequence[tuple[int, TrialRow]]) -> list[Text]:
        """The same where columns would be cut off: two lines a trial, as many trials as there is room for."""
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


def _f1_text(scores: Scores) -> str:
    return f"macro F1 {as_score(scores.macro_f1)}{parts(scores.f1_per_part)}"


def without_controls(text: str) -> str:
    """Without what would move the cursor or colour the rest: an error's text is shown, not obeyed."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def sparkline(curve: Sequence[float], width: int, top: float) -> str:
    """One bar an evaluation, from 0 to ``top``, and dots for those not made."""
    bars, dot = (BARS, DOT) if _has_bars() else (PLAIN_BARS, PLAIN_DOT)
    highest = len(bars) - 1
    made = "".join(bars[min(highest, int(value / top * highest + 0.5))] for value in curve)
    return made + dot * (width - len(curve))


def _has_bars() -> bool:
    try:
        (BARS + DOT).encode(encoding_of(sys.stdout))
    except UnicodeEncodeError:
        return False
    return True


def is_terminal() -> bool:
    """Whether someone looks at a screen on which lines can be drawn again.

    Rich must think so too, or it would show nothing until the end (TERM=dumb); its notion alone would colour pipes
    when asked to by the environment.
    """
    return streams.is_terminal(sys.stdout) and Console().is_terminal and not Console().is_dumb_terminal
