"""Beyond the dense path: pieces, seam, cut and filtered block agree with the explicit matrix, for every kind."""

from __future__ import annotations

import pytest
import torch
from conv_oracle import norms_by_svd
from conv_strategies import Layer, layers
from hypothesis import given, settings
from torch import Tensor

from reconv.conv import ConvGeometry, ConvMatrix, channel_norms

ACCURACY = {"spectral": 1e-6, "nuclear": 1e-5, "frobenius": 1e-12}

# (input size, kernel, stride, padding, dilation): more than a hundred rows, so that nothing is dense.
GEOMETRIES = {
    "same": ((14, 14), 3, 1, 1, 1),
    "rectangular": ((11, 19), 3, 1, 1, 1),
    "valid": ((16, 15), 3, 1, 0, 1),
    "full": ((12, 12), 3, 1, 2, 1),
    "strided": ((27, 24), 3, 2, 1, 1),
    "stride 3": ((37, 37), (5, 4), 3, 2, 1),
    "stride 4": ((47, 47), 11, 4, 2, 1),
    "5x5": ((13, 13), 5, 1, 2, 1),
    "stem": ((26, 26), 7, 2, 3, 1),
    "dilated": ((23, 24), 3, 1, 2, 2),
    "uneven": ((14, 13), (3, 2), 1, ((1, 1), (0, 1)), 1),
    "thin": ((2, 70), 3, 1, 1, 1),
    "line": ((1, 120), (1, 5), 1, (0, 2), 1),
    "pointwise": ((12, 12), 1, 1, 0, 1),
    "strided pointwise": ((23, 23), 1, 2, 0, 1),
    "patches": ((44, 44), 4, 4, 0, 1),
}
KINDS = ["generic", "depthwise", "rank one", "constant", "symmetric", "nearly dead", "dead"]


def kernels(kind: str, k: tuple[int, int]) -> Tensor:
    """Three channels of one kind: generic, and those whose symbol touches zero or peaks everywhere."""
    generic = torch.randn(3, 3, *k, dtype=torch.float64)
    one = generic[:, :1]
    separable = one[..., :1] * one[..., :1, :]
    if kind == "dead":
        generic[0], generic[1] = 0, 1e-7 * generic[1]
    return {
        "generic": generic,
        "depthwise": one,
        "rank one": separable.expand(-1, 2, -1, -1),
        "constant": torch.ones_like(one),
        "symmetric": one + one.flip(2, 3),
        "nearly dead": 1e-4 * generic + separable,
        "dead": generic,
    }[kind]


def assert_norms(found, expected: dict[str, Tensor]) -> None:
    for norm, value in expected.items():
        error = (found[norm] - value).abs()
        assert bool((error <= ACCURACY[norm] * value).all()), (norm, float((error / value).max()))


def check(name: str, kind: str, direction: str, **options) -> None:
    size, kernel, stride, padding, dilation = GEOMETRIES[name]
    geometry = ConvGeometry(size, kernel, stride, padding, dilation)
    weight = kernels(kind, geometry.kernel)
    found = channel_norms(weight, geometry, direction=direction, **options)
    same = {"stride": geometry.stride, "padding": geometry.padding, "dilation": geometry.dilation}
    assert_norms(found, norms_by_svd(weight, size, **same, backward=direction == "backward"))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_geometry(name: str) -> None:
    check(name, "generic", "forward")


@pytest.mark.parametrize("name", ["same", "rectangular", "valid", "strided", "5x5", "dilated", "thin", "line"])
def test_backward(name: str) -> None:
    check(name, "generic", "backward")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["same", "strided"])
def test_every_kind_of_kernel(name: str, kind: str) -> None:
    check(name, kind, "forward")


@pytest.mark.parametrize("name", ["same", "stem", "dilated", "line"])
def test_exact(name: str) -> None:
    check(name, "generic", "forward", exact=True)


def test_exact_says_what_it_proved() -> None:
    geometry = ConvGeometry(33, 3, padding=1)
    found = channel_norms(torch.randn(3, 4, 3, 3), geometry, exact=True)
    assert found.algorithms["spectral"] == ("filtered block, proven",) * 3
    assert found.algorithms["nuclear"] == ("seam",) * 3
    depthwise = channel_norms(torch.randn(3, 1, 3, 3), geometry, exact=True)
    assert depthwise.algorithms["nuclear"] == ("cut",) * 3


def test_channels_that_are_done_at_once_leave_the_others_alone() -> None:
    """Some of these symmetric kernels need no iteration at all, others do."""
    weight = torch.randn(200, 1, 3, 3, dtype=torch.float64)
    weight = weight + weight.flip(2, 3)
    together = channel_norms(weight, ConvGeometry(14, 3, padding=1), norms=("spectral",))["spectral"]
    apart = torch.cat(
        [channel_norms(w, ConvGeometry(14, 3, padding=1), norms=("spectral",))["spectral"] for w in weight.split(20)]
    )
    torch.testing.assert_close(together, apart, rtol=1e-6, atol=0)


@given(layer=layers(least=9, most=20, kernel=4, channels=2))
@settings(max_examples=25, deadline=None)
def test_any_geometry(layer: Layer) -> None:
    found = channel_norms(layer.weight, layer.geometry, groups=layer.groups)
    assert_norms(found, norms_by_svd(layer.weight, **layer.options))


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("exact", [False, True])
@given(layer=layers(least=9, most=24, kernel=5, channels=2))
@settings(max_examples=150, deadline=None)
def test_any_geometry_at_length(direction: str, exact: bool, layer: Layer) -> None:
    found = channel_norms(layer.weight, layer.geometry, groups=layer.groups, direction=direction, exact=exact)
    assert_norms(found, norms_by_svd(layer.weight, **layer.options, backward=direction == "backward"))


@pytest.mark.slow
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("kernel", "size"), [(3, 12), (5, 14), (7, 16), (9, 20), (11, 24), (13, 28)])
def test_no_peak_is_overlooked(kernel: int, size: int, symmetric: bool) -> None:
    """A large kernel's symbol has many peaks of like height; which one leads is the border's choice."""
    weight = torch.randn(150, 1, kernel, kernel, dtype=torch.float64)
    weight = weight + weight.flip(2, 3) if symmetric else weight
    geometry = ConvGeometry(size, kernel, padding=kernel // 2)
    found = channel_norms(weight, geometry, norms=("spectral",))["spectral"]
    truth = torch.cat([torch.linalg.eigvalsh(ConvMatrix(part, geometry).gram())[:, -1] for part in weight.split(25)])
    assert float((found / truth.sqrt() - 1).abs().max()) < ACCURACY["spectral"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_everything(name: str, kind: str, direction: str) -> None:
    check(name, kind, direction)
