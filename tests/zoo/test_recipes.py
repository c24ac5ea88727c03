"""Each of the paper's configurations comes to the MACs and parameters that were recounted for it.

The counter here knows nothing of the package: it narrows the layers by hand and counts in forward hooks, on the
meta device, where shapes are all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
import torch
from torch import nn

from reconv.errors import ConfigError, UnknownNameError
from reconv.provenance import ModelSpec
from reconv.zoo import Recipe, build_model, load_recipe, recipe_numbers

# model, configuration: MACs before and after, MACs removed in %, parameters removed in %
TABLE: dict[tuple[str, int], tuple[float, float, float, float]] = {
    ("resnet56", 1): (125.5e6, 86.5e6, 31.1, 14.8),
    ("resnet56", 2): (125.5e6, 71.3e6, 43.2, 45.5),
    ("resnet56", 3): (125.5e6, 45.0e6, 64.2, 64.7),
    ("resnet110", 1): (252.9e6, 155.1e6, 38.7, 32.4),
    ("resnet110", 2): (252.9e6, 110.0e6, 56.5, 44.3),
    ("vgg16_bn", 1): (313.2e6, 206.1e6, 34.2, 64.3),
    ("vgg16_bn", 2): (313.2e6, 182.0e6, 41.9, 81.3),
    ("vgg16_bn", 3): (313.2e6, 174.7e6, 44.2, 86.1),
    ("resnet34", 1): (3664e6, 2782e6, 24.1, 10.7),
    ("resnet34", 2): (3664e6, 2266e6, 38.2, 18.0),
}


def build(model: str) -> nn.Module:
    with torch.device("meta"):
        return build_model(ModelSpec(model))


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


def narrow(model: nn.Module, widths: Mapping[str, int]) -> None:
    """Give the layers named these output channels; the norm and the layer that follow in order, read as many."""
    narrowed: int | None = None
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv2d):
            inputs, outputs = narrowed or module.in_channels, widths.get(name, module.out_channels)
            shape = module.kernel_size, module.stride, module.padding
            model.set_submodule(name, nn.Conv2d(inputs, outputs, *shape, bias=module.bias is not None))
            narrowed = widths.get(name)
        elif isinstance(module, nn.BatchNorm2d) and narrowed:
            model.set_submodule(name, nn.BatchNorm2d(narrowed))
        elif isinstance(module, nn.Linear) and narrowed:
            model.set_submodule(name, nn.Linear(narrowed, module.out_features))


def macs(model: nn.Module, size: int) -> int:
    total = 0

    def count(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.Linear)
        total += output.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model(torch.empty(1, 3, size, size, device="meta"))
    return total


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("model", "number"), TABLE, ids=lambda value: str(value))
def test_a_recipe_comes_to_the_table(model: str, number: int) -> None:
    before, after, macs_removed, parameters_removed = TABLE[model, number]
    size = 224 if model == "resnet34" else 32
    big, small = build(model), build(model)
    widths = load_recipe(model, number).widths({n: c.out_channels for n, c in convolutions(big).items()})
    with torch.device("meta"):
        narrow(small, widths)
    sizes = {n: c.out_channels for n, c in convolutions(small).items()}
    assert {n: sizes[n] for n in widths} == widths
    counted = macs(big, size), macs(small, size)
    digits = -6 if model == "resnet34" else -5
    assert [round(count, digits) for count in counted] == [before, after]
    assert 100 * (1 - counted[1] / counted[0]) == pytest.approx(macs_removed, abs=0.051)
    assert 100 * (1 - parameters(small) / parameters(big)) == pytest.approx(parameters_removed, abs=0.051)


def test_every_published_configuration_is_in_the_table() -> None:
    assert {(model, number) for model, numbers in recipe_numbers().items() for number in numbers} == set(TABLE)


def test_skipped_blocks_and_other_layers_keep_their_channels() -> None:
    channels = {name: conv.out_channels for name, conv in convolutions(build("resnet56")).items()}
    widths = load_recipe("resnet56", 2).widths(channels)
    assert all(name.endswith(".conv1") for name in widths)
    assert {"layer1.7.conv1", "layer2.0.conv1", "layer3.8.conv1"}.isdisjoint(widths)
    assert widths["layer1.0.conv1"] == 6
    assert len(widths) == 27 - 6


@pytest.mark.parametrize(("fraction", "kept"), [("0.9", 1), ("0.7", 3), ("0.1", 9), ("0.5", 5)])
def test_a_whole_number_of_channels_loses_none_to_binary_rounding(fraction: str, kept: int) -> None:
    recipe = Recipe("any", 1, {"conv": Decimal(fraction)}, ())
    assert recipe.widths({"conv": 10}) == {"conv": kept}


def test_a_recipe_for_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"recipe resnet56 cfg1: no convolution layer1\.\*\.conv1"):
        load_recipe("resnet56", 1).widths({"features.0": 64})


@pytest.mark.parametrize(("model", "number"), [("resnet101", 1), ("resnet56", 4), ("timm:resnet34", 1)])
def test_what_was_not_published_lists_what_was(model: str, number: int) -> None:
    with pytest.raises(UnknownNameError, match="published: resnet110 1, 2; resnet34 1, 2; resnet56 1, 2, 3"):
        load_recipe(model, number)
