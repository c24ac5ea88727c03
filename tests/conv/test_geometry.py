"""The geometry of a layer is the geometry that PyTorch gives it; what does not fit is refused in words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from reconv.conv import ConvGeometry
from reconv.errors import GeometryError

LAYERS = [
    nn.Conv2d(1, 1, 3, padding=1),
    nn.Conv2d(1, 1, 7, stride=2, padding=3),
    nn.Conv2d(1, 1, (3, 5), stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
    nn.Conv2d(1, 1, (4, 3), padding="same", dilation=(1, 3)),
    nn.Conv2d(1, 1, 4, padding="same"),
    nn.Conv2d(1, 1, 3, padding="valid"),
    nn.Conv2d(1, 1, 1, stride=4),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("size", [(12, 12), (13, 17)])
def test_output_size_is_pytorchs(layer: nn.Module, size: tuple[int, int]) -> None:
    geometry = ConvGeometry.of(layer, size)
    assert geometry.output_size == tuple(layer(torch.zeros(1, 1, *size)).shape[2:])


@pytest.mark.parametrize(
    "layer", [nn.Conv1d(1, 1, 5, stride=2, padding=1), nn.Conv1d(1, 1, 4, padding="same")], ids=str
)
def test_one_dimension_is_a_map_of_height_one(layer: nn.Module) -> None:
    geometry = ConvGeometry.of(layer, 19)
    assert geometry.input_size == (1, 19)
    assert geometry.output_size == (1, layer(torch.zeros(1, 1, 19)).shape[2])


def test_linear_is_one_tap_on_one_position() -> None:
    assert ConvGeometry.of(nn.Linear(4, 3), (7, 7)) == ConvGeometry(1, 1)


def test_ints_pairs_and_pairs_of_pairs_mean_the_same() -> None:
    assert ConvGeometry(8, 3, padding=1) == ConvGeometry((8, 8), (3, 3), (1, 1), (1, 1), (1, 1))
    assert ConvGeometry(8, 3, padding=1) == ConvGeometry(8, 3, padding=((1, 1), (1, 1)))


def test_a_kernel_that_does_not_fit_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        GeometryError,
        match=r"a \(7, 7\) kernel without padding does not fit a \(4, 4\) input\. Give the size",
    ):
        ConvGeometry(4, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_size": 0, "kernel": 1}, r"input_size: 0; give one int or two, each at least 1"),
        ({"input_size": (4, 4, 4), "kernel": 1}, r"input_size: \(4, 4, 4\)"),
        ({"input_size": 4, "kernel": 1, "stride": 0}, r"stride: 0"),
        ({"input_size": 4, "kernel": 1, "padding": -1}, r"padding: -1; give one int or two, each at least 0"),
        ({"input_size": 4, "kernel": 1, "padding": (1, 1, 1)}, r"padding: \(1, 1, 1\)"),
        ({"input_size": 4, "kernel": 1, "dilation": 0}, r"dilation: 0"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(GeometryError, match=message):
        ConvGeometry(**arguments)


def test_layers_without_a_known_operator_are_refused() -> None:
    with pytest.raises(GeometryError, match="padding_mode='reflect'"):
        ConvGeometry.of(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), 8)
    with pytest.raises(GeometryError, match="BatchNorm2d: not a layer"):
        ConvGeometry.of(nn.BatchNorm2d(1), 8)


@pytest.mark.parametrize(
    ("padding", "text"),
    [(0, ""), (1, ", padding 1"), ((1, 0), ", padding 1x0"), (((0, 1), (0, 1)), ", padding (0, 1)x(0, 1)")],
)
def test_padding_is_written_in_few_signs(padding: Any, text: str) -> None:
    assert str(ConvGeometry(8, 3, padding=padding)) == f"3x3 on 8x8{text}"
