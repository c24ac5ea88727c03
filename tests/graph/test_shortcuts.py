"""What is said of an operator at once is what PyTorch says of it; a copy of a model is a copy, whatever is in it."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from reconv.graph.copies import copy_model, parameters_and_buffers
from reconv.graph.rules import outputs_without_data
from reconv.graph.tracing import bind_arguments

aten = torch.ops.aten
MAP, ROW = torch.zeros(2, 6, 8, 9), torch.zeros(1, 6, 1, 1)
LINE = torch.zeros(2, 6, 9)


def _convolution(weight: Tensor, *, groups: int = 1, stride: int = 1, padding: int = 0, dilation: int = 1) -> tuple:
    rank = weight.dim() - 2
    windows = [[value] * rank for value in (stride, padding, dilation)]
    signal = MAP if rank == 2 else LINE
    return (signal, weight, torch.zeros(len(weight)), *windows, False, [0] * rank, groups)


def _normalization(training: bool) -> tuple:
    channels = [torch.zeros(6) for _ in range(4)]
    return (MAP, *channels, training, 0.1, 1e-5)


TAKEN = {
    "convolution": (aten.convolution.default, _convolution(torch.zeros(4, 6, 3, 2), stride=2, padding=1)),
    "dilated": (aten.convolution.default, _convolution(torch.zeros(4, 6, 3, 3), dilation=3)),
    "depthwise": (aten.convolution.default, _convolution(torch.zeros(12, 1, 3, 3), groups=6)),
    "on a line": (aten.convolution.default, _convolution(torch.zeros(4, 6, 3), stride=2)),
    "norm": (aten.native_batch_norm.default, _normalization(False)),
    "norm in training": (aten.native_batch_norm.default, _normalization(True)),
    "relu": (aten.relu.default, (MAP,)),
    "in place": (aten.hardtanh_.default, (MAP, 0.0, 6.0)),
    "sum": (aten.add.Tensor, (MAP, MAP)),
    "broadcast": (aten.mul.Tensor, (ROW, MAP)),
    "a number": (aten.div.Tensor, (MAP, 2.0)),
    "counted in place": (aten.add_.Tensor, (torch.zeros((), dtype=torch.int64), 1)),
    "concatenation": (aten.cat.default, ([MAP, MAP[:, :2].contiguous()], -3)),
    "mean": (aten.mean.dim, (MAP, [2, -1], True)),
    "mean away": (aten.mean.dim, (MAP, [1, 2])),
    "product": (aten.mm.default, (torch.zeros(5, 6), torch.zeros(7, 6).t())),
    "product and a row": (aten.addmm.default, (torch.zeros(7), torch.zeros(5, 6), torch.zeros(6, 7))),
    "turned": (aten.t.default, (torch.zeros(5, 6),)),
    "turned back": (aten.t.default, (torch.zeros(5, 6).t(),)),
    "view": (aten.view.default, (LINE, [2, -1, 2])),
    "view as it is": (aten._unsafe_view.default, (LINE, [2, 6, 9])),
    "layer norm": (aten.native_layer_norm.default, (LINE, [6, 9], None, None, 1e-5)),
}

REFUSED = {
    "other channels": (aten.convolution.default, _convolution(torch.zeros(4, 5, 3, 3))),
    "groups that do not divide": (aten.convolution.default, _convolution(torch.zeros(4, 2, 3, 3), groups=3)),
    "a kernel that is too large": (aten.convolution.default, _convolution(torch.zeros(4, 6, 9, 3))),
    "a sum that does not fit": (aten.add.Tensor, (MAP, torch.zeros(1, 5, 1, 1))),
    "written into what is smaller": (aten.add_.Tensor, (ROW.clone(), MAP)),
    "a product that does not fit": (aten.mm.default, (torch.zeros(5, 6), torch.zeros(7, 6))),
    "a row that does not fit": (aten.addmm.default, (torch.zeros(6), torch.zeros(5, 6), torch.zeros(6, 7))),
    "a view that does not fit": (aten.view.default, (LINE, [2, 5, -1])),
    "a smaller view": (aten.view.default, (LINE, [2, 6, 8])),
    "a layer norm that does not fit": (aten.native_layer_norm.default, (LINE, [7, 9], None, None, 1e-5)),
    "parts that do not fit": (aten.cat.default, ([MAP, LINE], 1)),
}

ASKED = {
    "two types": (aten.add.Tensor, (MAP, MAP.half())),
    "whole numbers": (aten.sigmoid.default, (MAP.long(),)),
    "channels last": (aten.relu.default, (MAP.to(memory_format=torch.channels_last),)),
    "both broadcast": (aten.mul.Tensor, (ROW, torch.zeros(2, 1, 8, 9))),
}


def _both(func, args) -> tuple:
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    args = pytree.tree_map_only(Tensor, fake.from_tensor, args)
    with fake:
        said = outputs_without_data(func, bind_arguments(func, args, {}), fake)
        found = func(*args)
    return tuple([(t.shape, t.stride(), t.dtype, t.device) for t in pytree.tree_leaves(o)] for o in (said, found))


@pytest.mark.parametrize("case", TAKEN)
def test_it_is_what_the_operator_gives(case: str) -> None:
    said, found = _both(*TAKEN[case])
    assert said[:1] == found[:1]  # of a norm's statistics only the sizes are looked at
    assert [row[0] for row in said] == [row[0] for row in found]


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_left_to_fail(case: str) -> None:
    func, args = REFUSED[case]
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    args = pytree.tree_map_only(Tensor, fake.from_tensor, args)
    with fake:
        assert outputs_without_data(func, bind_arguments(func, args, {}), fake) is None
        with pytest.raises(Exception):  # noqa: B017 - whatever PyTorch says
            func(*args)


@pytest.mark.parametrize("case", ASKED)
def test_other_cases_are_left_to_the_operator(case: str) -> None:
    func, args = ASKED[case]
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    assert outputs_without_data(func, bind_arguments(func, args, {}), fake) is None


class _Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.again = self.first
        self.tied = nn.Linear(4, 4)
        self.tied.weight = nn.Parameter(torch.eye(4))
        self.other = nn.Linear(4, 4)
        self.other.weight = self.tied.weight
        self.rnn = nn.LSTM(4, 4)
        self.norm = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.table = {"self": self, "sizes": [(1, 2), [3, {4}]], ("a", 1): torch.zeros(2)}
        self.act = self.tied.forward
        self.cache: Tensor | None = None

    def train(self, mode: bool = True) -> nn.Module:
        self.cache = None
        return super().train(mode)


def test_a_models_tensors_are_found_once_and_in_pytorchs_order() -> None:
    model = _Odd()
    model.norm.register_buffer("table", torch.zeros(2))
    found = parameters_and_buffers(model)
    expected = dict(model.named_parameters()), dict(model.named_buffers())
    assert [list(names) for names in found] == [list(names) for names in expected]
    assert all(a is b for ours, theirs in zip(found, expected) for a, b in zip(ours.values(), theirs.values()))


def test_a_copy_shares_nothing_that_changes_and_keeps_what_is_shared() -> None:
    model = _Odd().eval()
    model.cache = torch.zeros(1)
    model.first.train()
    twin, expected = copy_model(model), copy.deepcopy(model)
    assert list(twin.state_dict()) == list(expected.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(twin.state_dict().values(), model.state_dict().values(), strict=True))
    assert {id(t) for t in twin.parameters()}.isdisjoint(id(t) for t in model.parameters())
    assert twin.again is twin.first
    assert twin.other.weight is twin.tied.weight
    assert twin.table["self"] is twin
    assert twin.table["sizes"] == model.table["sizes"]
    assert twin.table["sizes"][1] is not model.table["sizes"][1]
    assert twin.act.__self__ is twin.tied
    assert twin.rnn._flat_weights[0] is twin.rnn.weight_ih_l0
    assert torch.equal(twin.norm.weight, model.norm.weight)
    assert [m.training for m in twin.modules()] == [m.training for m in model.modules()]
    assert twin.cache is None
    assert model.cache is not None


def test_a_copy_holds_the_tensors_it_is_given() -> None:
    model = _Odd()
    new = nn.Parameter(torch.zeros(2, 2))
    twin = copy_model(model, {id(model.tied.weight): new})
    assert twin.tied.weight is new
    assert twin.other.weight is new
