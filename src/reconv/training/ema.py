"""An exponential moving average of a model's weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MovingAverage:
    """w_avg <- d w_avg + (1 - d) w after every step, over parameters and floating-point buffers.

    In the first steps d is min(decay, (1 + k) / (10 + k)), k the steps done, so the random start is soon
    forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begin with the model's weights."""
        self._decay = decay
        self.tensors = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module, steps_done: int) -> None:
        """Take in the weights after a step."""
        decay = min(self._decay, (1 + steps_done) / (10 + steps_done))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    self.tensors[name].lerp_(value, 1 - decay)
                else:
                    self.tensors[name].copy_(value)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from saved averages."""
        for name, value in tensors.items():
            self.tensors[name].copy_(value)
