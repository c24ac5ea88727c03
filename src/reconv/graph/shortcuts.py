"""What frequent operators give without data, said at once: PyTorch's fake tensors take long to find it out.

A row holds for the plain case alone: contiguous floating tensors of one type that fit. For anything else it gives None,
and the operator itself is asked, so that what does not fit fails as it would in a real run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from reconv.graph.copies import empty_fake
from reconv.graph.labels import Shape

Arguments = Mapping[str, Any]
Shortcut = Callable[[FakeTensorMode, Arguments], Any]


def _plain(*tensors: Tensor) -> bool:
    first = tensors[0]
    return first.dtype.is_floating_point and all(
        t.is_contiguous() and t.dtype == first.dtype and t.device == first.device for t in tensors
    )


def _new(fake: FakeTensorMode, like: Tensor, shape: Shape) -> Tensor:
    strides = [math.prod(max(size, 1) for size in shape[axis + 1 :]) for axis in range(len(shape))]
    return empty_fake(fake, shape, tuple(strides), like.dtype, like.device)


def convolution(fake: FakeTensorMode, arguments: Arguments) -> Tensor | None:
    signal, weight, bias = arguments["input"], arguments["weight"], arguments["bias"]
    tensors = [signal, weight] if bias is None else [signal, weight, bias]
    if arguments["transposed"] or signal.dim() != weight.dim() or not _plain(*tensors):
        return None
    fits = signal.shape[1] == weight.shape[1] * arguments["groups"] and len(weight) % arguments["groups"] == 0
    windows = (signal.shape[2:], weight.shape[2:], arguments["stride"], arguments["padding"], arguments["dilation"])
    sizes = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(*windows, strict=False)]
    if not fits or len(sizes) < len(windows[0]) or min(sizes) < 1 or (bias is not None and len(bias) != len(weight)):
        return None
    return _new(fake, signal, (len(signal), len(weight), *sizes))


def batch_norm(fake: FakeTensorMode, arguments: Arguments) -> tuple[Tensor, ...]:
    signal = arguments["input"]
    kept = signal.shape[1] if arguments["training"] else 0
    statistics = empty_fake(fake, (kept,), (1,), signal.dtype, signal.device)
    result = _new(fake, signal, tuple(signal.shape)) if signal.is_contiguous() else torch.empty_like(signal)
    return result, statistics, statistics


def one_signal(fake: FakeTensorMode, arguments: Arguments) -> Tensor | None:
    signal = arguments["self"]
    return _new(fake, signal, tuple(signal.shape)) if _plain(signal) else None


def two_signals(fake: FakeTensorMode, arguments: Arguments) -> Tensor | None:
    """Element-wise, where one of the two is as large as the result."""
    first, second = arguments["self"], arguments["other"]
    if isinstance(second, (int, float)):
        return one_signal(fake, arguments)
    if not isinstance(second, Tensor) or not _plain(first, second):
        return None
    for large, small in ((first, second), (second, first)):
        if _covers(large.shape, small.shape):
            return _new(fake, large, tuple(large.shape))
    return None


def _covers(large: Sequence[int], small: Sequence[int]) -> bool:
    pairs = zip(reversed(large), reversed(small), strict=False)
    return len(large) >= len(small) and all(b in (1, a) for a, b in pairs)


def in_place(fake: FakeTensorMode, arguments: Arguments) -> Tensor | None:
    changed, other = arguments["self"], arguments.get("other")
    if isinstance(other, Tensor):
        fits = _plain(changed, other) and _covers(changed.shape, other.shape)
    else:
        fits = changed.dtype.is_floating_point if other is None else isinstance(other, int)
    return changed if fits else None


def concatenation(fake: FakeTensorMode, arguments: Arguments) -> Tensor | None:
    tensors = arguments["tensors"]
    shape = list(tensors[0].shape)
    axis = arguments["dim"] % max(len(shape), 1)
    beside = [[n for a, n in enumerate(t.shape) if a != axis] for t in tensors]
    if not _plain(*tensors) or any(rest != beside[0] or t.dim() != len(shape) for rest, t in zip(beside, tensors)):
        return None
    shape[axis] = sum(t.shape[axis] for t in tensors)
    return _new(fake, tensors[0], tuple(shape))


def reserved(fake: FakeTensorMode, arguments: Arguments) -> Tensor | None:
    """The empty tensor that a BatchNorm keeps for its backward pass."""
    size, device, dtype = arguments["size"], arguments["device"], arguments["dtype"]
    if size != [0] or device is None or dtype is None:
        return None
    return empty_fake(fake, (0,), (1,), dtype, device)


def mean(fake: FakeTensorMode, arguments: Arguments) -> Tensor | None:
    signal, axes = arguments["self"], arguments.get("dim")
    if not axes or not signal.dim() or arguments["dtype"] is not None or not _plain(signal):
        return None
    gone = {axis % signal.dim() for axis in axes}
    kept = arguments["keepdim"]
    return _new(fake, signal, tuple(1 if a in gone else n for a, n in enumerate(signal.shape) if kept or a not in gone))


def matrix_product(fake: FakeTensorMode, arguments: Arguments) -> Tensor | None:
    first, second = arguments.get("mat1", arguments["self"]), arguments["mat2"]
    added = arguments["self"] if "mat1" in arguments else None
    shape = (*first.shape[:1], *second.shape[1:])
    tensors = [first, second] if added is None else [first, second, added]
    alike = all(t.dtype == first.dtype and t.device == first.device for t in tensors)
    fits = first.dim() == second.dim() == 2 and first.shape[1] == second.shape[0]
    if not alike or not fits or not (added is None or _covers(shape, added.shape)):
        return None
    return _new(fake, first, shape)


def transposed_matrix(fake: FakeTensorMode, arguments: Arguments) -> Tensor | None:
    matrix = arguments["self"]
    if matrix.dim() != 2:
        return None
    return empty_fake(fake, tuple(matrix.shape[::-1]), matrix.stride()[::-1], matrix.dtype, matrix.device)


def view(fake: FakeTensorMode, arguments: Arguments) -> Tensor | None:
    signal, shape = arguments["self"], list(arguments["size"])
    known = math.prod(size for size in shape if size != -1)
    if not _plain(signal) or shape.count(-1) > 1 or known < 1 or signal.numel() % known:
        return None
    shape = [signal.numel() // known if size == -1 else size for size in shape]
    return _new(fake, signal, tuple(shape)) if math.prod(shape) == signal.numel() else None


def layer_norm(fake: FakeTensorMode, arguments: Arguments) -> tuple[Tensor, ...] | None:
    signal, over = arguments["input"], list(arguments["normalized_shape"])
    rest = signal.dim() - len(over)
    if not _plain(signal) or list(signal.shape[rest:]) != over:
        return None
    statistics = _new(fake, signal, (*signal.shape[:rest], *[1] * len(over)))
    return _new(fake, signal, tuple(signal.shape)), statistics, statistics
