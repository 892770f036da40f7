"""What a checkpoint holds, as bytes: the best weights, and the state to resume from.

They are serialised in memory, so that a full disk is an OSError whichever library made the bytes.
"""

import copy
import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save
from torch import nn

from maskcls.run.record import UnusableRunError
from maskcls.system.errors import UserError, one_line

State = TypeVar("State")


def on_host(state: State, device: torch.device) -> State:
    """A copy of dicts, lists and tensors as they are now, in the CPU's memory: later training does not change it.

    Tensors of a GPU are copied to page-locked memory, side by side, and the CPU waits for the last one alone.
    """
    copied = _copied(state)
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    return copied


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        is_on_gpu = value.device.type == "cuda"
        target = torch.empty_like(value, device="cpu", pin_memory=is_on_gpu, requires_grad=False)
        return target.copy_(value.detach(), non_blocking=is_on_gpu)
    if isinstance(value, dict):
        copied = copy.copy(value)  # with the versions that a module's state dict has as an attribute
        copied.update((name, _copied(part)) for name, part in value.items())
        return copied
    return [_copied(part) for part in value] if isinstance(value, list) else value


def weights_content(weights: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of best.safetensors for a module's state dict: contiguous, on the CPU."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    return save(state, metadata={"format": "pt"})


def load_weights(path: Path, module: nn.Module) -> None:
    """Load best.safetensors into ``module``. Raises UserError when it is missing or holds another model."""
    try:
        module.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"There is no {path}; --model takes the folder of a trained model.") from None
    except Exception as error:  # safetensors and torch each raise their own
        raise UserError(f"{path} does not hold this model's weights: {one_line(error).rstrip('.')}.") from error


@dataclass(frozen=True)
class TrainingState:
    """Everything that the rest of a run depends on, besides its config and photos: state dicts and random states."""

    model: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    generator: torch.Tensor
    """State of the augmentations' random generator."""
    rng: torch.Tensor
    """State of torch's random generator on the CPU."""
    cuda_rng: torch.Tensor | None
    """State of torch's random generator on the GPU; None for a run on a CPU."""
    steps_done: int
    """Optimizer steps so far; they determine the order of the photos and the learning rate."""
    loss_sum: torch.Tensor | None = None
    """Sum of the losses of the steps since an evaluation; None in a file from before, where the sum was 0."""
    average: dict[str, Any] | None = None
    """The averaged weights; None, and not in the file, for a run without."""

    def to_dict(self) -> dict[str, Any]:
        """The fields by their names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.average is None:
            del values["average"]
        return values


def state_content(state: TrainingState) -> memoryview:
    """The bytes of resume.pt: torch.save of a dict with the fields as keys."""
    file = io.BytesIO()
    torch.save(state.to_dict(), file)
    return file.getbuffer()


def load_state(path: Path) -> TrainingState:
    """The state in resume.pt, on the CPU. Raises UnusableRunError when the file is damaged."""
    values = read_state_file(path)
    return TrainingState(**{field.name: values[field.name] for field in fields(TrainingState) if field.name in values})


def read_state_file(path: Path) -> dict[str, Any]:
    """The dict that a file of torch.save holds, on the CPU; only tensors and plain values are accepted.

    Raises UnusableRunError for any other file. torch.load checks no checksums; the record's digests do.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(state, dict):
            return state
    except OSError:
        raise
    except Exception as error:  # unpickling and unzipping raise many kinds
        raise UnusableRunError(f"its {path.name} is damaged") from error
    raise UnusableRunError(f"its {path.name} is damaged")
