"""The bracket contains the spectral norm, and no bound below it is certified."""

from __future__ import annotations

import pytest
import torch
from conv_oracle import norms_by_svd
from conv_strategies import Layer, layers
from hypothesis import given, settings

from reconv.conv import ConvGeometry, certificate, spectral_bounds, taps
from reconv.conv.bands import direct_sum


@pytest.mark.parametrize("direction", ["forward", "backward"])
@given(layer=layers(most=14, kernel=4, channels=2))
@settings(max_examples=25, deadline=None)
def test_the_bracket_holds_the_spectral_norm(direction: str, layer: Layer) -> None:
    truth = norms_by_svd(layer.weight, **layer.options, backward=direction == "backward")["spectral"]
    low, high = spectral_bounds(layer.weight, layer.geometry, groups=layer.groups, direction=direction)
    assert bool((low <= truth * (1 + 1e-7)).all())
    assert bool((high >= truth * (1 - 1e-12)).all())
    assert bool((high <= truth * (1 + 2e-6)).all())


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_what_is_below_is_not_proven(direction: str) -> None:
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    geometry = ConvGeometry((9, 12), 3, padding=1, stride=2)
    bands = tuple(next(iter(direct_sum(axis, direction))) for axis in geometry.axes)
    stacked = weight if direction == "forward" else weight.transpose(0, 1)
    split = taps.split_axes(taps.tap_gram(stacked), (3, 3))
    truth = norms_by_svd(weight, (9, 12), stride=2, padding=((1, 1), (1, 1)), backward=direction == "backward")
    squared = truth["spectral"].square()
    assert not certificate.is_above(split, bands, squared * (1 - 1e-9)).any()
    assert certificate.is_above(split, bands, squared * (1 + 1e-9)).all()


@given(layer=layers(least=4, most=14, kernel=4, channels=2))
@settings(max_examples=25, deadline=None)
def test_the_symbol_is_an_upper_bound(layer: Layer) -> None:
    truth = norms_by_svd(layer.weight, **{**layer.options, "groups": 1})["spectral"].square()
    split = taps.split_axes(taps.tap_gram(layer.weight), layer.geometry.kernel)
    terms = [direct_sum(axis, "forward") for axis in layer.geometry.axes]
    bounds = [certificate.symbol_bound(split, (one, two)) for one in terms[0] for two in terms[1]]
    assert bool((torch.stack(bounds).amax(0) >= truth * (1 - 1e-12)).all())
