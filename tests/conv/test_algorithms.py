"""Laws of the single steps, which whole norms would forgive: pieces add up, filters suppress, traces grow evenly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from reconv.conv import ConvGeometry, channel_norms, cut, dense, nuclear, seam, spectral, taps, torus, waves
from reconv.conv.bands import Band, direct_sum
from reconv.conv.stencil import Stencil

Problem = tuple[Tensor, tuple[Band, Band]]


def problem(geometry: ConvGeometry, stacked: int = 8, direction: str = "forward") -> Problem:
    weight = torch.randn(4, stacked, *geometry.kernel, dtype=torch.float64)
    one, two = (next(iter(direct_sum(axis, direction))) for axis in geometry.axes)
    return taps.split_axes(taps.tap_gram(weight), geometry.kernel), (one, two)


def truth(split: Tensor, bands: tuple[Band, Band]) -> Tensor:
    return dense.singular_values(split, *(taps.reads(b.axis, b.direction, split.device) for b in bands))


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("size", [(16, 14), (3, 40), (40, 3)])
def test_area_edges_and_corner_add_up(size: tuple[int, int], direction: str) -> None:
    split, bands = problem(ConvGeometry(size, 3, padding=1), 16, direction)
    found = nuclear.contributions(split, bands, nuclear.LADDER[3]).sum(0)
    assert torch.allclose(found, truth(split, bands).sum(1), rtol=1e-7, atol=0)


def test_pieces_of_a_strided_layer_backward() -> None:
    split, bands = problem(ConvGeometry(20, 3, padding=1, stride=2), 16, "backward")
    found = nuclear.contributions(split, bands, nuclear.LADDER[3]).sum(0)
    assert torch.allclose(found, truth(split, bands).sum(1), rtol=1e-4, atol=0)


def test_an_ordinary_layer_is_done_by_pieces() -> None:
    found = channel_norms(torch.randn(4, 32, 3, 3), ConvGeometry(40, 3, padding=1))
    assert set(found.algorithms["nuclear"]) == {"pieces"}
    assert set(found.algorithms["spectral"]) == {"filtered block"}


@pytest.mark.parametrize("stacked", [1, 5])
def test_exact_algorithms_agree_with_dense(stacked: int) -> None:
    split, bands = problem(ConvGeometry((13, 11), (3, 4), padding=(1, 2)), stacked)
    expected = truth(split, bands).sum(1)
    assert torch.allclose(seam.nuclear_norm(split, bands), expected, rtol=torus.ACCURACY, atol=0)
    assert bool(cut.single_kernels(split, bands)[1].all()) == (stacked == 1)
    if stacked == 1:
        assert torch.allclose(cut.nuclear_norm(split, bands), expected, rtol=torus.ACCURACY, atol=0)


@pytest.mark.parametrize("size", [(12, 9), (3, 17)])
def test_traces_grow_evenly(size: tuple[int, int]) -> None:
    split, bands = problem(ConvGeometry(size, 3, padding=1))
    sigma = truth(split, bands)
    trace, square = torus._traces(split, bands)
    assert torch.allclose(trace, sigma.pow(2).sum(1))
    assert torch.allclose(square, sigma.pow(4).sum(1))


def test_the_start_is_near_and_below() -> None:
    split, bands = problem(ConvGeometry(20, 3, padding=1), 16)
    top = truth(split, bands)[:, -6:].square()
    block, behind = waves.leading_waves(split, bands, 4)
    G = taps.dense_gram(split, *(band.meetings(split.device) for band in bands))
    quotient = (block[:, 0] * (G @ block[:, 0, :, None])[..., 0]).sum(1)
    assert torch.allclose(block.norm(dim=2), torch.ones_like(block[..., 0]))
    assert bool((quotient <= top[:, -1] * (1 + 1e-12)).all())
    assert bool((quotient >= 0.99 * top[:, -1]).all())
    assert bool((behind < top[:, -1]).all())


def test_the_filter_is_chebyshevs_polynomial() -> None:
    split, bands = problem(ConvGeometry(12, 3, padding=1), 16)
    operator = Stencil.of(split, bands)
    eigenvalues, eigenvectors = torch.linalg.eigh(taps.dense_gram(split, *(b.meetings(split.device) for b in bands)))
    block = torch.nn.functional.normalize(torch.randn(4, 4, 144, dtype=torch.float64), dim=2)
    ritz = spectral.Ritz.of(block, operator, (12, 12))
    behind = eigenvalues[:, -5].minimum(0.99 * ritz.values[:, -1]).maximum(0.7 * ritz.values[:, -1])
    found = spectral.chebyshev_filter(operator, ritz, behind, torch.full_like(behind, 100.0), (12, 12))
    x = (2 * eigenvalues / behind[:, None] - 1)[:, None]

    def chebyshev(degree: int) -> Tensor:
        polynomial = torch.special.chebyshev_polynomial_t(x, torch.tensor(degree))
        return torch.nn.functional.normalize(polynomial * (ritz.vectors @ eigenvectors), dim=2)

    errors = [float((chebyshev(m) - found @ eigenvectors).abs().max()) for m in range(2, 91)]
    assert min(errors) < 1e-9
