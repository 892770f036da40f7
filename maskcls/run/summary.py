"""What the terminal shows of one training: every evaluation, the result, and what to type next."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from maskcls.system.console import say
from maskcls.tasks.task import METRICS, Task

if TYPE_CHECKING:
    from maskcls.run.result import Result
    from maskcls.scoring.metrics import Scores


def progress_printer(planned_evaluations: int) -> "Callable[[int, Scores], bool]":
    """A training.reporter.Reporter that prints the scores of every evaluation, and never ends the run."""

    def report(step: int, scores: "Scores") -> bool:
        name = "" if scores.metric == "macro_f1" else " F1"
        parts = "".join(f"  {part}{name} {value:.4f}" for part, value in scores.f1_per_part.items())
        accuracy = "" if scores.metric == "accuracy" else f"  accuracy {scores.accuracy:.4f}"
        say(
            f"evaluation {step:2d} of {planned_evaluations}  {METRICS[scores.metric]} {scores.value:.4f}"
            f"{accuracy}  loss {scores.loss:.4f}{parts}"
        )
        return True

    return report


def print_summary(result: "Result", out: Path, task: Task, is_alone: bool) -> None:
    """Print the scores of the kept evaluation, and what to type next if it ``is_alone``: no member of an ensemble."""
    best, most_accurate, least_loss = result.best, result.best_accuracy, result.best_loss
    say(
        f"{result.keep.capitalize()} {task.metric_words} {best.scores.value!r} at evaluation {best.step}"
        f" (best accuracy {most_accurate.scores.accuracy:.4f} at {most_accurate.step},"
        f" best loss {least_loss.scores.loss:.4f} at {least_loss.step});"
        f" {best.photos_per_second:.0f} photos/s, {result.history[-1].seconds:.0f} s, peak {best.peak_gib:.2f} GiB"
    )
    if is_alone:
        say(next_command(out, task))


def next_command(model: Path, task: Task) -> str:
    """The command that predicts with the trained model."""
    return f"Next: python -m maskcls.predict --model {shlex.quote(str(model))} --images DIR -o {task.predictions_file}"


def compared(value: float, promised: float) -> str:
    """The score less that of the exported model: ``the same``, ``+0.0123``."""
    return "the same" if value == promised else f"{value - promised:+.4f}"
