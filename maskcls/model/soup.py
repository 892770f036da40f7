"""A soup: one model whose weights are the mean of several models'.

Wortsman et al. 2022, Model soups, https://arxiv.org/abs/2203.05482. It costs no more than one of them to predict. It
needs models that were fine-tuned from the same weights: the mean of others is no model.

Shape suffixes: B photos of a batch, C H W channels, rows and columns.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from maskcls.config import ResolvedConfig
from maskcls.model.inference import autocast, to_input
from maskcls.system.liveness import beat


def average(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of state dicts of one model, computed in float64; what is no real number is the first's."""
    return {name: _mean([state[name] for state in states]) for name in states[0]}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first.clone()
    return torch.stack([tensor.double() for tensor in tensors]).mean(0).to(first.dtype)


def has_batch_norm(model: nn.Module) -> bool:
    """Whether the model has statistics of its training photos."""
    return any(_has_statistics(module) for module in model.modules())


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.track_running_stats


def renew_batch_norm(model: nn.Module, batches: Iterable[Tensor], config: ResolvedConfig) -> None:
    """Compute the statistics of batch norm anew, as means over uint8 batches image_BCHW on the model's device.

    The mean of models' statistics is not the statistic of their mean. Everything else, dropout too, is as in
    prediction, unlike in torch.optim.swa_utils.update_bn.
    """
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and _has_statistics(module)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
        norm.train()
    device = next(model.parameters()).device
    with torch.no_grad(), autocast(config, device):
        for image_BCHW in batches:
            model(to_input(image_BCHW, config))
            beat()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
