"""Layers with weights, pools and norms: from a node of the file to PyTorch's own module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reconv.deploy.onnx.build import Node, UnsupportedError
from reconv.deploy.onnx.host import Array
from reconv.deploy.onnx.modules import Apply, BatchNorm, Pad, SamePad, WithConstant, WithNumber, as_operand

_CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_MAX_POOLS: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE_POOLS: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _parameter(array: Array) -> nn.Parameter:
    tensor = torch.tensor(np.array(array))
    if not tensor.is_floating_point():
        raise UnsupportedError(f"weights of the type {array.dtype}")
    return nn.Parameter(tensor)


def _window(node: Node, axes: int, name: str, usual: int) -> tuple[int, ...]:
    values = tuple(int(n) for n in node.attributes.get(name, [usual] * axes))
    if len(values) != axes or min(values) < usual or max(values) > 2**31:
        raise ValueError(f"{name} {list(values)} for {axes} axes")
    return values


def _padded(node: Node, axes: int, kernel: tuple[int, ...], value: float = 0.0) -> tuple[str, tuple[int, ...]]:
    """The input of a window's operator, with the border that its module cannot make; and the border that it can."""
    kind = node.text("auto_pad", "NOTSET")
    stride, dilation = _window(node, axes, "strides", 1), _window(node, axes, "dilations", 1)
    if kind in ("SAME_UPPER", "SAME_LOWER"):
        output = node.between("padded")
        module: nn.Module = SamePad(kernel, stride, dilation, kind == "SAME_LOWER", value)
        node.add(module, node.inputs[:1], [output], "pad")
        return output, (0,) * axes
    pads = [0] * (2 * axes) if kind == "VALID" else list(node.attributes.get("pads", [0] * (2 * axes)))
    if len(pads) != 2 * axes or min(pads) < 0:
        raise ValueError(f"pads {pads} for {axes} axes")
    before, after = tuple(pads[:axes]), tuple(pads[axes:])
    if before == after:
        return node.inputs[0], before
    output = node.between("padded")
    node.add(Pad((0, 0, *before, 0, 0, *after), "constant", value), node.inputs[:1], [output], "pad")
    return output, (0,) * axes


def _added_bias(node: Node, outputs: int, axis_from_end: int) -> tuple[Node, int, Array] | None:
    """The addition of a constant for each channel that alone reads the node: it, the constant's place, the constant."""
    reader = node.only_reader()
    if reader is None or reader.operator != "Add" or reader.index in node.builder.done:
        return None
    place = 1 if reader.inputs[0] == node.outputs[0] else 0
    constant = reader.constant(place)
    if constant is None or constant.size != outputs or constant.dtype.kind != "f":
        return None
    axis = constant.ndim - 1 - axis_from_end
    if not 0 <= axis < constant.ndim or constant.shape[axis] != outputs or constant.ndim > 2 + axis_from_end:
        return None
    return reader, place, constant.reshape(-1)


def _with_bias(node: Node, module: Any, inputs: list[str], place: int, outputs: int, axis_from_end: int) -> str:
    """Add a layer with its own bias, or with the addition that follows it as its bias; returns its name.

    A convolution with neither, and no norm behind it, gets one of zeros, so that a repair can make up for a mean.
    """
    bias = node.needed(place, "a bias") if node.has(place) else None
    added = None if bias is not None else _added_bias(node, outputs, axis_from_end)
    if bias is not None:
        module.bias = _parameter(bias.reshape(-1))
    elif added is not None:
        module.bias = _parameter(added[2])
    else:
        module.bias = None
    reader = node.only_reader()
    zeros = module.bias is None and axis_from_end > 0 and (reader is None or reader.operator != "BatchNormalization")
    if zeros:
        module.bias = nn.Parameter(module.weight.new_zeros(outputs))
    name = node.add(module, inputs, node.outputs if added is None else added[0].outputs)
    if zeros:
        node.absent(name, "bias", place, outputs)
    if bias is not None:
        node.stored(name, "bias", place)
    elif added is not None:
        node.builder.done.add(added[0].index)
        added[0].stored(name, "bias", added[1])
    return name


