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


def test_a_filter_suppresses_what_is_behind() -> None:
    split, bands = problem(ConvGeometry(16, 3, padding=1), 16)
    operator, size = Stencil.of(split, bands), (16, 16)
    eigenvalues, eigenvectors = torch.linalg.eigh(taps.dense_gram(split, *(b.meetings(split.device) for b in bands)))
    block = torch.nn.functional.normalize(torch.randn(4, 4, 256, dtype=torch.float64), dim=2)
    before = spectral.Ritz.of(block, operator, size)
    behind = eigenvalues[:, -5]
    wanted = torch.full_like(behind, 100.0)
    after = spectral.filtered(operator, before, behind, wanted, size)

    def outside(vectors: Tensor) -> Tensor:
        """Largest part behind the block, against the part along the leading eigenvector."""
        parts = (vectors @ eigenvectors).abs()
        return parts[:, :, :-4].norm(dim=2) / parts[:, :, -4:].norm(dim=2)

    assert bool((outside(after) < outside(before.vectors) / 3).all())
    assert float(outside(after).median() / outside(before.vectors).median()) < 0.05
