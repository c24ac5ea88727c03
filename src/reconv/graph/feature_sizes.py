"""How wide a network says its features are: `num_features`, `feature_info`, and the like, read outside of a pass.

A network of timm builds a new head by them (`reset_classifier`), and decoders ask for them. Each one is the width of
the last signal of so many channels in the module that says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from reconv.graph.channels import ChannelGraph, Mask
from reconv.graph.copies import named_modules
from reconv.graph.labels import Plane, axes_of
from reconv.graph.questions import names_read
from reconv.graph.sizes import Edits, set_size

_OF_NETWORKS = ("num_features", "head_hidden_size", "embed_dim")
_OF_HEADS = ("in_features", "num_features")


def follow_features(model: nn.Module, graph: ChannelGraph, keep: Mask) -> dict[str, Edits]:
    """Set what the networks in a pruned model say of the widths of their features; returns what was set, by module.

    Args:
        model: the pruned one. graph: of the network before. keep: which channel classes stay.
    """
    result: dict[str, Edits] = {}
    networks = [path for path, module in named_modules(model) if callable(getattr(module, "reset_classifier", None))]
    for path, module in named_modules(model):
        inside = any(path.startswith(f"{network}." if network else "") for network in networks)
        if path in networks:
            edits = _edits(module, _OF_NETWORKS, _features(graph, path), keep)
            edits |= _feature_info(module, path, graph, keep)
        elif inside and callable(getattr(module, "reset", None)):
            edits = _edits(module, _OF_HEADS, _features(graph, path), keep)
        else:
            continue
        for name, value in edits.items():
            set_size(module, name, value)
        if edits:
            result[path] = edits
    return result


def _edits(module: nn.Module, names: tuple[str, ...], signals: Mapping[int, Plane], keep: Mask) -> Edits:
    """Sizes that change, but for those that a forward pass reads: of these the trace knows what they count."""
    edits: Edits = {}
    kind: Any = type(module)
    for name in names:
        old = vars(module).get(name)
        if type(old) is int and old in signals and name not in names_read(kind):
            new = int(keep[signals[old]].sum())
            edits |= {name: new} if new != old else {}
    return edits


def _feature_info(module: nn.Module, path: str, graph: ChannelGraph, keep: Mask) -> Edits:
    """`[{"num_chs": 64, "module": "layer1"}, ...]`: of every stage its width, and the module that gives it."""
    stages: Any = vars(module).get("feature_info")
    edits: Edits = {}
    for i, stage in enumerate(stages if isinstance(stages, list) else ()):
        if not isinstance(stage, dict) or not isinstance(stage.get("module"), str):
            continue
        old, signals = stage.get("num_chs"), _last_signals(graph, f"{path}.{stage['module']}".strip("."))
        if type(old) is int and old in signals:
            new = int(keep[signals[old]].sum())
            edits |= {f"feature_info.{i}.num_chs": new} if new != old else {}
    return edits


def _features(graph: ChannelGraph, path: str) -> dict[int, Plane]:
    """The last signals of a module; of what its last layer reads, that, since there may be as many classes."""
    last = [layer.inputs.ravel() for layer in graph.layers if not path or layer.name.startswith(f"{path}.")][-1:]
    return _last_signals(graph, path) | {inputs.size: inputs for inputs in last}


def _last_signals(graph: ChannelGraph, path: str) -> dict[int, Plane]:
    """For every number of channels the classes of the last signal of so many in a module."""
    return {
        plane.size: graph.labels[plane].ravel()
        for operation in graph.forward
        if not path or operation.module == path or operation.module.startswith(f"{path}.")
        for output in operation.outputs
        for plane in output.planes
        if len(axes_of(plane)) == 1
    }
