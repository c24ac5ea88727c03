"""What a model returns stays, in whatever it returns it."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nets import Net, conv
from torch import Tensor, nn

from reconv.errors import GraphError
from reconv.graph import trace
from reconv.graph.tensors import tensors_in

EXAMPLE = torch.randn(1, 3, 8, 8)


@dataclass
class Result:
    logits: Tensor
    more: Any = field(default=None)


@dataclass(frozen=True, slots=True)
class Slots:
    feature: Tensor


class ModelOutput(OrderedDict[str, Any]):
    """A mapping that PyTorch's own walk does not know."""


class Plain:
    def __init__(self, feature: Tensor):
        self.parts = [SimpleNamespace(feature=feature)]


Pair = namedtuple("Pair", "logits feature")

FORMS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "dataclass": Result,
    "nested dataclass": lambda logits, feature: {"a": [Result(logits, Result(feature))]},
    "slots": lambda logits, feature: (logits, Slots(feature)),
    "named tuple": Pair,
    "mapping": lambda logits, feature: ModelOutput(logits=logits, hidden=(None, feature)),
    "object": lambda logits, feature: (logits, Plain(feature)),
    "distribution": lambda logits, feature: (logits, torch.distributions.Normal(feature, 1.0, validate_args=False)),
}


@pytest.mark.parametrize("form", FORMS)
def test_channels_that_are_returned_stay(form: str) -> None:
    def forward(m: Net, x: Tensor) -> object:
        feature = m.b(m.a(x).relu())
        return FORMS[form](m.c(feature).mean((2, 3)), feature)

    graph = trace(Net(forward, a=conv(3, 8), b=conv(8, 8), c=conv(8, 4)), EXAMPLE)
    assert [group.reason for group in graph.groups] == [None, *["network output (classifier)"] * 2]


def test_an_output_without_tensors_is_refused() -> None:
    with pytest.raises(GraphError, match="no tensor was found in what its forward returns"):
        trace(Net(lambda m, x: float(m.a(x).shape[1]), a=conv(3, 8)), EXAMPLE)


def test_each_tensor_is_found_once_and_parameters_are_no_output() -> None:
    tensor = torch.zeros(2)
    holder = SimpleNamespace(tensor=tensor, layer=nn.Linear(2, 2), name="x")
    holder.itself = holder
    assert [id(t) for t in tensors_in({"a": (tensor, holder), "b": {1, 2}})] == [id(tensor)]
