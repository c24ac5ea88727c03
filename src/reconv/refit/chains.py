"""From a layer's output to the place where its error shows.

`bn2(conv2(h)) + shortcut(x)`: what the network reads of conv2 is the sum, and a change of conv2 changes that sum by as
much. A layer's **chain** is the path from its output through a BatchNorm and through additions, as long as nothing
else reads what lies between. At its end the repaired layer is asked to restore what the original network has there,
so that it also makes up for the error that the other terms of the sum bring along (drift correction).

The chain is found by watching one forward pass at the level of torch's functions; modules of any kind may stand in
between, and functional code is seen as well as modules are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from reconv.graph.channels import ChannelGraph

_PLAIN = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
LAYER_FUNCTIONS: dict[Any, tuple[str, tuple[str, ...]]] = {
    F.linear: ("linear", _PLAIN[:3]),
    F.conv1d: ("conv", _PLAIN),
    F.conv2d: ("conv", _PLAIN),
    F.conv3d: ("conv", _PLAIN),
    F.conv_transpose1d: ("conv_transposed", _TRANSPOSED),
    F.conv_transpose2d: ("conv_transposed", _TRANSPOSED),
    F.conv_transpose3d: ("conv_transposed", _TRANSPOSED),
}
_ADDITIONS = {"add", "add_", "__add__", "__iadd__", "__radd__"}
_DROPOUTS = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"}
_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training")
# Activation -> between which values it passes its input on; outside, only the side matters.
GATES: dict[str, tuple[float, float]] = {
    "relu": (0.0, float("inf")),
    "relu_": (0.0, float("inf")),
    "relu6": (0.0, 6.0),
}


# Functions of one signal that may lie between two layers that are refined together.
BETWEEN = {
    *("relu", "relu_", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus"),
    *("hardswish", "hardsigmoid", "hardtanh", "sigmoid", "tanh", "dropout"),
    *("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"),
}


@dataclass(frozen=True)
class Chain:
    """What lies between a layer's output and the place where its error shows.

    Args:
        layer: its name.
        steps: "norm" (only the first), "add" or "pass", in order.
        norm: name of the BatchNorm module of a first step "norm".
        gate: between which values the activation behind passes its input on; None where there is none.
        groups: of the convolution.
        numel: elements of the layer's input and output for one image.
        follows: the layer whose signal alone this one reads, through `between` and through nothing else.
        mutated: the layer's input is overwritten later on.
    """

    layer: str
    steps: tuple[str, ...] = ()
    norm: str | None = None
    gate: tuple[float, float] | None = None
    groups: int = 1
    numel: int = 0
    follows: str | None = None
    between: tuple[Callable[[Tensor], Tensor], ...] = ()
    mutated: bool = False

    def through(self, signal: Tensor) -> Tensor:
        """What the layer reads, from the signal of the layer that it follows."""
        for function in self.between:
            signal = function(signal)
        return signal

    @property
    def adds(self) -> bool:
        return "add" in self.steps


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
        if func not in LAYER_FUNCTIONS:
            return None
        kind, names = LAYER_FUNCTIONS[func]
        return cls(kind, func, {**dict(zip(names, args, strict=False)), **kwargs})


def layer_names(graph: ChannelGraph, model: nn.Module) -> dict[int, str]:
    """Which layer a weight tensor of `model` belongs to, by the tensor's id."""
    parameters = dict(model.named_parameters())
    return {id(parameters[layer.weight]): layer.name for layer in graph.layers if layer.weight in parameters}


def step_of(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """The kind of step that a function is: "norm", "add", "pass", or None."""
    name = getattr(func, "__name__", "")
    if func is F.batch_norm:
        given = {**dict(zip(_NORM, args, strict=False)), **kwargs}
        return "norm" if not given.get("training", False) and given["running_mean"] is not None else None
    if name in _ADDITIONS and kwargs.get("alpha", 1) == 1 and len(args) == 2:
        a, b = args
        alike = isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and a is not b
        return "add" if alike else None
    if name in _DROPOUTS and not {**dict(zip(("input", "p", "training"), args, strict=False)), **kwargs}.get(
        "training", True
    ):
        return "pass"
    return None


def _call(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], signal: Tensor) -> Tensor:
    return function(signal, *args, **kwargs)  # type: ignore[no-any-return]


