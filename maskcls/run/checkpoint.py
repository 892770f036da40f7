"""What a run keeps, as the bytes of files: the best weights, and the state to go on from.

A run's folder: ``config.toml``, ``best.safetensors`` and ``valid.npz`` (both from the best evaluation by macro F1),
``history.json`` (the record: every evaluation, and which files belong to it), ``resume.pt`` (only while the run is not
over), ``confusion.png``. In memory first, so that a full disk is an OSError whatever library made the bytes.
"""

import io
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from maskcls.run.record import DamagedError
from maskcls.system.errors import UserError, one_line


def weights_content(module: nn.Module) -> bytes:
    """The module's state dict as safetensors, contiguous, on the CPU."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    return save(state, metadata={"format": "pt"})


def load_weights(path: Path, module: nn.Module) -> None:
    """The inverse, from a file; raises UserError when it is absent or of another model."""
    try:
        module.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"There is no {path}; --model takes the folder of a trained model.") from None
    except Exception as error:  # safetensors and torch each have their own for a file that does not fit
        raise UserError(f"{path} does not hold this model's weights: {one_line(error).rstrip('.')}.") from error


def state_content(state: dict[str, Any]) -> memoryview:
    """Everything that the rest of the run depends on."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getbuffer()


def load_state(path: Path) -> dict[str, Any]:
    """The inverse, from a file, onto the CPU; only tensors and plain values are accepted.

    Raises DamagedError for a file that is not such a state. It is torch's reader, which does not look at checksums:
    whether the bytes are those that were written is for the record to say.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, dict):
            return state
    except OSError:
        raise
    except Exception as error:  # whatever unpickling and unzipping raise
        raise DamagedError(f"its {path.name} is damaged") from error
    raise DamagedError(f"its {path.name} is damaged")
