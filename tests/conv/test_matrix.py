"""A structured matrix does what its dense version does."""

from __future__ import annotations

import pytest
import torch
from conv_oracle import explicit_matrix
from conv_strategies import Layer, layers
from hypothesis import given, settings

from reconv.conv import ConvMatrix

DIRECTIONS = ("forward", "backward")


@pytest.mark.parametrize("direction", DIRECTIONS)
@given(layer=layers(most=7))
@settings(max_examples=40, deadline=None)
def test_products_and_grams_are_the_dense_matrix_s(direction: str, layer: Layer) -> None:
    matrix = ConvMatrix(layer.weight, layer.geometry, direction)
    A = matrix.to_dense()
    assert A.shape == matrix.shape
    x = torch.randn(len(A), layer.weight.shape[1], *matrix.columns, dtype=torch.float64)
    y = torch.randn(len(A), *matrix.rows, dtype=torch.float64)
    assert torch.allclose(matrix.matvec(x).flatten(1), (A @ x.flatten(1)[:, :, None])[:, :, 0])
    assert torch.allclose(matrix.rmatvec(y).flatten(1), (A.mT @ y.flatten(1)[:, :, None])[:, :, 0])
    assert torch.allclose(matrix.gram(), A @ A.mT)


@given(layer=layers(most=7))
@settings(max_examples=30, deadline=None)
def test_the_dense_version_is_the_convolution(layer: Layer) -> None:
    options = {key: value for key, value in layer.options.items() if key != "groups"}
    explicit = explicit_matrix(layer.weight, **options)
    assert torch.equal(ConvMatrix(layer.weight, layer.geometry).to_dense(), explicit)


@given(layer=layers(most=7))
@settings(max_examples=20, deadline=None)
def test_backward_is_the_transpose(layer: Layer) -> None:
    one = layer.weight[:1, :1]
    forward, backward = (ConvMatrix(one, layer.geometry, direction).to_dense() for direction in DIRECTIONS)
    assert torch.equal(forward, backward.mT)
