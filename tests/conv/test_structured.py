"""A shared suite: every structured matrix does what its dense version does. A new one adds a way to make one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conv_strategies import Layer, layers
from hypothesis import assume, given, settings
from torch import Tensor

from reconv.conv import taps
from reconv.conv.bands import Band, direct_sum
from reconv.conv.factored import Factored
from reconv.conv.stencil import Stencil

Pair = tuple[Band, Band]


def term(layer: Layer, direction: str) -> tuple[Tensor, Pair]:
    """The first term of a layer's direct sum that reads anything."""
    vertical, horizontal = (list(direct_sum(axis, direction)) for axis in layer.geometry.axes)
    pairs = [(one, two) for one in vertical for two in horizontal if one.axis.inputs and two.axis.inputs]
    assume(pairs)
    return taps.split_axes(taps.tap_gram(layer.weight), layer.geometry.kernel), pairs[0]


def dense(split: Tensor, bands: Pair) -> Tensor:
    return taps.dense_gram(split, *(band.meetings(split.device) for band in bands))


OPERATORS: dict[str, Callable[[Tensor, Pair], Stencil | Factored]] = {"stencil": Stencil.of, "factored": Factored.of}


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("name", OPERATORS)
@given(layer=layers(most=9, kernel=4, channels=2))
@settings(max_examples=30, deadline=None)
def test_an_operator_is_its_dense_version(name: str, direction: str, layer: Layer) -> None:
    split, bands = term(layer, direction)
    assume(name == "factored" or bands[0].period == bands[1].period == 1)
    operator, G = OPERATORS[name](split, bands), dense(split, bands)
    rows = bands[0].rows * bands[1].rows
    maps = torch.randn(2, bands[0].rows, bands[1].rows, len(split), dtype=torch.float64)
    expected = torch.einsum("cij,vjc->vic", G, maps.reshape(2, rows, -1)).reshape(maps.shape)
    assert torch.allclose(operator @ maps, expected)
    factor = torch.rand(len(split), dtype=torch.float64) + 0.5
    assert torch.allclose(operator.affine(factor, -2.0) @ maps, factor * expected - 2 * maps)
    first = operator.change(lambda table: table[:1])
    assert torch.allclose(first @ maps[..., :1], expected[..., :1])


@pytest.mark.parametrize("direction", ["forward", "backward"])
@given(layer=layers(most=9, kernel=4, channels=2))
@settings(max_examples=40, deadline=None)
def test_a_direct_sum_has_the_singular_values_of_its_axis(direction: str, layer: Layer) -> None:
    axis = layer.geometry.axes[0]
    split = taps.split_axes(taps.tap_gram(layer.weight[:1, :, :, :1]), (axis.kernel, 1))
    whole = taps.dense_gram(
        split, taps.meetings(taps.reads(axis, direction, split.device)), torch.ones(1, 1, 1).double()
    )
    parts = []
    for band, times in direct_sum(axis, direction).items():
        gram = taps.dense_gram(split, band.meetings(split.device), torch.ones(1, 1, 1).double())
        parts += times * [torch.linalg.eigvalsh(gram)]
    found, expected = torch.cat(parts, 1), torch.linalg.eigvalsh(whole)
    positive = found[found > 1e-9].sort().values
    assert torch.allclose(positive, expected[expected > 1e-9].sort().values)


@pytest.mark.parametrize("direction", ["forward", "backward"])
@given(layer=layers(most=16, kernel=4, channels=2))
@settings(max_examples=40, deadline=None)
def test_a_resized_band_has_the_same_borders(direction: str, layer: Layer) -> None:
    _, bands = term(layer, direction)
    band = bands[0]
    small = band.resized(band.at_least(1))
    assert small.rows == band.at_least(1) <= band.rows
    before, after = (2 * sum(band.border), 0) if small.rows == band.rows else (small.rows // 2, small.rows // 2)
    mine, its = band.meetings(torch.device("cpu")), small.meetings(torch.device("cpu"))
    assert torch.equal(mine[:, :before, :before], its[:, :before, :before])
    assert torch.equal(
        mine[:, band.rows - after :, band.rows - after :], its[:, small.rows - after :, small.rows - after :]
    )
