"""The interface between the training loop and what follows its progress."""

from typing import Protocol

from maskcls.scoring.metrics import Scores


class Reporter(Protocol):
    """A callable that receives the scores of every evaluation."""

    def __call__(self, step: int, scores: Scores) -> bool:
        """Whether the run should continue. ``step``: number of the evaluation, counted from 1."""


def silent(step: int, scores: Scores) -> bool:
    """Report nothing and never stop: for a run outside a study."""
    return True
