"""Detects whether dropout affects a network's output: a drop rate without effect compares a recipe with itself."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

DROPOUTS = (
    functional.dropout,
    functional.dropout1d,
    functional.dropout2d,
    functional.dropout3d,
    functional.alpha_dropout,
    functional.feature_alpha_dropout,
)


class _Mark(torch.autograd.Function):
    """The identity, which leaves a recognisable node in the autograd graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _Marking(TorchFunctionMode):
    """Replaces every dropout at ``drop_rate`` by a mark."""

    def __init__(self, drop_rate: float) -> None:
        super().__init__()
        self.drop_rate = drop_rate

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in DROPOUTS and (kwargs.get("p", args[1] if len(args) > 1 else None) == self.drop_rate):
            return _Mark.apply(args[0] if args else kwargs["input"])
        return func(*args, **kwargs)


def forward_and_find_dropout(network: nn.Module, image_BCHW: Tensor, drop_rate: float) -> tuple[Tensor, bool]:
    """(the output of ``network``, whether a dropout at ``drop_rate`` lies on the path to it).

    Draws no random number, and in evaluation mode changes no buffer. Works on torch's meta device.
    """
    with torch.enable_grad(), _Marking(drop_rate):
        out = network(image_BCHW)
    return out, isinstance(out, Tensor) and _is_marked(out)


def _is_marked(out: Tensor) -> bool:
    """Whether the autograd graph of ``out`` has a mark."""
    seen, pending = set(), [out.grad_fn]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        if node.name() == "_MarkBackward":
            return True
        seen.add(node)
        pending += [source for source, _ in node.next_functions]
    return False
