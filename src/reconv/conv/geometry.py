"""The geometry of a convolution: which input positions each output position sees.

Along one axis, tap u of output row y reads input row `stride*y + dilation*u - before`; what lies outside the
map is zero. A two-dimensional geometry is a pair of axes, and everything below is a product over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from reconv.errors import GeometryError

Pair = tuple[int, int]
Size = int | Sequence[int]


@dataclass(frozen=True)
class Axis:
    """One spatial axis: its map, its taps, and the zeros before and after the map.

    Attributes:
        inputs: positions of the input map.
        kernel, stride, dilation: as usual, in positions.
        before, after: zeros put around the map.
    """

    inputs: int
    kernel: int
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    @property
    def span(self) -> int:
        """Input positions between the first and the last tap, both included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def outputs(self) -> int:
        """Positions of the output map."""
        return (self.inputs + self.before + self.after - self.span) // self.stride + 1


@dataclass(frozen=True, init=False)
class ConvGeometry:
    """What a convolution sees: input size, kernel, stride, zero padding, dilation.

    A linear layer is `ConvGeometry(1, 1)`, a one-dimensional convolution one whose first axis is `1`. A transposed
    convolution has the geometry of the convolution that it transposes: its *output* is our input, so what is
    forward for the one is backward for the other (see `channel_norms`).

    Args:
        input_size: (height, width) of the map that the layer sees; one int for a square one.
        kernel: (height, width) in taps; one int for both.
        stride: one int, or one per axis.
        padding: zeros around the map: an int, one per axis, or ((top, bottom), (left, right)).
        dilation: one int, or one per axis.

    Raises:
        GeometryError: a size below one, a negative padding, or a kernel that does not fit its padded input.

    Example:
        >>> import torch, reconv
        >>> geometry = reconv.ConvGeometry(input_size=32, kernel=3, stride=2, padding=1)
        >>> geometry.output_size
        (16, 16)
        >>> reconv.ConvGeometry.of(torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), input_size=32) == geometry
        True
    """

    input_size: Pair
    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair

    def __init__(
        self,
        input_size: Size,
        kernel: Size,
        stride: Size = 1,
        padding: int | Sequence[Size] = 0,
        dilation: Size = 1,
    ) -> None:
        pads: Sequence[Size] = (padding, padding) if isinstance(padding, int) else tuple(padding)
        if len(pads) != 2:
            raise GeometryError(f"padding: {padding!r}; give an int, one per axis, or a pair of pairs.")
        values = {
            "input_size": _pair("input_size", input_size, least=1),
            "kernel": _pair("kernel", kernel, least=1),
            "stride": _pair("stride", stride, least=1),
            "padding": (_pair("padding", pads[0], least=0), _pair("padding", pads[1], least=0)),
            "dilation": _pair("dilation", dilation, least=1),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check_fit()

    @classmethod
    def of(cls, module: nn.Module, input_size: Size) -> ConvGeometry:
        """The geometry of a `Conv2d`, `Conv1d` or `Linear`, also with padding="same" or "valid".

        Args:
            module: the layer.
            input_size: (height, width) that it sees; (1, length) or the length for a `Conv1d`; ignored for
                `Linear`.

        Raises:
            GeometryError: another kind of layer, a padding mode other than zeros, a kernel that does not fit.
        """
        if isinstance(module, nn.Linear):
            return cls(1, 1)
        if not isinstance(module, nn.Conv1d | nn.Conv2d):
            raise GeometryError(
                f"{type(module).__name__}: not a layer with a geometry; give a Conv2d, Conv1d or Linear."
            )
        if module.padding_mode != "zeros":
            raise GeometryError(
                f"{type(module).__name__}: padding_mode={module.padding_mode!r}; only 'zeros' has norms."
            )
        pads = _padding_of(module)
        if isinstance(module, nn.Conv2d):
            return cls(input_size, module.kernel_size, module.stride, pads, module.dilation)
        length = input_size if isinstance(input_size, int) else input_size[-1]
        return cls(
            (1, length),
            (1, module.kernel_size[0]),
            (1, module.stride[0]),
            ((0, 0), pads[0]),
            (1, module.dilation[0]),
        )

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """The vertical and the horizontal axis."""
        vertical, horizontal = (
            Axis(self.input_size[i], self.kernel[i], self.stride[i], *self.padding[i], self.dilation[i]) for i in (0, 1)
        )
        return vertical, horizontal

    @property
    def output_size(self) -> Pair:
        """(height, width) of the output map."""
        vertical, horizontal = self.axes
        return vertical.outputs, horizontal.outputs

    def __str__(self) -> str:
        text = f"{_times(self.kernel)} on {_times(self.input_size)}"
        details = [
            f"stride {_times(self.stride)}" if self.stride != (1, 1) else "",
            f"padding {_padded(self.padding)}" if self.padding != ((0, 0), (0, 0)) else "",
            f"dilation {_times(self.dilation)}" if self.dilation != (1, 1) else "",
        ]
        return ", ".join([text, *filter(None, details)])

    def _check_fit(self) -> None:
        if min(self.output_size) >= 1:
            return
        padded = self.padding != ((0, 0), (0, 0))
        dilated = f" with dilation {self.dilation}" if self.dilation != (1, 1) else ""
        with_padding = f"with padding {self.padding}" if padded else "without padding"
        raise GeometryError(
            f"geometry: a {self.kernel} kernel{dilated} {with_padding} does not fit a {self.input_size} input. "
            "Give the size of the layer's input; `reconv.trace(model, example)` measures it."
        )


def _pair(name: str, value: Size, least: int) -> Pair:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(x, int) and x >= least for x in pair):
        raise GeometryError(f"{name}: {value!r}; give one int or two, each at least {least}.")
    return pair[0], pair[1]


def _padding_of(module: nn.Conv1d | nn.Conv2d) -> tuple[Pair, ...]:
    """Zeros (before, after) on each axis; "same" puts the odd one after, as PyTorch does."""
    if not isinstance(module.padding, str):
        return tuple((p, p) for p in module.padding)
    if module.padding == "valid":
        return ((0, 0),) * len(module.kernel_size)
    totals = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size)]
    return tuple((total // 2, total - total // 2) for total in totals)


def _times(pair: Pair) -> str:
    return f"{pair[0]}x{pair[1]}"


def _padded(padding: tuple[Pair, Pair]) -> str:
    """`1`; `1x0`, vertical and horizontal; `(0, 1)x(0, 1)`, before and after."""
    if len({side for axis in padding for side in axis}) == 1:
        return str(padding[0][0])
    return "x".join(str(axis[0]) if axis[0] == axis[1] else str(axis) for axis in padding)
