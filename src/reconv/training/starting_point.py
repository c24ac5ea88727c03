"""Training that stays near where it begins: decay towards the first weights, BatchNorm's statistics as they are."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from reconv.training.optimizer import decayed_parameters
from reconv.training.protocol import Protocol


class StartingPoint:
    """Decay towards the first weights: weight_decay (w - w_0) is added to each gradient, in place of weight_decay w.

    Source: Li, Grandvalet, Davoine, *Explicit Inductive Bias for Transfer Learning* (L2-SP, 2018).
    """

    def __init__(self, start: nn.Module, model: nn.Module, protocol: Protocol) -> None:
        """The weights of `start`, for the parameters of its copy `model` that the protocol decays."""
        self._decay = protocol.weight_decay
        decayed = decayed_parameters(model, protocol)
        first = dict(start.named_parameters())
        self._pairs = [
            (parameter, first[name].detach().to(parameter.device).clone())
            for name, parameter in model.named_parameters()
            if parameter in decayed and name in first
        ]

    @torch.no_grad()
    def pull(self) -> None:
        """Add the decay to the gradients."""
        for parameter, first in self._pairs:
            if parameter.grad is not None:
                parameter.grad.add_(parameter - first, alpha=self._decay)


def freeze_statistics(model: nn.Module) -> None:
    """Let BatchNorm layers normalize by the statistics that they have, in training too."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
