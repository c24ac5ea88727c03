"""The modules that an imported network is made of, where PyTorch has none that says the same.

Those that cut or lay out a signal keep the sizes that the file states as attributes, `size1`, `start`, `end`: pruning
changes them as it does those of hand-written modules, and writing the file back reads them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from reconv.deploy.onnx.host import HOST, Array, Size, plain
from reconv.errors import ArtifactError

# ONNX's numbers of types.
DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}
MOST_NUMBERS = 2**28  # elements of a signal
INFERRED, COPIED, GIVEN = -1, 0, -2  # an entry of a shape: what is left over, the input's size, computed by the graph


def as_tensor(value: Any, like: Tensor) -> Tensor:
    """An array as a tensor on the device of another."""
    if isinstance(value, Tensor):
        return value
    return torch.from_numpy(np.ascontiguousarray(plain(np.asarray(value)))).to(like.device)


def as_operand(value: Any, like: Tensor) -> Any:
    """What a tensor can be combined with: a plain number for an array of one element."""
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        return array.ravel()[0].item() if array.size == 1 and array.ndim <= like.dim() else as_tensor(array, like)
    return value


def check_size(shape: Sequence[int], what: str) -> None:
    """Refuse a signal that is too large, before it is allocated.

    Raises:
        ArtifactError: it is.
    """
    if math.prod(max(int(size), 1) for size in shape) > MOST_NUMBERS:
        raise ArtifactError(f"{what}: gives a tensor of the shape {tuple(shape)!s:.80}, which is too large")


class Apply(nn.Module):
    """A function of tensors; of arrays, where all that it gets are such.

    Args:
        operator: its name in ONNX.
        function: of the inputs as tensors.
        attributes: for arrays.
    """

    def __init__(self, operator: str, function: Callable[..., Any], attributes: dict[str, Any] | None = None):
        super().__init__()
        self.operator = operator
        self._function = function
        self._attributes = attributes or {}

    def forward(self, *inputs: Any) -> Any:
        first = next((value for value in inputs if isinstance(value, Tensor)), None)
        if first is None:
            return HOST[self.operator](inputs, self._attributes)
        return self._function(*inputs)

    def extra_repr(self) -> str:
        return self.operator


class ShapeOf(nn.Module):
    """The sizes of a tensor, as an array."""

    def __init__(self, start: int, end: int | None):
        super().__init__()
        self._range = slice(start, end)

    def forward(self, signal: Any) -> Array:
        return np.array(tuple(signal.shape)[self._range], dtype=np.int64)


class WithConstant(nn.Module):
    """An operator of a signal and a constant, such as an addition or a product, element by element.

    Args:
        function: of two tensors. constant: the second one, or the first where `first`.
    """

    def __init__(self, function: Callable[[Any, Any], Any], constant: Tensor, first: bool):
        super().__init__()
        self._function = function
        self._first = first
        self.weight = nn.Parameter(constant, requires_grad=constant.is_floating_point())

    def forward(self, signal: Tensor) -> Any:
        return self._function(self.weight, signal) if self._first else self._function(signal, self.weight)


class WithNumber(nn.Module):
    """The same for a single number."""

    def __init__(self, function: Callable[[Any, Any], Any], number: float, first: bool):
        super().__init__()
        self._function = function
        self._first = first
        self._number = number

    def forward(self, signal: Tensor) -> Any:
        return self._function(self._number, signal) if self._first else self._function(signal, self._number)

    def extra_repr(self) -> str:
        return f"{self._number:g}"


class BatchNorm(_BatchNorm):
    """BatchNorm of any rank."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def located(kind: type[nn.Module], where: str) -> type[nn.Module]:
    """The same class, whose code says that it stands in a node of an ONNX file.

    The trace tells the places where a model's code lays out channels apart by the lines of that code; here each node is
    such a place.
    """
    forward: Any = kind.forward
    own = FunctionType(
        forward.__code__.replace(co_filename=where), forward.__globals__, forward.__name__, forward.__defaults__
    )
    return type(kind.__name__, (kind,), {"forward": own, "__module__": kind.__module__})


class Sized(nn.Module):
    """A module that gives a shape of which the file states some sizes.

    Attributes:
        size0, size1, ...: those that it states; a cut changes them one by one.
        _entries: what each size is: None where the file states it, else `INFERRED`, `COPIED` or `GIVEN`.
        _origins: where in the file each stated one stands: constant and index; None where it is not stated.
        _observed: the shape on the example.
    """

    def __init__(self) -> None:
        super().__init__()
        self._entries: tuple[int | None, ...] = ()
        self._origins: tuple[tuple[str, int] | None, ...] = ()
        self._observed: tuple[int, ...] = ()

    def state_sizes(self, given: Array, allow_zero: bool = False) -> None:
        """Take over what an array, as it was computed on the example, says; whole numbers of the file know their place.

        Args:
            given: one-dimensional. allow_zero: a zero is a size, and does not copy the input's.
        """
        values = given.ravel().tolist()
        entries: list[int | None] = []
        for axis, value in enumerate(values):
            if not isinstance(value, Size):
                entries.append(GIVEN)
            elif value == INFERRED or (value == COPIED and not allow_zero):
                entries.append(int(value))
            else:
                entries.append(None)
                setattr(self, f"size{axis}", int(value))
        self._entries = tuple(entries)
        self._origins = tuple(
            (value.constant, value.index) if entry is None else None
            for value, entry in zip(values, entries, strict=True)
        )

    def infer(self, axis: int) -> None:
        """Let this size be what is left over, and the one that was so be the size that it has on the example."""
        for other, entry in enumerate(self._entries):
            if entry == INFERRED:
                setattr(self, f"size{other}", self._observed[other])
        entries = [None if entry == INFERRED else entry for entry in self._entries]
        entries[axis] = INFERRED
        self._entries = tuple(entries)

    def shape_for(self, signal: Tensor, given: Any) -> list[int]:
        """The entries of the shape for an input, -1 for what is inferred."""
        values = [] if given is None else [int(value) for value in np.asarray(given).ravel()]
        return [
            getattr(self, f"size{axis}")
            if entry is None
            else {INFERRED: -1, COPIED: signal.shape[axis]}.get(entry, -1)
            if entry != GIVEN
            else values[axis]
            for axis, entry in enumerate(self._entries)
        ]


