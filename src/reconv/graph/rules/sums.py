"""Sums, statistics, pools and orders: operators that bring the elements of an axis together."""

from __future__ import annotations

from reconv.graph.labels import Plane, axes_of
from reconv.graph.record import NOTHING, Call, Rule, Value
from reconv.graph.rules.common import joined


def reduced(exact: bool) -> Rule:
    """Reduction over some axes.

    Args:
        exact: a channel of zeros adds nothing (a sum); else (a product, an order) channels on a reduced axis stay.
    """

    def rule(call: Call) -> Value:
        gone = _reduced_axes(call)
        value = call.value(call.tensors[0])
        planes = [p for p in value.planes if not (exact and set(axes_of(p)) <= gone)]
        return Value(_without(call, planes, gone), static=value.static)

    return rule


def statistic(call: Call) -> Value:
    """Mean, variance, extremes. Where they keep the axis of the channels, they are of those that stay.

    An axis is kept for the channels to be scaled by the statistic, as in a norm that is written out: layer norms take
    theirs over what stays, too. Where it is not kept, the statistic is a result of its own, and the channels stay.
    """
    gone = _reduced_axes(call)
    value = call.value(call.tensors[0])
    kept = bool(call.arguments.get("keepdim"))
    over = {i for i, p in enumerate(value.planes) if kept and len(axes_of(p)) == 1 and axes_of(p)[0] in gone}
    call.space.take_statistic(tuple(value.planes[i] for i in sorted(over)))
    planes = [p for i, p in enumerate(value.planes) if i not in over]
    return Value(_without(call, planes, gone), static=value.static)


def extreme(call: Call) -> list[Value]:
    """max and min: the values are a statistic; where each was found is a position, which moves when channels go."""
    gone = _reduced_axes(call)
    values = statistic(call)
    if len(call.outputs) > 1:
        over = tuple(p for p in call.value(call.tensors[0]).planes if gone & set(axes_of(p)))
        if over:
            call.record.positions[id(call.outputs[1])] = over
    return [values] * len(call.outputs)


def _reduced_axes(call: Call) -> set[int]:
    rank = call.tensors[0].dim()
    dims = call.arguments.get("dim")
    dims = list(range(rank)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    return {d % max(rank, 1) for d in dims}


def _without(call: Call, planes: list[Plane], gone: set[int]) -> tuple[Plane, ...]:
    """The planes without the reduced axes; what lies on these alone stays."""
    rest = [joined(call, plane, gone, "a statistic over its channels") for plane in planes]
    dropped = call.outputs[0].dim() < call.tensors[0].dim()
    return tuple(p.squeeze(tuple(gone)) if dropped else p for p in rest if p is not None)


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
