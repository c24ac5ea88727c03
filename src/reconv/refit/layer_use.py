"""One call of a layer's function, and a network that is run with such calls in view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from reconv.graph.channels import ChannelGraph
from reconv.refit.chains import Chain

_SMALL_SIDE = 64  # pixels; larger maps are faster with their channels last (half the time of MobileNetV2 at 224)
_PLAIN = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_FUNCTIONS: dict[Any, tuple[str, tuple[str, ...]]] = {
    F.linear: ("linear", _PLAIN[:3]),
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), ("conv", _PLAIN)),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), ("conv_transposed", _TRANSPOSED)),
}


@dataclass(frozen=True)
class LayerUse:
    """One call of a layer's function, its arguments by name."""

    kind: str
    function: Any
    arguments: Mapping[str, Any]

    def __call__(self, **changed: Any) -> Tensor:
        """The layer's output, with other arguments for the changed ones."""
        return self.function(**{**self.arguments, **changed})  # type: ignore[no-any-return]

    def on(self, signal: Tensor) -> LayerUse:
        """The same call for another input."""
        return replace(self, arguments={**self.arguments, "input": signal})

    def output_size(self) -> tuple[int, ...]:
        """The shape of the output, found without computing it."""
        changed = {name: self.arguments[name].to("meta") for name in ("input", "weight")}
        return tuple(self(**changed, bias=None).shape)

    @property
    def input(self) -> Tensor:
        return self.arguments["input"]  # type: ignore[no-any-return]

    @property
    def weight(self) -> Tensor:
        return self.arguments["weight"]  # type: ignore[no-any-return]

    @property
    def groups(self) -> int:
        return int(self.arguments.get("groups", 1))

    @classmethod
    def of(cls, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> LayerUse | None:
        if func not in _FUNCTIONS:
            return None
        kind, names = _FUNCTIONS[func]
        return cls(kind, func, {**dict(zip(names, args, strict=False)), **kwargs})


def layer_names(graph: ChannelGraph, model: nn.Module) -> dict[int, str]:
    """Which layer a weight tensor of `model` belongs to, by the tensor's id."""
    parameters = dict(model.named_parameters())
    return {id(parameters[layer.weight]): layer.name for layer in graph.layers if layer.weight in parameters}


def batches(images: int, size: int) -> Iterator[slice]:
    """Slices of about `size` images, none of a single one: with one, every axis might be that of the images."""
    starts = list(range(0, images, size))
    if len(starts) > 1 and images - starts[-1] == 1:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], images], strict=True):
        yield slice(start, stop)


def laid_out(images: Tensor, device: torch.device) -> Tensor:
    """Images on a device, channels last where that is faster: what convolutions make of them is laid out alike."""
    images = images.to(device)
    if images.dim() != 4 or max(images.shape[2:]) <= _SMALL_SIDE:
        return images
    return images.contiguous(memory_format=torch.channels_last)


class Follower(TorchFunctionMode):
    """Runs a network and calls `on_layer` where a chain begins and `on_end` where it ends.

    What lies between is known from the trace: whatever function reads the layer's signal next is the chain's next step.

    Args:
        names: of layers, by the ids of their weights. chains: of the layers that are followed.
    """

    def __init__(self, names: Mapping[int, str], chains: Mapping[str, Chain]):
        super().__init__()
        self.names = names
        self.chains = chains
        self.images = 0  # that the network runs on
        self._open: dict[int, tuple[Tensor, Chain, int]] = {}

    def run_network(self, model: nn.Module, images: Tensor) -> None:
        self.images = len(images)
        with self:
            model(images)

    def on_layer(self, chain: Chain, use: LayerUse, run: Callable[[], Tensor]) -> Tensor:
        """The layer's output; `run()` computes it."""
        return run()

    def on_norm(self, chain: Chain, signal: Tensor, normalized: Tensor) -> Tensor:
        """The output of the BatchNorm of the chain."""
        return normalized

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        """What the network goes on with at the chain's end."""
        return signal

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        use = LayerUse.of(func, args, kwargs)
        chain = None if use is None else self.chains.get(self.names.get(id(use.weight), ""))
        if use is not None and chain is not None and len(use.input) % self.images == 0:
            return self._arrive(chain, self.on_layer(chain, use, lambda: func(*args, **kwargs)), 0)
        read = [id(t) for t in (*args, *kwargs.values()) if id(t) in self._open]
        if not read:
            return func(*args, **kwargs)
        signal, chain, done = self._open[read[0]]
        version = signal._version
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor) or (result is signal and signal._version == version):
            return result  # a question about the signal, or a dropout in evaluation mode
        del self._open[read[0]]
        if chain.steps[done] == "norm":
            result = self.on_norm(chain, signal, result)
        return self._arrive(chain, result, done + 1)

    def _arrive(self, chain: Chain, signal: Tensor, done: int) -> Tensor:
        if done == len(chain.steps):
            return self.on_end(chain, signal)
        self._open[id(signal)] = (signal, chain, done)
        return signal
