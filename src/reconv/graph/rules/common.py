"""What many rules share: how planes meet, how axes are read, how channels are joined or frozen."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from torch import Tensor

from reconv.graph.labels import Plane, axes_of, lift_plane
from reconv.graph.record import NOTHING, Call, Value

# Operators without a rule that multiply signals with one another.
MULTIPLY = frozenset({"mv", "addmv", "dot", "vdot", "addbmm", "addr", "_trilinear", "_cdist_forward", "cdist"})


def met(planes: Sequence[Plane], plane: Plane) -> list[int]:
    """Which of these planes share an axis with this one."""
    axes = set(axes_of(plane))
    return [i for i, other in enumerate(planes) if axes & set(axes_of(other))]


def laid_together(call: Call, planes: Sequence[Plane]) -> list[Plane]:
    """Planes of one tensor: channels that meet at a position are one, and lie on the axes of either."""
    result: list[Plane] = []
    for plane in planes:
        if not axes_of(plane):  # a single channel is left: nothing varies
            continue
        places = met(result, plane)
        for i in places:
            call.space.unite(plane, result[i])
        for i in places:
            plane = np.broadcast_to(plane, np.broadcast_shapes(plane.shape, result[i].shape))
        result = [p for i, p in enumerate(result) if i not in places]
        result.append(plane)
    return result


def merged(call: Call, tensors: Sequence[Tensor]) -> tuple[Plane, ...]:
    """Planes of an element-wise result."""
    rank = max(t.dim() for t in tensors)
    fixed = [lift_plane(p, rank) for t in tensors if call.value(t).static for p in call.value(t).planes]
    signal = [lift_plane(p, rank) for t in tensors if not call.value(t).static for p in call.value(t).planes]
    # The last one's labels go on: a signal that is scaled keeps its own, and adding it to itself makes no stream.
    planes = [p for p in fixed if not _spread(call, signal, p)] + signal
    return covered(call, laid_together(call, planes), tensors)


def _spread(call: Call, signal: Sequence[Plane], part: Plane) -> bool:
    """Whether one of the signal's planes has the axes of the part, and others."""
    wholes = [whole for whole in signal if set(axes_of(part)) < set(axes_of(whole))]
    for whole in wholes:
        call.space.spread(whole, part)
    return bool(wholes)


def covered(call: Call, planes: Sequence[Plane], tensors: Sequence[Tensor]) -> tuple[Plane, ...]:
    """Those of the planes that may still shrink where these tensors lie side by side."""
    return tuple(p for p in planes if all(_may_shrink(call, tensor, p) for tensor in tensors))


def _may_shrink(call: Call, tensor: Tensor, plane: Plane) -> bool:
    """A tensor without labels of its own along some of a plane's axes keeps these axes from shrinking."""
    rank = plane.ndim
    offset = rank - tensor.dim()
    axes = {a for a in axes_of(plane) if a >= offset and tensor.shape[a - offset] > 1}
    known = {a + offset for p in call.value(tensor).planes for a in axes_of(p)}
    return joined(call, plane, axes - known, "combined with a tensor of fixed size") is not None


def joined(call: Call, plane: Plane, axes: Collection[int], why: str) -> Plane | None:
    """The operator treats all indices of these axes as a whole: their channels go together or not at all.

    Returns:
        The plane along the other axes, or None where there are none: then its channels stay.
    """
    gone = tuple(a for a in axes_of(plane) if a in axes)
    if not gone:
        return plane
    if len(gone) == len(axes_of(plane)):
        call.freeze([plane], why)
        return None
    rest = plane
    for axis in gone:
        rest = rest.take([0], axis)
    call.space.unite(plane, rest)
    return rest if axes_of(rest) else None


