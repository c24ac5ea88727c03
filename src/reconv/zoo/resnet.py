"""ResNet-(6n+2) for 32x32 images: three stages of n basic blocks with 16, 32 and 64 channels.

A stage's first block halves the map and doubles the channels; its shortcut does so without parameters (two
ways are in use, and weights trained with one do not work with the other) or with a 1x1 convolution.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reconv.errors import ConfigError, unknown_name


class ChannelPadding(nn.Module):
    """Append zero channels: `before` in front of the image's, `after` behind them."""

    channel_padding = ("before", "after")  # the attributes that follow when padded channels are removed

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        return f"before={self.before}, after={self.after}"


class AverageShortcut(ChannelPadding):
    """The mean of every 2x2 square, then zero channels.

    Source: Sun & Shi, WACV 2024 (all zeros behind).
    """

    def forward(self, x: Tensor) -> Tensor:
        # An odd map ends in half a square, whose mean is over the pixels it has.
        return super().forward(F.avg_pool2d(x, 2, ceil_mode=True))


class StrideShortcut(ChannelPadding):
    """Every second pixel, then zero channels ("option A").

    Source: He et al., CVPR 2016; half of the zeros in front as in akamaster/pytorch_resnet_cifar10.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :, ::2, ::2])


def _average(in_channels: int, channels: int) -> nn.Module:
    return AverageShortcut(0, channels - in_channels)


def _stride(in_channels: int, channels: int) -> nn.Module:
    before = (channels - in_channels) // 2
    return StrideShortcut(before, channels - in_channels - before)


def _conv(in_channels: int, channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride=2, bias=False), nn.BatchNorm2d(channels))


SHORTCUTS: dict[str, Callable[[int, int], nn.Module]] = {"average": _average, "stride": _stride, "conv": _conv}


class BasicBlock(nn.Module):
    """`relu(x' + bn2(conv2(relu(bn1(conv1(x))))))` with x' = x, or its shortcut where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class CifarResNet(nn.Module):
    """ResNet-(6n+2) for small images.

    Args:
        depth: 6n + 2 for some n >= 1: 20, 32, 44, 56, 110.
        num_classes: outputs.
        shortcut: `average` (the paper's), `stride` (option A) or `conv` (1x1 convolution with BatchNorm).
        in_channels: channels of the image.
        widths: channels of the three stages.

    Raises:
        ConfigError: a depth or a width that cannot be.
        UnknownNameError: a shortcut that is none of these.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        shortcut: str = "average",
        in_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64),
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ConfigError(f"depth: {depth} is not 6n + 2; take 20, 32, 44, 56 or 110.")
        if list(widths) != sorted(widths) or len(widths) != 3 or min(widths) < 1:
            raise ConfigError(f"widths: {tuple(widths)}; give three that do not decrease, such as (16, 32, 64).")
        if shortcut not in SHORTCUTS:
            raise unknown_name("shortcut", shortcut, SHORTCUTS)
        blocks = (depth - 2) // 6
        narrow, middle, wide = widths
        self.conv1 = nn.Conv2d(in_channels, narrow, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.layer1 = _stage(narrow, narrow, blocks, nn.Identity())
        self.layer2 = _stage(narrow, middle, blocks, SHORTCUTS[shortcut](narrow, middle))
        self.layer3 = _stage(middle, wide, blocks, SHORTCUTS[shortcut](middle, wide))
        self.fc = nn.Linear(wide, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))  # type: ignore[no-any-return]


def _stage(in_channels: int, channels: int, blocks: int, shortcut: nn.Module) -> nn.Sequential:
    """Basic blocks, of which the first has this shortcut and halves the map unless it is the identity."""
    stride = 1 if isinstance(shortcut, nn.Identity) else 2
    first = BasicBlock(in_channels, channels, stride, shortcut)
    rest = (BasicBlock(channels, channels, 1, nn.Identity()) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def initialize(model: nn.Module) -> None:
    """Draw convolutions and linear layers from He's normal distribution, by torch's global generator.

    A classifier by what comes in: by what goes out, its ten, the first scores would be so large that training stalls.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