def convolution(node: Node) -> None:
    """Conv."""
    weight = node.needed(1, "a weight")
    axes, groups = weight.ndim - 2, int(node.attributes.get("group", 1))
    _check_convolution(node, weight, axes, groups, weight.shape[1] * groups if weight.ndim > 2 else 0)
    kernel = tuple(weight.shape[2:])
    signal, padding = _padded(node, axes, kernel)
    with torch.device("meta"):
        module = _CONVOLUTIONS[axes](
            weight.shape[1] * groups,
            weight.shape[0],
            kernel,
            stride=_window(node, axes, "strides", 1),
            padding=padding,
            dilation=_window(node, axes, "dilations", 1),
            groups=groups,
        )
    module.weight = _parameter(weight)
    name = _with_bias(node, module, [signal], 2, weight.shape[0], axes)
    node.stored(name, "weight", 1)


def transposed_convolution(node: Node) -> None:
    """ConvTranspose."""
    weight = node.needed(1, "a weight")
    axes, groups = weight.ndim - 2, int(node.attributes.get("group", 1))
    _check_convolution(node, weight, axes, groups, weight.shape[0])
    pads = list(node.attributes.get("pads", [0] * (2 * axes)))
    if pads[:axes] != pads[axes:] or "output_shape" in node.attributes or node.text("auto_pad", "NOTSET") != "NOTSET":
        raise UnsupportedError("a transposed convolution whose border is not the same on both sides")
    with torch.device("meta"):
        module = _TRANSPOSED[axes](
            weight.shape[0],
            weight.shape[1] * groups,
            tuple(weight.shape[2:]),
            stride=_window(node, axes, "strides", 1),
            padding=tuple(pads[:axes]),
            output_padding=_window(node, axes, "output_padding", 0),
            groups=groups,
            dilation=_window(node, axes, "dilations", 1),
        )
    module.weight = _parameter(weight)
    name = _with_bias(node, module, node.inputs[:1], 2, weight.shape[1] * groups, axes)
    node.stored(name, "weight", 1)


def _check_convolution(node: Node, weight: Array, axes: int, groups: int, inputs: int) -> None:
    if axes not in _CONVOLUTIONS:
        raise UnsupportedError(f"a convolution with a weight of {weight.ndim} axes")
    if groups < 1 or weight.size == 0 or weight.shape[0] % groups or len(node.shape()) != weight.ndim:
        raise ValueError(f"a weight of the shape {list(weight.shape)} in {groups} groups on {list(node.shape())}")
    if node.shape()[1] != inputs:
        raise ValueError(f"{inputs} input channels, but {node.shape()[1]} come in")
    stated = list(node.attributes.get("kernel_shape", weight.shape[2:]))
    if stated != list(weight.shape[2:]):
        raise ValueError(f"kernel_shape {stated}, but the weight has {list(weight.shape[2:])}")


def gemm(node: Node) -> None:
    """Gemm: a linear layer where the second matrix is a constant."""
    if node.attributes.get("transA", 0) or any(float(node.attributes.get(k, 1.0)) != 1.0 for k in ("alpha", "beta")):
        raise UnsupportedError("a product that is scaled, or of a transposed input")
    weight = node.needed(1, "a second matrix")
    transposed = not node.attributes.get("transB", 0)
    bias = node.constant(2) if node.has(2) else None
    if node.has(2) and (bias is None or bias.size != bias.shape[-1]):
        raise UnsupportedError("an addition that is no bias")
    _linear(node, weight, transposed, 2)


def _linear(node: Node, weight: Array, transposed: bool, place: int) -> None:
    matrix = weight.T if transposed else weight
    if matrix.ndim != 2 or node.shape()[-1] != matrix.shape[1]:
        raise ValueError(f"a matrix of the shape {list(weight.shape)} on {list(node.shape())}")
    with torch.device("meta"):
        module = nn.Linear(matrix.shape[1], matrix.shape[0])
    module.weight = _parameter(np.ascontiguousarray(matrix))
    name = _with_bias(node, module, node.inputs[:1], place, matrix.shape[0], 0)
    node.stored(name, "weight", 1, transposed)


def matmul(node: Node) -> None:
    """MatMul: a linear layer where one factor is a matrix of constants."""
    second = node.constant(1)
    if second is not None and second.ndim == 2 and second.dtype.kind == "f":
        _linear(node, second, True, 2)
    elif second is not None or node.constant(0) is not None:
        place = 1 if second is not None else 0
        constant = node.constant(place)
        assert constant is not None
        module = WithConstant(torch.matmul, torch.tensor(np.array(constant)), first=place == 0)
        node.stored(node.add(module, [node.inputs[1 - place]]), "weight", place)
    else:
        node.apply(torch.matmul)


