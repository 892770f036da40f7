"""The photos that the data holds back for a test: scored once in a study's life, and what came of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import optuna

from search.storage.outcomes import decide_in_turn
from search.study.attributes import TEST

PREDICTIONS = "test.npz"
"""The predictions of the test's photos, in the folder of the trial that was tested."""


@dataclass(frozen=True)
class FinalTest:
    """How a trial did on the test's photos."""

    trial: int
    """Its number."""
    metric: str
    """Name in tasks.task.METRICS of ``value``."""
    value: float
    """Score by the metric that the study is judged by."""
    low: float | None
    high: float | None
    """95 % interval over the groups; None for fewer than MIN_JUDGES of them, and where no two differ."""
    accuracy: float
    """Share of the photos that are predicted correctly."""
    photos: int
    """Number of photos."""
    groups: int
    """Number of people, patients, sites; without groups, of photos."""
    when: float
    """When they were scored, in seconds since 1970."""

    def to_json(self) -> dict[str, Any]:
        """The attribute's value."""
        return asdict(self)


def read_test(study: optuna.Study) -> FinalTest | None:
    """What came of the test; None before."""
    values = study.user_attrs.get(TEST)
    return None if values is None else FinalTest(**values)


def spend_test(study: optuna.Study, made: FinalTest, keep: Callable[[], None]) -> FinalTest:
    """Store a study's test, and ``keep`` its predictions; returns the stored one.

    Decided in a turn: of two commands that score at once the second drops what it has made, unseen.
    """

    def decide() -> FinalTest:
        stored = read_test(study)
        if stored is not None:
            return stored
        keep()  # before the result, which must not be there without them
        study.set_user_attr(TEST, made.to_json())
        return made

    return decide_in_turn(study, decide)
