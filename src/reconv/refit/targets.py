"""What the original network computes at the ends of the chains, for the channels that stay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reconv.refit.chains import Chain
from reconv.refit.layer_use import Follower, laid_out
from reconv.refit.lockstep import Pause, Walk
from reconv.refit.settings import Settings

_FEWEST = 16  # images of which whole signals take part in joint iterations, however large their maps


class _Stops(Follower):
    """Stops at the end of every chain, with the layer's name and its signal."""

    def __init__(self, names: Mapping[int, str], chains: Mapping[str, Chain], pause: Pause):
        super().__init__(names, chains)
        self.pause = pause

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        self.pause((chain.layer, signal))
        return signal


class ReferenceWalk(Walk):
    """A pass of the original network over one batch, which gives the signals at the ends of chains one by one.

    Args:
        model: the original. names: of its layers, by the ids of their weights.
        chains: whose ends are wanted. images: of the batch, on any device.
    """

    def __init__(self, model: nn.Module, names: Mapping[int, str], chains: Mapping[str, Chain], images: Any):
        device = next(model.parameters()).device

        def run(pause: Pause) -> None:
            _Stops(names, chains, pause).run_network(model, laid_out(images, device))

        super().__init__(run)
        self._ahead: dict[str, Tensor] = {}  # signals whose turn comes later
        self._here: tuple[str, Tensor] | None = None

    def signal(self, layer: str) -> Tensor:
        """The signal at the end of a layer's chain; the pass goes on no further than there."""
        while True:
            if self._here is not None and self._here[0] == layer:
                return self._here[1]
            if layer in self._ahead:
                return self._ahead.pop(layer)
            if self._here is not None:  # the network may write over it further on
                self._ahead[self._here[0]] = self._here[1].clone()
            self._here = None
            self._here = self.advance()
            if self._here is None:
                raise RuntimeError(f"repair: the original network does not come to the end of {layer}")

    def done_with(self, layer: str) -> None:
        """The signal of a layer is not needed any more."""
        if self._here is not None and self._here[0] == layer:
            self._here = (layer, self._here[1][:0])
        self._ahead.pop(layer, None)


def map_items(settings: Settings, positions: int) -> int:
    """For how many items whole signals take part in joint iterations."""
    return max(math.ceil(settings.joint_rows / max(positions, 1)), _FEWEST)


def kept_channels(signal: Tensor, keep: Tensor, kind: str) -> Tensor:
    """The channels of a signal that stay."""
    return torch.index_select(signal, -1 if kind == "linear" else 1, keep)
