"""Costs are for one image, however the example holds its images; what multiplies and is not counted is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from reconv.budget import Budget
from reconv.cost import profile
from reconv.graph import trace
from reconv.plan import choose
from reconv.saliency import score


class Net(nn.Module):
    def __init__(self, forward: Callable[..., object], channels: int = 3) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 5, 3, padding=1)
        self._forward = forward

    def forward(self, *args: object, **kwargs: object) -> object:
        return self._forward(self, *args, **kwargs)

    def both(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())


def of_list(m: Net, images: list[Tensor]) -> Tensor:
    return m.both(torch.stack(images))


def one_by_one(m: Net, images: list[Tensor]) -> list[Tensor]:
    return [m.both(image[None]) for image in images]


def with_words(m: Net, words: Tensor, image: Tensor) -> Tensor:
    return m.both(image) + words.float().mean()


def of_mapping(m: Net, batch: dict[str, Tensor]) -> Tensor:
    return with_words(m, batch["words"], batch["image"])


def images(number: int) -> list[Tensor]:
    return [torch.zeros(3, 12, 12)] * number


def batch(number: int) -> Tensor:
    return torch.zeros(number, 3, 12, 12)


WORDS = torch.arange(77)
EXAMPLES: dict[str, tuple[Callable[..., object], object, int]] = {
    "an image alone": (Net.both, torch.zeros(3, 12, 12), 1),
    **{f"a batch of {n}": (Net.both, batch(n), n) for n in (1, 3, 4)},
    **{f"a list of {n}": (of_list, (images(n),), n) for n in (1, 2, 3, 6)},
    **{f"{n} one after the other": (one_by_one, (images(n),), n) for n in (2, 3)},
    "after words": (with_words, (WORDS, batch(2)), 2),
    "after a number": (with_words, (torch.tensor(3.0), batch(4)), 4),
    "by keywords": (with_words, {"words": WORDS, "image": batch(2)}, 2),
    "in a mapping": (of_mapping, ({"words": WORDS, "image": batch(2)},), 2),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_macs_are_those_of_one_image(name: str) -> None:
    forward, example, number = EXAMPLES[name]
    graph = trace(Net(forward), example)
    assert (graph.images, profile(graph).macs) == (number, 144 * 9 * (3 * 16 + 16 * 5))
    plan = choose(graph, score(graph, "l2"), Budget(macs=0.5))
    assert plan.macs[1] <= 0.5 * plan.macs[0]


@pytest.mark.parametrize("channels", [1, 2, 4, 12])
def test_an_image_alone_has_any_number_of_channels(channels: int) -> None:
    graph = trace(Net(Net.both, channels), torch.zeros(channels, 12, 12))
    assert profile(graph).macs == 144 * 9 * (channels * 16 + 16 * 5)


class Frames(nn.Module):
    """Of a spectrogram [frames, bands], which is one sample."""

    def __init__(self, forward: Callable[..., Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 6), nn.Conv1d(6, 6, 3, padding=1), nn.Linear(6, 2)
        self.r = nn.LSTM(6, 6)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


@pytest.mark.parametrize(
    ("forward", "macs"),
    [
        (lambda m, x: m.c(m.b(m.a(x).T).T), 10 * (48 + 12 + 6 * 6 * 3)),
        (lambda m, x: m.c(m.a(x).mean(0)), 10 * 48 + 12),
        (lambda m, x: m.c(m.r(m.a(x))[0]), 10 * (48 + 12)),
    ],
)
def test_frames_are_no_images(forward: Callable[..., Tensor], macs: int) -> None:
    assert profile(trace(Frames(forward), torch.zeros(10, 8))).macs == macs


def test_rows_that_nothing_mixes_are() -> None:
    found = profile(trace(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)), torch.zeros(10, 8)))
    assert found.macs == 48 + 12


class Deformed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.offset, self.b = (
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 18, 3, padding=1),
            DeformConv2d(8, 4, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.b(y, self.offset(y))


class Read(nn.Module):
    def __init__(self, read: Callable[..., object], **layers: nn.Module) -> None:
        super().__init__()
        self.a, self._read = nn.Linear(8, 6), read
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> object:
        return self._read(self, self.a(x))


UNCOUNTED: dict[str, tuple[nn.Module, Tensor]] = {
    "aten.mkldnn_rnn_layer": (Read(lambda m, x: m.r(x)[0], r=nn.LSTM(6, 6, 2, batch_first=True)), torch.zeros(2, 5, 8)),
    "torchvision.deform_conv2d": (Deformed(), torch.zeros(1, 3, 6, 6)),
    "aten._trilinear": (Read(lambda m, x: m.r(x, x), r=nn.Bilinear(6, 6, 2)), torch.zeros(2, 8)),
    "aten.mv": (Read(lambda m, x: x @ x[0]), torch.zeros(2, 8)),
}


@pytest.mark.parametrize("operator", UNCOUNTED)
def test_what_multiplies_and_is_no_layer_is_named(operator: str) -> None:
    model, example = UNCOUNTED[operator]
    assert profile(trace(model, example)).uncounted[operator] >= 1


@pytest.mark.parametrize("kind", [nn.GRU, nn.RNN])
def test_recurrent_layers_that_run_step_by_step_are_counted(kind: type[nn.GRU]) -> None:
    layer = kind(6, 4, batch_first=True)
    found = profile(trace(Read(lambda m, x: m.r(x)[0], r=layer), torch.zeros(2, 5, 8)))
    recurrent = sum(weight.numel() for name, weight in layer.named_parameters() if "weight" in name)
    assert found.macs == 5 * (48 + recurrent)
