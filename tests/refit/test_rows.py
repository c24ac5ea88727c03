"""A layer is the matrix of its weight times the rows of its input, whatever its geometry."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from reconv.refit.layer_use import LayerUse
from reconv.refit.rows import (
    Sampler,
    from_matrix,
    input_rows,
    needed_rows,
    output_positions,
    signal_rows,
    tap_table,
    to_matrix,
)

LAYERS = [
    (nn.Linear(5, 4), (6, 5)),
    (nn.Linear(5, 4), (3, 2, 7, 5)),
    (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 7, 6)),
    (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 0), dilation=(1, 2)), (2, 4, 8, 7)),
    (nn.Conv2d(4, 6, (2, 4), padding="same", dilation=2), (2, 4, 8, 7)),
    (nn.Conv2d(4, 6, 3, padding="valid"), (2, 4, 8, 7)),
    (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 8, 7)),
    (nn.Conv2d(6, 9, 3, groups=3, stride=2), (2, 6, 8, 7)),
    (nn.Conv2d(5, 10, 3, groups=5, padding=1), (2, 5, 8, 7)),
    (nn.Conv1d(4, 6, 5, padding=2, stride=3), (2, 4, 11)),
    (nn.Conv3d(2, 3, (1, 3, 2), padding=(0, 1, 1)), (2, 2, 4, 5, 3)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (2, 4, 5, 4)),
    (nn.ConvTranspose2d(4, 6, (4, 2), stride=(3, 1), dilation=(1, 2), groups=2), (2, 4, 5, 4)),
    (nn.ConvTranspose1d(3, 5, 4, stride=2, padding=1), (2, 3, 6)),
]


class Catch(TorchFunctionMode):
    """Keeps the call of the layer's function."""

    use: LayerUse | None = None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.use = LayerUse.of(func, args, kwargs or {}) or self.use
        return func(*args, **(kwargs or {}))


def caught(layer: nn.Module, x: Tensor) -> tuple[LayerUse, Tensor]:
    with Catch() as catch:
        y = layer(x)
    assert catch.use is not None
    return catch.use, y


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=[str(layer) for layer, _ in LAYERS])
def test_rows_times_matrix_is_the_layer(layer: nn.Module, shape: tuple[int, ...]) -> None:
    layer = layer.double()
    use, y = caught(layer, torch.randn(shape, dtype=torch.float64))
    assert use.output_size() == tuple(y.shape)
    spatial = output_positions(y, use.kind)
    table = None if use.kind == "linear" else tap_table(use, spatial)
    for points in (3, 10**6):
        positions = Sampler(len(y), points, 0).positions("name", len(y), spatial.numel())
        matrix = to_matrix(use.weight, use.kind, use.groups)
        rows = input_rows(use, table, positions, constant=True)
        bias = layer.bias.reshape(use.groups, 1, -1)
        found = torch.einsum("ngi,gio->ngo", rows, torch.cat([matrix, bias], 1)).flatten(1)
        torch.testing.assert_close(found, signal_rows(y, use.kind, positions), rtol=1e-10, atol=1e-12)
    assert torch.equal(from_matrix(matrix, use.weight, use.kind), use.weight)
    assert needed_rows(use.weight, use.kind, use.groups)[0] >= 4 * matrix.shape[1]


def test_a_depthwise_layer_is_solved_on_few_rows_of_every_image() -> None:
    layer = nn.Conv2d(64, 64, 3, groups=64)
    bounds = needed_rows(layer.weight, "conv", 64)
    assert len(Sampler(500, 16, 0).positions("a", 500, 900, bounds).flatten()) == 2000
    assert len(Sampler(4000, 16, 0).positions("a", 4000, 900, bounds).flatten()) == 4000
    assert len(Sampler(50, 16, 0).positions("a", 50, 900, bounds).flatten()) == 800
    assert needed_rows(layer.weight, "conv", 1)[1] == math.inf


def test_positions_are_a_function_of_seed_layer_and_shape() -> None:
    def draw(seed: int = 0, layer: str = "a", count: int = 100) -> Tensor:
        return Sampler(10, 5, seed).positions(layer, 10, count)

    assert torch.equal(draw(), draw())
    assert not torch.equal(draw(), draw(seed=1))
    assert not torch.equal(draw(), draw(layer="b"))
    assert draw().shape == (10, 5)
    assert draw(count=10_000).max() < 10_000
    assert draw(count=3).tolist() == [[0, 1, 2]] * 10
    few = draw(count=20)
    assert all(len(set(row.tolist())) == 5 for row in few), "positions repeat though there are few"


def test_a_layer_with_many_inputs_gets_more_rows() -> None:
    assert Sampler(10, 5, 0).positions("a", 10, 100, (200, math.inf)).shape == (10, 20)
    assert Sampler(10, 5, 0).positions("a", 40, 100).shape == (40, 2), "windows share an image's points"