def labels_along(call: Call, tensor: Tensor | None, axis: int) -> Plane | None:
    """One label an index of `axis`, or None where the axis bears none."""
    if tensor is None or not tensor.dim():
        return None
    axis %= tensor.dim()
    for plane in call.value(tensor).planes:
        if axis in axes_of(plane):
            others = [a for a in axes_of(plane) if a != axis]
            single = joined(call, plane, others, "")
            return None if single is None else single.ravel()
    return None


def contract(call: Call, signal: Plane | None, weight: Plane | None) -> None:
    """Two axes are multiplied and summed over: index by index their channels are one."""
    if signal is not None and weight is not None:
        call.space.unite(signal, weight)
    elif weight is not None:
        call.freeze([weight], "fed by an axis that holds no channels")
    elif signal is not None:
        call.freeze([signal], "meets a weight of fixed size")


def frozen_labels(call: Call, size: int, why: str) -> Plane:
    labels = call.space.fresh(size)
    call.freeze([labels], why)
    return labels


def only_static(call: Call, tensors: Sequence[Tensor]) -> bool:
    return bool(tensors) and all(call.value(t).static for t in tensors)


def size_follows(call: Call, attribute: str, labels: Plane | tuple[Plane | int, ...]) -> None:
    """The attribute of the running module counts these channels."""
    call.record.sizes.setdefault(call.module, {})[attribute] = labels


def unknown(call: Call) -> Value:
    """Freeze all that enters; what reads a matrix of parameters multiplies by it, for all that is known."""
    name = call.operator.split(".")[-1]
    if name in MULTIPLY or any(t.dim() > 1 and call.value(t).static for t in call.tensors):
        call.record.uncounted[call.operator] = call.record.uncounted.get(call.operator, 0) + 1
    return fixed(call)


def fixed(call: Call) -> Value:
    """All that enters stays."""
    for tensor in call.tensors:
        call.freeze(call.value(tensor).planes, f"{call.operator} is not followed")
    return NOTHING


def nothing(call: Call) -> Value:
    """Shapes, constants, random numbers: no labels, and none harmed."""
    return NOTHING


def like(call: Call) -> Value:
    """New values in the shape of a tensor: they go where its channels go."""
    return Value(call.value(call.tensors[0]).planes)


def first_alone(call: Call) -> list[Value]:
    """The first output bears the first argument's labels; further outputs bear none."""
    value = call.value(call.tensors[0])
    return [Value(value.planes, static=value.static)] + [NOTHING] * (len(call.outputs) - 1)


def same(call: Call) -> Value:
    """The first argument's labels, on every output of its shape."""
    if any(out.shape != call.tensors[0].shape for out in call.outputs):
        return unknown(call)
    value = call.value(call.tensors[0])
    return Value(value.planes, static=value.static)


def elementwise(call: Call) -> Value:
    tensors = [t for t in call.tensors if t.dim() > 0]
    if len(tensors) == 1:
        value = call.value(tensors[0])
        return Value(value.planes, static=value.static)
    return Value(merged(call, tensors), static=only_static(call, tensors)) if tensors else NOTHING


def same_tensor(call: Call) -> Value:
    """A copy: a parameter's is known by its name still."""
    tensors = [t for t in call.tensors if t.dim() > 0]
    return call.value(tensors[0]) if len(tensors) == 1 else elementwise(call)


def added(call: Call) -> Value:
    """The sum of two signals is a residual stream, unless both are the same channels already."""
    tensors = [t for t in call.tensors if t.dim() > 0]
    if len(tensors) > 1:
        _mark_streams(call, tensors)
    return elementwise(call)


def _mark_streams(call: Call, tensors: Sequence[Tensor]) -> None:
    rank = max(t.dim() for t in tensors)
    signals = [t for t in tensors if not call.value(t).static]
    if len(signals) < 2:
        return
    planes = [[lift_plane(p, rank) for p in call.value(t).planes] for t in signals]
    for a in planes[0]:
        for b in planes[1]:
            if axes_of(a) == axes_of(b) and not np.array_equal(a, b):
                call.space.mark_stream(a)
