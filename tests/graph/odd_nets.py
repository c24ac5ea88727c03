"""Networks that try to break the engine: views, slices, attention, shuffles, numbers burnt into code."""

from __future__ import annotations

from collections.abc import Callable

import torch
from nets import Net, conv, head
from torch import Tensor, nn
from torch.nn import functional as F


def chunked_gate() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        a, b = m.a(x).chunk(2, 1)
        return head(m.end(a * torch.sigmoid(b)))

    return Net(forward, a=conv(3, 16), end=conv(8, 4))


def gated_linear_unit() -> Net:
    return Net(lambda m, x: head(m.end(F.glu(m.a(x), 1))), a=conv(3, 16), end=conv(8, 4))


def halves_on_ways_of_their_own() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        half = y.shape[1] // 2
        return head(m.end(torch.cat([m.b(y[:, :half]), y[:, half:]], 1)))

    return Net(forward, a=conv(3, 16), b=conv(8, 6), end=conv(14, 4))


def even_and_odd() -> Net:
    return Net(
        lambda m, x: head(m.b((y := m.a(x))[:, ::2]) + m.c(y[:, 1::2])), a=conv(3, 16), b=conv(8, 4), c=conv(8, 4)
    )


class ScaleSplit(nn.Module):
    """A split by a number that is an attribute, as in Res2Net."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.scale = 4, 3
        self.a, self.b, self.c, self.end = conv(3, 12), conv(4, 4), conv(4, 4), conv(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        one, two, three = torch.split(self.a(x), self.width, 1)
        return head(self.end(torch.cat([one, self.b(one + two), self.c(three)], 1)))


class UnequalSplit(nn.Module):
    """A split into unequal parts that are a tuple of numbers, as in InceptionNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = (10, 3, 3)
        self.a, self.b, self.c, self.end = conv(3, 16), conv(3, 3, groups=3), conv(3, 3, groups=3), conv(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        one, two, three = torch.split(self.a(x), self.parts, 1)
        return head(self.end(torch.cat([one, self.b(two), self.c(three)], 1)))


def burnt_number() -> Net:
    return Net(lambda m, x: m.b(head(m.a(x)).view(-1, 8)), a=conv(3, 8), b=nn.Linear(8, 4))


def burnt_slice() -> Net:
    return Net(lambda m, x: head(m.b((y := m.a(x))[:, :5]) + m.c(y[:, 5:])), a=conv(3, 8), b=conv(5, 4), c=conv(3, 4))


def shuffled() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        b, c, h, w = y.shape
        return head(m.end(m.b(y.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w))))

    return Net(forward, a=conv(3, 16), b=conv(16, 16, groups=2), end=conv(16, 4))


def shuffled_by_a_module() -> Net:
    return Net(lambda m, x: head(m.end(m.mix(m.a(x)))), a=conv(3, 12), mix=nn.ChannelShuffle(3), end=conv(12, 4))


def enlarged() -> Net:
    return Net(lambda m, x: head(m.end(F.pixel_shuffle(F.relu(m.a(x)), 2))), a=conv(3, 32), end=conv(8, 4))


def shrunk() -> Net:
    return Net(lambda m, x: head(m.end(F.pixel_unshuffle(F.relu(m.a(x)), 2))), a=conv(3, 8), end=conv(32, 4))


def through_einsum() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y, z = m.a(x), m.b(x)
        mixed = torch.einsum("bchw,bcij->bhwij", y, z).flatten(1).mean(1, keepdim=True)
        return head(m.end(torch.einsum("bchw,bk->bchw", y, mixed)))

    return Net(forward, a=conv(3, 8), b=conv(3, 8), end=conv(8, 4))


def channels_along_the_rows() -> Net:
    """A linear layer over positions: its products number as many as there are channels."""
    return Net(
        lambda m, x: m.end(m.mix(m.a(x).flatten(2)).mean(2)), a=conv(3, 8), mix=nn.Linear(64, 10), end=nn.Linear(8, 4)
    )


def two_branches_selected() -> Net:
    """Selective kernels: branches stacked, weighed by a softmax over them, summed."""

    def forward(m: Net, x: Tensor) -> Tensor:
        y = torch.stack([m.a(x), m.b(x)], 1)
        weights = m.up(F.relu(m.down(y.sum(1).mean((2, 3))))).view(len(x), 2, -1, 1, 1).softmax(1)
        return head(m.end((y * weights).sum(1)))

    return Net(forward, a=conv(3, 8), b=conv(3, 8, 5), down=nn.Linear(8, 6), up=nn.Linear(6, 16), end=conv(8, 4))


