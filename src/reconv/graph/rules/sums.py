"""Sums, pools and orders: operators that bring the elements of an axis together."""

from __future__ import annotations

from reconv.graph.labels import axes_of
from reconv.graph.rules.common import joined
from reconv.graph.trace import NOTHING, Call, Rule, Value


def reduced(exact: bool) -> Rule:
    """Reduction over some axes.

    Args:
        exact: a channel of zeros adds nothing (a sum); else (a mean, a maximum) channels on a reduced axis stay.
    """

    def rule(call: Call) -> Value:
        source, out = call.tensors[0], call.outputs[0]
        dims = call.arguments.get("dim")
        dims = list(range(source.dim())) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
        gone = {d % max(source.dim(), 1) for d in dims}
        value = call.value(source)
        planes = []
        for plane in value.planes:
            if exact and set(axes_of(plane)) <= gone:
                continue
            rest = joined(call, plane, gone, "a statistic over its channels")
            if rest is not None:
                planes.append(rest if out.dim() == source.dim() else rest.squeeze(tuple(gone)))
        return Value(tuple(planes), static=value.static)

    return rule


def pooled(axes: int) -> Rule:
    """Works on the last few axes alone (pooling, resampling)."""

    def rule(call: Call) -> Value:
        source = call.tensors[0]
        last = range(source.dim() - axes, source.dim())
        planes = [joined(call, p, last, "pooled over its channels") for p in call.value(source).planes]
        return Value(tuple(p for p in planes if p is not None))

    return rule


def along_dim(call: Call) -> list[Value]:
    """softmax, cumsum, sort ...: every element of the axis depends on all others."""
    source = call.tensors[0]
    axis = call["dim"] % source.dim()
    value = call.value(source)
    why = "depends on all channels of its axis"
    found = Value(tuple(p for p in value.planes if joined(call, p, [axis], why) is not None), static=value.static)
    return [found if out.dim() == source.dim() else NOTHING for out in call.outputs]


def unfolded(call: Call) -> Value:
    """im2col: patches of a map as columns; a channel becomes as many rows as the patch has places."""
    source, out = call["self"], call.outputs[0]
    planes = []
    for plane in call.value(source).planes:
        rest = joined(call, plane, range(source.dim() - 2, source.dim()), "an unfolding mixes its spatial axes")
        if rest is not None and axes_of(rest) == (source.dim() - 3,):
            labels = rest.ravel().repeat(out.shape[-2] // source.shape[-3])
            planes.append(labels.reshape((1,) * (out.dim() - 2) + (-1, 1)))
        elif rest is not None:
            call.freeze([rest], "unfolded together with other axes")
    return Value(tuple(planes))


def folded(call: Call) -> Value:
    """col2im: patches summed back into a map; all rows of a channel go together."""
    source, out = call["self"], call.outputs[0]
    places = source.shape[-2] // out.shape[-3]
    planes = []
    for plane in call.value(source).planes:
        if axes_of(plane) != (source.dim() - 2,):
            call.freeze([plane], "folded together with other axes")
            continue
        rows = plane.reshape(-1, places)
        call.space.unite(rows, rows[:, :1])
        planes.append(rows[:, 0].reshape((1,) * (out.dim() - 3) + (-1, 1, 1)))
    return Value(tuple(planes))
