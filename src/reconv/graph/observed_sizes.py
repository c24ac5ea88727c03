"""The sizes that an operator sees, and the channels that each of them counts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from reconv.graph.channels import Counted
from reconv.graph.constraints import varying_axes
from reconv.graph.labels import Plane, axes_of
from reconv.graph.record import Call, Value


def counted_sizes(call: Call, classes: Plane) -> Iterator[tuple[int | tuple[int, ...], Counted]]:
    """Sizes that the operator sees or was given, and the labels that each one counts."""
    for tensor, value in _tensors(call):
        along = [counted_along(value, axis, classes) for axis in range(tensor.dim())]
        for size, labels in zip(tensor.shape, along, strict=True):
            if labels is not None:
                yield size, labels
        yield tuple(tensor.shape), tuple(n if p is None else p for n, p in zip(tensor.shape, along, strict=True))
    arguments = call.arguments
    if "dim" not in arguments or not call.tensors or not isinstance(arguments["dim"], int):
        return
    labels = counted_along(call.before[0], arguments["dim"] % max(call.tensors[0].dim(), 1), classes)
    if labels is None:
        return
    if "split_sizes" in arguments:
        ends = np.cumsum(arguments["split_sizes"])
        yield tuple(arguments["split_sizes"]), tuple(np.split(labels, ends[:-1]))
    for name in ("start", "end"):
        if isinstance(arguments.get(name), int):
            yield arguments[name], labels[: arguments[name]]


def widths(call: Call, classes: Plane) -> Iterator[Plane]:
    """The labels along every axis, of what the operator gives and takes, that may shrink."""
    for tensor, value in _tensors(call):
        for axis in range(tensor.dim()):
            labels = counted_along(value, axis, classes)
            if labels is not None:
                yield labels


def _tensors(call: Call) -> Iterator[tuple[Tensor, Value]]:
    yield from zip(call.outputs, call.after, strict=False)
    yield from zip(call.tensors, call.before, strict=True)


def counted_along(value: Value, axis: int, classes: Plane) -> Plane | None:
    """The labels that an axis counts; None where it has none, or never shrinks."""
    for plane in value.planes:
        if axis in axes_of(plane):
            if axis not in varying_axes(classes[plane]):
                return None
            for other in axes_of(plane):
                plane = plane if other == axis else plane.take([0], other)
            return plane.ravel()
    return None


def changes(counted: Counted, keep: np.ndarray) -> bool:
    """Whether a cut changes the size; `keep` is a mask over labels."""
    parts = counted if isinstance(counted, tuple) else (counted,)
    return not all(isinstance(part, int) or keep[part].all() for part in parts)
