"""One call of a layer's function, and a network that is run with such calls in view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from reconv.graph.channels import ChannelGraph
from reconv.inputs import batch_size, call, on_device
from reconv.refit.chains import RECURRENT, Chain

_SMALL_SIDE = 64  # pixels; larger maps are faster with their channels last
_PLAIN = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_FUNCTIONS: dict[Any, tuple[str, tuple[str, ...]]] = {
    F.linear: ("linear", _PLAIN[:3]),
    **dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), ("conv", _PLAIN)),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), ("conv_transposed", _TRANSPOSED)),
}
_RECURRENT_FUNCTIONS = frozenset(getattr(torch, name) for name in RECURRENT)


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


def _images_first(chain: Chain, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    return chain.images_first(func(*args, **kwargs))


def layer_modules(graph: ChannelGraph, model: nn.Module) -> dict[str, Any]:
    """What holds weight and bias of every layer: its module; of what a recurrent layer reads, these two alone."""
    modules: dict[str, Any] = dict(model.named_modules())
    for layer in graph.layers:
        if layer.name not in modules and layer.weight is not None:
            owner, _, name = layer.weight.rpartition(".")
            if owner not in modules:
                continue  # of a branch that was removed
            bias = getattr(modules[owner], name.replace("weight_ih", "bias_ih"), None) if "weight_ih" in name else None
            modules[layer.name] = SimpleNamespace(weight=getattr(modules[owner], name), bias=bias)
    return modules


def batches(images: int, size: int) -> Iterator[slice]:
    """Slices of about `size` images, none of a single one: with one, every axis might be that of the images."""
    starts = list(range(0, images, size))
    if len(starts) > 1 and images - starts[-1] == 1:
        starts.pop()
    for start, stop in zip(starts, [*starts[1:], images], strict=True):
        yield slice(start, stop)


def laid_out(images: Any, device: torch.device) -> Any:
    """Images on a device, channels last where that is faster: what convolutions make of them is laid out alike."""
    images = on_device(images, device)
    if not isinstance(images, Tensor) or images.dim() != 4 or max(images.shape[2:]) <= _SMALL_SIDE:
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

    def run_network(self, model: nn.Module, images: Any) -> Any:
        """What the network gives for images, or other inputs (see `reconv.inputs`)."""
        self.images = batch_size(images)
        with self:
            return call(model, images)

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
        if func in _RECURRENT_FUNCTIONS:
            self._read_by_recurrent(args)
        use = LayerUse.of(func, args, kwargs)
        chain = None if use is None else self.chains.get(self.names.get(id(use.weight), ""))
        if use is not None and chain is not None:
            use = use.on(chain.images_first(use.input))
            run = partial(_images_first, chain, func, args, kwargs)
            signal = self.on_layer(chain, use, run)
            return self._arrive(chain, chain.images_back(signal), 0)
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

    def _read_by_recurrent(self, args: tuple[Any, ...]) -> None:
        """What a recurrent layer makes of its input, before it adds what it makes of its own state: a linear layer."""
        signal, weights, has_biases = args[0], args[2], args[3]
        if not isinstance(weights, list | tuple):
            return  # a packed sequence
        for i, weight in enumerate(weights):
            chain = self.chains.get(self.names.get(id(weight), ""))
            if chain is not None:
                bias = weights[i + 2] if has_biases else None
                read = {"input": chain.images_first(signal), "weight": weight, "bias": bias}
                use = LayerUse("linear", F.linear, read)
                self.on_end(chain, self.on_layer(chain, use, use))

    def _arrive(self, chain: Chain, signal: Tensor, done: int) -> Tensor:
        if done == len(chain.steps):
            return chain.images_back(self.on_end(chain, chain.images_first(signal)))
        self._open[id(signal)] = (signal, chain, done)
        return signal
