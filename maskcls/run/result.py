"""What a training run leaves behind: its evaluations, and which of them was best."""

from dataclasses import dataclass
from typing import Any

from maskcls.scoring.metrics import Scores


@dataclass(frozen=True)
class Evaluation:
    """One look at the validation split, and the interval of training between it and the one before."""

    step: int
    """Counts evaluations, from 1."""
    scores: Scores
    train_loss: float
    """Mean over the interval, as trained on (augmented, smoothed, weighted)."""
    photos_per_second: float
    """Training photos of the interval, without the evaluation's time."""
    seconds: float
    """Since the run began, over all its sessions."""
    peak_gib: float
    """Peak memory in GiB. GPU: of the tensors so far. CPU: of the process."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return {**self.__dict__, "scores": self.scores.to_dict()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Evaluation":
        """The inverse of to_dict."""
        return Evaluation(**{**values, "scores": Scores.from_dict(values["scores"])})


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    history: tuple[Evaluation, ...]
    """All evaluations that were made."""
    planned_evaluations: int
    """Evaluations of the whole run, had it not been stopped."""
    keep: str = "best"
    """TrainConfig.keep."""

    @property
    def best(self) -> Evaluation:
        """The evaluation that judges the run; its weights and predictions are the stored ones.

        The first one with the highest macro F1; the last one in a run that keeps the last.
        """
        if self.keep == "last":
            return self.history[-1]
        return max(self.history, key=lambda evaluation: evaluation.scores.macro_f1)

    @property
    def best_accuracy(self) -> Evaluation:
        """The first evaluation with the highest accuracy."""
        return max(self.history, key=lambda evaluation: evaluation.scores.accuracy)

    @property
    def best_loss(self) -> Evaluation:
        """The first evaluation with the lowest validation loss."""
        return min(self.history, key=lambda evaluation: evaluation.scores.loss)
