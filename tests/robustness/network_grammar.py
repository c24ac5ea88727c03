"""Random networks: a grammar over what convolutional networks are made of.

A network is a list of steps, each drawn with a seed of its own, so that a part of the list is a network too: a failing
one is made smaller by leaving steps out. A step is a module from a map `[N, C, H, W]` to a map.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Build = Callable[[random.Random, int], nn.Module]
_ACTIVATIONS: tuple[Callable[[int], nn.Module], ...] = (
    *[lambda _, kind=kind: kind() for kind in (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.LeakyReLU)],
    *[lambda _, kind=kind: kind() for kind in (nn.ELU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign)],
    lambda width: nn.PReLU(width),
    lambda _: nn.PReLU(),
    lambda _: nn.ReLU(inplace=True),
)


def activation(draw: random.Random, width: int) -> nn.Module:
    return draw.choice(_ACTIVATIONS)(width)


class Cosine(nn.Module):
    """Element-wise, and not zero at zero."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "cos":
            return x.cos()
        if self.kind == "exp":
            return (-x.square()).exp()
        return 1 - x if self.kind == "one minus" else x * x.sigmoid() + 0.1


# ------------------------------------------------------------------ over those that stay


def kept_of(x: Tensor) -> Tensor:
    """Channels of a map that are not all zero: in a network whose removed channels are zeroed, those that stay."""
    return (x != 0).transpose(0, 1).flatten(1).any(1).nonzero().ravel()


class OverChannels(nn.Module):
    """A step that brings all channels together; `over_kept` says that channels of zeros are to be left out.

    What it reads comes straight from a convolution, so that no channel that stays is zero.
    """

    over_kept = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.over_kept:
            return self.bring_together(x)
        kept = kept_of(x)
        y = self.bring_together(x[:, kept])
        if y.shape[1] != len(kept):
            return y
        return torch.zeros_like(x).index_copy(1, kept, y)

    def bring_together(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class PlainNorm(OverChannels):
    """A norm without parameters of its own."""

    def __init__(self, kind: str, groups: int = 1):
        super().__init__()
        self.kind, self.groups = kind, groups

    def bring_together(self, x: Tensor) -> Tensor:
        if self.kind == "group":
            return F.group_norm(x, self.groups)
        y = x.permute(0, 2, 3, 1)
        if self.kind == "layer":
            return F.layer_norm(y, y.shape[-1:]).permute(0, 3, 1, 2)
        if self.kind == "root mean square":
            return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)
        mean = x.mean(1, keepdim=True)
        return (x - mean) / (x.var(1, keepdim=True, unbiased=False) + 1e-6).sqrt()


class ScaledNorm(OverChannels):
    """A norm over channels with a scale and a shift, in channels first or last."""

    def __init__(self, kind: str, width: int, groups: int = 1):
        super().__init__()
        self.kind, self.groups = kind, groups
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        if not self.over_kept:
            return self.norm(x, self.weight, self.bias)
        kept = self.weight.nonzero().ravel()
        return torch.zeros_like(x).index_copy(1, kept, self.norm(x[:, kept], self.weight[kept], self.bias[kept]))

    def norm(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        if self.kind == "group":
            return F.group_norm(x, self.groups, weight, bias)
        y = x.permute(0, 2, 3, 1)
        if self.kind == "layer":
            return F.layer_norm(y, weight.shape, weight, bias).permute(0, 3, 1, 2)
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)
        return (y * weight + bias).permute(0, 3, 1, 2)


class Response(OverChannels):
    """Global response normalization."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if not self.over_kept:
            return self.respond(x, self.weight)
        kept = kept_of(x)
        return torch.zeros_like(x).index_copy(1, kept, self.respond(x[:, kept], self.weight[:, kept]))

    def respond(self, x: Tensor, weight: Tensor) -> Tensor:
        size = x.square().sum((2, 3), keepdim=True).sqrt()
        return x + weight * x * size / (size.mean(1, keepdim=True) + 1e-6)


class SpatialGate(OverChannels):
    """Where to look, from the mean and the largest of all channels (CBAM)."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.look = kind, nn.Conv2d(2 if kind == "both" else 1, 1, 3, padding=1)

    def bring_together(self, x: Tensor) -> Tensor:
        mean, most = x.mean(1, keepdim=True), x.amax(1, keepdim=True)
        summary = {"both": [mean, most], "mean": [mean], "most": [most]}[self.kind]
        return x * torch.sigmoid(self.look(torch.cat(summary, 1)))


