"""Files of a run, each written atomically: the best weights and predictions, and the state to go on from.

A run's folder: ``config.toml``, ``best.safetensors`` and ``valid.npz`` (both from the best evaluation by macro F1),
``history.json`` (every evaluation), ``resume.pt`` (only while the run is not over), ``confusion.png``.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from maskcls.errors import UserError, one_line


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Have ``write`` fill a file beside ``path``, then put it in its place: readers see the old one or the new."""
    part = path.with_name(f".{os.getpid()}.{path.name}")  # keeps the ending: numpy and matplotlib go by it
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def save_weights(path: Path, module: nn.Module) -> None:
    """The module's state dict as safetensors, contiguous, on the CPU."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    write_atomically(path, lambda part: save_file(state, part, metadata={"format": "pt"}))


def load_weights(path: Path, module: nn.Module) -> None:
    """The inverse; raises UserError when the file is absent or of another model."""
    try:
        module.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"There is no {path}; --model takes the folder of a trained model.") from None
    except Exception as error:  # safetensors and torch each have their own for a file that does not fit
        raise UserError(f"{path} does not hold this model's weights: {one_line(error).rstrip('.')}.") from error


@dataclass(frozen=True)
class Predictions:
    """What a model said of a labelled set of photos; scores are computed from this."""

    path_N: np.ndarray
    person_N: np.ndarray
    label_N: np.ndarray
    """Classes 0..K-1 of the model's task."""
    log_prob_NK: np.ndarray
    """float32."""

    def save(self, path: Path) -> None:
        """As npz with the keys path, person, label_N, log_prob_NK."""
        write_atomically(path, self._write)

    def _write(self, path: Path) -> None:
        np.savez_compressed(
            path, path=self.path_N, person=self.person_N, label_N=self.label_N, log_prob_NK=self.log_prob_NK
        )

    @staticmethod
    def load(path: Path) -> "Predictions":
        """The inverse of save."""
        with np.load(path) as file:
            return Predictions(file["path"], file["person"], file["label_N"], file["log_prob_NK"])


def save_history(path: Path, history: list[dict[str, Any]]) -> None:
    """One dict an evaluation."""
    write_text(path, json.dumps(history, indent=1))


def write_text(path: Path, text: str) -> None:
    """The text as a file of its own, also where the old one has a second name."""

    def write(part: Path) -> None:
        part.write_text(text)

    write_atomically(path, write)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Everything that the rest of the run depends on."""
    write_atomically(path, lambda part: torch.save(state, part))


def load_state(path: Path) -> dict[str, Any]:
    """The inverse, onto the CPU; only tensors and plain values are accepted."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
