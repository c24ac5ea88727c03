"""The zoo's own nets: sizes known from their papers, shortcuts by their definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reconv.errors import ConfigError, UnknownNameError
from reconv.zoo.resnet import AverageShortcut, CifarResNet, StrideShortcut
from reconv.zoo.vgg import CifarVGG16


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)], ids=str)
def test_parameters_are_those_of_the_paper(depth: int, millions: float) -> None:
    with torch.device("meta"):
        assert parameters(CifarResNet(depth)) / 1e6 == pytest.approx(millions, rel=0.03)


@pytest.mark.parametrize("shortcut", ["average", "stride", "conv"])
@pytest.mark.parametrize("size", [32, 8, 7])
def test_every_shortcut_fits_even_and_odd_maps(shortcut: str, size: int) -> None:
    model = CifarResNet(8, num_classes=5, shortcut=shortcut, in_channels=1, widths=(4, 7, 9))
    assert model(torch.randn(2, 1, size, size)).shape == (2, 5)


def test_only_the_convolution_shortcut_has_parameters() -> None:
    sizes = {shortcut: parameters(CifarResNet(8, shortcut=shortcut)) for shortcut in ("average", "stride", "conv")}
    assert sizes["average"] == sizes["stride"] < sizes["conv"]


def padded(x: Tensor, before: int, after: int) -> Tensor:
    n, _, height, width = x.shape
    return torch.cat([torch.zeros(n, before, height, width), x, torch.zeros(n, after, height, width)], 1)


def test_the_average_shortcut_is_the_mean_of_squares() -> None:
    x = torch.randn(2, 3, 6, 4)
    means = x.reshape(2, 3, 3, 2, 2, 2).mean((3, 5))
    torch.testing.assert_close(AverageShortcut(0, 5)(x), padded(means, 0, 5))


def test_the_average_shortcut_ends_an_odd_map_with_the_pixels_it_has() -> None:
    x = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert AverageShortcut(0, 0)(x).flatten().tolist() == [2.0, 3.5, 6.5, 8.0]


def test_the_stride_shortcut_is_every_second_pixel() -> None:
    x = torch.randn(2, 3, 6, 4)
    torch.testing.assert_close(StrideShortcut(2, 1)(x), padded(x[:, :, [0, 2, 4]][..., [0, 2]], 2, 1))


def test_shortcuts_lie_as_their_sources_say() -> None:
    paper, option_a = CifarResNet(8), CifarResNet(8, shortcut="stride")
    assert isinstance(shortcut := paper.layer2[0].shortcut, AverageShortcut)
    assert (shortcut.before, shortcut.after) == (0, 16)
    assert isinstance(shortcut := option_a.layer3[0].shortcut, StrideShortcut)
    assert (shortcut.before, shortcut.after) == (16, 16)
    assert isinstance(option_a.layer1[0].shortcut, nn.Identity)


def test_vgg_has_the_features_of_torchvision() -> None:
    import torchvision

    with torch.device("meta"):
        ours, theirs = CifarVGG16(), torchvision.models.vgg16_bn()
    expected = {name: tensor.shape for name, tensor in theirs.features.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.features.state_dict().items()} == expected
    assert parameters(ours) == 14_728_266


def test_vgg_takes_32_pixels_and_more() -> None:
    model = CifarVGG16(num_classes=7).eval()
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 7)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 7)


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="depth: 21 is not 6n"):
        CifarResNet(21)
    with pytest.raises(ConfigError, match="give three that do not decrease"):
        CifarResNet(20, widths=(16, 8, 4))
    with pytest.raises(UnknownNameError, match="did you mean average"):
        CifarResNet(20, shortcut="avrage")
