"""Files of a run, each written atomically: the best weights and predictions, and the state to go on from.

A run's folder: ``config.toml``, ``best.safetensors`` and ``valid.npz`` (both from the best evaluation by macro F1),
``history.json`` (every evaluation), ``resume.pt`` (only while the run is not over), ``confusion.png``.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from maskcls.errors import UserError, one_line
from maskcls.files import write_atomically, write_text


def save_weights(path: Path, module: nn.Module) -> None:
    """The module's state dict as safetensors, contiguous, on the CPU."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    # not by save_file, whose file only its owner may read: a team shares the folder of runs
    content = save(state, metadata={"format": "pt"})
    write_atomically(path, lambda part: part.write_bytes(content))


def load_weights(path: Path, module: nn.Module) -> None:
    """The inverse; raises UserError when the file is absent or of another model."""
    try:
        module.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"There is no {path}; --model takes the folder of a trained model.") from None
    except Exception as error:  # safetensors and torch each have their own for a file that does not fit
        raise UserError(f"{path} does not hold this model's weights: {one_line(error).rstrip('.')}.") from error


def save_history(path: Path, history: list[dict[str, Any]]) -> None:
    """One dict an evaluation."""
    write_text(path, json.dumps(history, indent=1))


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Everything that the rest of the run depends on."""
    write_atomically(path, lambda part: torch.save(state, part))


def load_state(path: Path) -> dict[str, Any]:
    """The inverse, onto the CPU; only tensors and plain values are accepted."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
