"""Operators that multiply a signal by a weight: convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from reconv.graph.labels import Plane, along, axes_of, lift_plane
from reconv.graph.record import NOTHING, Call, LayerCall, Value
from reconv.graph.rules.common import (
    contract,
    fixed,
    frozen_labels,
    joined,
    labels_along,
    laid_together,
    merged,
    met,
)

NO_CHANNELS = "fed by an axis that holds no channels"


def convolution(call: Call) -> Value:
    signal, weight, bias = call["input"], call["weight"], call["bias"]
    groups, transposed = call["groups"], call["transposed"]
    out_axis, in_axis = (1, 0) if transposed else (0, 1)
    channel = 1 if signal.dim() == weight.dim() else 0
    rank = call.outputs[0].dim()
    rows = [
        rest
        for plane in call.value(signal).planes
        if channel not in axes_of(plane)
        and (rest := joined(call, plane, range(1, signal.dim()), "a convolution mixes its spatial axes")) is not None
    ]
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
    _note_convolution(call, outputs, inputs, rows)
    planes = [] if len(outputs) == 1 else [along(outputs, channel, rank)]
    return Value((*planes, *rows))


def _grouped(call: Call, x: Plane | None, transposed: bool) -> tuple[Plane, Plane]:
    """Labels of a grouped convolution: outputs [C_out] and inputs [groups, C_in / groups].

    From every group the same number of channels must go, at either end; inside a group any may. Where a group has
    one input (depthwise), the group goes with it.
    """
    weight, groups = call["weight"], call["groups"]
    value = call.value(weight)
    c_in = weight.shape[0] if transposed else weight.shape[1] * groups
    if x is None:
        x = frozen_labels(call, c_in, NO_CHANNELS)
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
    call.record.set_parameter(str(value.parameter), weight, planes)


def _note_convolution(call: Call, outputs: Plane, inputs: Plane, rows: list[Plane]) -> None:
    signal, weight, out = call["input"], call["weight"], call.outputs[0]
    name, parameter = _layer_name(call, weight)
    transposed = call["transposed"]
    axes = weight.dim() - 2
    window = {
        "input": tuple(signal.shape[-axes:]),
        "output": tuple(out.shape[-axes:]),
        "kernel": tuple(weight.shape[2:]),
        # One number stands for all axes.
        **{k: tuple(call[k]) * (axes if len(call[k]) == 1 else 1) for k in ("stride", "padding", "dilation")},
    }
    # A transposed convolution multiplies once for every position of its input.
    positions = signal.numel() // inputs.size if transposed else out.numel() // len(outputs)
    kind = "conv_transposed" if transposed else "conv"
    batch = rows[0].ravel() if rows else None
    call.record.calls.append(LayerCall(name, parameter, kind, outputs, inputs, positions, window, batch))


def _layer_name(call: Call, weight: Tensor) -> tuple[str, str | None]:
    """A layer is called after the module that holds its weight."""
    parameter = call.value(weight).parameter
    if parameter is None:
        return call.module, None
    return parameter.removesuffix(".weight"), parameter


def matrix_product(call: Call) -> Value:
    """mm, addmm, bmm, baddbmm: the last axis of a meets the last but one of b."""
    if "batch1" in call.arguments:
        a, b, added = call["batch1"], call["batch2"], call["self"]
    elif "mat1" in call.arguments:
        a, b, added = call["mat1"], call["mat2"], call["self"]
    else:
        a, b, added = call["self"], call["mat2"], None
    planes = product(call, a, b)
    if call.value(b).static and (a.dim() == 2 or _is_one_for_all(call, b)):
        _note_linear(call, a, b)
    else:
        call.multiplies(a.numel() * b.shape[-1], _laid_out(call, a, b))
    result = Value(planes, static=call.value(a).static and call.value(b).static)
    if added is not None:
        call.record.remember(call.outputs[0], result)
        return Value(merged(call, [call.outputs[0], added]))
    return result


def product(call: Call, a: Tensor, b: Tensor) -> tuple[Plane, ...]:
    """Planes of `a @ b`, both of the same rank.

    Channels that are summed over alone vanish. Where they lie on a batch axis too (heads), a batch index and all the
    channels that it sums over go together.
    """
    return _product(call, a.dim(), call.value(a).planes, call.value(b).planes)


def _product(call: Call, rank: int, left: Sequence[Plane], right: Sequence[Plane]) -> tuple[Plane, ...]:
    row, column = rank - 2, rank - 1
    summed = {
        "a": [_without(call, p, row) for p in left if column in axes_of(p)],
        "b": [_without(call, p, column).swapaxes(row, column) for p in right if row in axes_of(p)],
    }
    kept = [p for p in left if column not in axes_of(p)]
    kept += [p for p in right if row not in axes_of(p)]
    if summed["a"] and summed["b"]:
        for plane in laid_together(call, [*summed["a"], *summed["b"]]):
            rest = joined(call, plane, [column], "") if len(axes_of(plane)) > 1 else None
            kept += [] if rest is None else [rest]
    else:
        call.freeze(summed["a"], "meets a weight of fixed size")
        call.freeze(summed["b"], NO_CHANNELS)
    return tuple(laid_together(call, kept))


def _laid_out(call: Call, a: Tensor, b: Tensor) -> list[Plane]:
    """The channels of a product's factors along the axes that it runs over: batch, rows, what is summed, columns.

    Where planes share an axis, their labels are tied by then (see `product`), and the last one's stand for all.
    """
    left = [np.expand_dims(plane, plane.ndim) for plane in call.value(a).planes]
    right = [np.expand_dims(plane, plane.ndim - 2) for plane in call.value(b).planes]
    result: list[Plane] = []
    for plane in (*left, *right):
        places = met(result, plane)
        for i in places:
            plane = np.broadcast_to(plane, np.broadcast_shapes(plane.shape, result[i].shape))
        result = [*(p for i, p in enumerate(result) if i not in places), plane]
    return result


def vector_product(call: Call) -> Value:
    """mv, dot, vdot: a product of matrices, one or both of which are a single column or row."""
    a, b = call.tensors
    left = [plane if a.dim() == 2 else plane[None] for plane in call.value(a).planes]
    right = [plane[:, None] for plane in call.value(b).planes]
    planes = _product(call, 2, left, right)
    static = call.value(a).static and call.value(b).static
    call.multiplies(a.numel(), call.value(a).planes or call.value(b).planes)
    return Value(tuple(plane[:, 0] for plane in planes) if a.dim() == 2 else (), static=static)


def _without(call: Call, plane: Plane, axis: int) -> Plane:
    """The plane with the channels along `axis` joined."""
    rest = joined(call, plane, [axis], "")
    assert rest is not None
    return rest


def _is_one_for_all(call: Call, b: Tensor) -> bool:
    """Whether a batch of matrices is one weight, repeated: how some versions of PyTorch spell a linear layer."""
    born = call.record.parameters.get(call.value(b).parameter or "", ())
    return any(plane.ndim == 2 for plane in born) and (b.shape[0] == 1 or b.stride(0) == 0)


def _note_linear(call: Call, a: Tensor, b: Tensor) -> None:
    column = b.dim() - 1
    outputs, inputs = labels_along(call, b, column), labels_along(call, b, column - 1)
    if outputs is None:
        outputs = frozen_labels(call, b.shape[-1], "a single output, or a fixed weight")
    if inputs is None:
        inputs = frozen_labels(call, b.shape[-2], "sees a single feature")
    name, parameter = _layer_name(call, b)
    rows = _labels_of_rows(call, a)
    born = call.record.parameters.get(parameter or "", ())
    inputs_first = any(
        np.array_equal(plane.ravel(), labels)
        for labels, axis in ((inputs, 0), (outputs, 1))
        for plane in born
        if axes_of(plane) == (axis,)
    )
    call.record.calls.append(
        LayerCall(name, parameter, "linear", outputs, inputs[None], a.shape[:-1].numel(), None, rows, inputs_first)
    )


def _labels_of_rows(call: Call, a: Tensor) -> Plane | None:
    """Labels of the rows that a weight is applied to, those of all matrices one after the other."""
    if a.dim() == 2:
        return labels_along(call, a, 0)
    of_rows = labels_along(call, a, 1)
    if of_rows is not None:
        return np.tile(of_rows, a.shape[0])
    of_batches = labels_along(call, a, 0)
    return None if of_batches is None else np.repeat(of_batches, a.shape[1])


def recurrent(call: Call) -> list[Value]:
    """One layer and direction of an LSTM: what it reads may shrink, its hidden size stays."""
    signal, out = call["input"], call.outputs[0]
    why = "a recurrent layer's hidden size stays"
    channel, steps = signal.dim() - 1, signal.shape[:-1].numel()
    x = labels_along(call, signal, channel)
    for plane in call.value(signal).planes:
        if channel not in axes_of(plane):
            call.freeze([plane], "a recurrent layer runs along it")
    for weight, seen in ((call["weight0"], x), (call["weight1"], None)):
        columns = labels_along(call, weight, 1)
        inputs = columns if seen is None else seen
        contract(call, inputs, columns)
        inputs = frozen_labels(call, weight.shape[1], NO_CHANNELS) if inputs is None else inputs
        gates = labels_along(call, weight, 0)
        outputs = frozen_labels(call, len(weight), why) if gates is None else gates
        call.freeze([outputs], why)
        name, parameter = _layer_name(call, weight)
        call.record.calls.append(LayerCall(name, parameter, "linear", outputs, inputs[None], steps))
        if seen is None:
            call.freeze([inputs], why)
    for tensor in call.tensors[3:]:  # biases and states
        call.freeze(call.value(tensor).planes, why)
    hidden = frozen_labels(call, out.shape[-1], why)
    return [Value((along(hidden, out.dim() - 1, out.dim()),))] + [NOTHING] * (len(call.outputs) - 1)


def attention(call: Call) -> list[Value]:
    """softmax(q k^T) v, fused: heads go as a whole; channels inside a head stay, the scale depends on their number."""
    q, k, v = call["query"], call["key"], call["value"]
    mask = call.arguments.get("attn_mask", call.arguments.get("attn_bias"))
    row, column = q.dim() - 2, q.dim() - 1
    scaled = "the scale of an attention depends on its channels"
    tokens = "an attention looks at all of its tokens"
    planes: list[Plane] = []
    inputs = (
        (q, (row, column), scaled),
        (k, (row, column), scaled),
        (v, (row,), tokens),
        (mask, (row, column), tokens),
    )
    for tensor, over, why in inputs:
        for plane in call.value(tensor).planes:
            rest = joined(call, lift_plane(plane, q.dim()), over, why)
            planes += [] if rest is None else [rest]
    if q.shape[1] != k.shape[1]:
        for tensor in (q, k, v):
            call.freeze(call.value(tensor).planes, "an attention that repeats its keys")
    planes = laid_together(call, planes)
    call.multiplies(q.shape[:-1].numel() * k.shape[-2] * (q.shape[-1] + v.shape[-1]), planes)
    return [Value(tuple(planes))] + [NOTHING] * (len(call.outputs) - 1)


def recurrent_stack(call: Call) -> list[Value]:
    """A whole recurrent network in one operator: every weight once for every row of the sequence, packed or not."""
    signal = call["input"]
    weights = [t for t in call.tensors if t.dim() == 2 and call.value(t).parameter in call.record.trained]
    call.multiplies(signal.numel() // signal.shape[-1] * sum(weight.numel() for weight in weights))
    return [fixed(call)] * len(call.outputs)


def deformable(call: Call) -> Value:
    """A deformable convolution: like a convolution, at places that its input moves; its channels stay."""
    weight, out = call["weight"], call.outputs[0]
    call.multiplies(out.numel() * weight[0].numel())
    return fixed(call)