def elementwise(function: Callable[..., Any]) -> Callable[[Node], None]:
    """An operator of two operands, one of which may be a constant."""

    def build(node: Node) -> None:
        if len(node.inputs) != 2:
            raise UnsupportedError(f"{len(node.inputs)} operands; two are read")
        tensors = [isinstance(node.builder.values.get(name), Tensor) for name in node.inputs]
        place = next((i for i, name in enumerate(node.inputs) if name in node.builder.constants), None)
        if place is None or not any(tensors):
            node.add(Apply(node.operator, lambda a, b: _of_two(function, a, b), node.attributes))
            return
        constant, signal = node.needed(place, "a constant"), node.value(1 - place)
        if constant.size == 1 and constant.ndim <= signal.dim():
            number = constant.ravel()[0].item()
            fused = node.builder.opset and _activation_of(node, number)
            if not fused:
                node.add(WithNumber(_plain(function), number, place == 0), [node.inputs[1 - place]])
            return
        tensor = torch.tensor(np.array(constant))
        if tensor.is_floating_point() and tensor.dtype != signal.dtype:
            raise ValueError(f"{tensor.dtype} meets {signal.dtype}")
        node.stored(node.add(WithConstant(function, tensor, place == 0), [node.inputs[1 - place]]), "weight", place)

    return build


_OPERATORS: dict[Any, Callable[[Any, Any], Any]] = {
    torch.add: lambda a, b: a + b,
    torch.sub: lambda a, b: a - b,
    torch.mul: lambda a, b: a * b,
    torch.div: lambda a, b: a / b,
    torch.pow: lambda a, b: a**b,
    torch.maximum: lambda a, b: a.clamp(min=b) if isinstance(a, Tensor) else b.clamp(min=a),
    torch.minimum: lambda a, b: a.clamp(max=b) if isinstance(a, Tensor) else b.clamp(max=a),
    torch.gt: lambda a, b: a > b,
    torch.lt: lambda a, b: a < b,
    torch.eq: lambda a, b: a == b,
}


def _plain(function: Any) -> Callable[[Any, Any], Any]:
    """The function as it takes a number in place of a tensor."""
    return _OPERATORS[function]


