"""The table of ONNX operators: how each becomes a module.

A weight of a convolution, a matrix product or a norm becomes a parameter of the module that PyTorch has for it, so that
tracing, repair and proof see what they know. To read a further operator, add a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reconv.deploy.onnx.build import Node, UnsupportedError
from reconv.deploy.onnx.host import axes_of
from reconv.deploy.onnx.layers import (
    average_pool,
    batch_norm,
    convolution,
    elementwise,
    gemm,
    group_norm,
    instance_norm,
    layer_norm,
    matmul,
    max_pool,
    prelu,
    transposed_convolution,
)
from reconv.deploy.onnx.modules import (
    DTYPES,
    Expand,
    Pad,
    Reshape,
    Resize,
    ShapeOf,
    Slice,
    Split,
    as_operand,
    as_tensor,
)

# ------------------------------------------------------------------ activations


def _activation(function: Callable[..., Tensor]) -> Callable[[Node], None]:
    return lambda node: node.apply(function)


def _with_attributes(function: Callable[..., Tensor], **names: tuple[str, float]) -> Callable[[Node], None]:
    """A function whose keyword arguments are attributes: argument -> attribute and its default."""

    def build(node: Node) -> None:
        values = {argument: float(node.attributes.get(name, usual)) for argument, (name, usual) in names.items()}
        node.apply(lambda signal, *_: function(signal, **values))

    return build


def _hard_sigmoid(node: Node) -> None:
    alpha, beta = float(node.attributes.get("alpha", 0.2)), float(node.attributes.get("beta", 0.5))
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        node.apply(F.hardsigmoid)
    else:
        node.apply(lambda signal: F.hardtanh(signal * alpha + beta, 0.0, 1.0))


def _clip(node: Node) -> None:
    bounds = [node.constant(place) if node.has(place) else np.array(limit) for place, limit in _LIMITS]
    low, high = (None if bound is None or bound.size != 1 else float(bound.ravel()[0]) for bound in bounds)
    if low is None or high is None:
        raise UnsupportedError("bounds that are computed from the network's input")
    if (low, high) == (0.0, float("inf")):
        node.apply(lambda signal, *_: F.relu(signal))
    else:
        node.apply(lambda signal, *_: F.hardtanh(signal, low, high), node.inputs[:1])


_LIMITS = ((1, -float("inf")), (2, float("inf")))


def _softmax(function: Callable[..., Tensor]) -> Callable[[Node], None]:
    def build(node: Node) -> None:
        rank = len(node.shape())
        axis = int(node.attributes.get("axis", 1 if node.opset < 13 else -1)) % rank
        if node.opset >= 13 or axis == rank - 1 or all(size == 1 for size in node.shape()[axis + 1 :]):
            node.apply(lambda signal: function(signal, dim=axis))
        else:  # older opsets: over all the axes from this one on
            node.apply(lambda signal: function(signal.flatten(axis), dim=axis).view_as(signal))

    return build


def _gelu(node: Node) -> None:
    approximate = node.text("approximate", "none")
    node.apply(lambda signal: F.gelu(signal, approximate=approximate))


# ------------------------------------------------------------------ views


def _identity(node: Node) -> None:
    """The same value under a second name; where it is an output of the network too."""
    node.builder.alias[node.outputs[0]] = node.inputs[0]


def _cast(node: Node) -> None:
    dtype = DTYPES.get(node.attributes["to"])
    if isinstance(node.value(0), Tensor):
        if dtype is None:
            raise UnsupportedError(f"the type {node.attributes['to']}")
        if node.value(0).dtype == dtype:
            return _identity(node)
        return node.apply(lambda signal: signal.to(dtype))
    return node.apply(_no_tensor)


def _no_tensor(*_: Any) -> Tensor:
    raise UnsupportedError("a tensor here")


def _reshape(node: Node) -> None:
    if not isinstance(node.value(0), Tensor):
        return node.apply(_no_tensor)
    node.add(Reshape())
    return None


def _flatten(node: Node) -> None:
    rank = len(node.shape())
    axis = int(node.attributes.get("axis", 1))
    axis = axis + rank if axis < 0 else axis
    if axis == 1:
        node.apply(lambda signal: signal.flatten(1))
    elif axis == 0:
        node.apply(lambda signal: signal.reshape(1, -1))
    else:
        node.apply(lambda signal: signal.flatten(axis).flatten(0, axis - 1) if axis < rank else signal.reshape(-1, 1))


def _transpose(node: Node) -> None:
    order = list(node.attributes.get("perm", range(len(node.shape()))[::-1]))
    node.apply(lambda signal: signal.permute(order))


def _unsqueeze(node: Node) -> None:
    axes = axes_of([node.numbers(i) if i else None for i in range(len(node.inputs))], node.attributes)
    if axes is None:
        raise UnsupportedError("axes that are computed from the network's input")
    rank = len(node.shape()) + len(axes)

    def unsqueeze(signal: Tensor, *_: Any) -> Tensor:
        for axis in sorted(axis % rank for axis in axes):
            signal = signal.unsqueeze(axis)
        return signal

    node.apply(unsqueeze)


def _squeeze(node: Node) -> None:
    axes = axes_of([node.numbers(i) if i else None for i in range(len(node.inputs))], node.attributes)
    shape = node.shape()
    chosen = [i for i, size in enumerate(shape) if size == 1] if axes is None else [axis % len(shape) for axis in axes]
    if any(shape[axis] != 1 for axis in chosen):
        raise ValueError(f"axes {chosen} of the shape {list(shape)} are not 1")

    def squeeze(signal: Tensor, *_: Any) -> Tensor:
        return signal.squeeze(tuple(chosen))

    node.apply(squeeze)


def _expand(node: Node) -> None:
    if not isinstance(node.value(0), Tensor):
        raise UnsupportedError("a constant that is repeated to a computed shape")
    node.add(Expand())


def _shape(node: Node) -> None:
    end = node.attributes.get("end")
    node.add(ShapeOf(int(node.attributes.get("start", 0)), None if end is None else int(end)))


def _tile(node: Node) -> None:
    repeats = node.numbers(1)
    if repeats is None:
        raise UnsupportedError("repeats that are computed from the network's input")
    node.apply(lambda signal, *_: signal.repeat(repeats))


# ------------------------------------------------------------------ parts


def _concat(node: Node) -> None:
    axis = int(node.attributes["axis"])
    if not any(isinstance(_value(node, place), Tensor) for place in range(len(node.inputs))):
        return node.apply(_no_tensor)
    constants = [node.constant(place) for place in range(len(node.inputs))]
    buffers = {f"part{i}": torch.tensor(np.array(c)) for i, c in enumerate(constants) if c is not None}
    module = _Concat(axis, len(node.inputs), buffers)
    name = node.add(module, [n for n, c in zip(node.inputs, constants, strict=True) if c is None])
    for i, constant in enumerate(constants):
        if constant is not None:
            node.stored(name, f"part{i}", i)
    return None


class _Concat(nn.Module):
    """Signals one after the other along an axis; constants among them are buffers `part0`, `part1`, ..."""

    def __init__(self, axis: int, number: int, constants: dict[str, Tensor]):
        super().__init__()
        self._axis = axis
        self._number = number
        for name, tensor in constants.items():
            self.register_buffer(name, tensor)

    def forward(self, *signals: Tensor) -> Tensor:
        rest = iter(signals)
        parts = [getattr(self, f"part{i}", None) for i in range(self._number)]
        return torch.cat([next(rest) if part is None else part for part in parts], self._axis)


def _value(node: Node, place: int) -> Any:
    name = node.inputs[place]
    return node.builder.values.get(name, node.builder.constants.get(name))


def _split(node: Node) -> None:
    rank = len(node.shape())
    axis = int(node.attributes.get("axis", 0)) % rank
    sizes = list(node.attributes.get("split", [])) or (node.numbers(1) if node.has(1) else []) or []
    if node.has(1) and not sizes:
        raise UnsupportedError("sizes that are computed from the network's input")
    if sizes and sum(sizes) != node.shape()[axis]:
        raise ValueError(f"parts of {sizes} of an axis of {node.shape()[axis]}")
    if len(set(sizes)) == 1 and len(sizes) == len(node.outputs):
        equal: tuple[int, ...] = ()  # they stay equal when channels go
    else:
        equal = tuple(sizes)
    node.add(Split(axis, len(node.outputs), equal), node.inputs[:1])


def _slice(node: Node) -> None:
    if not isinstance(node.value(0), Tensor):
        return node.apply(_no_tensor)
    starts, ends = node.numbers(1), node.numbers(2)
    given = node.numbers(3) if node.has(3) else None
    steps = node.numbers(4) if node.has(4) else None
    if starts is None or ends is None:
        if len(given or []) != 1 or (steps or [1]) != [1]:
            raise UnsupportedError("bounds of several axes that are computed from the network's input")
        node.add(Slice(_axis(node, (given or [0])[0]), 0, 0, 1), node.inputs[:3])
        return None
    axes = given if given is not None else list(range(len(starts)))
    value = node.inputs[0]
    for i, (axis, start, end, step) in enumerate(zip(axes, starts, ends, steps or [1] * len(axes), strict=True)):
        output = node.outputs[0] if i == len(axes) - 1 else node.between(f"axis{i}")
        node.add(Slice(_axis(node, axis), start, end, step, i), [value], [output], "" if i == 0 else f"axis{i}")
        value = output
    return None


def _axis(node: Node, axis: int) -> int:
    return axis % len(node.shape())


def _gather(node: Node) -> None:
    axis = int(node.attributes.get("axis", 0))
    if not isinstance(_value(node, 0), Tensor):
        data = node.constant(0)
        if data is not None and isinstance(_value(node, 1), Tensor):
            raise UnsupportedError("a table that is looked up by the network's input")
        return node.apply(_no_tensor)
    indices = node.constant(1)
    if indices is None:
        raise UnsupportedError("indices that are computed from the network's input")
    axis = _axis(node, axis)
    numbers = [int(i) for i in indices.ravel()]
    if indices.ndim == 0:
        return node.apply(lambda signal, *_: signal.select(axis, numbers[0]), node.inputs[:1])
    if indices.ndim == 1 and len(numbers) > 0 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        node.add(Slice(axis, numbers[0], numbers[0] + len(numbers), 1), node.inputs[:1])
        return None
    chosen = torch.tensor(numbers)
    shape = tuple(indices.shape)

    def gather(signal: Tensor, *_: Any) -> Tensor:
        result = signal.index_select(axis, chosen % signal.shape[axis])
        return result.unflatten(axis, shape) if len(shape) != 1 else result

    return node.apply(gather, node.inputs[:1])


# ------------------------------------------------------------------ maps


def _pad(node: Node) -> None:
    pads = node.numbers(1) if node.has(1) else list(node.attributes.get("pads", []))
    mode = node.text("mode", "constant")
    names = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    if pads is None or mode not in names or node.has(3):
        raise UnsupportedError(f"a border of the kind {mode!r:.40}, or one of computed widths or along chosen axes")
    value = node.constant(2) if node.has(2) else None
    number = 0.0 if value is None or value.size == 0 else float(value.ravel()[0])
    if len(pads) != 2 * len(node.shape()):
        raise ValueError(f"{len(pads)} widths for {len(node.shape())} axes")
    if not any(pads):
        return _identity(node)
    node.add(Pad(tuple(pads), names[mode], number), node.inputs[:1])
    return None


def _resize(node: Node) -> None:
    rank = len(node.shape())
    how = node.text("coordinate_transformation_mode", "half_pixel")
    mode, rounding = node.text("mode", "nearest"), node.text("nearest_mode", "round_prefer_floor")
    if node.attributes.get("axes") is not None or node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedError("sizes of chosen axes, or of a kept aspect ratio")
    scales = None
    if node.has(2) and node.constant(2) is not None and node.needed(2, "scales").size:
        scales = [float(value) for value in node.needed(2, "scales").ravel()]
        if len(scales) != rank or scales[:2] != [1.0, 1.0]:
            raise UnsupportedError("another number of images or channels")
    elif not node.has(3):
        raise UnsupportedError("scales that are computed from the network's input")
    nearest = {("asymmetric", "floor"): "nearest"}.get((how, rounding), "nearest-exact")
    if mode == "nearest":
        kind, corners = nearest, None
    elif mode in ("linear", "cubic") and how in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        linear = {3: "linear", 4: "bilinear", 5: "trilinear"}.get(rank, "")
        kind, corners = (linear if mode == "linear" else "bicubic"), how == "align_corners"
    else:
        raise UnsupportedError(f"interpolation {mode!r:.40} with {how!r:.40}")
    spatial = None if scales is None else tuple(scales[2:])
    module = Resize(kind, corners, spatial, bool(node.attributes.get("antialias", 0)))
    node.add(module, node.inputs[:1] if scales is not None else [node.inputs[0], node.inputs[3]])


def _depth_to_space(node: Node) -> None:
    size = int(node.attributes["blocksize"])
    if node.text("mode", "DCR") == "CRD":
        return node.apply(lambda signal: F.pixel_shuffle(signal, size))

    def shuffled(signal: Tensor) -> Tensor:
        n, c, h, w = signal.shape
        parts = signal.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return parts.reshape(n, c // size**2, h * size, w * size)

    return node.apply(shuffled)


def _space_to_depth(node: Node) -> None:
    size = int(node.attributes["blocksize"])

    def unshuffled(signal: Tensor) -> Tensor:
        n, c, h, w = signal.shape
        parts = signal.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
        return parts.reshape(n, c * size**2, h // size, w // size)

    node.apply(unshuffled)


def _global_pool(function: Callable[..., Tensor]) -> Callable[[Node], None]:
    def build(node: Node) -> None:
        spatial = tuple(range(2, len(node.shape())))
        node.apply(lambda signal: function(signal, spatial))

    return build


def _mean(signal: Tensor, axes: tuple[int, ...]) -> Tensor:
    if axes == (2, 3) and signal.dim() == 4:
        return F.adaptive_avg_pool2d(signal, 1)
    return signal.mean(axes, keepdim=True)


def _reduce(function: Callable[..., Tensor]) -> Callable[[Node], None]:
    def build(node: Node) -> None:
        if not isinstance(node.value(0), Tensor):
            return node.apply(_no_tensor)
        axes = axes_of([node.numbers(i) if i else None for i in range(len(node.inputs))], node.attributes)
        if node.has(1) and axes is None:
            raise UnsupportedError("axes that are computed from the network's input")
        rank = len(node.shape())
        chosen = tuple(range(rank)) if not axes else tuple(axis % rank for axis in axes)
        if not axes and node.attributes.get("noop_with_empty_axes", 0):
            return _identity(node)
        keep = bool(node.attributes.get("keepdims", 1))
        return node.apply(lambda signal, *_: function(signal, chosen, keepdim=keep), node.inputs[:1])

    return build


def _l2(signal: Tensor, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(signal, 2, axes, keepdim)
    return length


def _where(node: Node) -> None:
    node.apply(lambda condition, a, b: torch.where(as_tensor(condition, _first(a, b)), *_as_tensors(a, b)))


def _first(*values: Any) -> Tensor:
    return next(value for value in values if isinstance(value, Tensor))


def _as_tensors(a: Any, b: Any) -> tuple[Any, Any]:
    like = _first(a, b)
    return as_operand(a, like), as_operand(b, like)


def _arg_max(node: Node) -> None:
    axis, keep = int(node.attributes.get("axis", 0)), bool(node.attributes.get("keepdims", 1))
    node.apply(lambda signal: signal.argmax(axis, keepdim=keep))


OPERATORS: dict[str, Callable[[Node], None]] = {
    # What multiplies by a weight, and norms
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    # Element by element
    "Add": elementwise(torch.add),
    "Sub": elementwise(torch.sub),
    "Mul": elementwise(torch.mul),
    "Div": elementwise(torch.div),
    "Pow": elementwise(torch.pow),
    "Max": elementwise(torch.maximum),
    "Min": elementwise(torch.minimum),
    "Greater": elementwise(torch.gt),
    "Less": elementwise(torch.lt),
    "Equal": elementwise(torch.eq),
    "PRelu": prelu,
    "Relu": _activation(F.relu),
    "Sigmoid": _activation(torch.sigmoid),
    "Tanh": _activation(torch.tanh),
    "Exp": _activation(torch.exp),
    "Log": _activation(torch.log),
    "Sqrt": _activation(torch.sqrt),
    "Abs": _activation(torch.abs),
    "Neg": _activation(torch.neg),
    "Erf": _activation(torch.erf),
    "Floor": _activation(torch.floor),
    "Ceil": _activation(torch.ceil),
    "Round": _activation(torch.round),
    "Sin": _activation(torch.sin),
    "Cos": _activation(torch.cos),
    "Reciprocal": _activation(torch.reciprocal),
    "Not": _activation(torch.logical_not),
    "Softplus": _activation(F.softplus),
    "Softsign": _activation(F.softsign),
    "Mish": _activation(F.mish),
    "HardSwish": _activation(F.hardswish),
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _with_attributes(F.leaky_relu, negative_slope=("alpha", 0.01)),
    "Elu": _with_attributes(F.elu, alpha=("alpha", 1.0)),
    "Celu": _with_attributes(F.celu, alpha=("alpha", 1.0)),
    "Selu": _activation(F.selu),
    "Clip": _clip,
    "Softmax": _softmax(F.softmax),
    "LogSoftmax": _softmax(F.log_softmax),
    # The same tensor
    "Identity": _identity,
    "Dropout": _identity,
    "Cast": _cast,
    # Views, parts
    "Shape": _shape,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    # Maps, statistics
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": _global_pool(_mean),
    "GlobalMaxPool": _global_pool(lambda signal, axes: signal.amax(axes, keepdim=True)),
    "Pad": _pad,
    "Resize": _resize,
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "ReduceMax": _reduce(torch.amax),
    "ReduceMin": _reduce(torch.amin),
    "ReduceL2": _reduce(_l2),
    "Where": _where,
    "ArgMax": _arg_max,
    # Shapes of signals, computed at run time on arrays
    **dict.fromkeys(
        ("ConstantOfShape", "Range", "Mod", "And", "Or", "ReduceProd", "Size"), lambda node: node.apply(_no_tensor)
    ),
}
