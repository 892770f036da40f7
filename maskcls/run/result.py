"""What a training run leaves behind: its evaluations, and which of them was best."""

from dataclasses import dataclass
from typing import Any

from maskcls.scoring.metrics import Scores


@dataclass(frozen=True)
class Evaluation:
    """One look at the validation split, and the stretch of training before it."""

    step: int
    """Counts evaluations, from 1."""
    scores: Scores
    train_loss: float
    """Mean over the stretch, as trained on (augmented, smoothed, weighted)."""
    photos_per_second: float
    """Training photos of the stretch, without the evaluation."""
    seconds: float
    """Since the run began, over all its sittings."""
    peak_gib: float
    """GPU: most memory that tensors took so far. CPU: most memory of the process."""

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
    planned_evaluations: int
    """Evaluations that the run would have had, had nobody stopped it."""
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