class Attention(nn.Module):
    """Self-attention on the pixels of a map, in several spellings.

    Args:
        fused: one layer for queries, keys and values. native: PyTorch's own operator.
        bias: a table of relative positions.
    """

    def __init__(self, fused: bool = True, native: bool = False, bias: bool = False) -> None:
        super().__init__()
        self.num_heads, self.head_dim = 4, 6
        self.fused, self.native = fused, native
        self.scale = self.head_dim**-0.5
        self.stem = conv(3, 10)
        names = ("qkv",) if fused else ("q", "k", "v")
        for name in names:
            self.add_module(name, nn.Linear(10, 72 if fused else 24))
        self.proj, self.end = nn.Linear(24, 10), nn.Linear(10, 4)
        self.table = nn.Parameter(torch.randn(20, 4)) if bias else None
        self.register_buffer("index", torch.randint(0, 20, (64, 64)))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        out = self.proj(self.attend(tokens))
        return self.end((tokens + out).mean(1))

    def attend(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        if self.fused:
            q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        else:
            q, k, v = (
                layer(x).view(b, n, self.num_heads, self.head_dim).transpose(1, 2) for layer in (self.q, self.k, self.v)
            )
        if self.native:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            weights = q * self.scale @ k.transpose(-2, -1)
            if self.table is not None:
                weights = weights + self.table[self.get_buffer("index").view(-1)].view(n, n, -1).permute(2, 0, 1)
            y = weights.softmax(-1) @ v
        return y.transpose(1, 2).reshape(b, n, -1)


def attention() -> Attention:
    return Attention()


def attention_of_three_layers() -> Attention:
    return Attention(fused=False)


def attention_by_pytorch() -> Attention:
    return Attention(native=True)


def attention_with_relative_positions() -> Attention:
    return Attention(bias=True)


def single_headed_attention() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.stem(x).flatten(2).transpose(1, 2)
        weights = (m.q(y) * 0.3 @ m.k(y).transpose(1, 2)).softmax(-1)
        return m.end((weights @ m.v(y)).mean(1))

    return Net(
        forward, stem=conv(3, 8), q=nn.Linear(8, 12), k=nn.Linear(8, 12), v=nn.Linear(8, 14), end=nn.Linear(14, 4)
    )


def pytorchs_own_attention() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.stem(x).flatten(2).transpose(1, 2)
        y = y + m.attention(y, y, y, need_weights=False)[0]
        return m.end((y + m.down(F.gelu(m.up(y)))).mean(1))

    return Net(
        forward, stem=conv(3, 8), attention=nn.MultiheadAttention(8, 2, batch_first=True), up=nn.Linear(8, 16),
        down=nn.Linear(16, 8), end=nn.Linear(8, 4),
    )  # fmt: skip


class HeadsOfTheStream(nn.Module):
    """The size of a head is the width of the stream over the number of heads, as in Swin, BEiT and DeiT."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.end = conv(3, 24), nn.Linear(24, 4)
        self.one, self.two = self.Block(), self.Block()

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_heads, self.scale = 4, 0.4
            self.qkv, self.proj = nn.Linear(24, 72), nn.Linear(24, 24)

        def forward(self, x: Tensor) -> Tensor:
            b, n, c = x.shape
            q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
            y = (self.scale * q @ k.transpose(-2, -1)).softmax(-1) @ v
            return self.proj(y.transpose(1, 2).reshape(b, n, c))

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).flatten(2).transpose(1, 2)
        y = y + self.one(y)
        return self.end((y + self.two(y)).mean(1))


class PoolsByAsManyAsItHasHeads(nn.Module):
    """Two attributes of the second attention are alike, and its block reads the other one first, as in Hiera."""

    class Attention(nn.Module):
        def __init__(self, heads: int) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(8, 12 * heads), nn.Linear(4 * heads, 8)
            self.heads, self.pool = heads, 4

        def forward(self, x: Tensor) -> Tensor:
            b, n, _ = x.shape
            q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, 4).permute(2, 0, 3, 1, 4).unbind(0)
            q = q.view(b, self.heads, self.pool, -1, 4).amax(2)
            found = (q @ k.transpose(-2, -1)).softmax(-1) @ v
            return self.out(found.transpose(1, 2).reshape(b, n // self.pool, -1))

    class Block(nn.Module):
        def __init__(self, heads: int) -> None:
            super().__init__()
            self.attention = PoolsByAsManyAsItHasHeads.Attention(heads)

        def forward(self, x: Tensor) -> Tensor:
            return x.view(len(x), self.attention.pool, -1, x.shape[-1]).amax(1) + self.attention(x)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks, self.end = conv(3, 8), nn.Sequential(self.Block(2), self.Block(4)), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.blocks(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


class AsWideAsTheImage(nn.Module):
    """Two attributes of one value, of which only one counts channels; the other is read before."""

    def __init__(self) -> None:
        super().__init__()
        self.size, self.width = 8, 8
        self.a, self.end = conv(3, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.size:
            raise ValueError(f"an image of {x.shape[-1]}, not {self.size}")
        y = self.a(x)
        return self.end(y.reshape(len(x), self.width, -1).mean(2))


class ScalesThatHeadsShare(Attention):
    """Queries and keys are normalized, scaled and turned by tensors that are as long as a head."""

    def __init__(self) -> None:
        super().__init__(native=True)
        self.norm = nn.RMSNorm(6)
        self.register_buffer("turn", torch.rand(64, 6))
        self.heat = nn.Parameter(torch.rand(4, 1, 1) + 0.5)

    def attend(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.norm(q) * self.get_buffer("turn") * self.heat, self.norm(k) * self.get_buffer("turn")
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1)


class ScaleThatPartsShare(nn.Module):
    """What goes of one part goes of all."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.end = conv(3, 12), conv(12, 4)
        self.scale = nn.Parameter(torch.rand(4, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).unflatten(1, (3, -1)) * self.scale
        return head(self.end(y.flatten(1, 2)))


class RootMeanSquareNorm(nn.Module):
    def __init__(self, channels: int, axis: int) -> None:
        super().__init__()
        self.axis, self.weight = axis, nn.Parameter(torch.rand(channels) + 0.5)
        self.register_buffer("highest", torch.tensor(float("inf")))  # a bound that bounds nothing

    def forward(self, x: Tensor) -> Tensor:
        y = x * torch.rsqrt(x.pow(2).mean(self.axis, keepdim=True) + 1e-6)
        return y.clamp(max=self.get_buffer("highest")) * self.weight.view(-1, *[1] * (-1 - self.axis))


def root_mean_square_norms() -> Net:
    """Statistics over the channels, written out or PyTorch's own."""

    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.one(m.a(x)).flatten(2).transpose(1, 2)
        return m.end(m.two(y + m.down(F.gelu(m.up(m.three(y))))).mean(1))

    return Net(
        forward, a=conv(3, 8), one=RootMeanSquareNorm(8, -3), two=RootMeanSquareNorm(8, -1), three=nn.RMSNorm(8),
        up=nn.Linear(8, 12), down=nn.Linear(12, 8), end=nn.Linear(8, 4),
    )  # fmt: skip


class GlobalResponseNorm(nn.Module):
    """Every channel by its norm over the mean of all norms, as in ConvNeXt V2."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.end = conv(3, 8), conv(8, 4)
        self.weight, self.bias = nn.Parameter(torch.rand(8, 1, 1)), nn.Parameter(torch.rand(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        size = y.norm(p=2, dim=(2, 3), keepdim=True)
        return head(self.end(y + self.weight * y * size / (size.mean(1, keepdim=True) + 1e-6) + self.bias))


def layer_norm_written_out() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.b(F.relu(m.a(x)))
        variance, mean = torch.var_mean(y, 1, correction=0, keepdim=True)
        return head(m.end(F.relu((y - mean) * (variance + 1e-5).rsqrt())))

    return Net(forward, a=conv(3, 6), b=conv(6, 10), end=conv(10, 4))


def spatial_attention() -> Net:
    """Places weighed by the mean and the largest of their channels, and all of them by the deviation."""

    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.a(x)
        seen = torch.cat([y.mean(1, keepdim=True), y.amax(1, keepdim=True)], 1)
        return head(m.end(y * torch.sigmoid(m.look(seen)) / y.std((1, 2, 3), keepdim=True)))

    return Net(forward, a=conv(3, 8), look=conv(2, 1), end=conv(8, 4))


class ClassToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up, self.down = conv(3, 8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 65, 8))
        self.gamma = nn.Parameter(torch.randn(8))
        self.end = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).flatten(2).transpose(1, 2)
        y = torch.cat([self.token.expand(len(y), -1, -1), y], 1) + self.positions
        y = y + self.gamma * self.down(F.gelu(self.up(y)))
        return self.end(y[:, 0] + y[:, 1:].mean(1))


def windows() -> Net:
    """Windows of a rolled map, as in Swin."""

    def forward(m: Net, x: Tensor) -> Tensor:
        y = torch.roll(m.a(x).permute(0, 2, 3, 1), (-2, -2), (1, 2))
        b, h, w, c = y.shape
        y = y.view(b, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
        y = y + m.down(F.gelu(m.up(y)))
        y = y.view(b, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        merged = torch.cat([y[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
        return m.end(merged.mean((1, 2)))

    return Net(forward, a=conv(3, 8), up=nn.Linear(8, 12), down=nn.Linear(12, 8), end=nn.Linear(32, 4))


def weight_norm() -> Net:
    wrapped = nn.utils.parametrizations.weight_norm(conv(8, 12))
    return Net(lambda m, x: head(m.c(F.relu(m.b(m.a(x))))), a=conv(3, 8), b=wrapped, c=conv(12, 4))


def rolled_channels() -> Net:
    return Net(lambda m, x: head(m.b(torch.roll(m.a(x), 3, 1))), a=conv(3, 8), b=conv(8, 4))


def unfolded_patches() -> Net:
    def forward(m: Net, x: Tensor) -> Tensor:
        columns = F.unfold(m.a(x), 3, padding=1)
        return m.end(m.b(columns.transpose(1, 2)).mean(1))

    return Net(forward, a=conv(3, 8), b=nn.Linear(72, 10), end=nn.Linear(10, 4))


def grouped_signal_of_two_layers() -> Net:
    return Net(
        lambda m, x: head(m.c(m.g(torch.cat([m.a(x), m.b(x)], 1)))),
        a=conv(3, 8), b=conv(3, 8), g=conv(16, 8, groups=2), c=conv(8, 4),
    )  # fmt: skip


def widths_that_must_agree() -> Net:
    """A view that takes one layer's width for another's: right while they lose equally many."""

    def forward(m: Net, x: Tensor) -> Tensor:
        y = head(m.a(x))
        return m.c(m.b(y).view(-1, y.shape[1]))

    return Net(forward, a=conv(3, 8), b=nn.Linear(8, 8), c=nn.Linear(8, 4))


def burnt_heads() -> Net:
    """The number of heads stands in the code alone, and half of the heads would still fit the view."""

    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.stem(x).flatten(2).transpose(1, 2)
        b, n, _ = y.shape
        q, k, v = m.qkv(y).reshape(b, n, 3, 4, -1).permute(2, 0, 3, 1, 4).unbind(0)
        z = (0.4 * q @ k.transpose(-2, -1)).softmax(-1) @ v
        return m.end(z.transpose(1, 2).reshape(b, n, -1).mean(1))

    return Net(forward, stem=conv(3, 10), qkv=nn.Linear(10, 96), end=nn.Linear(32, 4))


def factors_that_count_channels() -> Net:
    """Sums divided by the number of channels, and an attention whose scale is not given: numbers, but no shapes."""

    def forward(m: Net, x: Tensor) -> Tensor:
        y = m.stem(x).flatten(2).transpose(1, 2)
        y = y * (y.sum(-1, keepdim=True) / y.shape[-1])
        z = F.scaled_dot_product_attention(m.q(y)[:, None], m.k(y)[:, None], m.v(y)[:, None], attn_mask=m.mask(y))
        return m.end(z[:, 0].mean(1))

    class Mask(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            return torch.ones(y.shape[1], y.shape[1], dtype=torch.bool).tril()

    return Net(
        forward, stem=conv(3, 8), q=nn.Linear(8, 12), k=nn.Linear(8, 12), v=nn.Linear(8, 10), end=nn.Linear(10, 4),
        mask=Mask(),
    )  # fmt: skip


class ProductWithAParameter(nn.Module):
    """Weights used as they are, inputs first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.end = conv(3, 8), nn.Linear(10, 4)
        self.up, self.gate = nn.Parameter(torch.randn(8, 10)), nn.Parameter(torch.randn(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).flatten(2).transpose(1, 2)
        return self.end(((y @ self.up) * torch.sigmoid(y @ self.gate)).mean(1))


class StandardizedConv(nn.Conv2d):
    """Weights minus their mean over their deviation, filter by filter, as in NFNet."""

    def __init__(self, a: int, b: int, k: int = 3, groups: int = 1) -> None:
        super().__init__(a, b, k, padding=k // 2, groups=groups)
        self.gain = nn.Parameter(torch.rand(b, 1, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(flat, None, None, weight=self.gain.view(-1), training=True, momentum=0.0, eps=1e-6)
        return F.conv2d(x, weight.reshape_as(self.weight), self.bias, padding=self.padding, groups=self.groups)


def standardized_weights() -> Net:
    return Net(
        lambda m, x: head(m.c(F.silu(m.b(F.silu(m.a(x)))))), a=conv(3, 12), b=StandardizedConv(12, 16), c=conv(16, 4)
    )


class Scaled(nn.Module):
    """A view by a tuple of sizes that is an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = (8, 1, 1)
        self.a, self.b = conv(3, 8), conv(8, 4)
        self.scale = nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        return head(self.b(self.a(x) * self.scale.view(self.shape)))


class Caching(nn.Module):
    """Keeps, in evaluation mode, a tensor that it computed from a parameter, as LeViT does."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 8), conv(8, 4)
        self.table = nn.Parameter(torch.randn(2, 8))
        self.cache: dict[str, Tensor] = {}

    def train(self, mode: bool = True) -> Caching:
        if mode:
            self.cache = {}
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if self.training or "bias" not in self.cache:
            self.cache["bias"] = self.table.mean(0)[:, None, None]
        return head(self.b(self.a(x) + self.cache["bias"]))


def numbers_that_depend_on_data() -> Net:
    """It cannot run without data, so that no dry run is possible: what is cut at positions stays."""

    def forward(m: Net, x: Tensor) -> Tensor:
        y, z = m.a(x), m.b(x)
        scale = 1.0 if y.abs().sum().item() >= 0 else 2.0
        return head(m.end(torch.cat([y[:, :4] * scale, y[:, 4:], z], 1)))

    return Net(forward, a=conv(3, 8), b=conv(3, 6), end=conv(14, 4))


def second_of_two_heads_in_training() -> Net:
    """Only training reads the first half."""

    def forward(m: Net, x: Tensor) -> object:
        y = m.a(x)
        first, second = y.chunk(2, 1)
        return (head(m.b(second)), head(m.other(first))) if m.training else head(m.b(second))

    return Net(forward, a=conv(3, 16), b=conv(8, 4), other=conv(8, 4))


def dropout_and_a_head_in_training() -> Net:
    """A dropout of whole channels, before what training alone reads."""

    def forward(m: Net, x: Tensor) -> object:
        y = m.drop(m.a(x).relu())
        return (head(m.b(y)), head(m.other(y))) if m.training else head(m.b(y))

    return Net(forward, a=conv(3, 16), drop=nn.Dropout2d(0.2), b=conv(16, 4), other=conv(16, 4))


def shuffled_for_a_layer_used_twice() -> Net:
    """Halves shuffled into each other, read by a layer that reads its own outputs too: both orders have to agree."""

    def forward(m: Net, x: Tensor) -> Tensor:
        first, second = m.a(x).chunk(2, 1)
        y = torch.cat([m.b(first), second], 1)
        y = y.view(len(y), 2, -1, *y.shape[2:]).transpose(1, 2).flatten(1, 2)
        return head(m.end(m.twice(m.twice(y).relu())))

    return Net(forward, a=conv(3, 4), b=conv(2, 2), twice=conv(4, 4), end=conv(4, 4))


ODD: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    build.__name__: (build, (1, 3, 8, 8))
    for build in (
        chunked_gate, gated_linear_unit, halves_on_ways_of_their_own, even_and_odd, ScaleSplit, UnequalSplit,
        burnt_number, burnt_slice, shuffled, shuffled_by_a_module, enlarged, shrunk, through_einsum,
        channels_along_the_rows, two_branches_selected, attention, attention_of_three_layers, attention_by_pytorch,
        attention_with_relative_positions, single_headed_attention, pytorchs_own_attention, HeadsOfTheStream,
        PoolsByAsManyAsItHasHeads, AsWideAsTheImage,
        root_mean_square_norms, GlobalResponseNorm, layer_norm_written_out, spatial_attention,
        ScalesThatHeadsShare, ScaleThatPartsShare, ClassToken, windows,
        weight_norm, rolled_channels, unfolded_patches, grouped_signal_of_two_layers, widths_that_must_agree,
        ProductWithAParameter, burnt_heads, factors_that_count_channels, standardized_weights, Scaled, Caching,
        numbers_that_depend_on_data,
        second_of_two_heads_in_training, dropout_and_a_head_in_training,
        shuffled_for_a_layer_used_twice,
    )
}  # fmt: skip
