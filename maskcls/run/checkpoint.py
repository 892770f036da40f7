"""The files of a run as bytes: the best weights, and the state to go on from.

A run's folder: ``config.toml``, ``best.safetensors`` and ``valid.npz`` (both from the best evaluation by macro F1),
``history.json`` (the record: every evaluation, and which files belong to it), ``resume.pt`` (only while the run is not
over), ``confusion.png``. In memory first, so that a full disk is an OSError whatever library made the bytes.
"""

import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from maskcls.run.record import UnusableRunError
from maskcls.system.errors import UserError, one_line


def weights_content(module: nn.Module) -> bytes:
    """The bytes of best.safetensors: the module's state dict, contiguous, on the CPU."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    return save(state, metadata={"format": "pt"})


def load_weights(path: Path, module: nn.Module) -> None:
    """The inverse, from a file. Raises UserError when it is absent or of another model."""
    try:
        module.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"There is no {path}; --model takes the folder of a trained model.") from None
    except Exception as error:  # safetensors and torch each have their own for a file that does not fit
        raise UserError(f"{path} does not hold this model's weights: {one_line(error).rstrip('.')}.") from error


@dataclass(frozen=True)
class TrainingState:
    """All that the rest of a run depends on, beside its config and photos."""

    model: dict[str, Any]
    """State dict, and so are the next two."""
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    """The loss scaler's."""
    generator: torch.Tensor
    """State of the augmentations' random numbers."""
    rng: torch.Tensor
    """State of torch's random numbers on the CPU."""
    cuda_rng: torch.Tensor | None
    """The same on the GPU; None on a CPU."""
    steps_done: int
    """Optimizer steps; the order of the photos and the learning rate follow from it."""


def state_content(state: TrainingState) -> memoryview:
    """The bytes of resume.pt: torch.save of a dict with the fields as keys."""
    file = io.BytesIO()
    torch.save({field.name: getattr(state, field.name) for field in fields(state)}, file)
    return file.getbuffer()


def load_state(path: Path) -> TrainingState:
    """The inverse, from a file, onto the CPU. Raises UnusableRunError for a file that is not such a state."""
    values = read_state_file(path)
    return TrainingState(**{field.name: values[field.name] for field in fields(TrainingState)})


def read_state_file(path: Path) -> dict[str, Any]:
    """All that a file of torch.save holds, onto the CPU; only tensors and plain values are accepted.

    Raises UnusableRunError for a file that is not such a dict. It is torch's reader, which does not look at checksums:
    whether the bytes are those that were written is for the record to say.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, dict):
            return state
    except OSError:
        raise
    except Exception as error:  # whatever unpickling and unzipping raise
        raise UnusableRunError(f"its {path.name} is damaged") from error
    raise UnusableRunError(f"its {path.name} is damaged")
