"""The norms of every channel are those of its explicit matrix."""

from __future__ import annotations

import pytest
import torch
from conv_oracle import norms_by_svd
from conv_strategies import Layer, layers
from hypothesis import given, settings
from torch import Tensor

from reconv.conv import NORMS, ConvGeometry, ConvProblem, channel_norms, channel_norms_of_layers
from reconv.errors import ConfigError, GeometryError, UnknownNameError, WeightsError

ACCURACY = {"spectral": 1e-6, "nuclear": 1e-5, "frobenius": 1e-12}
SAME = ConvGeometry(8, 3, padding=1)


def assert_norms(found, expected: dict[str, Tensor]) -> None:
    for norm, value in expected.items():
        error = (found[norm] - value).abs()
        assert bool((error <= ACCURACY[norm] * value).all()), (norm, float((error / value).max()))


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("exact", [False, True])
@given(layer=layers())
@settings(max_examples=50, deadline=None)
def test_any_geometry(direction: str, exact: bool, layer: Layer) -> None:
    found = channel_norms(layer.weight, layer.geometry, groups=layer.groups, direction=direction, exact=exact)
    assert_norms(found, norms_by_svd(layer.weight, **layer.options, backward=direction == "backward"))


def test_a_batch_of_layers_is_each_layer_for_itself() -> None:
    weights = [torch.randn(4, 2, 3, 3), torch.randn(3, 5, 3, 3), torch.randn(2, 6, 1, 1), torch.randn(5, 3)]
    geometries = [SAME, SAME, ConvGeometry(8, 1), ConvGeometry(1, 1)]
    problems = [ConvProblem(weight, geometry) for weight, geometry in zip(weights, geometries)]
    for problem, found in zip(problems, channel_norms_of_layers(problems)):
        alone = channel_norms(problem.weight, problem.geometry)
        for norm in NORMS:
            assert torch.allclose(found[norm], alone[norm], rtol=1e-7, atol=0)
            assert len(found.algorithms[norm]) == len(found[norm]) == len(problem.weight)


def test_pointwise_kernels_rank_as_l2() -> None:
    weight = torch.randn(6, 5, 1, 1, dtype=torch.float64)
    found = channel_norms(weight, ConvGeometry((5, 7), 1))
    l2 = weight.flatten(1).norm(dim=1)
    assert torch.allclose(found["spectral"], l2)
    assert torch.allclose(found["nuclear"], 35 * l2)
    assert torch.allclose(found["frobenius"], 35**0.5 * l2)


def test_a_linear_layer_is_a_pointwise_one() -> None:
    weight = torch.randn(6, 5, dtype=torch.float64)
    for direction, dim in (("forward", 1), ("backward", 0)):
        for value in channel_norms(weight, ConvGeometry(1, 1), direction=direction).values.values():
            assert torch.allclose(value, weight.norm(dim=dim))


def test_a_transposed_convolution_is_the_same_matrix_transposed() -> None:
    layer = torch.nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, bias=False).double()
    geometry = ConvGeometry(layer(torch.zeros(1, 3, 4, 4).double()).shape[2:], 3, stride=2, padding=1)
    basis = torch.eye(48, dtype=torch.float64).reshape(48, 3, 4, 4)
    A = layer(basis).detach().flatten(2).permute(1, 2, 0)
    found = channel_norms(layer.weight, geometry, direction="backward")
    assert torch.allclose(found["nuclear"], torch.linalg.svdvals(A).sum(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_weights_are_computed_in_float64(dtype: torch.dtype) -> None:
    weight = torch.randn(4, 3, 3, 3).to(dtype)
    found, expected = (channel_norms(w, SAME) for w in (weight, weight.double()))
    assert all(torch.equal(found[norm], expected[norm]) and found[norm].dtype == torch.float64 for norm in NORMS)


def test_dead_channels_are_exactly_zero_and_faint_ones_are_scaled() -> None:
    weight = torch.randn(3, 4, 3, 3, dtype=torch.float64)
    weight[1], weight[2] = 0, 1e-9 * weight[0]
    found = channel_norms(weight, SAME)
    for norm in NORMS:
        assert found[norm][1] == 0
        assert torch.allclose(found[norm][2], 1e-9 * found[norm][0], rtol=1e-9, atol=0)


def test_only_what_is_asked_for() -> None:
    found = channel_norms(torch.randn(2, 2, 3, 3), SAME, norms=("nuclear",))
    assert set(found.values) == set(found.errors) == set(found.algorithms) == {"nuclear"}


def test_bad_input_is_refused_in_words() -> None:
    weight = torch.randn(4, 2, 3, 3)
    poisoned = weight.clone()
    poisoned[2, 1, 0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"layer1\.conv2: its weights hold NaN or infinity"):
        channel_norms(poisoned, SAME, name="layer1.conv2")
    with pytest.raises(GeometryError, match=r"conv: a weight of shape \(4, 2, 3, 3\) with a geometry for \(5, 5\)"):
        channel_norms(weight, ConvGeometry(8, 5), name="conv")
    with pytest.raises(GeometryError, match="conv: 3 groups do not divide 4 output channels"):
        channel_norms(weight, SAME, groups=3, name="conv")
    with pytest.raises(UnknownNameError, match="norm: 'nuclaer' is not known; did you mean nuclear"):
        channel_norms(weight, SAME, norms=("nuclaer",))
    with pytest.raises(ConfigError, match="tol: 0"):
        channel_norms(weight, SAME, tol=0.0)
