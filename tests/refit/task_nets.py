"""Small networks of other tasks than classification, one for each way in which their layers meet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TwoInputs(nn.Module):
    """An image and numbers, each through layers of its own, then together; two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.c, self.d = nn.Linear(6, 24), nn.Linear(24, 8)
        self.e, self.f = nn.Linear(24, 32), nn.Linear(32, 5)

    def forward(self, image: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.b(F.relu(self.a(image)))).mean((2, 3))
        y = F.relu(self.d(F.relu(self.c(numbers))))
        return {"scores": self.f(F.relu(self.e(torch.cat([x, y], 1)))), "numbers": y}


class Listed(TwoInputs):
    """A list of images."""

    def forward(self, images: list[Tensor]) -> dict[str, Tensor]:  # type: ignore[override]
        image = torch.stack(images)
        return super().forward(image, image.flatten(1)[:, :6])


class Unet(nn.Module):
    """Skip connections, transposed convolutions, upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 16, 3, padding=1)
        self.c = nn.Conv2d(16, 24, 3, padding=1)
        self.up, self.d = nn.ConvTranspose2d(24, 16, 2, stride=2), nn.Conv2d(32, 16, 3, padding=1)
        self.e, self.f = nn.Conv2d(28, 12, 3, padding=1), nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.a(x))
        b = F.relu(self.b(F.max_pool2d(a, 2)))
        c = F.relu(self.c(F.max_pool2d(b, 2)))
        d = F.relu(self.d(torch.cat([F.relu(self.up(c)), b], 1)))
        return self.f(F.relu(self.e(torch.cat([F.interpolate(d, scale_factor=2, mode="bilinear"), a], 1))))


class Pyramid(nn.Module):
    """A feature pyramid: lateral convolutions, sums with upsampled maps, a head for each level or one for both."""

    def __init__(self, shared: bool = False) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.c = nn.Conv2d(24, 32, 3, stride=2, padding=1)
        self.to_b, self.to_c = nn.Conv2d(24, 16, 1), nn.Conv2d(32, 16, 1)
        self.smooth = nn.Conv2d(16, 16, 3, padding=1)
        heads = [nn.Sequential(nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 7, 1)) for _ in range(2)]
        self.heads = nn.ModuleList(heads[:1] * 2 if shared else heads)
        self.mask = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        b = F.relu(self.b(F.relu(self.a(x))))
        c = F.relu(self.c(b))
        top = self.to_c(c)
        middle = self.smooth(self.to_b(b) + F.interpolate(top, scale_factor=2))
        levels = [head(level).split([4, 3], 1) for head, level in zip(self.heads, (middle, top), strict=True)]
        return {"levels": levels, "mask": self.mask(middle)}


class Sound(nn.Module):
    """Convolutions along one axis, strided, dilated and transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(1, 16, 8, stride=4, padding=2), nn.Conv1d(16, 24, 3, dilation=2, padding=2)
        self.norm, self.c = nn.BatchNorm1d(24), nn.Conv1d(24, 16, 1)
        self.out = nn.ConvTranspose1d(16, 1, 8, stride=4, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.relu(self.c(F.relu(self.norm(self.b(F.relu(self.a(x))))))))  # type: ignore[no-any-return]


class Volume(nn.Module):
    """Convolutions along three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv3d(1, 12, 3, padding=1), nn.Conv3d(12, 16, 3, stride=2, padding=1)
        self.up, self.c = nn.ConvTranspose3d(16, 8, 2, stride=2), nn.Conv3d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.up(F.relu(self.b(F.relu(self.a(x)))))))  # type: ignore[no-any-return]


class Text(nn.Module):
    """Columns of an image as a sequence: convolutions, a recurrent layer in two directions, a linear layer."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, batch_first: bool = True) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.batch_first = batch_first
        self.rnn = kind(16, 12, batch_first=batch_first, bidirectional=True, num_layers=2)
        self.c, self.d = nn.Linear(24, 20), nn.Linear(20, 6)

    def forward(self, x: Tensor) -> Tensor:
        columns = F.relu(self.b(F.relu(self.a(x)))).mean(2)
        steps = columns.permute(0, 2, 1) if self.batch_first else columns.permute(2, 0, 1)
        return self.d(F.relu(self.c(self.rnn(steps)[0])))  # type: ignore[no-any-return]


class Chosen(nn.Module):
    """A detector in small: boxes by the largest scores, and a layer that reads what lies there."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.scores, self.c, self.d = nn.Conv2d(16, 1, 1), nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.b(F.relu(self.a(x))))
        scores = self.scores(x).flatten(1)
        places = scores.topk(4, 1).indices
        seen = x.flatten(2).transpose(1, 2).gather(1, places[:, :, None].expand(-1, -1, x.shape[1]))
        return scores, self.d(F.relu(self.c(seen)))
