"""Settle what a trace recorded: labels become classes, classes become groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from reconv.conv.geometry import ConvGeometry
from reconv.errors import GraphError
from reconv.graph.channels import ChannelGraph, ChannelGroup, Layer
from reconv.graph.labels import Plane, components
from reconv.graph.rules import rule_of
from reconv.graph.trace import LayerCall, Record, record_forward


def trace(model: nn.Module, example: Any) -> ChannelGraph:
    """Find the layers of a model, what each one sees, and which channels are tied.

    The forward pass runs once without data; nothing of the model changes.

    Args:
        model: any module.
        example: one tensor such as `torch.zeros(1, 3, 32, 32)`, a tuple of arguments, or a mapping of keywords.

    Returns:
        The graph that `score`, `choose` and `prune` work with.

    Raises:
        GraphError: the model does not run on the example, or has no layer.
    """
    tensors = [t for t in pytree.tree_leaves(example) if isinstance(t, Tensor)]
    if not tensors:
        raise GraphError(
            f"trace: the example is {type(example).__name__} without a tensor; give an input of the model, "
            "such as torch.zeros(1, 3, 224, 224)"
        )
    with torch.random.fork_rng(devices=[]):
        record = record_forward(model, example, rule_of)
    if not record.calls:
        raise GraphError(
            f"{type(model).__name__}: its forward runs no convolution and no linear layer; there is nothing to prune"
        )
    return _settled(model, record, example)


def _settled(model: nn.Module, record: Record, example: Any) -> ChannelGraph:
    shapes = tuple(tuple(t.shape) for t in pytree.tree_leaves(example) if isinstance(t, Tensor))
    classes = record.space.classes()
    count = int(classes.max(initial=-1)) + 1
    batch = shapes[0][0] if shapes[0] else 1
    layers = _layers(record, classes, batch)
    return ChannelGraph(
        model=model,
        example=shapes,
        inputs=example,
        layers=layers,
        groups=_groups(layers, record, classes, count),
        parameters={name: tuple(classes[p] for p in planes) for name, planes in record.parameters.items()},
        classes=count,
        paddings={name: (classes[a], classes[b]) for name, (a, b) in record.paddings.items()},
        uncounted=dict(record.uncounted),
    )


def _layers(record: Record, classes: Plane, batch: int) -> tuple[Layer, ...]:
    """One layer a weight; a weight used several times sums its positions."""
    by_name: dict[str, list[LayerCall]] = {}
    for call in record.calls:
        by_name.setdefault(call.layer, []).append(call)
    return tuple(
        Layer(
            name=name,
            weight=uses[0].parameter,
            kind=uses[0].kind,
            outputs=classes[uses[0].outputs],
            inputs=classes[uses[0].inputs],
            positions=sum(use.positions for use in uses) / batch,
            kernel=uses[0].window["kernel"] if uses[0].window else (),
            geometry=_geometry(uses[0]),
            norm=next((n for x, n in record.norms if np.array_equal(x, uses[0].outputs)), None),
        )
        for name, uses in by_name.items()
    )


def _geometry(call: LayerCall) -> ConvGeometry | None:
    """The geometry of the convolution whose matrix, or transposed matrix, the layer applies."""
    if call.window is None:
        return ConvGeometry(input_size=(1, 1), kernel=(1, 1))
    size = call.window["output" if call.kind == "conv_transposed" else "input"]
    if len(size) > 2:
        return None
    flat = len(size) == 1  # a 1-d convolution is one on a map of height 1

    def pair(name: str, neutral: int) -> tuple[int, int]:
        assert call.window is not None
        values = call.window[name]
        return (neutral, values[0]) if flat else (values[0], values[1])

    return ConvGeometry(
        input_size=(1, size[0]) if flat else (size[0], size[1]),
        kernel=pair("kernel", 1),
        stride=pair("stride", 1),
        padding=pair("padding", 0),
        dilation=pair("dilation", 1),
    )


def _groups(layers: tuple[Layer, ...], record: Record, classes: Plane, count: int) -> tuple[ChannelGroup, ...]:
    """Classes that share a layer's output axis belong to one group."""
    component = _components((layer.outputs for layer in layers), count)
    reasons: dict[int, str] = {}
    for labels, reason in record.space.frozen:
        for c in np.unique(classes[labels]):
            reasons.setdefault(int(c), reason)
    streams = {int(component[c]) for labels in record.space.streams for c in np.unique(classes[labels])}
    members: dict[int, list[int]] = {}
    producers: dict[int, list[str]] = {}
    consumers: dict[int, list[str]] = {}
    for layer in layers:
        here = int(component[layer.outputs[0]])
        producers.setdefault(here, []).append(layer.name)
        seen = members.setdefault(here, [])
        known = set(seen)
        seen.extend(int(c) for c in dict.fromkeys(layer.outputs.tolist()) if c not in known)
        for there in np.unique(component[layer.inputs]):
            consumers.setdefault(int(there), []).append(layer.name)
    balances = [classes[rows] for rows in record.space.balanced]
    result = []
    for here, units in members.items():
        array = np.array(units, dtype=np.int64)
        cells, broken = _cells(array, balances)
        why = {i: reasons[c] for i, c in enumerate(units) if c in reasons}
        if broken:
            why = {**dict.fromkeys(range(len(units)), broken), **why}
        result.append(
            ChannelGroup(
                name=producers[here][0],
                units=array,
                producers=tuple(producers[here]),
                consumers=tuple(consumers.get(here, ())),
                stream=here in streams,
                reasons=why,
                cells=cells,
            )
        )
    return tuple(result)


def _components(axes: Iterable[Plane], count: int) -> Plane:
    """Join all classes that lie on one axis."""
    pairs = [(axis[:-1], axis[1:]) for axis in axes if len(axis) > 1]
    if not pairs:
        return np.arange(count, dtype=np.int64)
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return components(a, b, count)


def _cells(units: Plane, balances: list[Plane]) -> tuple[Plane, str | None]:
    """Cut a group's units into cells such that equal removal from every cell balances every constraint.

    Each constraint cuts the units by its rows; the cells are the pieces of all cuts together. Where one class lies
    in two rows, or the rows leave the group, no equal removal is known and the group stays.

    Returns:
        The cell of every unit, and why the group must stay, or None.
    """
    place = {int(c): i for i, c in enumerate(units)}
    keys: list[list[int]] = [[] for _ in units]
    for rows in balances:
        inside = np.array([[int(c) in place for c in row] for row in rows])
        if not inside.any():
            continue
        if not inside.all():
            return np.zeros(len(units), dtype=np.int64), "a grouped operator reads it together with other channels"
        if len(np.unique(rows)) < rows.size:
            return np.zeros(len(units), dtype=np.int64), "a grouped operator reads one channel in several groups"
        row_of = {int(c): r for r, row in enumerate(rows) for c in row}
        for c, key in zip(units, keys, strict=True):
            key.append(row_of.get(int(c), -1))
    names = {key: i for i, key in enumerate(sorted({tuple(k) for k in keys}))}
    return np.array([names[tuple(k)] for k in keys], dtype=np.int64), None
