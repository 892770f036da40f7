"""The interface between the training loop and what follows its progress."""

from collections.abc import Callable

from maskcls.scoring.metrics import Scores

Reporter = Callable[[int, Scores], bool]
"""Called with the number of every evaluation, counted from 1, and its scores; returns whether to continue the run."""


def silent(step: int, scores: Scores) -> bool:
    """Report nothing and never stop: for a run outside a study."""
    return True