# ------------------------------------------------------------------ branches


class Residual(nn.Module):
    def __init__(self, branch: nn.Module, shortcut: nn.Module, scale: nn.Parameter | None, after: nn.Module):
        super().__init__()
        self.branch, self.shortcut, self.after = branch, shortcut, after
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        y = y if self.scale is None else y * self.scale
        return self.after(y + self.shortcut(x))


class Concatenated(nn.Module):
    def __init__(self, branches: Sequence[nn.Module], whole: bool):
        super().__init__()
        self.branches, self.whole = nn.ModuleList(branches), whole

    def forward(self, x: Tensor) -> Tensor:
        parts = [branch(x) for branch in self.branches]
        return torch.cat([x, *parts] if self.whole else parts, 1)


class Partial(nn.Module):
    """Cross-stage partial: one part of the channels is worked on, the other passes by."""

    def __init__(self, kind: str, branch: nn.Module, width: int):
        super().__init__()
        self.kind, self.branch, self.half = kind, branch, width // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "chunk":
            a, b = x.chunk(2, 1)
        elif self.kind == "split":
            a, b = x.split(self.half, 1)
        else:
            a, b = x[:, : self.half], x[:, self.half :]
        return torch.cat([self.branch(a), b], 1)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, kind: str, width: int, inner: int):
        super().__init__()
        self.kind, self.width = kind, width
        layer = (lambda a, b: nn.Conv2d(a, b, 1)) if kind == "conv" else nn.Linear
        self.down, self.up, self.act = layer(width, inner), layer(inner, width), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "conv":
            return x * torch.sigmoid(self.up(self.act(self.down(F.adaptive_avg_pool2d(x, 1)))))
        y = torch.sigmoid(self.up(self.act(self.down(x.mean((2, 3))))))
        if self.kind == "view":
            return x * y.view(x.shape[0], x.shape[1], 1, 1)
        if self.kind == "attribute":
            return x * y.reshape(-1, self.width, 1, 1)
        return x * y[:, :, None, None].expand_as(x)


