"""The outcome of a training run: its evaluations, and which of them is the best."""

from dataclasses import dataclass
from typing import Any

from maskcls.scoring.metrics import Scores


@dataclass(frozen=True)
class Evaluation:
    """Scores on the validation split, and measurements of the training interval since the previous evaluation."""

    step: int
    """Number of the evaluation, counted from 1."""
    scores: Scores
    train_loss: float
    """Mean training loss of the interval (augmented, smoothed, weighted)."""
    photos_per_second: float
    """Training speed in the interval, without the evaluation's time."""
    seconds: float
    """Training time since the run began, over all its sessions."""
    peak_gib: float
    """Peak memory in GiB: on a GPU of the run's tensors, on a CPU of the process."""

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as plain values for JSON."""
        return {**self.__dict__, "scores": self.scores.to_dict()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Evaluation":
        """The evaluation that ``to_dict`` wrote."""
        return Evaluation(**{**values, "scores": Scores.from_dict(values["scores"])})


@dataclass(frozen=True)
class Result:
    """The evaluations of a run that has ended or was stopped."""

    history: tuple[Evaluation, ...]
    planned_evaluations: int
    """Number of evaluations of the whole run."""
    keep: str = "best"
    """TrainConfig.keep."""

    @property
    def best(self) -> Evaluation:
        """The evaluation that judges the run, and whose weights and predictions are stored.

        It is the first one with the highest value of the metric, or the last one where ``keep`` is "last".
        """
        if self.keep == "last":
            return self.history[-1]
        return max(self.history, key=lambda evaluation: evaluation.scores.value)

    @property
    def best_accuracy(self) -> Evaluation:
        """The first evaluation with the highest accuracy."""
        return max(self.history, key=lambda evaluation: evaluation.scores.accuracy)

    @property
    def best_loss(self) -> Evaluation:
        """The first evaluation with the lowest validation loss."""
        return min(self.history, key=lambda evaluation: evaluation.scores.loss)
