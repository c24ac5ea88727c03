"""VGG-16 with BatchNorm for 32x32 images: thirteen 3x3 convolutions and one linear layer.

Source: Simonyan & Zisserman, ICLR 2015, configuration D; the three linear layers of the original replaced by
`Linear(512, classes)`, as in Sun & Shi, WACV 2024.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reconv.zoo.resnet import initialize

# Channels of the convolutions between one 2x2 maximum pooling and the next.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class CifarVGG16(nn.Module):
    """VGG16-BN for small images (32x32 or larger); `features` is laid out as torchvision's.

    Args:
        num_classes: outputs.
        in_channels: channels of the image.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage in _STAGES:
            for channels in stage:
                layers += [
                    nn.Conv2d(in_channels, channels, 3, padding=1),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                ]
                in_channels = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(in_channels, num_classes)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))  # type: ignore[no-any-return]
