"""The head trains alone at first (``frozen_share``): a new head's gradients would spoil what the backbone knows."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from maskcls.model.classifier import Classifier
from maskcls.training.optimizer import head_parameters


class HeadFirst:
    """Freezes a model's backbone for the first steps of a run; the backward pass then ends at the head.

    While it is frozen, its batch norm uses its running statistics, and they stay as they are: the head learns from the
    features that the backbone will have in an evaluation, as Keras's guide advises
    (https://keras.io/guides/transfer_learning/). When it trains, batch norm does too, as in any other run.
    """

    def __init__(self, model: Classifier, steps: int) -> None:
        """``steps``: in which the backbone is frozen, at least 1."""
        of_head = head_parameters(model)
        self._steps, self._is_frozen = steps, False
        self._parameters = [
            parameter for name, parameter in model.named_parameters() if parameter.requires_grad and name not in of_head
        ]
        self._norms: list[nn.Module] = [
            module
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm) and f"{name}.weight" not in of_head  # a head's own is new, as it is
        ]

    def prepare(self, step: int) -> bool:
        """Freeze the backbone of a model in training mode for step number ``step``, counted from 0, or let it train.

        Returns whether it is frozen.
        """
        is_frozen = step < self._steps
        if is_frozen != self._is_frozen:
            for parameter in self._parameters:
                parameter.requires_grad_(not is_frozen)
        if is_frozen or self._is_frozen:  # an evaluation has put them into training mode again
            for norm in self._norms:
                norm.train(not is_frozen)
        self._is_frozen = is_frozen
        return is_frozen
