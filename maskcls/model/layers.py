"""The layers of timm's models: which is the head, and how far below it each of the others lies."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from timm.layers import DropPath
from timm.models import group_parameters
from torch import nn
from torch.nn import Parameter

from maskcls.system.errors import UserError

UNMATCHED = "~"
"""Begins no name of a parameter, so that no pattern of timm's matches it: timm takes it for one of the head."""


def head_names(network: nn.Module) -> set[str]:
    """Names of the parameters of a timm model's head; none for a model that was built without one, or never has one.

    It is the last linear layer, or all of them where there are several (distilled models).
    """
    classifier: Any = getattr(network, "get_classifier", None)
    found = None if classifier is None else classifier()
    modules = found.values() if isinstance(found, dict) else found if isinstance(found, tuple | list) else (found,)
    own = {id(value) for module in modules if isinstance(module, nn.Module) for value in module.parameters()}
    return {name for name, value in network.named_parameters() if id(value) in own}


def depths(network: nn.Module, backbone: str) -> dict[str, int]:
    """Name of a parameter of a timm model -> how many layers it lies below the head, by timm's grouping.

    0: the head's own, and what timm groups with it. A model that was built without a head is grouped as below one.
    Raises UserError for a model that timm does not divide into layers. ``backbone``: its name, for the message.
    """
    matcher: Any = getattr(network, "group_matcher", None)
    ids = {} if matcher is None else group_parameters(_BelowHead(network), matcher(coarse=False), reverse=True)
    top = max(ids.values(), default=0)
    if not top:
        raise UserError(
            f"layer_decay below 1 would do nothing: timm does not divide {backbone} into layers. Use layer_decay=1."
        )
    return {name: top - ids[name] for name, _ in network.named_parameters()}


class _BelowHead(nn.Module):
    """A model as ``group_parameters`` sees it: its parameters' names, and one of a head."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def named_parameters(self, *_: object, **__: object) -> Iterator[tuple[str, Parameter]]:
        """Those of the model under their own names."""
        yield from self.network.named_parameters()
        yield UNMATCHED, next(self.network.parameters())


@contextmanager
def drop_paths_passed(network: nn.Module) -> Iterator[list[nn.Module]]:
    """The modules that leave out residual branches in training, as forward passes come to them meanwhile.

    A block without a residual connection may have one that it never calls (EfficientNet's).
    """
    passed: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda module, *_: passed.append(module))
        for module in network.modules()
        if isinstance(module, DropPath) and module.drop_prob > 0
    ]
    try:
        yield passed
    finally:
        for handle in handles:
            handle.remove()
