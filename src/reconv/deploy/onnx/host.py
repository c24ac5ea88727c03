"""Small arrays of numbers that a graph computes with beside its signals: shapes, indices, constants.

They are NumPy arrays, so that PyTorch sees plain numbers where an ONNX file has a subgraph of Shape, Slice and Concat.
A whole number of a constant remembers where in the file it stands (`Size`), for as long as it is merely moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from reconv.errors import ArtifactError

Array = np.ndarray[Any, Any]
Attributes = Mapping[str, Any]
MOST_ELEMENTS = 2**24  # of an array that is computed here
_TRACKED = 256  # elements of a constant that may be sizes


class Size(int):
    """A whole number that stands in the file: as which element of which constant."""

    constant: str
    index: int


def tracked(array: Array, name: str) -> Array:
    """The array with whole numbers that remember where they stand; others as they are."""
    if array.dtype.kind not in "iu" or array.size > _TRACKED:
        return array
    sizes = np.empty(array.size, dtype=object)
    for i, value in enumerate(array.ravel().tolist()):
        sizes[i] = size = Size(value)
        size.constant, size.index = name, i
    return sizes.reshape(array.shape)


def plain(array: Array) -> Array:
    """The array with plain numbers."""
    return array.astype(np.int64) if array.dtype == object else array


def check_elements(shape: Sequence[int], what: str) -> None:
    """Refuse to make an array that is too large.

    Raises:
        ArtifactError: it is.
    """
    if any(size < 0 for size in shape) or math.prod(map(int, shape)) > MOST_ELEMENTS:
        raise ArtifactError(f"{what}: makes an array of the shape {tuple(map(int, shape))!s:.80}, which is too large")


def _ints(array: Array) -> list[int]:
    return [int(value) for value in np.asarray(array).ravel()]


def axes_of(inputs: Sequence[Any], attributes: Attributes, place: int = 1) -> list[int] | None:
    """The axes of an operator: an attribute in older opsets, an input in newer ones."""
    if "axes" in attributes:
        return list(attributes["axes"])
    return _ints(inputs[place]) if len(inputs) > place and inputs[place] is not None else None


def _slice(inputs: Sequence[Any], _: Attributes) -> Array:
    data, starts, ends, *more = inputs
    axes = _ints(more[0]) if more and more[0] is not None else list(range(len(_ints(starts))))
    steps = _ints(more[1]) if len(more) > 1 and more[1] is not None else [1] * len(axes)
    index = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, _ints(starts), _ints(ends), steps, strict=True):
        end_ = None if step < 0 and end < -data.shape[axis] else end
        index[axis] = slice(start, end_, step)
    return data[tuple(index)]  # type: ignore[no-any-return]


def _unsqueeze(inputs: Sequence[Any], attributes: Attributes) -> Array:
    axes = axes_of(inputs, attributes) or []
    rank = inputs[0].ndim + len(axes)
    return np.expand_dims(inputs[0], tuple(sorted(axis % rank for axis in axes)))


def _squeeze(inputs: Sequence[Any], attributes: Attributes) -> Array:
    axes = axes_of(inputs, attributes)
    result: Array = np.squeeze(inputs[0], None if axes is None else tuple(axes))
    return result


def _reshape(inputs: Sequence[Any], attributes: Attributes) -> Array:
    data, shape = inputs[0], _ints(inputs[1])
    if not attributes.get("allowzero", 0):
        shape = [data.shape[i] if size == 0 else size for i, size in enumerate(shape)]
    check_elements([abs(size) for size in shape], "Reshape")
    result: Array = np.reshape(data, shape)
    return result


def _expand(inputs: Sequence[Any], _: Attributes) -> Array:
    shape = np.broadcast_shapes(inputs[0].shape, tuple(_ints(inputs[1])))
    check_elements(shape, "Expand")
    return np.broadcast_to(inputs[0], shape)


def _constant_of_shape(inputs: Sequence[Any], attributes: Attributes) -> Array:
    check_elements(_ints(inputs[0]), "ConstantOfShape")
    value = attributes.get("value")
    value = np.zeros(1, np.float32) if value is None else value
    return np.full(_ints(inputs[0]), value.ravel()[0], value.dtype)


def _range(inputs: Sequence[Any], _: Attributes) -> Array:
    start, limit, step = (plain(np.asarray(value)).ravel()[0] for value in inputs)
    check_elements([max(int(np.ceil((limit - start) / step)), 0)], "Range")
    return np.arange(start, limit, step)


def _tile(inputs: Sequence[Any], _: Attributes) -> Array:
    check_elements([a * b for a, b in zip(inputs[0].shape, _ints(inputs[1]), strict=True)], "Tile")
    return np.tile(inputs[0], _ints(inputs[1]))


def _cast(inputs: Sequence[Any], attributes: Attributes) -> Array:
    import onnx

    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))
    return inputs[0] if inputs[0].dtype == object and dtype.kind in "iu" else inputs[0].astype(dtype)  # type: ignore[no-any-return]


def _divide(inputs: Sequence[Any], _: Attributes) -> Any:
    a, b = inputs
    whole = all(x.dtype == object or x.dtype.kind in "iu" for x in inputs)
    return np.trunc(plain(a) / plain(b)).astype(np.int64) if whole else a / b


def _gather(inputs: Sequence[Any], attributes: Attributes) -> Any:
    return np.take(inputs[0], plain(np.asarray(inputs[1])), axis=attributes.get("axis", 0))


def _reduced(function: Callable[..., Any]) -> Callable[[Sequence[Any], Attributes], Any]:
    def reduce(inputs: Sequence[Any], attributes: Attributes) -> Any:
        axes = axes_of(inputs, attributes)
        return function(
            plain(inputs[0]), axis=None if axes is None else tuple(axes), keepdims=bool(attributes.get("keepdims", 1))
        )

    return reduce


def _of_one(function: Callable[..., Any]) -> Callable[[Sequence[Any], Attributes], Any]:
    return lambda inputs, _: function(plain(inputs[0]))


def _of_two(function: Callable[..., Any]) -> Callable[[Sequence[Any], Attributes], Any]:
    return lambda inputs, _: function(plain(inputs[0]), plain(inputs[1]))


def _of_all(function: Callable[..., Any]) -> Callable[[Sequence[Any], Attributes], Any]:
    def fold(inputs: Sequence[Any], _: Attributes) -> Any:
        result = plain(inputs[0])
        for other in inputs[1:]:
            result = function(result, plain(other))
        return result

    return fold


# Operator -> its result from arrays and attributes.
HOST: dict[str, Callable[[Sequence[Any], Attributes], Any]] = {
    "Identity": lambda inputs, _: inputs[0],
    "Slice": _slice,
    "Gather": _gather,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Expand": _expand,
    "Tile": _tile,
    "Transpose": lambda inputs, attributes: np.transpose(inputs[0], attributes.get("perm")),
    "Concat": lambda inputs, attributes: np.concatenate(inputs, axis=attributes["axis"]),
    "Cast": _cast,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Div": _divide,
    "Add": _of_two(np.add),
    "Sub": _of_two(np.subtract),
    "Mul": _of_two(np.multiply),
    "Pow": _of_two(np.power),
    "Mod": _of_two(np.mod),
    "Equal": _of_two(np.equal),
    "Greater": _of_two(np.greater),
    "Less": _of_two(np.less),
    "And": _of_two(np.logical_and),
    "Or": _of_two(np.logical_or),
    "Max": _of_all(np.maximum),
    "Min": _of_all(np.minimum),
    "Not": _of_one(np.logical_not),
    "Neg": _of_one(np.negative),
    "Abs": _of_one(np.abs),
    "Sqrt": _of_one(np.sqrt),
    "Exp": _of_one(np.exp),
    "Reciprocal": _of_one(lambda x: 1 / x),
    "Floor": _of_one(np.floor),
    "Ceil": _of_one(np.ceil),
    "Shape": lambda inputs, attributes: np.array(
        inputs[0].shape[attributes.get("start", 0) : attributes.get("end")], dtype=np.int64
    ),
    "Size": lambda inputs, _: np.array(inputs[0].size, dtype=np.int64),
    "Where": lambda inputs, _: np.where(inputs[0], plain(inputs[1]), plain(inputs[2])),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
}
