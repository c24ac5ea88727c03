"""A linear layer is one however PyTorch, or a model, spells the product."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reconv.cost import profile
from reconv.graph import trace


class Product(nn.Module):
    """Tokens of a map through a linear layer, as one matrix or as a batch of the same one."""

    def __init__(self, batched: bool) -> None:
        super().__init__()
        self.batched = batched
        self.stem, self.inner, self.end = nn.Conv2d(3, 8, 1), nn.Linear(8, 24), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2)
        if self.batched:
            weight = self.inner.weight.t().expand(len(x), -1, -1)
            hidden = torch.bmm(tokens, weight) + self.inner.bias
        else:
            hidden = self.inner(tokens.contiguous())
        return self.end(hidden.relu().mean(1))


@pytest.mark.parametrize("images", [1, 3])
def test_a_batch_of_one_weight_is_a_linear_layer(images: int) -> None:
    example = torch.zeros(images, 3, 4, 4)
    plain, batched = (trace(Product(spelling), example) for spelling in (False, True))
    assert [layer.name for layer in batched.layers] == ["stem", "inner", "end"]
    assert [group.producers for group in batched.groups] == [group.producers for group in plain.groups]
    assert [group.consumers for group in batched.groups] == [group.consumers for group in plain.groups]
    assert profile(batched).macs == profile(plain).macs
