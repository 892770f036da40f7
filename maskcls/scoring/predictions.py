"""A model's predictions on labelled photos, as they are stored. No torch: reports read them."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maskcls.system.files import write_atomically

PREDICTED_TASK = "task.json"
"""File beside the predictions of maskcls.evaluate -o: the task and the part that is predicted; not in the mask task."""


@dataclass(frozen=True)
class Predictions:
    """A model's predictions on a labelled set of photos; all scores are computed from them."""

    path_N: np.ndarray
    """Paths within the dataset, as text."""
    person_N: np.ndarray
    """Names of the people, as text."""
    label_N: np.ndarray
    """Classes 0..K-1 of the model's task."""
    log_prob_NK: np.ndarray
    """Log-probability of every class, float32."""

    def save(self, path: Path) -> None:
        """Write the file atomically."""
        content = self.content()
        write_atomically(path, lambda part: part.write_bytes(content))

    def content(self) -> memoryview:
        """The file's bytes: npz with the keys path, person, label_N, log_prob_NK."""
        file = io.BytesIO()
        np.savez_compressed(
            file, path=self.path_N, person=self.person_N, label_N=self.label_N, log_prob_NK=self.log_prob_NK
        )
        return file.getbuffer()

    @staticmethod
    def load(path: Path | io.BytesIO) -> "Predictions":
        """The inverse of save, also from a file's content in memory.

        Raises FileNotFoundError, and for a damaged file what numpy and zipfile raise.
        """
        with np.load(path) as file:
            return Predictions(file["path"], file["person"], file["label_N"], file["log_prob_NK"])
