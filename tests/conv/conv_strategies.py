"""Layers drawn by hypothesis: any geometry that fits, small enough for the explicit matrix."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from reconv.conv import ConvGeometry


@dataclass(frozen=True)
class Layer:
    weight: Tensor
    geometry: ConvGeometry
    groups: int

    @property
    def options(self) -> dict:
        """What the oracle wants to know."""
        geometry = self.geometry
        shared = {"stride": geometry.stride, "padding": geometry.padding, "dilation": geometry.dilation}
        return {"size": geometry.input_size, **shared, "groups": self.groups}


@st.composite
def layers(draw: st.DrawFn, *, least: int = 1, most: int = 9, kernel: int = 5, channels: int = 3) -> Layer:
    """Kernels 1..`kernel`, strides 1-4, dilations 1-3, uneven padding, thin and rectangular maps, groups."""
    axes = []
    for _ in range(2):
        k, s = draw(st.integers(1, kernel)), draw(st.sampled_from([1, 1, 1, 2, 3, 4]))
        d = draw(st.sampled_from([1, 1, 1, 2, 3]))
        before, after = draw(st.integers(0, k)), draw(st.integers(0, k))
        fits = max(least, d * (k - 1) + 1 - before - after)
        axes.append((draw(st.integers(fits, max(fits, most))), k, s, (before, after), d))
    sizes, kernels, strides, padding, dilations = zip(*axes)
    groups = draw(st.sampled_from([1, 1, 1, 2]))
    stacked, out = draw(st.integers(1, channels)), groups * draw(st.integers(1, channels))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    weight = torch.randn(out, stacked, *kernels, generator=generator, dtype=torch.float64)
    return Layer(weight, ConvGeometry(sizes, kernels, strides, padding, dilations), groups)
