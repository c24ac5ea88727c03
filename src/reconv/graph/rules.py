"""The table of operators: how labels pass through each one.

A rule takes a `Call` and returns what is known of its outputs. To teach the engine an operator, write a rule and add a
row to `RULES` (or `register_rule`). An operator without a row freezes every channel that enters it, and says so.
Element-wise operators need no row: PyTorch tags them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reconv.graph.labels import Plane, Shape, along, axes_of, compressed, reshaped
from reconv.graph.trace import NOTHING, Call, LayerCall, Rule, Value

# ------------------------------------------------------------------ what many rules share


def lifted(plane: Plane, rank: int) -> Plane:
    """A plane of a tensor that is broadcast to `rank` axes."""
    return plane.reshape((1,) * (rank - plane.ndim) + plane.shape)


def merged(call: Call, tensors: Sequence[Tensor]) -> tuple[Plane, ...]:
    """Planes of an element-wise result: channels that meet at a position are one."""
    rank = max(t.dim() for t in tensors)
    result: list[Plane] = []
    for tensor in tensors:
        for plane in (lifted(p, rank) for p in call.value(tensor).planes):
            met = [i for i, other in enumerate(result) if set(axes_of(other)) & set(axes_of(plane))]
            if not met:
                result.append(plane)
                continue
            first = result[met[0]]
            for i in met:
                call.space.unite(plane, result[i])
            result[met[0]] = first if len(axes_of(first)) >= len(axes_of(plane)) else plane
    for plane in result:
        for tensor in tensors:
            _check_covered(call, tensor, plane, rank)
    return tuple(result)


def _check_covered(call: Call, tensor: Tensor, plane: Plane, rank: int) -> None:
    """A tensor of fixed size along a channel axis, without labels of its own, keeps the channels from going."""
    offset = rank - tensor.dim()
    axes = {a for a in axes_of(plane) if a >= offset and tensor.shape[a - offset] > 1}
    known = {a + offset for p in call.value(tensor).planes for a in axes_of(p)}
    if axes - known:
        call.freeze([plane], "combined with a tensor of fixed size")


def labels_along(call: Call, tensor: Tensor | None, axis: int) -> Plane | None:
    """One label an index of `axis`, or None where the axis bears none."""
    if tensor is None:
        return None
    axis %= tensor.dim()
    for plane in call.value(tensor).planes:
        if axes_of(plane) == (axis,):
            return plane.ravel()
        if axis in axes_of(plane):
            call.freeze([plane], "its channels were split over several axes before they meet a weight")
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


# ------------------------------------------------------------------ operators without a rule, and element-wise ones


def unknown(call: Call) -> Value:
    """Freeze all that enters."""
    for tensor in call.tensors:
        call.freeze(call.value(tensor).planes, f"{call.operator} is not followed")
    return NOTHING


ADDITIONS = {"add", "add_", "sub", "sub_", "rsub"}


def elementwise(call: Call) -> Value:
    tensors = [t for t in call.tensors if t.dim() > 0]
    if len(tensors) == 1:
        value = call.value(tensors[0])
        return value if call.func._opname in SAME_TENSOR else Value(value.planes, static=value.static)
    if not tensors:
        return NOTHING
    if call.func._opname in ADDITIONS:
        _mark_streams(call, tensors)
    return Value(merged(call, tensors), static=only_static(call, tensors))


SAME_TENSOR = {"clone", "alias", "detach", "_to_copy", "contiguous", "lift_fresh", "to"}


def _mark_streams(call: Call, tensors: Sequence[Tensor]) -> None:
    """The sum of two signals is a residual stream, unless both are the same channels already."""
    rank = max(t.dim() for t in tensors)
    signals = [t for t in tensors if not call.value(t).static]
    if len(signals) < 2:
        return
    planes = [[lifted(p, rank) for p in call.value(t).planes] for t in signals]
    for a in planes[0]:
        for b in planes[1]:
            if axes_of(a) == axes_of(b) and not np.array_equal(a, b):
                call.space.mark_stream(a)


def same(call: Call) -> Value:
    """The first argument's labels, on every output of its shape."""
    if any(out.shape != call.tensors[0].shape for out in call.outputs):
        return unknown(call)
    value = call.value(call.tensors[0])
    return Value(value.planes, static=value.static)