class Reshape(Sized):
    """A signal in another shape."""

    def forward(self, signal: Tensor, given: Any = None) -> Tensor:
        shape = self.shape_for(signal, given)
        check_size(shape, "Reshape")
        return signal.reshape(shape)


class Expand(Sized):
    """A signal broadcast to a shape."""

    def forward(self, signal: Tensor, given: Any = None) -> Tensor:
        shape = torch.broadcast_shapes(tuple(signal.shape), tuple(self.shape_for(signal, given)))
        check_size(shape, "Expand")
        return signal.expand(shape)


class Resize(Sized):
    """A map in another resolution.

    Args:
        mode: "nearest", "nearest-exact", "bilinear", "bicubic". corners: whether corners are aligned.
        scales: of height and width; None: by sizes.
    """

    def __init__(self, mode: str, corners: bool | None, scales: tuple[float, ...] | None, antialias: bool):
        super().__init__()
        self._how: dict[str, Any] = {"mode": mode, "align_corners": corners, "antialias": antialias}
        self._scales = scales

    def forward(self, signal: Tensor, given: Any = None) -> Tensor:
        if self._scales is not None:
            check_size([*signal.shape, *(math.ceil(max(scale, 1)) for scale in self._scales)], "Resize")
            return F.interpolate(signal, scale_factor=list(self._scales), **self._how)
        size = self.shape_for(signal, given)[2:]
        check_size([*signal.shape[:2], *size], "Resize")
        return F.interpolate(signal, size=size, **self._how)


class Split(nn.Module):
    """A signal in parts along an axis; equal ones where no sizes are stated.

    Attributes:
        sizes: of the parts; () for equal ones.
    """

    def __init__(self, axis: int, parts: int, sizes: tuple[int, ...]):
        super().__init__()
        self._axis = axis
        self._parts = parts
        self.sizes = sizes

    def forward(self, signal: Tensor) -> tuple[Tensor, ...]:
        if self.sizes:
            return torch.split(signal, list(self.sizes), self._axis)
        return torch.split(signal, -(-signal.shape[self._axis] // self._parts), self._axis)


class Slice(nn.Module):
    """A range along one axis.

    Attributes:
        start, end: as the file states them.
    """

    def __init__(self, axis: int, start: int, end: int, step: int, place: int = 0):
        super().__init__()
        self._axis = axis
        self._place = place  # among the axes that the file states
        self.start = start
        self.end = min(end, sys.maxsize)
        self._step = step

    def forward(self, signal: Tensor, start: Any = None, end: Any = None) -> Tensor:
        first = self.start if start is None else int(np.asarray(start).ravel()[0])
        last = self.end if end is None else int(np.asarray(end).ravel()[0])
        if self._step == -1:
            size = signal.shape[self._axis]
            first, last = min(first if first >= 0 else first + size, size - 1), last if last >= 0 else last + size
            if first != size - 1 or last >= 0:
                raise ArtifactError("Slice: with a step of -1 over a part of an axis; whole axes are read")
            return signal.flip(self._axis)
        index = [slice(None)] * signal.dim()
        index[self._axis] = slice(first, last, self._step)
        return signal[tuple(index)]


class Pad(nn.Module):
    """A border around a signal; zeros along the channels are a shortcut without parameters.

    Attributes:
        before, after: channels that are added.
    """

    channel_padding = ("before", "after")

    def __init__(self, pads: tuple[int, ...], mode: str, value: float):
        super().__init__()
        rank = len(pads) // 2
        self._pads = pads
        self._mode = mode
        self._value = value
        self.before, self.after = (pads[1], pads[rank + 1]) if rank > 1 else (0, 0)

    def forward(self, signal: Tensor) -> Tensor:
        rank = len(self._pads) // 2
        pairs = [(self._pads[axis], self._pads[axis + rank]) for axis in range(rank)]
        if rank > 1:
            pairs[1] = self.before, self.after
        check_size([n + max(a, 0) + max(b, 0) for n, (a, b) in zip(signal.shape, pairs, strict=True)], "Pad")
        if self._mode != "constant":
            while pairs and pairs[0] == (0, 0):
                pairs.pop(0)
            return F.pad(signal, [n for pair in reversed(pairs) for n in pair], mode=self._mode)
        while len(pairs) > 1 and pairs[0] == (0, 0):
            pairs.pop(0)
        return F.pad(signal, [n for pair in reversed(pairs) for n in pair], value=self._value)


class SamePad(nn.Module):
    """The border that `auto_pad` asks for: as many positions come out as the stride allows.

    Args:
        kernel, stride, dilation: of the window. more_before: where the border is odd. value: of the border.
    """

    def __init__(
        self, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], more_before: bool, value: float
    ):
        super().__init__()
        self._windows = tuple(zip(kernel, stride, dilation, strict=True))
        self._more_before = more_before
        self._value = value

    def forward(self, signal: Tensor) -> Tensor:
        pads: list[int] = []
        for size, (kernel, stride, dilation) in zip(signal.shape[2:], self._windows, strict=True):
            whole = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            small, large = whole // 2, whole - whole // 2
            pads = [*((large, small) if self._more_before else (small, large)), *pads]
        return F.pad(signal, pads, value=self._value)
