"""The result of the test in words."""

from maskcls.system.errors import count_of
from maskcls.tasks.task import METRICS, Task
from search.answer.format import as_score
from search.storage.final_test import FinalTest


def words_of_test(found: FinalTest, task: Task) -> str:
    """``macro F1 0.8123 (95 % interval 0.742 to 0.871), accuracy 0.840, by trial 12 on 120 photos of 24 patients``."""
    of = f" of {task.unit.count(found.groups)}" if task.has_groups else ""
    over = "no interval"
    if found.low is not None and found.high is not None:
        over = f"95 % interval {found.low:.3f} to {found.high:.3f}"
    return (
        f"{METRICS[found.metric]} {as_score(found.value)} ({over}), accuracy {found.accuracy:.3f}, by trial"
        f" {found.trial} on {count_of(found.photos, 'photo')}{of}"
    )


def sentences_of_test(found: FinalTest | None, task: Task, now: int | None = None) -> str:
    """What came of the test, and that it is spent if another trial is recommended by ``now``; empty before."""
    if found is None:
        return ""
    spent = ""
    if now is not None and now != found.trial:
        spent = f" The test was spent on trial {found.trial}; a new test, of trial {now}, needs new photos."
    return f"Test, scored once: {words_of_test(found, task)}.{spent}"