def nothing(call: Call) -> Value:
    """Shapes, constants, random numbers: no labels, and none harmed."""
    return NOTHING


# ------------------------------------------------------------------ layers


def convolution(call: Call) -> Value:
    signal, weight, bias = call["input"], call["weight"], call["bias"]
    groups, transposed = call["groups"], call["transposed"]
    out_axis, in_axis = (1, 0) if transposed else (0, 1)
    batched = signal.dim() == weight.dim()
    channel = 1 if batched else 0
    call.freeze(
        [p for p in call.value(signal).planes if set(axes_of(p)) - {0, channel}],
        "a convolution mixes its spatial axes",
    )
    x = labels_along(call, signal, channel)
    if groups > 1:
        outputs, inputs = _grouped(call, x, transposed)
    else:
        w_in = labels_along(call, weight, in_axis)
        contract(call, x, w_in)
        w_out = labels_along(call, weight, out_axis)
        size = weight.shape[out_axis]
        outputs = frozen_labels(call, size, "a single channel, or a fixed weight") if w_out is None else w_out
        seen = x if x is not None else w_in
        inputs = frozen_labels(call, weight.shape[in_axis], "sees a single channel") if seen is None else seen
        inputs = inputs[None]
    if bias is not None:
        contract(call, outputs, labels_along(call, bias, 0))
    _note_convolution(call, outputs, inputs, transposed)
    rank = call.outputs[0].dim()
    planes = [] if len(outputs) == 1 else [along(outputs, channel, rank)]
    planes += [p for p in call.value(signal).planes if batched and axes_of(p) == (0,)]
    return Value(tuple(planes))


def _grouped(call: Call, x: Plane | None, transposed: bool) -> tuple[Plane, Plane]:
    """Labels of a grouped convolution: outputs [C_out] and inputs [groups, C_in / groups].

    From every group the same number of channels must go, at either end; inside a group any may. Where a group has
    one input (depthwise), the group goes with it.
    """
    weight, groups = call["weight"], call["groups"]
    value = call.value(weight)
    c_in = weight.shape[0] if transposed else weight.shape[1] * groups
    if x is None:
        x = frozen_labels(call, c_in, "fed by an axis that holds no channels")
    inputs = x.reshape(groups, -1)
    w0 = labels_along(call, weight, 0)
    if w0 is None:
        w0 = frozen_labels(call, weight.shape[0], "meets a weight of fixed size")
    rows = w0.reshape(groups, -1)
    if inputs.shape[1] == 1 and (not transposed or weight.shape[1] == 1):
        call.space.unite(inputs, rows)
        return w0, inputs
    if transposed:
        call.freeze([inputs], "a grouped transposed convolution")
        return frozen_labels(call, weight.shape[1] * groups, "a grouped transposed convolution"), inputs
    call.space.balance(rows)
    call.space.balance(inputs)
    if call.record.parameters.get(value.parameter or "") is value.planes:
        _label_groups_apart(call, inputs)
    else:
        # The weight is computed: the same column of every group goes.
        inner = labels_along(call, weight, 1)
        for row in inputs:
            contract(call, row, inner)
    return w0, inputs