class Shuffle(nn.Module):
    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class Attention(nn.Module):
    """Self-attention over the positions of a map."""

    def __init__(self, kind: str, width: int, heads: int):
        super().__init__()
        self.kind, self.heads = kind, heads
        self.scale = (width // heads) ** -0.5
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        if self.kind == "chunk":
            q, k, v = (t.reshape(n, h * w, self.heads, -1).transpose(1, 2) for t in self.qkv(tokens).chunk(3, -1))
        else:
            qkv = self.qkv(tokens).reshape(n, h * w, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind(0)
        if self.kind == "fused":
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1) @ v
        y = self.out(y.transpose(1, 2).reshape(n, h * w, c))
        return x + y.transpose(1, 2).reshape(n, c, h, w)


class Multihead(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, heads, batch_first=True)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        y = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        y = y + self.down(F.gelu(self.up(y)))
        return y.transpose(1, 2).reshape(x.shape)


class Function(nn.Module):
    """What a forward does without a module, by name."""

    def __init__(self, name: str, size: int = 1):
        super().__init__()
        self.name, self.size = name, size

    def forward(self, x: Tensor) -> Tensor:
        return FUNCTIONS[self.name](x, self.size)

    def extra_repr(self) -> str:
        return self.name


def _maxout(x: Tensor, pieces: int) -> Tensor:
    return x.view(x.shape[0], -1, pieces, *x.shape[2:]).amax(2)


FUNCTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "pixel shuffle": lambda x, n: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda x, n: F.pixel_unshuffle(x, 2),
    "max pool": lambda x, n: F.max_pool2d(x, 2),
    "max pool of three": lambda x, n: F.max_pool2d(x, 3, 2, 1),
    "average pool": lambda x, n: F.avg_pool2d(x, 3, 1, 1),
    "adaptive pool": lambda x, n: F.adaptive_avg_pool2d(x, 4),
    "adaptive max pool": lambda x, n: F.adaptive_max_pool2d(x, 4),
    "power pool": lambda x, n: F.avg_pool2d(x.abs() ** 3 + 1e-6, 2) ** (1 / 3),
    "nearest": lambda x, n: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x, n: F.interpolate(x, (6, 6), mode="bilinear", align_corners=False),
    "pad": lambda x, n: F.pad(x, (1, 0, 2, 1)),
    "reflect": lambda x, n: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "crop": lambda x, n: x[:, :, 1:, :-1],
    "every second place": lambda x, n: x[:, :, ::2, ::2],
    "roll": lambda x, n: torch.roll(x, (1, 2), (2, 3)),
    "mirror": lambda x, n: x.flip(3),
    "transposed": lambda x, n: x.transpose(2, 3),
    "glu": lambda x, n: F.glu(x, 1),
    "maxout": lambda x, n: _maxout(x, 2),
    "halves multiplied": lambda x, n: x[:, : x.shape[1] // 2] * x[:, x.shape[1] // 2 :],
    "chunks multiplied": lambda x, n: torch.mul(*x.chunk(2, 1)),
    "channels mirrored": lambda x, n: x.flip(1),
    "channels rolled": lambda x, n: torch.roll(x, 1, 1),
    "repeated": lambda x, n: x.repeat(1, 2, 1, 1),
    "repeated one by one": lambda x, n: x.repeat_interleave(2, 1),
    "stacked": lambda x, n: torch.stack([x, x.relu()], 1).flatten(1, 2),
    "stacked after": lambda x, n: torch.stack([x, x.relu()], 2).flatten(1, 2),
    "times its mean": lambda x, n: x * x.mean((2, 3), keepdim=True),
    "minus its mean": lambda x, n: x - x.mean((2, 3), keepdim=True),
    "softmax over places": lambda x, n: x.flatten(2).softmax(-1).view_as(x),
    "softmax over channels": lambda x, n: x.softmax(1),
    "unit length": lambda x, n: F.normalize(x, dim=1),
    "sum over channels": lambda x, n: x * x.sum(1, keepdim=True).tanh(),
    "sum of squares": lambda x, n: x / (1 + x.square().sum(1, keepdim=True)).sqrt(),
    "sum of sigmoids": lambda x, n: x * x.sigmoid().sum(1, keepdim=True).tanh(),
    "count of channels": lambda x, n: x / x.shape[1] ** 0.5,
    "gram": lambda x, n: torch.einsum("nchw,nkhw->nck", x, x).mean(1)[:, :, None, None] + x,
    "correlation": lambda x, n: (x.flatten(2).transpose(1, 2) @ x.flatten(2)).mean(1).view(len(x), 1, *x.shape[2:]) + x,
    "every second channel": lambda x, n: x[:, ::2],
    "first channels": lambda x, n: x[:, :n],
    "without the first": lambda x, n: x[:, 1:],
    "chosen channels": lambda x, n: x[:, torch.arange(x.shape[1] - 1, -1, -1)],
    "zeros appended": lambda x, n: F.pad(x, (0, 0, 0, 0, 0, 2)),
    "unfolded": lambda x, n: F.fold(F.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1),
    "position": lambda x, n: x + torch.linspace(0, 1, x.shape[3], dtype=x.dtype),
    "clamped": lambda x, n: x.clamp(-0.5, 1),
    "in place": lambda x, n: x.clone().mul_(2).add_(0.1),
    "where": lambda x, n: torch.where(x > 0, x, 0.1 * x),
    "cumulated": lambda x, n: x.cumsum(2),
    "quantized": lambda x, n: (x * 8).round() / 8,
    "to tokens and back": lambda x, n: x.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2).reshape(x.shape),
    "complex": lambda x, n: torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[2:]),
}  # fmt: skip


