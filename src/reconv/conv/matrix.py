"""The matrix of a channel: a convolution written as `A @ vec(x)`, never formed unless requested.

Forward, `A_o` maps what output channel o reads (all its input channels, stacked) to its output map. Backward,
`A_c` is the transpose of the stack of everything that input channel c feeds: it maps the output channels' maps
back to the input map. Either way the matrix has one row per position of the channel's own map.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, pad

from reconv.conv import taps
from reconv.conv.geometry import ConvGeometry, Pair
from reconv.conv.shapes import Float, Float64
from reconv.conv.taps import Direction


@dataclass(frozen=True)
class ConvMatrix:
    """A batch of structured matrices `A [rows, stacked * columns]`, one per channel.

    Args:
        weight: [channels, stacked, k1, k2]. Forward, a convolution's weight as it is (stacked: input channels
            of the group); backward, the channel of interest first (`weight.transpose(0, 1)` without groups).
        geometry: of the convolution, in both directions.
        direction: "forward" or "backward".
    """

    weight: Float[Tensor, "channels stacked k1 k2"]
    geometry: ConvGeometry
    direction: Direction = "forward"

    @property
    def rows(self) -> Pair:
        """Size of the channel's own map."""
        forward = self.direction == "forward"
        return self.geometry.output_size if forward else self.geometry.input_size

    @property
    def columns(self) -> Pair:
        """Size of the maps that it reads."""
        forward = self.direction == "forward"
        return self.geometry.input_size if forward else self.geometry.output_size

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, rows, columns) as plain matrices."""
        channels, stacked = self.weight.shape[:2]
        return channels, self.rows[0] * self.rows[1], stacked * self.columns[0] * self.columns[1]

    def matvec(self, x: Float[Tensor, "channels stacked c1 c2"]) -> Float[Tensor, "channels r1 r2"]:
        """`A @ vec(x)` for every channel: one grouped convolution (backward, one transposed)."""
        if self.direction == "forward":
            return self._correlate(x, summed=True)[:, 0]
        return self._spread(x, summed=True)[:, 0]

    def rmatvec(self, y: Float[Tensor, "channels r1 r2"]) -> Float[Tensor, "channels stacked c1 c2"]:
        """`A^T @ vec(y)` for every channel."""
        if self.direction == "forward":
            return self._spread(y[:, None], summed=False)
        return self._correlate(y[:, None], summed=False)

    def tap_gram(self) -> Float64[Tensor, "channels taps taps"]:
        """`M = W^T W`, the inner products of the taps: all that the norms depend on."""
        return taps.tap_gram(self.weight)

    def gram(self) -> Float64[Tensor, "channels rows rows"]:
        """`G = A A^T` from the tap Gram; its eigenvalues are the squared singular values of A."""
        split = taps.split_axes(self.tap_gram(), self.geometry.kernel)
        meet1, meet2 = (
            taps.meetings(taps.reads(axis, self.direction, self.weight.device)) for axis in self.geometry.axes
        )
        return taps.dense_gram(split, meet1, meet2)

    def to_dense(self) -> Float[Tensor, "channels rows columns"]:
        """The matrices themselves, column by column from basis vectors. For tests and pictures."""
        channels, rows, columns = self.shape
        stacked = self.weight.shape[1]
        basis = torch.eye(columns, dtype=self.weight.dtype, device=self.weight.device)
        basis = basis.reshape(columns, 1, stacked, *self.columns).expand(-1, channels, -1, -1, -1)
        return torch.stack([self.matvec(vector).reshape(channels, rows) for vector in basis], dim=2)

    def _correlate(self, x: Tensor, *, summed: bool) -> Tensor:
        """Convolve [channels, stacked or 1, H, W]; summed over what is stacked, or each separately."""
        channels, stacked = self.weight.shape[:2]
        (top, bottom), (left, right) = self.geometry.padding
        padded = pad(x.reshape(1, -1, *x.shape[2:]), (left, right, top, bottom))
        weight = self.weight if summed else self.weight.flatten(0, 1)[:, None]
        out = conv2d(padded, weight, stride=self.geometry.stride, dilation=self.geometry.dilation, groups=channels)
        return out.reshape(channels, 1 if summed else stacked, *self.geometry.output_size)

    def _spread(self, y: Tensor, *, summed: bool) -> Tensor:
        """The transpose of `_correlate`: [channels, 1 or stacked, H_out, W_out] onto the input map."""
        channels, stacked = self.weight.shape[:2]
        (height, width), ((top, _), (left, _)) = self.geometry.input_size, self.geometry.padding
        weight = self.weight.flatten(0, 1)[:, None] if summed else self.weight
        out = conv_transpose2d(
            y.reshape(1, -1, *y.shape[2:]),
            weight,
            stride=self.geometry.stride,
            dilation=self.geometry.dilation,
            groups=channels,
        )
        # Positions that no tap reaches get zeros; what lies in the padding is cut off.
        out = pad(out, (0, max(0, left + width - out.shape[3]), 0, max(0, top + height - out.shape[2])))
        out = out[:, :, top : top + height, left : left + width]
        return out.reshape(channels, 1 if summed else stacked, height, width)
