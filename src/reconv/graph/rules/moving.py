"""Operators that move data: planes move by the very same move."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from reconv.graph.labels import Plane, along, axes_of, lift_plane, reshape_plane, shrink_plane
from reconv.graph.record import Call, Rule, Value
from reconv.graph.rules.common import (
    covered,
    frozen_labels,
    labels_along,
    laid_together,
    merged,
    met,
    only_static,
    size_follows,
)

FIXED_POSITIONS = "cut at fixed positions"


def moved(move: Callable[[Call, Plane], Plane]) -> Rule:
    """A rule that moves every plane as the operator moves the tensor."""

    def rule(call: Call) -> Value:
        value = call.value(call.tensors[0])
        return Value(tuple(move(call, p) for p in value.planes), value.parameter, value.static)

    return rule


def permuted(call: Call, plane: Plane) -> Plane:
    return plane.transpose(call["dims"])


def transposed(call: Call, plane: Plane) -> Plane:
    if "dim0" in call.arguments:
        return plane.swapaxes(call["dim0"], call["dim1"])
    return plane.T


def expanded(call: Call, plane: Plane) -> Plane:
    return lift_plane(plane, call.outputs[0].dim())


def unsqueezed(call: Call, plane: Plane) -> Plane:
    return np.expand_dims(plane, call["dim"])


def squeezed(call: Call, plane: Plane) -> Plane:
    source, out = call.tensors[0], call.outputs[0]
    dims = call.arguments.get("dim")
    dims = range(source.dim()) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = [d for d in (d % source.dim() for d in dims) if source.shape[d] == 1]
    result = plane.squeeze(tuple(gone))
    return result.reshape((1,) * (out.dim() - result.ndim) + result.shape)


def flipped(call: Call, plane: Plane) -> Plane:
    dims = [d % plane.ndim for d in call["dims"]]
    turned = tuple(d for d in dims if plane.shape[d] > 1)
    if turned:
        call.doubt([plane], "turned around")
    return np.flip(plane, turned)


def rolled(call: Call, plane: Plane) -> Plane:
    pairs = [(shift, d % plane.ndim) for shift, d in zip(call["shifts"], call["dims"], strict=False)]
    for shift, axis in pairs:
        if plane.shape[axis] > 1 and shift:
            call.doubt([plane], "rolled")
            plane = np.roll(plane, shift, axis)
    return plane


# ------------------------------------------------------------------ views


def reshape(call: Call) -> Value:
    source, shape = call.tensors[0], tuple(call.outputs[0].shape)
    value = call.value(source)
    planes: tuple[Plane, ...] = ()
    for before in value.planes:
        after = reshape_plane(before, tuple(source.shape), shape)
        if met(planes, after):
            call.freeze([before], "merged with other channels into one axis")
        else:
            _note_fold(call, before, after)
            planes += (after,)
    keeps_name = value.parameter if [s for s in shape if s > 1] == [s for s in source.shape if s > 1] else None
    return Value(planes, keeps_name, value.static)


def _note_fold(call: Call, before: Plane, after: Plane) -> None:
    if len(axes_of(after)) > len(axes_of(before)):
        call.fold(after)
        if not call.value(call.tensors[0]).static:
            call.doubt([after], "a view splits its channels into parts of fixed size")


def pixel_shuffled(call: Call, plane: Plane) -> Plane:
    """[C * r * r, H, W] -> [C, H * r, W * r]; the channels along the map are folded, and the next layer joins them."""
    *lead, channels, height, width = call.tensors[0].shape
    r = call["upscale_factor"]
    if plane.shape[-3] == 1:
        return plane
    full = np.broadcast_to(plane, (*plane.shape[:-2], height, width))
    blocks = full.reshape(*plane.shape[:-3], channels // (r * r), r, r, height, width)
    result = shrink_plane(
        _spread(blocks, len(lead)).reshape(*plane.shape[:-3], channels // (r * r), height * r, width * r)
    )
    _note_fold(call, plane, result)
    return result


def _spread(blocks: Plane, lead: int) -> Plane:
    """[.., C, r, r, H, W] -> [.., C, H, r, W, r]."""
    c, i, j, y, x = range(lead, lead + 5)
    return blocks.transpose(*range(lead), c, y, i, x, j)


def pixel_unshuffled(call: Call, plane: Plane) -> Plane:
    """[C, H * r, W * r] -> [C * r * r, H, W]: every channel becomes r * r."""
    r = call["downscale_factor"]
    if any(plane.shape[axis] > 1 for axis in (-2, -1)):
        call.freeze([plane], "unshuffled over its channels")
        return plane.take([0], -1).take([0], -2).repeat(r * r, -3)
    return plane.repeat(r * r, -3) if plane.shape[-3] > 1 else plane


def channels_shuffled(call: Call, plane: Plane) -> Plane:
    groups = call["groups"]
    if plane.shape[1] == 1:
        return plane
    parts = plane.reshape(plane.shape[0], groups, -1, *plane.shape[2:])
    call.fold(parts)
    call.doubt([plane], "its groups are shuffled")
    return parts.swapaxes(1, 2).reshape(plane.shape)


# ------------------------------------------------------------------ parts


def sliced(call: Call) -> list[Value]:
    """slice, split, narrow, unbind, select: fixed positions along one axis.

    Equal parts of an axis must lose equally many channels. Whether the model's code then cuts where it should is
    tried out on a cut copy.
    """
    source = call.tensors[0]
    value = call.value(source)
    axis = call.arguments.get("dim", 0) % source.dim()
    whole = len(call.outputs) == 1 and call.outputs[0].shape == source.shape
    dropped = call.outputs[0].dim() < source.dim()
    if not whole:
        for plane in value.planes:
            if axis in axes_of(plane):
                _note_parts(call, plane, axis, dropped, value.static)
    results, start = [], 0
    for out in call.outputs:
        size = 1 if dropped else out.shape[axis]
        planes = []
        for plane in value.planes:
            part = plane if plane.shape[axis] == 1 else plane.take(_positions(call, axis, start, size), axis)
            planes.append(part.squeeze(axis) if dropped else part)
        start += size
        results.append(Value(tuple(p for p in planes if axes_of(p)), value.parameter if whole else None, value.static))
    return results


def _positions(call: Call, axis: int, start: int, size: int) -> range | list[int]:
    """The indices that an output takes, where the outputs before it took `start` of them."""
    total = call.tensors[0].shape[axis]
    if "index" in call.arguments:
        return [call["index"] % total]
    if "step" in call.arguments:
        return range(total)[call["start"] : call["end"] : call["step"]]
    return range(start, start + size)


def _note_parts(call: Call, plane: Plane, axis: int, dropped: bool, static: bool) -> None:
    if dropped and len(axes_of(plane)) == 1 and not static:
        call.freeze([plane], "single channels are picked at fixed positions")
        return
    if dropped:
        return
    if not static:
        call.doubt([plane], FIXED_POSITIONS)
    total, sizes = plane.shape[axis], {out.shape[axis] for out in call.outputs}
    step = call.arguments.get("step", 1)
    size = step if step > 1 else min(sizes)
    offset = 0 if len(call.outputs) > 1 or step > 1 else _positions(call, axis, 0, size)[0]
    if len(sizes) == 1 and total % size == 0 and offset % size == 0 and size < total:
        call.fold(plane.reshape(*plane.shape[:axis], total // size, size, *plane.shape[axis + 1 :]))


def halves_multiplied(call: Call) -> Value:
    """glu: the first half times the sigmoid of the second."""
    source, axis = call["self"], call["dim"] % call["self"].dim()
    planes = []
    for plane in call.value(source).planes:
        if plane.shape[axis] == 1:
            planes.append(plane)
            continue
        first, second = np.split(plane, 2, axis)
        call.space.unite(first, second)
        planes.append(first)
    return Value(tuple(planes))


def concatenated(call: Call) -> Value:
    # An empty part adds no channels; where all are empty (a detector that found nothing), their axes still count.
    tensors = [t for t in call["tensors"] if t.numel() > 0] or list(call["tensors"])
    rank = tensors[0].dim()
    if not rank or not tensors[0].numel():
        return Value(static=only_static(call, tensors))
    axis = call["dim"] % rank
    # Along the other axes the parts lie side by side as in an element-wise operator.
    parts: list[Plane | None] = [labels_along(call, t, axis) for t in tensors]
    beside = laid_together(call, [p for t in tensors for p in call.value(t).planes if axis not in axes_of(p)])
    others = covered(call, beside, tensors)
    if all(part is None for part in parts):
        return Value(others, static=only_static(call, tensors))
    labels = [
        frozen_labels(call, t.shape[axis], "concatenated without being a layer's channels") if part is None else part
        for t, part in zip(tensors, parts, strict=True)
    ]
    joined = along(np.concatenate(labels), axis, rank)
    return Value((joined, *others), static=only_static(call, tensors))


def stacked(call: Call) -> Value:
    """Tensors of one shape along a new axis."""
    tensors = call["tensors"]
    rank = tensors[0].dim()
    axis = call["dim"] % (rank + 1)
    first = call.value(tensors[0]).planes
    alike = all(
        [axes_of(p) for p in call.value(t).planes] == [axes_of(p) for p in first] for t in tensors
    )  # the same axes bear labels
    if not alike:
        planes = [np.expand_dims(p, axis) for p in merged(call, tensors)]
    else:
        rows = zip(*(call.value(t).planes for t in tensors), strict=True)
        planes = [shrink_plane(np.stack(row, axis)) for row in rows]
        for plane in planes:
            call.fold(plane)
            if axis in axes_of(plane):
                call.doubt([plane], "stacked with other channels")
    return Value(tuple(planes), static=only_static(call, tensors))


# ------------------------------------------------------------------ what is added


def padded(call: Call) -> Value:
    """Padding adds no channels, except where zeros are appended to the channel axis (a parameter-free shortcut).

    The appended channels are no layer's. They can go only where the module that pads says by which attributes
    (`channel_padding`), so that surgery can change them.
    """
    source = call.tensors[0]
    value = call.value(source)
    pad = list(call["pad"])
    rank = source.dim()
    planes = []
    for plane in value.planes:
        result = plane
        for axis in axes_of(plane):
            place = 2 * (rank - 1 - axis)
            before, after = pad[place : place + 2] if place < len(pad) else (0, 0)
            if before or after:
                result = _with_added_channels(call, result, axis, before, after)
        planes.append(result)
    return Value(tuple(planes))


def _with_added_channels(call: Call, plane: Plane, axis: int, before: int, after: int) -> Plane:
    if before < 0 or after < 0:
        call.freeze([plane], "cropped to a fixed number of channels")
    head, tail = call.space.fresh(max(before, 0)), call.space.fresh(max(after, 0))
    attributes = getattr(call.record.modules.get(call.module), "channel_padding", None)
    known = call.record.sizes.get(call.module, {})
    if attributes and min(before, after) >= 0 and axes_of(plane) == (axis,) and not set(attributes) & set(known):
        for attribute, labels in zip(attributes, (head, tail), strict=True):
            size_follows(call, attribute, labels)
    else:
        call.freeze([head, tail], "zeros of a fixed number appended to the channels")
    core = plane.take(range(max(-before, 0), plane.shape[axis] - max(-after, 0)), axis)

    def spread(labels: Plane) -> Plane:
        shape = list(core.shape)
        shape[axis] = len(labels)
        return np.broadcast_to(along(labels, axis, plane.ndim), shape)

    return np.concatenate([spread(head), core, spread(tail)], axis)


def repeated(call: Call) -> Value:
    source = call.tensors[0]
    value = call.value(source)
    repeats = tuple(call["repeats"])
    rank = len(repeats)
    shape = (1,) * (rank - source.dim()) + tuple(source.shape)
    planes = []
    for plane in value.planes:
        up = lift_plane(plane, rank)
        counts = [r if up.shape[a] > 1 else 1 for a, r in enumerate(repeats)]
        # An axis of size 1 that is repeated holds one channel many times.
        full = np.broadcast_to(up, [s if up.shape[a] > 1 else 1 for a, s in enumerate(shape)])
        planes.append(shrink_plane(np.tile(full, counts)))
    return Value(tuple(planes), static=value.static)


def copied_into(call: Call) -> Value:
    """A tensor written into another one, or into a part of fresh memory that holds no channels yet."""
    target, source = call["self"], call["src"]
    base = target._base
    planes = tuple(lift_plane(plane, target.dim()) for plane in call.value(source).planes)
    if base is None or base.dim() != target.dim() or call.value(base).planes or call.value(target).planes:
        return Value(merged(call, [target, source]))
    axes = {axis for plane in planes for axis in axes_of(plane)}
    if any(base.shape[axis] != target.shape[axis] for axis in axes):  # some channels of it are not written
        return Value(merged(call, [target, source]))
    call.record.remember(base, Value(planes))  # its other parts are slices from now on; a dry run tells if it is fixed
    return Value(planes)


# ------------------------------------------------------------------ look-ups


def indexed(call: Call) -> Value:
    """tensor[i, :, j]: the axes that are not indexed keep their channels."""
    source, indices = call["self"], call["indices"]
    places = [axis for axis, index in enumerate(indices) if index is not None]
    rank = max(index.dim() for index in indices if index is not None)
    contiguous = places == list(range(places[0], places[-1] + 1))
    rest = [axis for axis in range(source.dim()) if axis not in places]
    lead = places[0] if contiguous else 0
    place_of = {axis: i if i < lead else i + rank for i, axis in enumerate(rest)}
    return _looked_up(call, source, set(places), place_of)


def index_selected(call: Call) -> Value:
    source = call["self"]
    axis = call["dim"] % max(source.dim(), 1)
    return _looked_up(call, source, {axis}, {a: a for a in range(source.dim()) if a != axis})


def embedded(call: Call) -> Value:
    return _looked_up(call, call["weight"], {0}, {1: call.outputs[0].dim() - 1})


def _looked_up(call: Call, source: Tensor, gone: set[int], place_of: dict[int, int]) -> Value:
    value = call.value(source)
    rank = call.outputs[0].dim()
    planes = []
    for plane in value.planes:
        if gone & set(axes_of(plane)):
            call.freeze([plane], "looked up by index")
            continue
        shape: list[int] = [1] * rank
        order = sorted(place_of, key=lambda axis: place_of[axis])
        for axis in order:
            shape[place_of[axis]] = plane.shape[axis]
        planes.append(plane.transpose(*order, *sorted(gone)).reshape(shape))
    return Value(tuple(planes), static=value.static)


def windowed(call: Call) -> Value:
    """Tensor.unfold: windows along one axis, their places on a new last axis."""
    source, axis = call["self"], call["dimension"] % max(call["self"].dim(), 1)
    planes = []
    for plane in call.value(source).planes:
        if axis in axes_of(plane):
            call.freeze([plane], "taken in windows along its channels")
        else:
            planes.append(plane[..., None])
    return Value(tuple(planes))