class PerChannel(nn.Module):
    """Numbers for every channel: a parameter or a buffer, multiplied or added."""

    def __init__(self, kind: str, width: int):
        super().__init__()
        self.kind = kind
        numbers = torch.ones(1, width, 1, 1)
        if "buffer" in kind:
            self.register_buffer("numbers", numbers)
        else:
            self.numbers = nn.Parameter(numbers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.numbers if "add" in self.kind else x * self.numbers


class Mixer(nn.Module):
    """A linear layer over the channels of tokens, or over the places of a map of a fixed size."""

    def __init__(self, kind: str, width: int, inner: int):
        super().__init__()
        self.kind, self.up, self.down = kind, nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "channels last":
            return self.down(F.gelu(self.up(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        tokens = x.flatten(2).transpose(1, 2)
        return self.down(F.gelu(self.up(tokens))).transpose(1, 2).reshape(x.shape)


class Places(nn.Module):
    """A layer along the places of a map, for every channel alike."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = F.adaptive_avg_pool2d(x, 4)
        return self.layer(y.flatten(2)).view_as(y)


class Across(nn.Module):
    """A convolution along the channels (ECA)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.mean((2, 3))[:, None])[:, 0]
        return x * torch.sigmoid(y)[:, :, None, None]


class Twice(nn.Module):
    """A module that is used twice."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(F.relu(self.module(x)))


class Tied(nn.Module):
    """Two layers of one weight."""

    def __init__(self, width: int):
        super().__init__()
        self.a, self.b = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x)))


class Standardized(nn.Conv2d):
    """A convolution whose weight is standardized."""

    over_kept = False

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        if self.over_kept:  # of every filter the entries that are not zero
            stays = w != 0
            count = stays.sum((1, 2, 3), keepdim=True).clamp(min=1)
            w = (w - w.sum((1, 2, 3), keepdim=True) / count) * stays
            w = w / (w.square().sum((1, 2, 3), keepdim=True) / count + 1e-5).sqrt()
        else:
            mean, var = w.mean((1, 2, 3), keepdim=True), w.var((1, 2, 3), keepdim=True, unbiased=False)
            w = (w - mean) / (var + 1e-5).sqrt()
        return F.conv2d(x, w, self.bias, padding=self.padding)


class Modulated(nn.Module):
    """Scales and shifts from elsewhere in the network (FiLM)."""

    def __init__(self, width: int):
        super().__init__()
        self.read = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.read(x.mean((2, 3))).chunk(2, 1)
        return x * (1 + scale[:, :, None, None]) + shift[:, :, None, None]


# ------------------------------------------------------------------ the grammar


def _width(draw: random.Random) -> int:
    return draw.choice((4, 6, 8, 12, 16))


def _conv(draw: random.Random, width: int) -> nn.Module:
    k, dilation = draw.choice((1, 3, 3, 5)), draw.choice((1, 1, 1, 2))
    options: dict[str, Any] = {"stride": draw.choice((1, 1, 1, 2)), "dilation": dilation, "bias": draw.random() < 0.7}
    options["padding_mode"] = draw.choice(("zeros",) * 6 + ("circular", "reflect", "replicate"))
    padding: Any = dilation * (k // 2)
    if draw.random() < 0.1:
        padding, options["stride"] = "same", 1
    return nn.Conv2d(width, _width(draw), k, padding=padding, **options)


def _grouped(draw: random.Random, width: int) -> nn.Module:
    groups = draw.choice([g for g in (2, 3, 4) if width % g == 0] or [1])
    return nn.Conv2d(width, groups * draw.choice((2, 3, 4)), 3, padding=1, groups=groups)


def _depthwise(draw: random.Random, width: int) -> nn.Module:
    return nn.Conv2d(width, width * draw.choice((1, 1, 2)), 3, padding=1, groups=width, bias=draw.random() < 0.5)


def _transposed(draw: random.Random, width: int) -> nn.Module:
    groups = draw.choice((1, 1, 2 if width % 2 == 0 else 1, width))
    return nn.ConvTranspose2d(width, groups * draw.choice((2, 4)) if groups > 1 else _width(draw), 2, 2, groups=groups)


def _norm(draw: random.Random, width: int) -> nn.Module:
    groups = draw.choice([g for g in (1, 2, 4) if width % g == 0 and width // g > 1] or [1])
    return draw.choice(
        (
            *[lambda: nn.BatchNorm2d(width)] * 4,
            lambda: nn.BatchNorm2d(width, affine=False),
            lambda: nn.BatchNorm2d(width, track_running_stats=False),
            lambda: nn.InstanceNorm2d(width, affine=True),
            lambda: nn.InstanceNorm2d(width),
            lambda: ScaledNorm("group", width, groups),
            lambda: ScaledNorm("layer", width),
            lambda: ScaledNorm("root mean square", width),
        )
    )()


def _over_channels(draw: random.Random, width: int) -> nn.Module:
    """After a convolution, so that channels that stay are not zero."""
    out = _width(draw)
    groups = draw.choice([g for g in (1, 2) if out % g == 0])
    kinds = ("layer", "root mean square", "written out")
    step = draw.choice(
        (
            lambda: PlainNorm("group", groups),
            lambda: PlainNorm(draw.choice(kinds)),
            lambda: Response(out),
            lambda: SpatialGate(draw.choice(("both", "mean", "most"))),
        )
    )()
    return nn.Sequential(nn.Conv2d(width, out, draw.choice((1, 3)), padding="same"), step)


def _sequence(draw: random.Random, width: int, out: int | None = None) -> nn.Sequential:
    """A short branch that keeps the size of the map; of as many channels as are asked for."""
    steps: list[nn.Module] = []
    for _ in range(draw.choice((0, 1, 1, 2))):
        inner = _width(draw)
        steps.append(nn.Conv2d(width, inner, draw.choice((1, 3)), padding="same", bias=draw.random() < 0.5))
        steps += [_norm(draw, inner)] if draw.random() < 0.6 else []
        steps += [activation(draw, inner)] if draw.random() < 0.8 else []
        steps += [nn.Dropout2d(0.1)] if draw.random() < 0.1 else []
        width = inner
    if out is not None:
        steps.append(nn.Conv2d(width, out, draw.choice((1, 3)), padding="same"))
        steps += [nn.BatchNorm2d(out)] if draw.random() < 0.4 else []
    return nn.Sequential(*steps)


def _residual(draw: random.Random, width: int) -> nn.Module:
    out = width if draw.random() < 0.7 else _width(draw)
    shortcut = nn.Identity() if out == width else nn.Conv2d(width, out, 1)
    scale = nn.Parameter(torch.ones(out, 1, 1)) if draw.random() < 0.3 else None
    return Residual(_sequence(draw, width, out), shortcut, scale, nn.ReLU() if draw.random() < 0.4 else nn.Identity())


def _concatenated(draw: random.Random, width: int) -> nn.Module:
    branches = [_sequence(draw, width, _width(draw)) for _ in range(draw.choice((1, 2, 2, 3)))]
    return Concatenated(branches, draw.random() < 0.5)


def _partial(draw: random.Random, width: int) -> nn.Module:
    if width % 2:
        return _conv(draw, width)
    half = width // 2
    step = Partial(draw.choice(("chunk", "split", "slice")), _sequence(draw, half, half), width)
    return nn.Sequential(step, Shuffle(2)) if draw.random() < 0.4 else step


def _inverted(draw: random.Random, width: int) -> nn.Module:
    inner = width * draw.choice((2, 3))
    steps = [nn.Conv2d(width, inner, 1), nn.BatchNorm2d(inner), activation(draw, inner)]
    steps += [nn.Conv2d(inner, inner, 3, padding=1, groups=inner), nn.BatchNorm2d(inner), activation(draw, inner)]
    steps += [Gate(draw.choice(("conv", "view", "attribute", "expand")), inner, 4)] if draw.random() < 0.5 else []
    branch = nn.Sequential(*steps, nn.Conv2d(inner, width, 1))
    return Residual(branch, nn.Identity(), None, nn.Identity())


def _attention(draw: random.Random, width: int) -> nn.Module:
    heads = draw.choice([h for h in (1, 2, 4) if width % h == 0])
    if draw.random() < 0.3:
        return Multihead(width, heads)
    return Attention(draw.choice(("chunk", "reshape", "fused")), width, heads)


def _function(draw: random.Random, width: int) -> nn.Module:
    return Function(draw.choice(list(FUNCTIONS)), max(1, width // 2))


STEPS: tuple[tuple[float, Build], ...] = (
    (6, _conv),
    (2, _grouped),
    (2, _depthwise),
    (1.5, _transposed),
    (4, _norm),
    (4, activation),
    (1, lambda draw, width: Cosine(draw.choice(("cos", "exp", "one minus", "plus")))),
    (2, _over_channels),
    (4, _residual),
    (3, _concatenated),
    (3, _partial),
    (2, lambda draw, width: Gate(draw.choice(("conv", "view", "attribute", "expand")), width, draw.choice((2, 4)))),
    (1.5, _inverted),
    (2, _attention),
    (9, _function),
    (1, lambda draw, width: Shuffle(draw.choice([g for g in (2, 3, 4) if width % g == 0] or [1]))),
    (2, lambda draw, width: PerChannel(draw.choice(("add", "scale", "add buffer", "scale buffer")), width)),
    (1, lambda draw, width: Mixer(draw.choice(("channels last", "tokens")), width, _width(draw))),
    (0.5, lambda draw, width: Places()),
    (0.5, lambda draw, width: Across()),
    (1, lambda draw, width: Twice(nn.Conv2d(width, width, 3, padding=1))),
    (0.5, lambda draw, width: Tied(width)),
    (1, lambda draw, width: Standardized(width, _width(draw), 3, padding=1)),
    (0.7, lambda draw, width: nn.utils.weight_norm(nn.Conv2d(width, _width(draw), 3, padding=1))),
    (1, lambda draw, width: Modulated(width)),
)


class Pooled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class WithGlance(nn.Module):
    """An output from the middle of the network beside the last one."""

    def __init__(self, before: nn.Module, glance: nn.Module, after: nn.Module):
        super().__init__()
        self.before, self.glance, self.after = before, glance, after

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.before(x)
        return self.glance(y), self.after(y)


def _head(draw: random.Random, shape: Sequence[int]) -> nn.Module:
    width = shape[1]
    kind = draw.choice(("pooled", "pooled", "flat", "hidden", "map", "both", "adaptive"))
    if kind == "map":
        return nn.Conv2d(width, 3, 1)
    if kind == "flat" and width * shape[2] * shape[3] <= 2048:
        return nn.Sequential(nn.Flatten(), nn.Linear(width * shape[2] * shape[3], 5))
    if kind == "hidden":
        layers = (nn.Linear(width, 8), nn.BatchNorm1d(8) if draw.random() < 0.5 else nn.LayerNorm(8), nn.ReLU())
        return nn.Sequential(Pooled(), layers[0], layers[2], nn.Dropout(0.1), nn.Linear(8, 4))
    if kind == "adaptive":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))
    if kind == "both":
        return WithGlance(nn.ReLU(), nn.Conv2d(width, 2, 1), nn.Sequential(Pooled(), nn.Linear(width, 3)))
    return nn.Sequential(Pooled(), nn.Linear(width, 4))


@dataclass(frozen=True)
class Program:
    """A network, before it is built.

    Args:
        steps: number of the step in `STEPS`, and its seed. head: seed of the head. size: of the image.
    """

    steps: tuple[tuple[int, int], ...]
    head: int
    size: int

    def __str__(self) -> str:
        return f"Program({self.steps}, {self.head}, {self.size})"


def draw_program(seed: int) -> Program:
    draw = random.Random(seed)
    weights = [weight for weight, _ in STEPS]
    steps = draw.choices(range(len(STEPS)), weights, k=draw.randint(3, 10))
    first = (0, draw.getrandbits(30))
    return Program(
        (first, *((step, draw.getrandbits(30)) for step in steps)), draw.getrandbits(30), draw.choice((8, 9, 12))
    )


def build(program: Program) -> tuple[nn.Module, Tensor]:
    """The network in float64, with weights and statistics that hide nothing and no two numbers alike, and an example.

    A step that does not fit where it stands (an odd number of channels to be halved, a map too small) is left out.
    """
    torch.manual_seed(program.head)
    x = torch.randn(2, 3, program.size, program.size, dtype=torch.float64)
    modules: list[nn.Module] = []
    y = x
    for kind, seed in program.steps:
        draw = random.Random(seed)
        try:
            module = STEPS[kind][1](draw, y.shape[1]).double().eval()
            with torch.no_grad():
                z = module(y.clone())
        except (RuntimeError, ValueError, TypeError, AssertionError, ZeroDivisionError, IndexError):
            continue
        if z.dim() != 4 or z.numel() > 40_000 or min(z.shape) < 1 or not 2 <= z.shape[1] <= 64 or min(z.shape[2:]) < 2:
            continue
        modules.append(module)
        y = z
    model = nn.Sequential(*modules, _head(random.Random(program.head), y.shape).double()).eval()
    _fill(model, program.head)
    return model, x[:1].clone()


def _fill(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + noise)
            elif tensor.dim() > 1 and min(tensor.shape) >= 1 and tensor.numel() > max(tensor.shape):
                tensor.copy_((2 * noise - 1) * (3 / tensor[0].numel()) ** 0.5)
            else:
                tensor.copy_(0.3 + 0.9 * noise)