@dataclass
class _Node:
    """A tensor on the way of a layer's output: after `steps`, read by the functions in `readers`."""

    layer: str
    steps: tuple[str, ...]
    tensor: Tensor
    readers: list[str] = field(default_factory=list)
    following: _Node | None = None
    before: _Node | None = None  # of a signal behind an activation: the one in front
    function: Callable[[Tensor], Tensor] | None = None


class _Watcher(TorchFunctionMode):
    """Follows every layer's output through one forward pass."""

    def __init__(self, names: Mapping[int, str]):
        super().__init__()
        self.names = names
        self.order: list[str] = []
        self.uses: dict[str, list[LayerUse]] = {}
        self.first: dict[str, _Node] = {}
        self.norms: dict[int, list[str]] = {}  # id of running_mean -> the layers it follows
        self.norm_of: dict[str, int] = {}
        self._nodes: dict[int, _Node] = {}
        self._held: list[Any] = []  # ids stay unique while the tensors live
        self.numel: dict[str, int] = {}
        self.source: dict[str, _Node] = {}
        self.versions: dict[str, tuple[Tensor, int]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        use = LayerUse.of(func, args, kwargs)
        read = {id(t): t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        nodes = [self._nodes[i] for i in read if i in self._nodes]
        step = step_of(func, args, kwargs)
        result = func(*args, **kwargs)
        self._held.append((args, result))
        if not isinstance(result, Tensor) and not any(isinstance(t, Tensor) for t in pytree.tree_leaves(result)):
            return result  # a question about shape or kind reads no values
        for node in nodes:
            node.readers.append(getattr(func, "__name__", "?"))
        if func is F.batch_norm:
            given = {**dict(zip(_NORM, args, strict=False)), **kwargs}
            self.norms.setdefault(id(given["running_mean"]), []).append(nodes[0].layer if nodes else "")
        if isinstance(result, Tensor):
            self._nodes.pop(id(result), None)
            raw = [node for node in nodes if node.before is None]
            if use is not None and id(use.weight) in self.names:
                self._begin(self.names[id(use.weight)], use, result)
                if nodes:
                    self.source[self.names[id(use.weight)]] = nodes[0]
            elif step is not None and raw and result.shape == raw[0].tensor.shape:
                self._go_on(max(raw, key=lambda n: self.order.index(n.layer)), step, args, kwargs, result)
            elif len(nodes) == len(read) == 1 and args and getattr(func, "__name__", "") in BETWEEN:
                function = partial(_call, func, args[1:], kwargs)
                self._nodes[id(result)] = _Node(nodes[0].layer, (), result, before=nodes[0], function=function)
        return result

    def _begin(self, name: str, use: LayerUse, result: Tensor) -> None:
        self.order.append(name)
        self.uses.setdefault(name, []).append(use)
        self.numel[name] = use.input.numel() + result.numel()
        self.versions[name] = (use.input, use.input._version)
        self.first[name] = self._nodes[id(result)] = _Node(name, (), result)

    def _go_on(self, node: _Node, step: str, args: Any, kwargs: Any, result: Tensor) -> None:
        if step == "norm":
            given = {**dict(zip(_NORM, args, strict=False)), **kwargs}
            self.norm_of.setdefault(node.layer, id(given["running_mean"]))
        following = _Node(node.layer, (*node.steps, step), result)
        node.following = following
        self._nodes[id(result)] = following


def find_chains(graph: ChannelGraph, model: nn.Module, images: Tensor) -> tuple[dict[str, Chain], dict[str, str]]:
    """The chain of every layer that can be solved for, in the order of the forward pass.

    Args:
        graph: of the model's architecture (of the network before it was cut).
        model: in evaluation mode.
        images: one or two; their values do not matter.

    Returns:
        Chains by layer, and for every other layer why there is none.
    """
    names = layer_names(graph, model)
    watcher = _Watcher(names)
    with torch.no_grad(), watcher:
        model(images)
    norm_modules = {
        id(mean): name
        for name, module in model.named_modules()
        if isinstance(mean := getattr(module, "running_mean", None), Tensor)
    }
    chains: dict[str, Chain] = {}
    left: dict[str, str] = {}
    for layer in graph.layers:
        uses = watcher.uses.get(layer.name, [])
        if layer.weight is None or layer.weight not in dict(model.named_parameters()):
            left[layer.name] = "its weight is computed from other parameters"
        elif not uses:
            left[layer.name] = "it runs inside a fused function"
        elif len(uses) > 1:
            left[layer.name] = f"its weight is used {len(uses)} times in one pass"
        elif len(uses[0].input) % len(images) or uses[0].input.dim() < 2:
            left[layer.name] = "its input has no axis of images"
    for name in watcher.order:
        if name not in left:
            chains[name] = _chain(watcher, name, norm_modules, len(images))
    return chains, left


def _chain(watcher: _Watcher, name: str, norm_modules: Mapping[int, str], images: int) -> Chain:
    use = watcher.uses[name][0]
    node, norm = _end(watcher, name, norm_modules)
    gate = GATES.get(node.readers[0]) if len(node.readers) == 1 else None
    tensor, version = watcher.versions[name]
    chain = Chain(
        layer=name,
        steps=node.steps,
        norm=norm,
        gate=gate,
        groups=use.groups,
        numel=watcher.numel[name] // images,
        mutated=tensor._version != version,
    )
    source, functions = watcher.source.get(name), []
    while source is not None and source.before is not None and len(source.readers) == 1:
        functions.append(source.function)
        source = source.before
    follows = None
    # Behind an addition it is no longer the signal of one layer.
    if source is not None and source.before is None and len(source.readers) == 1 and "add" not in source.steps:
        follows = source.layer if source is _end(watcher, source.layer, norm_modules)[0] else None
    if follows is None or len(watcher.uses[follows]) > 1:
        return chain
    return replace(chain, follows=follows, between=tuple(f for f in reversed(functions) if f is not None))


def _end(watcher: _Watcher, name: str, norm_modules: Mapping[int, str]) -> tuple[_Node, str | None]:
    """The last signal of a layer's chain, and the module of its BatchNorm."""
    node, norm = watcher.first[name], None
    while node.following is not None and len(node.readers) == 1:
        step = node.following.steps[-1]
        if step == "norm":
            statistics = watcher.norm_of[name]
            alone = len(watcher.norms[statistics]) == 1 and statistics in norm_modules
            if node.steps or not alone:
                break
            norm = norm_modules[statistics]
        node = node.following
    return node, norm


class Follower(TorchFunctionMode):
    """Runs a network and calls `on_layer` where a chain begins and `on_end` where it ends.

    Both may replace what the network goes on with.
    """

    def __init__(self, names: Mapping[int, str], chains: Mapping[str, Chain]):
        super().__init__()
        self.names = names
        self.chains = chains
        self._open: dict[int, tuple[Tensor, Chain, int]] = {}

    def on_layer(self, chain: Chain, use: LayerUse, run: Any) -> Tensor:
        """The layer's output; `run()` computes it."""
        return run()  # type: ignore[no-any-return]

    def on_norm(self, chain: Chain, signal: Tensor, run: Any) -> Tensor:
        """The output of the BatchNorm of the chain."""
        return run()  # type: ignore[no-any-return]

    def on_end(self, chain: Chain, signal: Tensor) -> Tensor:
        """What the network goes on with at the chain's end."""
        return signal

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}

        def run() -> Any:
            return func(*args, **kwargs)

        use = LayerUse.of(func, args, kwargs)
        if use is not None and id(use.weight) in self.names:
            chain = self.chains.get(self.names[id(use.weight)])
            return run() if chain is None else self._arrive(chain, self.on_layer(chain, use, run), 0)
        if self._open:
            step = step_of(func, args, kwargs)
            if step is not None:
                operands = args[:2] if args else (kwargs.get("input"),)
                found = [self._open[id(t)] for t in operands if id(t) in self._open]
                for signal, chain, done in found:
                    if chain.steps[done] == step:
                        del self._open[id(signal)]
                        result = self.on_norm(chain, signal, run) if step == "norm" else run()
                        return self._arrive(chain, result, done + 1)
        return run()

    def _arrive(self, chain: Chain, signal: Tensor, done: int) -> Tensor:
        if done == len(chain.steps):
            return self.on_end(chain, signal)
        self._open[id(signal)] = (signal, chain, done)
        return signal