def _label_groups_apart(call: Call, inputs: Plane) -> None:
    """The weight's second axis counts the inputs of its own group: its labels differ from group to group."""
    weight = call["weight"]
    value = call.value(weight)
    own = np.repeat(inputs, weight.shape[0] // len(inputs), axis=0)
    own = own.reshape(own.shape + (1,) * (weight.dim() - 2))
    for plane in value.planes:
        if axes_of(plane) == (0, 1):  # the module is used twice
            call.space.unite(plane, own)
    planes = (*(p for p in value.planes if 1 not in axes_of(p)), own)
    call.record.parameters[str(value.parameter)] = planes
    call.record.remember(weight, Value(planes, value.parameter, static=True))


def _note_convolution(call: Call, outputs: Plane, inputs: Plane, transposed: bool) -> None:
    signal, weight, out = call["input"], call["weight"], call.outputs[0]
    name, parameter = _layer_name(call, weight)
    spatial = tuple(signal.shape[-(weight.dim() - 2) :])
    window = {
        "input": spatial,
        "output": tuple(out.shape[-(weight.dim() - 2) :]),
        "kernel": tuple(weight.shape[2:]),
        **{k: tuple(call[k]) for k in ("stride", "padding", "dilation")},
    }
    # A transposed convolution multiplies once for every position of its input.
    positions = signal.numel() // inputs.size if transposed else out.numel() // len(outputs)
    kind = "conv_transposed" if transposed else "conv"
    call.record.calls.append(LayerCall(name, parameter, kind, outputs, inputs, positions, window))


def _layer_name(call: Call, weight: Tensor) -> tuple[str, str | None]:
    """A layer is called after the module that holds its weight."""
    parameter = call.value(weight).parameter
    if parameter is None:
        return call.record.module, None
    return parameter.removesuffix(".weight"), parameter


def matrix_product(call: Call) -> Value:
    """mm, addmm, bmm, baddbmm: the last axis of a meets the last but one of b."""
    names = ("mat1", "mat2") if "mat1" in call.arguments else ("self", "mat2")
    names = ("batch1", "batch2") if "batch1" in call.arguments else names
    a, b = call[names[0]], call[names[1]]
    rank = a.dim()
    contract_axis_a, contract_axis_b = rank - 1, rank - 2
    u, v = labels_along(call, a, contract_axis_a), labels_along(call, b, contract_axis_b)
    contract(call, u, v)
    planes = [p for p in call.value(a).planes if contract_axis_a not in axes_of(p)]
    for plane in call.value(b).planes:
        if contract_axis_b in axes_of(plane):
            continue
        met = [q for q in planes if set(axes_of(q)) & set(axes_of(plane))]
        for q in met:
            call.space.unite(q, plane)
        if not met:
            planes.append(plane)
    weight = call.value(b)
    if rank == 2 and weight.static:
        outputs = labels_along(call, b, 1)
        if outputs is None:
            outputs = frozen_labels(call, b.shape[1], "a single output, or a fixed weight")
        inputs = u if u is not None else v
        if inputs is None:
            inputs = frozen_labels(call, b.shape[0], "sees a single feature")
        name, parameter = _layer_name(call, b)
        call.record.calls.append(LayerCall(name, parameter, "linear", outputs, inputs[None], a.shape[0]))
    else:
        call.record.uncounted[call.operator] = call.record.uncounted.get(call.operator, 0) + 1
    added = call.arguments.get("self") if "mat1" in call.arguments or "batch1" in call.arguments else None
    result = Value(tuple(planes))
    if added is not None:
        call.record.remember(call.outputs[0], result)
        return Value(merged(call, [call.outputs[0], added]))
    return result


# ------------------------------------------------------------------ normalization


def batch_norm(call: Call) -> list[Value]:
    signal = call["input"]
    x = labels_along(call, signal, 1)
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = call.arguments.get(name)
        if tensor is not None:
            contract(call, x, labels_along(call, tensor, 0))
    scale = call.value(call["weight"]).parameter
    if x is not None and scale is not None:
        call.record.norms.append((x, scale))
    value = call.value(signal)
    return [Value(value.planes, static=value.static)] + [NOTHING] * (len(call.outputs) - 1)


def group_norm(call: Call) -> list[Value]:
    signal, groups = call["input"], call["group"]
    x = labels_along(call, signal, 1)
    for name in ("weight", "bias"):
        if call[name] is not None:
            contract(call, x, labels_along(call, call[name], 0))
    if x is not None and groups > 1:
        rows = x.reshape(groups, -1)
        if rows.shape[1] == 1:
            call.freeze([rows], "a group norm with one channel a group")
        else:
            call.space.balance(rows)
    return [Value(call.value(signal).planes)] + [NOTHING] * (len(call.outputs) - 1)


def layer_norm(call: Call) -> list[Value]:
    signal, normalized = call["input"], len(call["normalized_shape"])
    tensors = [signal] + [t for t in (call["weight"], call["bias"]) if t is not None]
    planes = merged(call, tensors)
    if normalized > 1:
        inner = set(range(signal.dim() - normalized, signal.dim()))
        call.freeze([p for p in planes if set(axes_of(p)) & inner], "normalized over several axes of fixed size")
    return [Value(planes)] + [NOTHING] * (len(call.outputs) - 1)


# ------------------------------------------------------------------ moving data


def moved(move: Callable[[Call, Plane], Plane]) -> Rule:
    """A rule that moves every plane as the operator moves the tensor."""

    def rule(call: Call) -> Value:
        value = call.value(call.tensors[0])
        return Value(tuple(move(call, p) for p in value.planes), value.parameter, value.static)

    return rule


def reshape(call: Call) -> Value:
    source, shape = call.tensors[0], tuple(call.outputs[0].shape)
    value = call.value(source)
    planes = tuple(reshaped(p, tuple(source.shape), shape) for p in value.planes)
    if not value.static:
        for plane in planes:
            if len(axes_of(plane)) > 1:
                call.freeze([plane], "a view splits its channels into parts of fixed size")
    keeps_name = value.parameter if [s for s in shape if s > 1] == [s for s in source.shape if s > 1] else None
    return Value(planes, keeps_name, value.static)


def _permuted(call: Call, plane: Plane) -> Plane:
    return plane.transpose(call["dims"])


def _transposed(call: Call, plane: Plane) -> Plane:
    if "dim0" in call.arguments:
        return plane.swapaxes(call["dim0"], call["dim1"])
    return plane.T


def _expanded(call: Call, plane: Plane) -> Plane:
    return lifted(plane, call.outputs[0].dim())


def _unsqueezed(call: Call, plane: Plane) -> Plane:
    return np.expand_dims(plane, call["dim"])


def _squeezed(call: Call, plane: Plane) -> Plane:
    source, out = call.tensors[0], call.outputs[0]
    dims = call.arguments.get("dim")
    dims = range(source.dim()) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = [d for d in (d % source.dim() for d in dims) if source.shape[d] == 1]
    result = plane.squeeze(tuple(gone))
    return result.reshape((1,) * (out.dim() - result.ndim) + result.shape)


def flipped(call: Call) -> Value:
    value = call.value(call.tensors[0])
    rank = call.tensors[0].dim()
    dims = [d % rank for d in call["dims"]]
    return Value(tuple(np.flip(p, tuple(d for d in dims if p.shape[d] > 1)) for p in value.planes))


def sliced(call: Call) -> list[Value]:
    """slice, split, narrow, unbind, select: fixed positions along one axis.

    Channels on that axis stay, because the positions are numbers in the model's code; a slice that takes the
    whole axis harms nothing.
    """
    source = call.tensors[0]
    value = call.value(source)
    axis = call.arguments.get("dim", 0) % source.dim()
    whole = len(call.outputs) == 1 and call.outputs[0].shape == source.shape
    dropped = call.outputs[0].dim() < source.dim()
    if not whole and not value.static:
        call.freeze([p for p in value.planes if axis in axes_of(p)], "cut at fixed positions")
    results, start = [], 0
    for out in call.outputs:
        planes = []
        for plane in value.planes:
            if plane.shape[axis] == 1:
                part = plane
            elif "index" in call.arguments:
                part = plane.take([call["index"]], axis)
            elif dropped or "split_size" in call.arguments or "split_sizes" in call.arguments:
                part = plane.take(range(start, start + (1 if dropped else out.shape[axis])), axis)
            else:
                stop = source.shape[axis]
                part = plane.take(range(stop)[call["start"] : call["end"] : call["step"]], axis)
            planes.append(part.squeeze(axis) if dropped else part)
        start += 1 if dropped else out.shape[axis]
        results.append(Value(tuple(p for p in planes if axes_of(p)), value.parameter if whole else None, value.static))
    return results


def concatenated(call: Call) -> Value:
    tensors = [t for t in call["tensors"] if t.numel() > 0]
    rank = tensors[0].dim()
    axis = call["dim"] % rank
    # Along the other axes the parts lie side by side as in an element-wise operator.
    parts: list[Plane | None] = [labels_along(call, t, axis) for t in tensors]
    others: list[Plane] = []
    for tensor in tensors:
        for plane in call.value(tensor).planes:
            if axis in axes_of(plane):
                continue
            met = [o for o in others if set(axes_of(o)) & set(axes_of(plane))]
            for other in met:
                call.space.unite(other, plane)
            if not met:
                others.append(plane)
    for plane in others:
        for tensor in tensors:
            _check_covered(call, tensor, plane, rank)
    if all(part is None for part in parts):
        return Value(tuple(others), static=only_static(call, tensors))
    labels = [
        frozen_labels(call, t.shape[axis], "concatenated without being a layer's channels") if part is None else part
        for t, part in zip(tensors, parts, strict=True)
    ]
    joined = along(np.concatenate(labels), axis, rank)
    return Value((joined, *others), static=only_static(call, tensors))


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
    name = call.record.module
    head, tail = call.space.fresh(max(before, 0)), call.space.fresh(max(after, 0))
    adaptable = min(before, after) >= 0 and axes_of(plane) == (axis,) and name not in call.record.paddings
    if adaptable and hasattr(call.record.modules.get(name), "channel_padding"):
        call.record.paddings[name] = (head, tail)
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
        up = lifted(plane, rank)
        counts = [r if up.shape[a] > 1 else 1 for a, r in enumerate(repeats)]
        # An axis of size 1 that is repeated holds one channel many times.
        full = np.broadcast_to(up, [s if up.shape[a] > 1 else 1 for a, s in enumerate(shape)])
        planes.append(compressed(np.tile(full, counts)))
    return Value(tuple(planes), static=value.static)


def copied_into(call: Call) -> Value:
    """A tensor written into another one."""
    target, source = call["self"], call["src"]
    planes = merged(call, [target, source])
    return Value(planes)


# ------------------------------------------------------------------ sums, pools, orders


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
            if gone & set(axes_of(plane)):
                if not exact:
                    call.freeze([plane], "a statistic over its channels")
                continue
            planes.append(plane if out.dim() == source.dim() else plane.squeeze(tuple(gone)))
        return Value(tuple(planes), static=value.static)

    return rule


def pooled(call: Call) -> Value:
    """Works on the last two axes alone (pooling, resampling)."""
    source = call.tensors[0]
    keep: list[Plane] = []
    mixed: list[Plane] = []
    for plane in call.value(source).planes:
        (mixed if any(a >= source.dim() - 2 for a in axes_of(plane)) else keep).append(plane)
    call.freeze(mixed, "pooled over its channels")
    return Value(tuple(keep))


def normalized_along_dim(call: Call) -> Value:
    """softmax, cumsum, sort ...: every element of the axis depends on all others."""
    source = call.tensors[0]
    axis = call["dim"] % source.dim()
    value = call.value(source)
    call.freeze([p for p in value.planes if axis in axes_of(p)], "depends on all channels of its axis")
    return Value(value.planes)


# ------------------------------------------------------------------ the table

RULES: dict[str, Rule] = {
    "aten.convolution": convolution,
    **dict.fromkeys(("aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm"), matrix_product),
    **dict.fromkeys(
        (
            "aten.native_batch_norm",
            "aten._native_batch_norm_legit",
            "aten._native_batch_norm_legit_no_training",
            "aten.cudnn_batch_norm",
            "aten.miopen_batch_norm",
            "aten._batch_norm_with_update",
            "aten._batch_norm_no_update",
        ),
        batch_norm,
    ),
    "aten.native_group_norm": group_norm,
    "aten.native_layer_norm": layer_norm,
    **dict.fromkeys(
        ("aten.view", "aten._unsafe_view", "aten.reshape", "aten._reshape_alias", "aten._reshape_copy"), reshape
    ),
    "aten.permute": moved(_permuted),
    **dict.fromkeys(("aten.t", "aten.transpose", "aten.numpy_T"), moved(_transposed)),
    "aten.expand": moved(_expanded),
    "aten.unsqueeze": moved(_unsqueezed),
    "aten.squeeze": moved(_squeezed),
    "aten.flip": flipped,
    **dict.fromkeys(
        ("aten.slice", "aten.select", "aten.split", "aten.split_with_sizes", "aten.unbind", "aten.narrow"), sliced
    ),
    "aten.cat": concatenated,
    "aten.constant_pad_nd": padded,
    **dict.fromkeys(("aten.repeat",), repeated),
    "aten.copy_": copied_into,
    **dict.fromkeys(
        ("aten.clone", "aten.alias", "aten.detach", "aten._to_copy", "aten.contiguous", "aten.lift_fresh", "aten.to"),
        elementwise,
    ),
    # Element-wise, but not tagged so.
    **dict.fromkeys(("aten.hardswish", "aten._prelu_kernel", "aten.rrelu_with_noise"), elementwise),
    **dict.fromkeys(("aten.native_dropout", "aten.as_strided"), same),
    **dict.fromkeys(("aten.sum", "aten.linalg_vector_norm"), reduced(exact=True)),
    **dict.fromkeys(
        ("aten.mean", "aten.amax", "aten.amin", "aten.var", "aten.std", "aten.var_mean", "aten.std_mean", "aten.max",
         "aten.min", "aten.prod", "aten.logsumexp", "aten.argmax", "aten.argmin", "aten.any", "aten.all"),
        reduced(exact=False),
    ),
    **dict.fromkeys(
        (
            "aten.max_pool2d_with_indices",
            "aten.avg_pool2d",
            "aten._adaptive_avg_pool2d",
            "aten.adaptive_max_pool2d",
            "aten.upsample_nearest2d",
            "aten._upsample_nearest_exact2d",
            "aten.upsample_bilinear2d",
            "aten._upsample_bilinear2d_aa",
            "aten.upsample_bicubic2d",
            "aten.reflection_pad2d",
            "aten.replication_pad2d",
        ),
        pooled,
    ),
    **dict.fromkeys(
        ("aten._softmax", "aten._log_softmax", "aten.cumsum", "aten.sort", "aten.topk"), normalized_along_dim
    ),
    **dict.fromkeys(
        ("aten.new_zeros", "aten.new_ones", "aten.new_empty", "aten.new_full", "aten.zeros_like", "aten.ones_like",
         "aten.empty_like", "aten.full_like", "aten.rand_like", "aten.randn_like"),
        nothing,
    ),
}  # fmt: skip


def register_rule(operator: str, rule: Rule) -> None:
    """Teach the engine an operator, such as one of your own: `register_rule("mylib.myop", rule)`."""
    RULES[operator] = rule


def rule_of(func: Any) -> Rule:
    """The rule of an ATen operator: its row, else the element-wise rule where PyTorch tags it so, else `unknown`."""
    name = f"{func.namespace}.{func._opname}"
    rule = RULES.get(name) or RULES.get(name.removesuffix("_"))
    if rule is not None:
        return rule
    return elementwise if torch.Tag.pointwise in func.tags else unknown


__all__ = ["RULES", "Shape", "register_rule", "rule_of"]