def _of_two(function: Callable[..., Any], a: Any, b: Any) -> Any:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return function(a, b)
    like = a if isinstance(a, Tensor) else b
    a, b = as_operand(a, like), as_operand(b, like)
    return function(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else _plain(function)(a, b)


def _activation_of(node: Node, number: float) -> bool:
    """Write x * clip(x + 3, 0, 6) / 6 as the one function that it is, where nothing else reads its parts."""
    if node.operator != "Add" or number != 3.0:
        return False
    signal = next(name for name in node.inputs if name not in node.builder.constants)
    clip = node.only_reader()
    if clip is None or clip.operator != "Clip" or _scalar(clip, 1) != 0.0 or _scalar(clip, 2) != 6.0:
        return False
    product = clip.only_reader()
    if product is None or product.operator != "Mul" or set(product.inputs) != {signal, clip.outputs[0]}:
        return False
    quotient = product.only_reader()
    if quotient is None or quotient.operator != "Div" or _scalar(quotient, 1) != 6.0:
        return False
    node.builder.done.update((clip.index, product.index, quotient.index))
    node.add(Apply("HardSwish", F.hardswish), [signal], quotient.outputs)
    return True


def _scalar(node: Node, place: int) -> float | None:
    value = node.constant(place)
    return float(value.ravel()[0]) if value is not None and value.size == 1 else None


# ------------------------------------------------------------------ norms


def batch_norm(node: Node) -> None:
    """BatchNormalization, in evaluation mode."""
    if node.attributes.get("training_mode", 0):
        raise UnsupportedError("training mode")
    weight, bias, mean, variance = (node.needed(place, "statistics") for place in range(1, 5))
    if {weight.shape, bias.shape, mean.shape, variance.shape} != {(node.shape()[1],)}:
        raise ValueError(f"statistics of {weight.size} channels, but {node.shape()[1]} come in")
    kinds: dict[int, Any] = {4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    with torch.device("meta"):
        module = kinds.get(len(node.shape()), BatchNorm)(weight.size, eps=float(node.attributes.get("epsilon", 1e-5)))
    module.weight, module.bias = _parameter(weight), _parameter(bias)
    module.running_mean, module.running_var = _parameter(mean).detach(), _parameter(variance).detach()
    module.num_batches_tracked = torch.tensor(0)
    name = node.add(module, node.inputs[:1], node.outputs[:1])
    for place, attribute in enumerate(("weight", "bias", "running_mean", "running_var"), start=1):
        node.stored(name, attribute, place)


def instance_norm(node: Node) -> None:
    """InstanceNormalization: a group norm with one channel a group."""
    scale, bias = node.needed(1, "a scale"), node.needed(2, "a shift")
    with torch.device("meta"):
        module = nn.GroupNorm(scale.size, scale.size, eps=float(node.attributes.get("epsilon", 1e-5)))
    _normalizing(node, module, scale, bias)


def group_norm(node: Node) -> None:
    """GroupNormalization, with a scale for each channel."""
    scale, bias = node.needed(1, "a scale"), node.needed(2, "a shift")
    if scale.size != node.shape()[1]:
        raise UnsupportedError("a scale for each group")
    with torch.device("meta"):
        module = nn.GroupNorm(
            int(node.attributes["num_groups"]), scale.size, eps=float(node.attributes.get("epsilon", 1e-5))
        )
    _normalizing(node, module, scale, bias)


def layer_norm(node: Node) -> None:
    """LayerNormalization over the last axis."""
    rank = len(node.shape())
    if int(node.attributes.get("axis", -1)) % rank != rank - 1 or not node.has(2) or any(node.outputs[1:]):
        raise UnsupportedError("a norm over several axes, without a shift, or that gives its statistics")
    scale, bias = node.needed(1, "a scale"), node.needed(2, "a shift")
    with torch.device("meta"):
        module = nn.LayerNorm(scale.size, eps=float(node.attributes.get("epsilon", 1e-5)))
    _normalizing(node, module, scale, bias)


def _normalizing(node: Node, module: Any, scale: Array, bias: Array) -> None:
    module.weight, module.bias = _parameter(scale.reshape(-1)), _parameter(bias.reshape(-1))
    name = node.add(module, node.inputs[:1], node.outputs[:1])
    node.stored(name, "weight", 1)
    node.stored(name, "bias", 2)


def prelu(node: Node) -> None:
    """PRelu with a slope for each channel, or one for all."""
    slope = node.needed(1, "a slope")
    if slope.size not in (1, node.shape()[1]):
        raise UnsupportedError("a slope for each position")
    with torch.device("meta"):
        module = nn.PReLU(slope.size)
    module.weight = _parameter(slope.reshape(-1))
    node.stored(node.add(module, node.inputs[:1]), "weight", 1)


# ------------------------------------------------------------------ pools


def max_pool(node: Node) -> None:
    """MaxPool."""
    axes = len(node.shape()) - 2
    kernel = _window(node, axes, "kernel_shape", 1)
    if any(node.outputs[1:]) or axes not in _MAX_POOLS:
        raise UnsupportedError("a pool that gives indices, or over another number of axes")
    signal, padding = _padded(node, axes, kernel, -float("inf"))
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise UnsupportedError("a border of more than half the window")
    how = {
        "stride": _window(node, axes, "strides", 1),
        "padding": padding,
        "dilation": _window(node, axes, "dilations", 1),
        "ceil_mode": bool(node.attributes.get("ceil_mode", 0)),
    }
    node.apply(lambda value: _MAX_POOLS[axes](value, kernel, **how), [signal])


def average_pool(node: Node) -> None:
    """AveragePool."""
    axes = len(node.shape()) - 2
    kernel = _window(node, axes, "kernel_shape", 1)
    if axes not in _AVERAGE_POOLS or any(n != 1 for n in node.attributes.get("dilations", ())):
        raise UnsupportedError("a pool over another number of axes, or one with gaps")
    signal, padding = _padded(node, axes, kernel)
    counted = bool(node.attributes.get("count_include_pad", 0))
    if signal != node.inputs[0] and not counted:
        raise UnsupportedError("a border that is not the same on both sides and is not counted")
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise UnsupportedError("a border of more than half the window")
    how = {
        "stride": _window(node, axes, "strides", 1),
        "padding": padding,
        "ceil_mode": bool(node.attributes.get("ceil_mode", 0)),
        "count_include_pad": counted,
    }
    node.apply(lambda value: _AVERAGE_POOLS[axes](value, kernel, **how), [signal])
